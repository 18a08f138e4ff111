"""What "Prepare identity data" hands on to the steps after it: the tables of a data set's version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onboarding.guide.identity_questions import table_name
from onboarding.identity.columns import Kind
from onboarding.models import DatasetVersion


def output_of(version: DatasetVersion, manifest: Mapping[str, Any], place: str) -> dict[str, Any]:
    """What the step hands on: the tables of a prepared version, from its manifest. `place` is its `s3://` folder."""
    tables = [
        {
            "name": table["name"],
            "location": f"{place}/{table['name']}/",
            "format": "PARQUET",
            "rows": table["rows"],
            "columns": [
                {"name": column["name"], "kind": column["kind"], "hashed": column["hashed"]}
                for column in table["columns"]
            ],
        }
        for table in manifest["tables"]
    ]
    return _handed_on(version, tables, manifest["rows_written"], manifest["rules"], manifest["country"])


def as_it_is(version: DatasetVersion, columns: Mapping[str, str], country: str | None) -> dict[str, Any]:
    """The same for files that are used as they are, from what the look and the check have found."""
    overview, report = version.overview or {}, version.report or {}
    counts = {column["column"]: column for column in report.get("columns", [])}
    formats = {str(file["format"]).upper() for file in overview.get("files", [])}
    rows = report.get("rows", 0)
    table = {
        "name": table_name(version.dataset.name),
        "location": overview.get("location", ""),
        "format": "PARQUET" if formats == {"PARQUET"} else "CSV",
        "rows": rows,
        "columns": [
            {
                "name": name,
                "kind": columns.get(name, Kind.IGNORE.value),
                "hashed": bool(counts.get(name, {}).get("hashed")),
            }
            for name in overview.get("header", [])
        ],
        **overview.get("glue", {}),
    }
    return _handed_on(version, [table], rows, None, country)


def _handed_on(
    version: DatasetVersion, tables: list[dict[str, Any]], rows: int, rules: str | None, country: str | None
) -> dict[str, Any]:
    dataset = version.dataset
    return {
        "state": "done",
        "dataset": dataset.name,
        "version": version.number,
        "version_pk": version.pk,
        "aws_account_id": dataset.aws_account_id,
        "bucket": dataset.bucket,
        "prefix": dataset.prefix,
        "rules": rules,
        "country": country,
        "rows": rows,
        "forecast": (version.report or {}).get("forecast") or {},
        "tables": tables,
    }
