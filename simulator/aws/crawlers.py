"""AWS Glue crawlers that find what lies in S3 and finish (moto's never do)."""

from __future__ import annotations

import csv
import gzip
import io
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from simulator.aws import policy, roles
from simulator.aws.errors import AccessRefused, AwsError
from simulator.aws.gluetable import files_under
from simulator.aws.identity import Call

SERVICE = "glue.amazonaws.com"
CRAWLS = "glue.crawls"
_SAMPLE_BYTES = 256 << 10
_PARQUET = {
    "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
    "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
    "SerdeInfo": {
        "SerializationLibrary": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
        "Parameters": {"serialization.format": "1"},
    },
}
_CSV = {
    "InputFormat": "org.apache.hadoop.mapred.TextInputFormat",
    "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
}


def _crawler(call: Call, parameters: dict[str, Any]) -> Any:
    name = parameters.get("Name")
    found = call.moto.glue(call.account, call.region).crawlers.get(name)
    if found is None:
        raise AwsError("EntityNotFoundException", f"Crawler with name {str(name)[:255]} does not exist", status=400)
    return found


def start_crawler(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """StartCrawler: the crawl is over when this answers; GetCrawler tells how it went."""
    with call.world.lock:
        crawler = _crawler(call, parameters)
        key = f"{call.account}/{call.region}/{crawler.name}"
        outcome: dict[str, Any] = {"Status": "SUCCEEDED", "StartTime": call.now()}
        try:
            for target in (crawler.targets or {}).get("S3Targets") or []:
                _crawl(call, crawler, str(target.get("Path") or ""))
        except AccessRefused as refused:
            outcome.update(Status="FAILED", ErrorMessage=refused.message)
        outcome["LogGroup"] = "/aws-glue/crawlers"
        outcome["LogStream"] = crawler.name
        with call.world.change():
            call.world.table(CRAWLS).put(key, outcome)
    return {}


def _crawl(call: Call, crawler: Any, location: str) -> None:
    role_arn = crawler.role
    if not role_arn.startswith("arn:"):
        role = call.moto.role_named(call.account, role_arn.rsplit("/", 1)[-1])
        role_arn = role.arn if role is not None else f"arn:aws:iam::{call.account}:role/{role_arn}"
    bucket = location.removeprefix("s3://").split("/")[0]
    found = call.moto.bucket(bucket)
    if found is None:
        raise AccessRefused(f"The specified bucket does not exist: {bucket}")
    read = [need for need in roles.bucket_read_needs(call.moto, location) if need.action != "s3:GetBucketLocation"]
    database = crawler.database_name
    base = f"arn:aws:glue:{call.region}:{call.account}"
    name = _table_name(crawler.table_prefix or "", location)
    write = [
        policy.Request("glue:CreateTable", resource)
        for resource in (f"{base}:catalog", f"{base}:database/{database}", f"{base}:table/{database}/{name}")
    ]
    roles.check(call.world, call.clock, call.moto, role_arn, SERVICE, [*read, *write])
    backend = call.moto.glue(call.account, call.region)
    if database not in backend.databases:
        raise AccessRefused(f"Database {database} not found.")
    files = files_under(call.moto, location)
    if not files:
        return
    definition = _definition(name, location, *files[0])
    tables = backend.databases[database].tables
    if name in tables:
        backend.update_table(database, name, definition)
    else:
        backend.create_table(database, name, definition)


def _table_name(prefix: str, location: str) -> str:
    last = location.rstrip("/").rsplit("/", 1)[-1] or "table"
    return re.sub(r"[^a-z0-9_]", "_", (prefix + last).lower())


def _definition(name: str, location: str, key: str, path: Path) -> dict[str, Any]:
    with path.open("rb") as body:
        parquet = body.read(4) == b"PAR1"
    if parquet:
        schema = pyarrow.parquet.read_schema(path)
        columns = [{"Name": field.name.lower(), "Type": _parquet_type(field.type)} for field in schema]
        storage: dict[str, Any] = {**_PARQUET}
        parameters = {"classification": "parquet"}
    else:
        columns, delimiter = _csv_columns(key, path)
        storage = {
            **_CSV,
            "SerdeInfo": {
                "SerializationLibrary": "org.apache.hadoop.hive.serde2.OpenCSVSerde",
                "Parameters": {"separatorChar": delimiter, "quoteChar": '"', "escapeChar": "\\"},
            },
        }
        parameters = {"classification": "csv", "skip.header.line.count": "1", "delimiter": delimiter}
    return {
        "Name": name,
        "TableType": "EXTERNAL_TABLE",
        "Parameters": {**parameters, "typeOfData": "file"},
        "StorageDescriptor": {"Columns": columns, "Location": location.rstrip("/") + "/", **storage},
        "PartitionKeys": [],
    }


def _parquet_type(kind: Any) -> str:
    if pa.types.is_integer(kind):
        return "bigint" if kind.bit_width > 32 else "int"
    if pa.types.is_floating(kind):
        return "double"
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_date(kind):
        return "date"
    if pa.types.is_timestamp(kind):
        return "timestamp"
    return "string"


def _csv_columns(key: str, path: Path) -> tuple[list[dict[str, str]], str]:
    """Columns and delimiter by a file's first lines."""
    with path.open("rb") as body:
        plain: Any = gzip.GzipFile(fileobj=body) if key.endswith(".gz") else body
        try:
            text = plain.read(_SAMPLE_BYTES).decode("utf-8-sig", "replace")
        except (OSError, EOFError) as error:
            raise AccessRefused(f"The file {key} can't be read: {error}") from None
    first = text.splitlines()[0] if text else ""
    delimiter = max(",|\t;", key=first.count)
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=delimiter))
    except csv.Error as error:
        raise AccessRefused(f"The file {key} can't be read as CSV: {error}") from None
    # OpenCSVSerde, which handles quotes, knows strings only.
    header = rows[0] if rows else []
    return [{"Name": (name.strip().lower() or f"col{n}"), "Type": "string"} for n, name in enumerate(header)], delimiter


def _as_glue(call: Call, crawler: Any) -> dict[str, Any]:
    document = {key: value for key, value in crawler.as_dict().items() if value is not None}
    for name in ("CreationTime", "LastUpdated"):
        if name in document:
            document[name] = document[name].timestamp()
    outcome = call.world.table(CRAWLS).get(f"{call.account}/{call.region}/{crawler.name}")
    document.pop("LastCrawl", None)
    document["State"] = "READY"
    if outcome is not None:
        document["LastCrawl"] = outcome
    return document


def get_crawler(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """GetCrawler: READY, with its last crawl."""
    with call.world.lock:
        return {"Crawler": _as_glue(call, _crawler(call, parameters))}


def get_crawlers(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """GetCrawlers."""
    with call.world.lock:
        crawlers = call.moto.glue(call.account, call.region).crawlers.values()
        return {"Crawlers": [_as_glue(call, crawler) for crawler in crawlers]}


def stop_crawler(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """StopCrawler: it never runs when this is asked."""
    with call.world.lock:
        crawler = _crawler(call, parameters)
    raise AwsError("CrawlerNotRunningException", f"Crawler with name {crawler.name} isn't running", status=400)


OPERATIONS = {
    "glue:StartCrawler": start_crawler,
    "glue:GetCrawler": get_crawler,
    "glue:GetCrawlers": get_crawlers,
    "glue:StopCrawler": stop_crawler,
}
