"""What the end of a Parquet file says of it: columns and rows, read without a byte of its values."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from onboarding.identity.errors import Unreadable
from onboarding.identity.storage import Source

MAGIC = b"PAR1"
TAIL = 8
LARGEST = 32 << 20
"""Bytes of the largest footer that is read: far more than one of ours takes."""


@dataclass(frozen=True)
class Footer:
    """A file's columns in order, those of them that are no strings, and its rows."""

    columns: tuple[str, ...]
    not_text: tuple[str, ...]
    rows: int


def footer(source: Source) -> Footer:
    """Reads a file's last eight bytes and the footer before them. Raises Unreadable where there is no footer."""
    tail = source.read(max(source.size - TAIL, 0), TAIL)
    length = int.from_bytes(tail[:4], "little")
    if len(tail) < TAIL or tail[4:] != MAGIC or not 0 < length <= min(LARGEST, source.size - TAIL - len(MAGIC)):
        raise Unreadable(source.name, "is no Parquet file")
    read = source.read(source.size - TAIL - length, length)
    try:
        # Arrow looks at the end of a file for what it is; the values before it are not needed for that.
        about = pq.read_metadata(pa.BufferReader(MAGIC + read + tail))
    except (pa.ArrowException, OSError):
        raise Unreadable(source.name, "has a footer that cannot be read") from None
    columns = [about.schema.column(number) for number in range(about.num_columns)]
    return Footer(
        tuple(column.path for column in columns),
        tuple(column.path for column in columns if column.logical_type.type != "STRING"),
        about.num_rows,
    )
