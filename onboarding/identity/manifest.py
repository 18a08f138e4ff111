"""The manifest that lies beside prepared tables: what they hold, by which rules, from how many rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from onboarding.identity import rules
from onboarding.identity.columns import HASHED_KINDS, MAX_COLUMNS, MAX_TABLES, Kind
from onboarding.identity.errors import BadManifest

if TYPE_CHECKING:
    from onboarding.identity.prepare import Preparation

FORMAT = 1
LARGEST = 4 << 20
"""Bytes of the largest manifest that is read."""
COUNTS = (
    "rows_read",
    "rows_written",
    "rows_ragged",
    "rows_reencoded",
    "rows_without_key",
    "rows_with_long_key",
    "rows_of_repeated_keys",
    "rows_collapsed_into",
    "rows_beyond_limit",
    "values_beyond_limit",
    "values_not_utf8",
)
# Counts that manifests of earlier versions lack.
_LATER_COUNTS = ("rows_without_country",)
NAME = re.compile(r"[a-z0-9_]{1,255}")
"""What AWS Glue takes as the name of a table or column."""
_FIELD_COUNTS = ("values", "empty", "invalid", "hashed")


def document(preparation: Preparation) -> bytes:
    """The manifest as JSON in UTF-8. It holds no time and no folder, so that the same input gives the same bytes."""
    content = preparation.as_dict()
    del content["destination"]
    content["manifest"] = FORMAT
    content["rule_deviations"] = (
        [deviation.name for deviation in rules.load(preparation.rules).deviations] if preparation.rules else []
    )
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def read(data: bytes | str) -> dict[str, Any]:
    """The manifest of an earlier run, whoever ran it, with nothing in it but what is known.

    Raises BadManifest where it is none, where its counts or files do not fit together, or where it was made by rules
    that are not those of this version.
    """
    if len(data) > LARGEST:
        raise BadManifest("is too large for a manifest")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise BadManifest("is not JSON: choose the file manifest.json that the command has written") from None
    return validated(content)


def validated(content: Any) -> dict[str, Any]:
    """The same for a manifest that was read already."""
    if not isinstance(content, Mapping) or "manifest" not in content:
        raise BadManifest("is no manifest: choose the file manifest.json that the command has written")
    if content["manifest"] != FORMAT:
        raise BadManifest(f"has format {content['manifest']!s:.20}, and only {FORMAT} can be read: prepare again")
    table = content.get("rules")
    if table is not None and table not in rules.NAMES:
        raise BadManifest(f"names the rule table {table!s:.40}; known are {', '.join(rules.NAMES)}")
    deviations = [one.name for one in rules.load(table).deviations] if table else []
    if content.get("rule_deviations") != deviations:
        raise BadManifest(f"was made by another version of {table or 'the program'}: prepare again with this one")
    country = content.get("country")
    if country is not None and not (isinstance(country, str) and re.fullmatch("[A-Z]{2}", country)):
        raise BadManifest("has a country that is no two-letter code")
    tables = _list(content, "tables", _table)
    if not 1 <= len(tables) <= MAX_TABLES or len({one["name"] for one in tables}) < len(tables):
        raise BadManifest(f"must name 1 to {MAX_TABLES} tables, each once")
    counts = {name: _count(content, name) for name in COUNTS}
    counts |= {name: _count(content, name) if name in content else 0 for name in _LATER_COUNTS}
    most = max(counts["rows_written"], counts["rows_without_country"])
    if tables[0]["rows"] != counts["rows_written"] or most > counts["rows_read"]:
        raise BadManifest("has counts of rows that do not fit together")
    if any(one["rows"] > tables[0]["rows"] for one in tables):
        raise BadManifest("has a further table with more rows than the first")
    columns, fields = _mapping(content.get("columns")), _fields(content.get("fields"))
    if table is None and not all(
        _came_hashed(column["kind"], columns, fields) for one in tables for column in one["columns"] if column["hashed"]
    ):
        raise BadManifest("says that values are in clear and that columns are hashed")
    return {
        "manifest": FORMAT,
        "rules": table,
        "hashed": table is not None,
        "rule_deviations": deviations,
        "country": country,
        "columns": columns,
        "tables": tables,
        "fields": fields,
        **counts,
    }


def _list(content: Mapping[str, Any], name: str, read_one: Callable[[Any], dict[str, Any]]) -> list[dict[str, Any]]:
    found = content.get(name)
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise BadManifest(f"has no list of {name}")
    return [read_one(one) for one in found]


def _count(content: Mapping[str, Any], name: str) -> int:
    found = content.get(name)
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise BadManifest(f"has no count {name}")
    return found


def _table(content: Mapping[str, Any]) -> dict[str, Any]:
    name = content.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise BadManifest("has a table whose name AWS Glue does not take")
    columns, files = _list(content, "columns", _column), _list(content, "files", _file)
    if not 2 <= len(columns) <= MAX_COLUMNS or len({column["name"] for column in columns}) < len(columns):
        raise BadManifest(f"must name 2 to {MAX_COLUMNS} columns of table {name}, each once")
    if [column["kind"] for column in columns].count(Kind.KEY) != 1 or columns[0]["kind"] != Kind.KEY:
        raise BadManifest(f"must name the key, and only one, as the first column of table {name}")
    rows = _count(content, "rows")
    if not files or rows != sum(file["rows"] for file in files):
        raise BadManifest(f"has files of table {name} that do not hold its {rows} rows")
    if len({file["path"] for file in files}) < len(files):
        raise BadManifest(f"names a file of table {name} twice")
    if not all(re.fullmatch(rf"{name}/part-\d{{5}}\.parquet", file["path"]) for file in files):
        raise BadManifest(f"has files of table {name} that do not lie in its folder")
    return {"name": name, "rows": rows, "columns": columns, "files": files}


def _column(content: Mapping[str, Any]) -> dict[str, Any]:
    name, kind, hashed = content.get("name"), content.get("kind"), content.get("hashed")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise BadManifest("has a column whose name AWS Glue does not take")
    if kind not in list(Kind) or kind == Kind.IGNORE or not isinstance(hashed, bool):
        raise BadManifest(f"does not say what column {name} holds")
    return {"name": name, "kind": str(kind), "hashed": hashed}


def _came_hashed(kind: str, columns: Mapping[str, str], fields: Mapping[str, Mapping[str, int]]) -> bool:
    """Whether a column of that kind can hold hashes though nothing was hashed: some column read holds nothing else."""
    counts = [fields[name] for name, other in columns.items() if other == kind and name in fields]
    return kind in HASHED_KINDS and any(one["values"] and one["hashed"] == one["values"] for one in counts)


def _file(content: Mapping[str, Any]) -> dict[str, Any]:
    path, digest = content.get("path"), content.get("sha256")
    if not isinstance(path, str) or not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise BadManifest("has a file without a path or a digest")
    return {"path": path, "rows": _count(content, "rows"), "bytes": _count(content, "bytes"), "sha256": digest}


def _mapping(content: Any) -> dict[str, str]:
    if not isinstance(content, Mapping) or not all(kind in list(Kind) for kind in content.values()):
        raise BadManifest("does not say which column was what")
    return {str(name): str(kind) for name, kind in content.items()}


def _fields(content: Any) -> dict[str, dict[str, int]]:
    if not isinstance(content, Mapping) or not all(isinstance(counts, Mapping) for counts in content.values()):
        raise BadManifest("has no counts of its columns")
    return {str(name): {count: _count(counts, count) for count in _FIELD_COUNTS} for name, counts in content.items()}
