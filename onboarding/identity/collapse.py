"""Makes one row of the rows of one key: each field's different values become numbered columns.

Rows are first parted by key onto disk, so that each part fits into memory, whatever the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from onboarding.identity.keys import Hashes
from onboarding.identity.work import spilling

ROWS_PER_PART = 15_000
MOST_PARTS = 1024
HELD_ROWS = 20_000


@dataclass
class Collapsed:
    """How rows were collapsed: ``widths`` of each field, rows ``before`` and ``after``, and ``dropped_values`` beyond
    the most that one key may have in a field, ``dropped_rows`` beyond the most rows of one key."""

    widths: dict[str, int]
    before: int = 0
    after: int = 0
    dropped_values: int = 0
    dropped_rows: int = 0


class Collapser:
    """Takes rows of repeated keys, and gives them back collapsed.

    ``fields`` maps a field to its columns in the rows; rows of one key are collapsed only among those that agree in
    all ``apart`` columns (consent). ``most`` is the largest number of values of one field, and of rows of one key.
    """

    def __init__(
        self, folder: Path, rows: int, key: str, fields: dict[str, list[str]], apart: Sequence[str], most: int
    ) -> None:
        self._folder, self._key, self._fields, self._apart, self._most = folder, key, fields, list(apart), most
        self._parts = max(1, min(MOST_PARTS, rows // ROWS_PER_PART))
        self._held: list[pa.Table] = []
        self._held_hashes: list[Hashes] = []
        self._held_rows = 0
        self._pieces = 0
        self.result = Collapsed({field: len(columns) for field, columns in fields.items()})

    def add(self, table: pa.Table, hashes: Hashes) -> None:
        """Takes rows, all columns plain strings, with the hashes of their keys."""
        if table.num_rows == 0:
            return
        self._held.append(table)
        self._held_hashes.append(hashes)
        self._held_rows += table.num_rows
        self.result.before += table.num_rows
        if self._held_rows >= HELD_ROWS:
            self._spill()

    @spilling()
    def _spill(self) -> None:
        table = pa.concat_tables(self._held).combine_chunks()
        part = np.concatenate(self._held_hashes) % np.uint64(self._parts)
        order = np.argsort(part, kind="stable")
        cuts = np.searchsorted(part[order], np.arange(self._parts + 1))
        table = table.take(pa.array(order))
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        for number in np.flatnonzero(np.diff(cuts)).tolist():
            folder = self._folder / f"rows-{number}"
            folder.mkdir(exist_ok=True)
            piece = table.slice(cuts[number], cuts[number + 1] - cuts[number])
            with (
                pa.OSFile(str(folder / f"{self._pieces:06d}"), "wb") as file,
                pa.ipc.new_file(file, table.schema, options=options) as writer,
            ):
                writer.write_table(piece)
        self._pieces += 1
        self._held, self._held_hashes, self._held_rows = [], [], 0

    def collapse(self) -> None:
        """Collapses all rows taken. Afterwards ``result`` is complete."""
        if self._held_rows:
            self._spill()
        for number in range(self._parts):
            table = self._part(f"rows-{number}")
            if table is None:
                continue
            frame = self._collapsed(table)
            self.result.after += frame.height
            with spilling():
                frame.write_ipc(self._folder / f"collapsed-{number}", compression="lz4")
            for file in (self._folder / f"rows-{number}").iterdir():
                file.unlink()

    def _part(self, name: str) -> pa.Table | None:
        files = sorted((self._folder / name).iterdir()) if (self._folder / name).exists() else []
        tables = []
        for file in files:
            with pa.OSFile(str(file), "rb") as source:
                tables.append(pa.ipc.open_file(source).read_all())
        return pa.concat_tables(tables) if tables else None

    def _collapsed(self, table: pa.Table) -> pl.DataFrame:
        frame = pl.DataFrame(pl.from_arrow(table))
        lists = [
            pl.concat_list(columns)
            .list.explode(keep_nulls=False, empty_as_null=False)
            .drop_nulls()
            .unique(maintain_order=True)
            .alias(f"values:{field}")
            for field, columns in self._fields.items()
        ]
        frame = frame.group_by([self._key, *self._apart], maintain_order=True).agg(lists)
        too_many = frame.with_columns(rank=pl.int_range(pl.len()).over(self._key)).filter(pl.col("rank") >= self._most)
        if too_many.height:
            self.result.dropped_rows += too_many.height
            frame = frame.filter(pl.int_range(pl.len()).over(self._key) < self._most)
        for field in self._fields:
            longest = frame.select(pl.col(f"values:{field}").list.len().max()).item() or 0
            if longest > self._most:
                over = frame.select(
                    (pl.col(f"values:{field}").list.len().cast(pl.Int64) - self._most).clip(0).sum()
                ).item()
                self.result.dropped_values += int(over)
                frame = frame.with_columns(pl.col(f"values:{field}").list.head(self._most))
                longest = self._most
            self.result.widths[field] = max(self.result.widths[field], longest)
        return frame

    def rows(self) -> Iterator[pa.Table]:
        """The collapsed rows, with columns ``key``, those apart, and ``field:1``, ``field:2``, … for each field."""
        for number in range(self._parts):
            file = self._folder / f"collapsed-{number}"
            if not file.exists():
                continue
            frame = pl.read_ipc(file)
            numbered = [
                pl.col(f"values:{field}").list.get(place, null_on_oob=True).alias(f"{field}:{place + 1}")
                for field, width in self.result.widths.items()
                for place in range(width)
            ]
            table = frame.select(self._key, *self._apart, *numbered).to_arrow(compat_level=pl.CompatLevel.oldest())
            file.unlink()
            yield table.cast(pa.schema([(name, pa.string()) for name in table.column_names]))


def positions(mask: npt.NDArray[np.bool_]) -> pa.Array:
    """The positions where the mask is set, for Arrow's ``take``."""
    return pa.array(np.flatnonzero(mask))
