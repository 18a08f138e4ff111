"""How a Glue table describes files in S3."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from simulator.aws.moto_state import MotoState


@dataclass(frozen=True)
class Column:
    """A column of a table; `type` as Glue writes it, such as "string" or "decimal(10,2)"."""

    name: str
    type: str


@dataclass(frozen=True)
class TableShape:
    """What it takes to read a table's files."""

    columns: tuple[Column, ...]
    partitions: tuple[Column, ...]
    location: str
    format: Literal["csv", "parquet"]
    delimiter: str
    quote: str
    skipped_lines: int


def _columns(entries: Any) -> tuple[Column, ...]:
    return tuple(Column(str(entry["Name"]), str(entry.get("Type") or "string").lower()) for entry in entries or [])


def shape_of(table: dict[str, Any]) -> TableShape | None:
    """The shape of a table as Glue returns it; None when its files are neither CSV nor Parquet or not in S3."""
    descriptor = table.get("StorageDescriptor") or {}
    serde = descriptor.get("SerdeInfo") or {}
    parameters = {**(table.get("Parameters") or {}), **(descriptor.get("Parameters") or {})}
    library = str(serde.get("SerializationLibrary") or "").lower()
    classification = str(parameters.get("classification") or "").lower()
    location = str(descriptor.get("Location") or "")
    form: Literal["csv", "parquet"]
    if "parquet" in library or (not library and classification == "parquet"):
        form = "parquet"
    elif "csvserde" in library or "lazysimple" in library or (not library and classification == "csv"):
        form = "csv"
    else:
        return None
    if not location.startswith("s3://"):
        return None
    settings = serde.get("Parameters") or {}
    delimiter = settings.get("separatorChar") or settings.get("field.delim") or parameters.get("delimiter") or ","
    lines = str(parameters.get("skip.header.line.count") or settings.get("skip.header.line.count") or "0")
    return TableShape(
        _columns(descriptor.get("Columns")),
        _columns(table.get("PartitionKeys")),
        location,
        form,
        str(delimiter).encode().decode("unicode_escape")[:1] or ",",
        str(settings.get("quoteChar") or '"')[:1],
        int(lines) if lines.isdigit() else 0,
    )


def files_under(moto: MotoState, location: str) -> list[tuple[str, Path]]:
    """Key and body file of each object in the folder `location`, by key.

    As for Athena and Glue, a location is a folder, with or without its last slash, and hidden or empty objects don't
    count; so a location that names a file holds nothing.
    """
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    prefix = prefix.rstrip("/")
    folder = f"{prefix}/" if prefix else ""
    return [
        (str(key.name), key.path)
        for key in moto.objects(bucket, folder)
        if key.size and not key.name.endswith("/") and not str(key.name).rsplit("/", 1)[-1].startswith(("_", "."))
    ]
