"""Amazon Athena: queries that really read what lies in S3, through the Glue table.

DuckDB does the reading. It may open nothing but the bodies of the simulated objects. CREATE TABLE AS is carried out
where DuckDB takes its query; what only Trino has fails like a mistake in the query.
"""

from __future__ import annotations

import logging
import re
import threading
import unicodedata
import uuid
from functools import partial
from typing import Any

from simulator.aws import policy
from simulator.aws.errors import AwsError
from simulator.aws.gluetable import Column, TableShape, files_under, shape_of
from simulator.aws.identity import Call

logger = logging.getLogger(__name__)

EXECUTIONS = "athena.executions"
MOST_ROWS = 1000
_READING = re.compile(r"\s*(?:--[^\n]*\n\s*)*(select|with)\b", re.IGNORECASE)
# What CREATE TABLE AS looks like; of its options the place and the format count here.
_MAKING = re.compile(
    r'\s*create\s+table\s+"?(\w+)"?\."?(\w+)"?\s+with\s*\(([^)]*)\)\s+as\s+(.*)', re.IGNORECASE | re.DOTALL
)
_OPTION = re.compile(r"(\w+)\s*=\s*'([^']*)'")
_TYPES = {
    "string": "VARCHAR",
    "int": "INTEGER",
    "integer": "INTEGER",
    "bigint": "BIGINT",
    "smallint": "SMALLINT",
    "tinyint": "TINYINT",
    "double": "DOUBLE",
    "float": "FLOAT",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "binary": "BLOB",
}
_ATHENA_TYPES = {"VARCHAR": "varchar", "INTEGER": "integer", "HUGEINT": "decimal", "BLOB": "varbinary"}
_RECORD = re.compile(r'(?:"((?:[^"]|"")*)"|)(,|\n)', re.DOTALL)


def _refused(message: str) -> AwsError:
    return AwsError("InvalidRequestException", message, status=400)


class _Failed(Exception):
    """The query fails; the text is its StateChangeReason."""


def _work_group(call: Call, name: str) -> Any:
    group = call.moto.backend("athena", call.account, call.region).work_groups.get(name)
    if group is None:
        raise _refused(f"WorkGroup {name} is not found.")
    return group


# A repetition that comes while the first request is still at work has to find it.
_starting = threading.Lock()


def start_query_execution(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """StartQueryExecution: the query is done when this answers; its state tells how it went."""
    with _starting:
        return _start(call, parameters)


def _start(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    text = parameters.get("QueryString")
    if not isinstance(text, str) or not 1 <= len(text) <= 262144:
        raise _refused("QueryString must have a length between 1 and 262144.")
    token = parameters.get("ClientRequestToken")
    table = call.world.table(EXECUTIONS)
    for earlier in table.find(lambda row: token is not None and row["token"] == token):
        if earlier["account"] == call.account:
            if earlier["execution"]["Query"] != text:
                raise _refused("Idempotent parameters do not match")
            return {"QueryExecutionId": earlier["execution"]["QueryExecutionId"]}
    name = str(parameters.get("WorkGroup") or "primary")
    with call.world.lock:
        group = _work_group(call, name)
        settings = (group.configuration or {}).get("ResultConfiguration") or {}
    given = (parameters.get("ResultConfiguration") or {}).get("OutputLocation") or settings.get("OutputLocation")
    if not isinstance(given, str) or not given.startswith("s3://"):
        raise _refused(
            "No output location provided. An output location is required either through the Workgroup result "
            "configuration setting or as an API input."
        )
    identifier = str(uuid.uuid4())
    context = parameters.get("QueryExecutionContext") or {}
    output = f"{given.rstrip('/')}/{identifier}.csv"
    execution: dict[str, Any] = {
        "QueryExecutionId": identifier,
        "Query": text,
        "StatementType": "DML",
        "ResultConfiguration": {"OutputLocation": output},
        "QueryExecutionContext": {
            key: context[key] for key in ("Database", "Catalog") if isinstance(context.get(key), str)
        },
        "WorkGroup": name,
        "EngineVersion": {"SelectedEngineVersion": "AUTO", "EffectiveEngineVersion": "Athena engine version 3"},
        "Statistics": {"EngineExecutionTimeInMillis": 0, "DataScannedInBytes": 0, "TotalExecutionTimeInMillis": 0},
    }
    submitted = call.now()
    status: dict[str, Any] = {"SubmissionDateTime": submitted}
    columns: list[dict[str, Any]] = []
    try:
        columns = _run(call, text, str(context.get("Database") or "default"), output, execution["Statistics"])
        status["State"] = "SUCCEEDED"
    except _Failed as failed:
        status.update(State="FAILED", StateChangeReason=str(failed))
        status["AthenaError"] = {"ErrorCategory": 2, "ErrorType": 1, "Retryable": False, "ErrorMessage": str(failed)}
    status["CompletionDateTime"] = call.now()
    execution["Status"] = status
    with call.world.change():
        table.put(
            identifier,
            {"account": call.account, "region": call.region, "token": token, "execution": execution,
             "columns": columns},
        )  # fmt: skip
    return {"QueryExecutionId": identifier}


def _run(call: Call, text: str, database: str, output: str, statistics: dict[str, int]) -> list[dict[str, Any]]:
    """Run the query, write its result to `output` and return its columns as Athena describes them."""
    import duckdb

    making = _MAKING.fullmatch(text)
    query = making[4] if making else text
    if not _READING.match(query):
        raise _Failed("NOT_SUPPORTED: only SELECT and CREATE TABLE AS are supported by the simulator")
    if making:
        with call.world.lock:
            _check_making(call, making)
    bucket, _, key = output.removeprefix("s3://").partition("/")
    with call.world.lock:
        _check_output(call, bucket, key)
        views, size = _views(call, query)
    statistics["DataScannedInBytes"] = size
    connection = duckdb.connect(":memory:")
    try:
        connection.execute("SET allowed_directories = ['" + str(call.moto.body_directory).replace("'", "''") + "']")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET memory_limit = '512MB'")
        connection.execute("SET lock_configuration = true")
        for schema in sorted({*(name for name, _, _ in views), *_databases(call)}):
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_quoted(schema)}")
        for schema, table, select in views:
            connection.execute(f"CREATE VIEW {_quoted(schema)}.{_quoted(table)} AS {select}")
        if database in _databases(call):
            connection.execute(f"USE memory.{_quoted(database)}")
        query = re.sub(r'"?awsdatacatalog"?\.', "", query.strip().rstrip(";"), flags=re.IGNORECASE)
        if making:
            for form in ("NFC", "NFD"):
                connection.create_function(form.lower(), partial(unicodedata.normalize, form), ["VARCHAR"], "VARCHAR")
            _make(call, connection, making, query)
            query = "SELECT NULL AS nothing WHERE false"
        cursor = connection.execute(query)
        described = [(str(entry[0]), str(entry[1])) for entry in cursor.description or []]
        lines = [",".join(_field(name) for name, _ in described) + "\n"]
        while rows := cursor.fetchmany(1000):
            lines.append("".join(",".join(_field(_text(value)) for value in row) + "\n" for row in rows))
    except duckdb.Error as error:
        raise _Failed(_worded(error, database)) from None
    finally:
        connection.close()
    with call.world.lock:
        call.moto.put_object(bucket, key, "".join(lines).encode())
    return [
        {
            "CatalogName": "hive",
            "SchemaName": "",
            "TableName": "",
            "Name": name,
            "Label": name,
            "Type": _ATHENA_TYPES.get(kind.split("(")[0], kind.split("(")[0].lower()),
            "Precision": 2147483647 if kind == "VARCHAR" else 19,
            "Scale": 0,
            "Nullable": "UNKNOWN",
            "CaseSensitive": kind == "VARCHAR",
        }
        for name, kind in described
    ]


def _options(making: re.Match[str]) -> dict[str, str]:
    return {name.lower(): value for name, value in _OPTION.findall(making[3])}


def _check_making(call: Call, making: re.Match[str]) -> None:
    """What Athena looks at before it makes a table: the options, the database, the place, and who asks."""
    options = _options(making)
    location = options.get("external_location", "")
    if options.get("format", "").upper() != "PARQUET" or not location.startswith("s3://"):
        raise _Failed("NOT_SUPPORTED: the simulator makes Parquet tables with an external_location only")
    database, name = making[1].lower(), making[2].lower()
    if database not in _databases(call):
        raise _Failed(f"SCHEMA_NOT_FOUND: line 1:1: Schema '{database}' does not exist")
    if call.moto.glue_table(call.account, call.region, database, name) is not None:
        raise _Failed(f"TABLE_ALREADY_EXISTS: line 1:1: Table 'awsdatacatalog.{database}.{name}' already exists")
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    _check_output(call, bucket, prefix)
    base = f"arn:aws:glue:{call.region}:{call.account}"
    for resource in (f"{base}:catalog", f"{base}:database/{database}", f"{base}:table/{database}/{name}"):
        verdict = call.caller.verdict(policy.Request("glue:CreateTable", resource))
        if verdict != "Allow":
            raise _Failed("Insufficient permissions to execute the query. " + call.caller.refusal(
                "glue:CreateTable", resource, verdict))  # fmt: skip
    if call.moto.objects(bucket, f"{prefix.rstrip('/')}/"):
        raise _Failed(
            f"HIVE_PATH_ALREADY_EXISTS: Target directory for table '{database}.{name}' already exists: {location}"
        )


def _make(call: Call, connection: Any, making: re.Match[str], query: str) -> None:
    """Write what the query finds as one Parquet file into the table's place, and make the table."""
    location = _options(making)["external_location"]
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    path = call.moto.new_body_path()
    try:
        connection.execute(f"COPY ({query}) TO {_literal(str(path))} (FORMAT parquet, COMPRESSION zstd)")
        described = connection.execute(f"DESCRIBE SELECT * FROM read_parquet({_literal(str(path))})").fetchall()  # noqa: S608 - quoted
        body = path.read_bytes()
    finally:
        path.unlink(missing_ok=True)
    columns = [{"Name": name, "Type": {"VARCHAR": "string"}.get(kind, kind.lower())} for name, kind, *_ in described]
    parquet = "org.apache.hadoop.hive.ql.io.parquet"
    table = {
        "Name": making[2].lower(),
        "TableType": "EXTERNAL_TABLE",
        "StorageDescriptor": {
            "Columns": columns,
            "Location": location,
            "InputFormat": f"{parquet}.MapredParquetInputFormat",
            "OutputFormat": f"{parquet}.MapredParquetOutputFormat",
            "SerdeInfo": {"SerializationLibrary": f"{parquet}.serde.ParquetHiveSerDe"},
        },
    }
    with call.world.lock:
        call.moto.put_object(bucket, f"{prefix.rstrip('/')}/{uuid.uuid4()}", body)
        glue = call.moto.glue(call.account, call.region)
        glue.create_table(making[1].lower(), making[2].lower(), table)


def _check_output(call: Call, bucket: str, key: str) -> None:
    found = call.moto.bucket(bucket)
    if found is None or found.region_name != call.region or found.account_id != call.account:
        raise _Failed(f"Unable to verify/create output bucket {bucket}")
    for action, resource in (
        ("s3:GetBucketLocation", f"arn:aws:s3:::{bucket}"),
        ("s3:PutObject", f"arn:aws:s3:::{bucket}/{key}"),
    ):
        if call.caller.verdict(policy.Request(action, resource, _owned(found.account_id))) != "Allow":
            raise _Failed(f"Access denied when writing output to url: s3://{bucket}/{key} ({action})")


def _owned(account: str) -> dict[str, str]:
    """What a request about a bucket says of its owner."""
    return {"s3:ResourceAccount": account, "aws:ResourceAccount": account}


def _databases(call: Call) -> list[str]:
    return [str(name) for name in call.moto.glue(call.account, call.region).databases]


def _views(call: Call, text: str) -> tuple[list[tuple[str, str, str]], int]:
    """Database, name and SELECT of every Glue table that the query may mean, and the size of their files in bytes."""
    lowered = text.lower()
    found, size = [], 0
    for region, database, name in call.moto.glue_tables(call.account):
        if region != call.region or name.lower() not in lowered:
            continue
        table = call.moto.glue_table(call.account, region, database, name)
        shape = shape_of(table or {})
        if shape is None:
            continue
        base = f"arn:aws:glue:{region}:{call.account}"
        for resource in (f"{base}:catalog", f"{base}:database/{database}", f"{base}:table/{database}/{name}"):
            verdict = call.caller.verdict(policy.Request("glue:GetTable", resource))
            if verdict != "Allow":
                raise _Failed("Insufficient permissions to execute the query. " + call.caller.refusal(
                    "glue:GetTable", resource, verdict))  # fmt: skip
        bucket = shape.location.removeprefix("s3://").split("/")[0]
        there = call.moto.bucket(bucket)
        if there is None:
            raise _Failed(f"PERMISSION_DENIED: Access denied on operation: the bucket {bucket} does not exist")
        files = files_under(call.moto, shape.location)
        for key, path in files:
            asked = policy.Request("s3:GetObject", f"arn:aws:s3:::{bucket}/{key}", _owned(there.account_id))
            if call.caller.verdict(asked) != "Allow":
                raise _Failed(f"PERMISSION_DENIED: Access Denied (Service: Amazon S3; Status Code: 403): {key}")
            size += path.stat().st_size
        found.append((database, name, _select(shape, [(key, str(path)) for key, path in files])))
    return found, size


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _sql_type(kind: str) -> str:
    base = kind.split("(")[0].split("<")[0]
    if base == "decimal":
        return kind.upper()
    return _TYPES.get(base, "VARCHAR")


def _select(shape: TableShape, files: list[tuple[str, str]]) -> str:
    if not shape.columns:
        return "SELECT NULL::VARCHAR AS empty WHERE false"
    if not files:
        nothing = ", ".join(f"NULL::{_sql_type(c.type)} AS {_quoted(c.name)}" for c in shape.columns)
        return f"SELECT {nothing} WHERE false"
    casts = ", ".join(_cast(column) for column in shape.columns)
    if shape.format == "parquet":
        names = "[" + ", ".join(_literal(path) for _, path in files) + "]"
        # Athena finds Parquet columns by name; one that a file lacks is null.
        absent = ", ".join(f"NULL AS {_quoted(c.name)}" for c in shape.columns)
        every = f"SELECT * FROM read_parquet({names}, union_by_name=true)"  # noqa: S608 - names are quoted
        return f"SELECT {casts} FROM (SELECT {absent} WHERE false UNION ALL BY NAME {every})"  # noqa: S608 - as above
    pieces = []
    for compressed in (False, True):
        chosen = [path for key, path in files if key.endswith(".gz") == compressed]
        if chosen:
            names = "[" + ", ".join(_literal(path) for path in chosen) + "]"
            columns = ", ".join(f"{_literal(column.name)}: 'VARCHAR'" for column in shape.columns)
            options = ", ".join(
                [
                    "header=false, auto_detect=false, null_padding=true, strict_mode=false",
                    f"skip={shape.skipped_lines}",
                    f"delim={_literal(shape.delimiter)}",
                    f"quote={_literal(shape.quote)}",
                    f"escape={_literal(shape.quote)}",
                    f"columns={{{columns}}}",
                    f"compression='{'gzip' if compressed else 'none'}'",
                ]
            )
            pieces.append(f"SELECT {casts} FROM read_csv({names}, {options})")  # noqa: S608 - names are quoted
    return " UNION ALL ".join(pieces)


def _cast(column: Column) -> str:
    return f"CAST({_quoted(column.name)} AS {_sql_type(column.type)}) AS {_quoted(column.name)}"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _field(value: str | None) -> str:
    return "" if value is None else '"' + value.replace('"', '""') + '"'


def _worded(error: Exception, database: str) -> str:
    """DuckDB's complaint in Athena's words."""
    text = str(error)
    first = text.splitlines()[0]
    kind = type(error).__name__
    schema = re.search(r'schema "([^"]+)" does not exist', text)
    if schema:
        return f"SCHEMA_NOT_FOUND: line 1:15: Schema '{schema[1]}' does not exist"
    if re.search(r"Table with name \"?[^\n]*/", text):
        return "NOT_SUPPORTED: only tables of the data catalog can be read"
    table = re.search(r"Table with name \"?([\w.-]+)\"? does not exist", text)
    if table:
        name = table[1] if "." in table[1] else f"{database}.{table[1]}"
        return f"TABLE_NOT_FOUND: line 1:15: Table 'awsdatacatalog.{name}' does not exist"
    column = re.search(r'Referenced column "([^"]+)" not found', text)
    if column:
        return f"COLUMN_NOT_FOUND: line 1:8: Column '{column[1]}' cannot be resolved"
    if kind == "ParserException":
        return "SYNTAX_ERROR: line 1:1: mismatched input. " + first
    if kind == "PermissionException":
        return "NOT_SUPPORTED: only tables of the data catalog can be read"
    if kind in ("ConversionException", "InvalidInputException", "IOException"):
        return "HIVE_BAD_DATA: Error reading the table's files: " + re.sub(r'"/[^"]*"', '"(object)"', first)
    return f"GENERIC_USER_ERROR: {first}"


def _execution(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    identifier = parameters.get("QueryExecutionId")
    found = call.world.table(EXECUTIONS).get(str(identifier))
    if found is None or found["account"] != call.account or found["region"] != call.region:
        raise _refused(f"QueryExecution {str(identifier)[:128]} was not found")
    return found


def get_query_execution(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """GetQueryExecution."""
    return {"QueryExecution": _execution(call, parameters)["execution"]}


def batch_get_query_execution(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """BatchGetQueryExecution."""
    found, missing = [], []
    for identifier in policy.as_list(parameters.get("QueryExecutionIds")):
        row = call.world.table(EXECUTIONS).get(str(identifier))
        if row is not None and row["account"] == call.account and row["region"] == call.region:
            found.append(row["execution"])
        else:
            missing.append({"QueryExecutionId": str(identifier), "ErrorCode": "INVALID_INPUT"})
    return {"QueryExecutions": found, "UnprocessedQueryExecutionIds": missing}


def list_query_executions(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """ListQueryExecutions, newest first."""
    group = parameters.get("WorkGroup") or "primary"
    rows = call.world.table(EXECUTIONS).find(
        lambda row: (
            row["account"] == call.account and row["region"] == call.region and row["execution"]["WorkGroup"] == group
        )
    )
    return {"QueryExecutionIds": [row["execution"]["QueryExecutionId"] for row in reversed(rows)][:50]}


def stop_query_execution(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """StopQueryExecution: there is nothing left to stop."""
    _execution(call, parameters)
    return {}


def get_query_results(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """GetQueryResults, read back from the result file in S3; the first row holds the column names."""
    found = _execution(call, parameters)
    execution = found["execution"]
    if execution["Status"]["State"] != "SUCCEEDED":
        raise _refused(
            f"Query has not yet finished. Current state: {execution['Status']['State']}"
            if execution["Status"]["State"] != "FAILED"
            else "Query did not finish successfully. Final query state: FAILED"
        )
    bucket, _, key = execution["ResultConfiguration"]["OutputLocation"].removeprefix("s3://").partition("/")
    with call.world.lock:
        there = call.moto.bucket(bucket)
        owned = _owned(there.account_id if there else "")
        asked = policy.Request("s3:GetObject", f"arn:aws:s3:::{bucket}/{key}", owned)
        if call.caller.verdict(asked) != "Allow":
            raise AwsError("AccessDeniedException", f"Access denied when reading s3://{bucket}/{key}", status=400)
        body = call.moto.object(bucket, key)
        if body is None:
            raise _refused("Could not find results")
        text = body.value.decode()
    most = parameters.get("MaxResults") or MOST_ROWS
    token = parameters.get("NextToken")
    if not isinstance(most, int) or not 1 <= most <= MOST_ROWS:
        raise _refused(f"MaxResults is more than maximum allowed length {MOST_ROWS}.")
    if token is not None and not re.fullmatch(r"\d{1,9}", str(token)):
        raise _refused("Invalid NextToken")
    start = int(token or 0)
    rows: list[list[dict[str, str]]] = []
    row: list[dict[str, str]] = []
    number = 0
    more = False
    for match in _RECORD.finditer(text):
        row.append({} if match[1] is None else {"VarCharValue": match[1].replace('""', '"')})
        if match[2] == "\n":
            if number >= start + most:
                more = True
                break
            if number >= start:
                rows.append(row)
            row = []
            number += 1
    answer: dict[str, Any] = {
        "UpdateCount": 0,
        "ResultSet": {
            "Rows": [{"Data": entry} for entry in rows],
            "ResultSetMetadata": {"ColumnInfo": found["columns"]},
        },
    }
    if more:
        answer["NextToken"] = str(start + most)
    return answer


OPERATIONS = {
    "athena:StartQueryExecution": start_query_execution,
    "athena:GetQueryExecution": get_query_execution,
    "athena:BatchGetQueryExecution": batch_get_query_execution,
    "athena:ListQueryExecutions": list_query_executions,
    "athena:StopQueryExecution": stop_query_execution,
    "athena:GetQueryResults": get_query_results,
}
