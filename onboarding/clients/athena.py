"""What the portal keeps of Athena's answers: counts and types, and why a query failed; never a value of a table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Reasons whose words name tables, columns and permissions; what others say may quote a value.
_HARMLESS = frozenset(
    {
        "ACCESS_DENIED",
        "CATALOG_NOT_FOUND",
        "COLUMN_NOT_FOUND",
        "HIVE_INVALID_METADATA",
        "HIVE_METASTORE_ERROR",
        "HIVE_UNSUPPORTED_FORMAT",
        "NOT_SUPPORTED",
        "PERMISSION_DENIED",
        "SCHEMA_NOT_FOUND",
        "TABLE_NOT_FOUND",
    }
)
_CODE = re.compile(r"[A-Z][A-Z_]{3,60}")
_OUTPUT = re.compile(
    r"(Access denied when writing output|Unable to verify/create output bucket|Insufficient permissions)"
)
_LONGEST = 300


def kept(operation: str, answer: dict[str, Any]) -> dict[str, Any]:
    """An answer of Athena without values: the rows of `GetQueryResults` as a number, reasons without quotations."""
    if operation == "GetQueryResults":
        return _counted(answer)
    if operation == "GetQueryExecution":
        return _told(answer)
    return answer


# The same for the AWS command line, so that no value is kept in a file of answers.
QUERIES: Mapping[str, str] = {
    "GetQueryResults": (
        "{columns: ResultSet.ResultSetMetadata.ColumnInfo[].{Name: Name, Type: Type}, rows: length(ResultSet.Rows[1:])}"
    ),
}


# The one column whose value is kept: how many rows a count of the portal's own has found.
COUNTED = "counted_rows"


def _counted(answer: Mapping[str, Any]) -> dict[str, Any]:
    result = answer.get("ResultSet") or {}
    info = (result.get("ResultSetMetadata") or {}).get("ColumnInfo") or []
    # The first row of a SELECT holds the names of the columns.
    rows = max(len(result.get("Rows") or []) - 1, 0)
    columns = [{"Name": one.get("Name"), "Type": one.get("Type")} for one in info]
    found: dict[str, Any] = {"columns": columns, "rows": rows}
    if columns == [{"Name": COUNTED, "Type": "bigint"}] and rows == 1:
        count = str(((result["Rows"][1].get("Data") or [{}])[0]).get("VarCharValue", ""))
        if count.isascii() and count.isdigit():
            found[COUNTED] = int(count)
    return found


def _told(answer: dict[str, Any]) -> dict[str, Any]:
    execution = dict(answer.get("QueryExecution") or {})
    status = dict(execution.get("Status") or {})
    status.pop("AthenaError", None)
    if status.get("StateChangeReason"):
        status["StateChangeReason"] = reason(str(status["StateChangeReason"]))
    return {**answer, "QueryExecution": {**execution, "Status": status}}


def reason(text: str) -> str:
    """Why a query failed, without what could quote a value: the code, and Athena's words where they are safe."""
    code = _CODE.match(text)
    if (code and code[0] in _HARMLESS) or _OUTPUT.match(text):
        return text[:_LONGEST]
    return code[0] if code else "Athena gave a reason that may quote a value; it is in the query's history in Athena"
