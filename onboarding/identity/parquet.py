"""Writes one prepared table as Parquet files of limited size with row groups of even weight."""

from __future__ import annotations

import mmap
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from onboarding.identity.publish import Destination, Measured
from onboarding.identity.work import give_back

ROW_GROUP = 120 << 20
FILE_LIMIT = 1_000_000_000
LEVEL = 1


@dataclass(frozen=True)
class PreparedFile:
    """One file of a prepared table. ``path`` is relative to the manifest's folder."""

    path: str
    rows: int
    bytes: int
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)


class TableWriter:
    """Collects rows into row groups of about ``row_group`` uncompressed bytes, and these into files of at most
    ``file_limit`` bytes."""

    def __init__(
        self,
        folder: Destination,
        name: str,
        schema: pa.Schema,
        dictionaries: Collection[str],
        row_group: int = ROW_GROUP,
        file_limit: int = FILE_LIMIT,
    ) -> None:
        self._folder, self.name, self._schema = folder, name, schema
        self._dictionaries = list(dictionaries)
        self._row_group, self._file_limit = row_group, file_limit
        self._held: list[pa.Table] = []
        self._held_bytes = 0
        self._file: Measured | None = None
        self._writer: Any = None
        self._path = ""
        self._rows = self._largest = 0
        self.files: list[PreparedFile] = []
        self.rows = 0

    def add(self, table: pa.Table) -> None:
        """Takes rows; a column may be plain strings or a dictionary of them where the writer was told so.

        They are held until their row group is written: let them be :func:`apart`.
        """
        self._held.append(table)
        self._held_bytes += _weight(table)
        self.rows += table.num_rows
        if self._held_bytes >= self._row_group:
            self._flush()

    def _flush(self) -> None:
        if not self._held:
            return
        table = pa.concat_tables(self._held).unify_dictionaries()
        self._held, self._held_bytes = [], 0
        if self._file is not None and self._file.size + self._largest * 11 // 10 > self._file_limit:
            self._close()
        writer, file = self._open()
        before = file.size
        writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self._largest = max(self._largest, file.size - before)
        self._rows += table.num_rows
        del table
        give_back()

    def _open(self) -> tuple[Any, Measured]:
        if self._file is None:
            self._path = f"{self.name}/part-{len(self.files):05d}.parquet"
            self._file = Measured(self._folder.create(self._path))
            self._writer = pq.ParquetWriter(
                self._file,
                self._schema,
                compression="zstd",
                compression_level=LEVEL,
                use_dictionary=self._dictionaries,
                write_statistics=False,
                store_schema=False,
            )
        return self._writer, self._file

    def _close(self) -> None:
        if self._file is None:
            return
        self._writer.close()
        self._file.close()
        self.files.append(PreparedFile(self._path, self._rows, self._file.size, self._file.sha256()))
        self._file, self._writer, self._rows = None, None, 0

    def finish(self) -> None:
        """Writes what is held; an empty table gets one file without rows, so that its schema is there to read."""
        self._flush()
        if not self.files and self._file is None:
            self._open()
        self._close()


def apart(table: pa.Table) -> pa.Table:
    """The same rows in a piece of memory of their own, which the system has back as soon as they are written.

    What is held for long between what is freed at once would keep the heap from shrinking.
    """
    measure = pa.MockOutputStream()
    _into(measure, table)
    memory = pa.py_buffer(mmap.mmap(-1, measure.size(), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    _into(pa.FixedSizeBufferWriter(memory), table)
    return pa.ipc.open_stream(memory).read_all()


def _into(sink: Any, table: pa.Table) -> None:
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)


def _weight(table: pa.Table) -> int:
    """About how many bytes the rows take in Parquet before compression."""
    total = 0
    for column in table.columns:
        if pa.types.is_dictionary(column.type):
            total += table.num_rows * 2
        elif column.null_count < table.num_rows:
            total += column.nbytes
    return total
