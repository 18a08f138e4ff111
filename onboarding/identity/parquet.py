"""Writes one prepared table as Parquet files of limited size with row groups of even weight."""

from __future__ import annotations

import mmap
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq

from onboarding.identity.publish import Destination, Measured, writing
from onboarding.identity.work import give_back

ROW_GROUP = 120 << 20
FILE_LIMIT = 1_000_000_000
LEVEL = 1
AT_ONCE = 1024
"""Rows that Arrow's writer takes at once, before it looks whether a page is full."""


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
    ``file_limit`` bytes. The same rows give the same bytes, however they were parted into batches."""

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
        self._held_rows = self._held_bytes = 0
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
        self.rows += table.num_rows
        while table.num_rows:
            weight, room = _weight(table), self._row_group - self._held_bytes
            if weight < room:
                self._hold(table, weight)
                return
            rows = int(np.searchsorted(np.cumsum(_weights(table)), room)) + 1
            self._hold(table.slice(0, rows), weight)
            self._flush()
            table = table.slice(rows)

    def _hold(self, table: pa.Table, weight: int) -> None:
        """Holds rows in pieces that end where the writer looks whether a page is full, not where batches end."""
        lacking = -self._held_rows % AT_ONCE
        self._held_rows += table.num_rows
        self._held_bytes += weight
        if lacking:
            both = pa.concat_tables([self._held.pop(), table.slice(0, lacking)])
            self._held.append(apart(both.unify_dictionaries().combine_chunks()))
            table = table.slice(lacking)
        whole = table.num_rows - table.num_rows % AT_ONCE
        self._held += [piece for piece in (table.slice(0, whole), table.slice(whole)) if piece.num_rows]

    def _flush(self) -> None:
        if not self._held:
            return
        table = pa.concat_tables(self._held)
        for place, name in enumerate(table.column_names):
            if name in self._dictionaries:
                table = table.set_column(place, name, _in_order(table.column(place)))
        self._held, self._held_rows, self._held_bytes = [], 0, 0
        with writing(self._folder.url):
            self._write(table)
        del table
        give_back()

    def _write(self, table: pa.Table) -> None:
        if self._file is not None and self._file.size + self._largest * 11 // 10 > self._file_limit:
            self._close()
        writer, file = self._open()
        before = file.size
        writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self._largest = max(self._largest, file.size - before)
        self._rows += table.num_rows

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
        with writing(self._folder.url):
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


def _in_order(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column with a dictionary of the values that occur, each once, in the order of their first rows.

    Batches bring values twice (spelt differently before they were standardised) and values that no row has.
    """
    unified = column.unify_dictionaries()
    encoded = unified.chunk(0).dictionary.dictionary_encode()
    index = np.concatenate([_index(chunk) for chunk in unified.chunks])
    index = np.append(encoded.indices.to_numpy(), np.int32(-1))[index]
    first = np.full(len(encoded.dictionary) + 1, len(index))
    first[index[::-1]] = np.arange(len(index))[::-1]
    order = np.argsort(first[:-1], kind="stable")
    order = order[: np.count_nonzero(first[:-1] < len(index))]
    place = np.full(len(first), -1, np.int32)
    place[order] = np.arange(len(order))
    index = place[index]
    values = encoded.dictionary.take(pa.array(order))
    return pa.chunked_array([pa.DictionaryArray.from_arrays(pa.array(index, mask=index < 0), values)])


def _index(chunk: pa.DictionaryArray) -> npt.NDArray[np.int32]:
    """The indices of a dictionary array; -1 for null."""
    indices = chunk.indices
    return np.asarray((pc.fill_null(indices, -1) if indices.null_count else indices).to_numpy(), np.int32)


def _weight(table: pa.Table) -> int:
    """About how many bytes the rows take in Parquet before compression: exactly the sum of their weights."""
    total = 0
    for column in table.columns:
        if pa.types.is_dictionary(column.type):
            total += table.num_rows * 2
        elif column.null_count < table.num_rows:
            total += pc.sum(pc.binary_length(column)).as_py() + 4 * (table.num_rows - column.null_count)
    return total


def _weights(table: pa.Table) -> npt.NDArray[np.int64]:
    """The weight of each row."""
    total = np.zeros(table.num_rows, np.int64)
    for column in table.columns:
        if pa.types.is_dictionary(column.type):
            total += 2
        elif column.null_count < table.num_rows:
            total += pc.fill_null(pc.add(pc.binary_length(column), 4), 0).to_numpy()
    return total
