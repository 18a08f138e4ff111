"""Files too large for a worker: Athena prepares them in the customer's own account, by the rule table as SQL.

Two working tables in AWS Glue (the files as they are, and what the query makes) stay in the database `amc_portal_work`;
the step of the catalogue makes the tables that Entity Resolution reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings

from onboarding.clients.athena import COUNTED
from onboarding.guide.data_bucket import uploads_folder
from onboarding.guide.identity_work import Place
from onboarding.guide.plan import Call, Look, Ref, Until
from onboarding.identity import rules, trino
from onboarding.identity.columns import HASHED_KINDS, MAX_COLUMNS, MEANINGS, Kind
from onboarding.models import DatasetVersion, SourceFile

DATABASE = "amc_portal_work"
MOST_OF_A_KIND = 5
"""Numbered columns that a field gets at most where the rows of a key are brought together."""
_CSV_INPUT = "org.apache.hadoop.mapred.TextInputFormat"
_CSV_OUTPUT = "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat"
_PARQUET = "org.apache.hadoop.hive.ql.io.parquet"
_NAME = re.compile(r"[a-z0-9_]{1,255}")


def too_large(files: Sequence[SourceFile]) -> bool:
    """Whether the files are more than a worker takes (IDENTITY_WORKER_LIMIT_GB)."""
    return sum(file.size for file in files) > settings.IDENTITY_WORKER_LIMIT_GB * (1 << 30)


def folder_of(files: Sequence[SourceFile], places: Sequence[str]) -> str:
    """The one folder in S3 that holds the files, with a slash at its end; empty where there is no such folder."""
    if len(places) == 1 and places[0].endswith("/"):
        return places[0]
    folders = {f"s3://{file.bucket}/{file.key.rpartition('/')[0]}/" for file in files}
    uploaded = all(file.fingerprint for file in files)
    # A folder of uploads belongs to one version alone; in any other one there may be more than was chosen.
    return folders.pop() if len(folders) == 1 and uploaded else ""


def why_not(version: DatasetVersion | None, files: Sequence[SourceFile], params: Mapping[str, Any]) -> str:
    """Why Athena can't prepare these files, in words; empty if it can."""
    overview = (version.overview if version else None) or {}
    size = settings.IDENTITY_WORKER_LIMIT_GB
    begin = f"The files are larger than {size:g} GB, so Athena prepares them in your own AWS account. "
    layouts = {(one["format"], one["delimiter"], one["encoding"]) for one in overview.get("files", [])}
    if not folder_of(files, params["from"]):
        return begin + "It reads whole folders: put these files into one folder of their own and choose that folder."
    if len(layouts) > 1:
        return begin + "For that all files have to be of one format, with one delimiter and encoding."
    if layouts and not _is_parquet(overview) and str(next(iter(layouts))[2]).lower() not in ("utf-8", "utf8", "ascii"):
        return begin + "For that they have to be written in UTF-8."
    if not params["rules"]:
        return begin + "It writes hashes only: choose a rule table, or use the files as they are."
    if len(params["columns"]) > MAX_COLUMNS:
        return begin + f"For that at most {MAX_COLUMNS} columns can be brought: leave some out."
    carried = [column for column, kind in params["columns"].items() if kind == Kind.CONSENT]
    if any(not _NAME.fullmatch(column) for column in carried):
        return begin + "For that consent columns need names of lower case letters, digits and underscores."
    return ""


def _is_parquet(overview: Mapping[str, Any]) -> bool:
    return any(str(one["format"]).upper() == "PARQUET" for one in overview.get("files", []))


def _source_columns(header: Sequence[str], params: Mapping[str, Any], *, parquet: bool) -> dict[str, str]:
    """Column of the files → its name in the working table: Parquet is read by name, CSV by position."""
    chosen = params["columns"]
    return {
        column: column if parquet or chosen.get(column) == Kind.CONSENT else f"column_{number}"
        for number, column in enumerate(header, 1)
    }


def _source_table(name: str, overview: Mapping[str, Any], columns: Sequence[str], location: str) -> dict[str, Any]:
    parquet = _is_parquet(overview)
    delimiter = next((one["delimiter"] for one in overview.get("files", [])), ",") or ","
    storage = (
        {
            "InputFormat": f"{_PARQUET}.MapredParquetInputFormat",
            "OutputFormat": f"{_PARQUET}.MapredParquetOutputFormat",
            "SerdeInfo": {"SerializationLibrary": f"{_PARQUET}.serde.ParquetHiveSerDe"},
        }
        if parquet
        else {
            "InputFormat": _CSV_INPUT,
            "OutputFormat": _CSV_OUTPUT,
            "SerdeInfo": {
                "SerializationLibrary": "org.apache.hadoop.hive.serde2.OpenCSVSerde",
                "Parameters": {"separatorChar": delimiter, "quoteChar": '"', "escapeChar": "\\"},
            },
        }
    )
    parameters = {"classification": "parquet" if parquet else "csv"}
    if not parquet:
        parameters["skip.header.line.count"] = "1"
    return {
        "Name": name,
        "TableType": "EXTERNAL_TABLE",
        "Parameters": parameters,
        "StorageDescriptor": {
            "Columns": [{"Name": column, "Type": "string"} for column in columns],
            "Location": location,
            **storage,
        },
    }


def widths_of(mapping: Mapping[str, Kind], *, repeated: bool) -> dict[Kind, int] | None:
    """Kind → how many numbered columns it gets where keys repeat, within Entity Resolution's 25; None where none do."""
    if not repeated:
        return None
    widths: dict[Kind, int] = {}
    for kind in mapping.values():
        if kind in MEANINGS and kind is not Kind.KEY:
            widths[kind] = widths.get(kind, 0) + 1
    room = MAX_COLUMNS - len(mapping)
    while room:
        narrow = [kind for kind, count in widths.items() if count < MOST_OF_A_KIND]
        if not narrow:
            break
        kind = min(narrow, key=lambda one: widths[one])
        widths[kind] += 1
        room -= 1
    return widths


def columns_of(mapping: Mapping[str, Kind], widths: Mapping[Kind, int]) -> list[dict[str, Any]]:
    """The columns of the prepared table in the order of the query, as a manifest names them."""
    found = [{"name": MEANINGS[Kind.KEY].column, "kind": Kind.KEY.value, "hashed": False}]
    found += [
        {"name": column, "kind": Kind.CONSENT.value, "hashed": False}
        for column, kind in mapping.items()
        if kind is Kind.CONSENT
    ]
    for kind, meaning in MEANINGS.items():
        for number in range(1, widths.get(kind, 0) + 1):
            name = meaning.column if number == 1 else f"{meaning.column}_{number}"
            found.append({"name": name, "kind": kind.value, "hashed": kind in HASHED_KINDS})
    return found


def _query(key: str, account: str, name: str, title: str, query: str, results: str, effect_undo: str) -> list[Call]:
    return [
        Call(
            key=name,
            title=title,
            service="athena",
            operation="StartQueryExecution",
            params={
                "QueryString": query,
                "QueryExecutionContext": {"Database": DATABASE},
                "ResultConfiguration": {"OutputLocation": results},
            },
            effect="create",
            account=account,
            token_param="ClientRequestToken",  # noqa: S106  # a name, no secret
            undo=effect_undo,
        ),
        Call(
            key=f"{name}-done",
            title=f"Wait: {title[0].lower()}{title[1:]}",
            service="athena",
            operation="GetQueryExecution",
            params={"QueryExecutionId": Ref(key, name, "QueryExecutionId")},
            effect="wait",
            account=account,
            until=Until(
                path="QueryExecution.Status.State",
                done=("SUCCEEDED",),
                failed={"FAILED": "Athena could not carry out the query.", "CANCELLED": "The query was stopped."},
                every=(2, 5, 10, 30, 60),
                give_up=86_400,
                usually="some minutes for a hundred gigabytes",
                reason="QueryExecution.Status.StateChangeReason",
                todo="Look at the query in Athena's history. Remove what it left in the folder of this version, then "
                "try again.",
            ),
        ),
    ]


def calls(
    key: str, version: DatasetVersion | None, files: Sequence[SourceFile], params: Mapping[str, Any], place: Place
) -> list[Call]:
    """The calls by which Athena prepares the files of a version; `params` are those of the step's own call."""
    overview = (version.overview if version else None) or {}
    report = (version.report if version else None) or {}
    header = overview.get("header") or list(params["columns"])
    named = _source_columns(header, params, parquet=_is_parquet(overview))
    mapping = {named[column]: Kind(kind) for column, kind in params["columns"].items() if column in named}
    repeated = any(one["code"] == "key-repeated" for one in report.get("findings", []))
    widths = widths_of(mapping, repeated=repeated)
    number = version.pk if version else 0
    source, made = f"files_{number}", f"prepared_{number}"
    location = f"{params['to']}/{params['table']}/"
    plan = trino.plan(
        f"{DATABASE}.{source}",
        f"{DATABASE}.{made}",
        location,
        mapping,
        country=params["country"],
        rule_table=params["rules"],
        widths=widths,
    )
    results = f"s3://{place.bucket}/{uploads_folder(place.prefix)}athena/"
    wanted = _source_table(source, overview, list(named.values()), folder_of(files, params["from"]))
    glue = {"service": "glue", "effect": "create", "account": place.account}
    return [
        Call(
            key="same",
            title="Check that the files are those that were checked",
            service="identity",
            operation="same",
            params={name: params[name] for name in ("from", "content")},
            account=place.account,
        ),
        Call(
            key="work-database",
            title=f"Glue database {DATABASE} for working tables",
            operation="CreateDatabase",
            params={"DatabaseInput": {"Name": DATABASE, "Description": "Working tables of the AMC onboarding portal"}},
            look=Look(
                operation="GetDatabase",
                params={"Name": DATABASE},
                missing=("EntityNotFoundException",),
                same={"Database.Name": DATABASE},
            ),
            undo="Can be deleted in Glue once the files are prepared.",
            **glue,  # type: ignore[arg-type]  # texts that fit
        ),
        Call(
            key="work-table",
            title=f"Working table {DATABASE}.{source} over the files as they are",
            operation="CreateTable",
            params={"DatabaseName": DATABASE, "TableInput": wanted},
            look=Look(
                operation="GetTable",
                params={"DatabaseName": DATABASE, "Name": source},
                missing=("EntityNotFoundException",),
                same={
                    "Table.StorageDescriptor.Columns": wanted["StorageDescriptor"]["Columns"],
                    "Table.StorageDescriptor.Location": wanted["StorageDescriptor"]["Location"],
                },
            ),
            undo="Can be deleted in Glue once the files are prepared.",
            **glue,  # type: ignore[arg-type]  # texts that fit
        ),
        *_query(
            key,
            place.account,
            "query",
            f"Have Athena prepare the files into {location}",
            plan.statement,
            results,
            "What is written can be deleted in S3, and the working table in Glue.",
        ),
        *_query(
            key,
            place.account,
            "count",
            "Count the rows that were prepared",
            " ".join(("SELECT count(*) AS", COUNTED, "FROM", f'"{DATABASE}"."{made}"')),
            results,
            "The result is a file in your bucket.",
        ),
        Call(
            key="counted",
            title="Read the count; no value is read",
            service="athena",
            operation="GetQueryResults",
            params={"QueryExecutionId": Ref(key, "count", "QueryExecutionId"), "MaxResults": 2},
            account=place.account,
        ),
        Call(
            key="prepare",
            title="Write down what was prepared",
            service="identity",
            operation="collect",
            params={
                **params,
                "counted": Ref(key, "counted", COUNTED),
                "prepared": columns_of(mapping, plan.widths),
            },
            account=place.account,
        ),
    ]


def sample() -> list[Call]:
    """The calls for made-up files, for what roles have to be allowed to do: which files there are decides on them."""
    params = {
        "from": ["s3://bucket/folder/"],
        "to": "s3://bucket/prepared",
        "table": "table",
        "columns": {"id": Kind.KEY.value, "email": Kind.EMAIL.value},
        "country": None,
        "rules": rules.AMAZON_ADS,
        "content": "",
    }
    return calls("identity-files", None, [], params, Place("", "bucket", ""))
