"""Finds keys that occur more than once, for any number of rows in bounded memory.

Keys are kept as 64-bit hashes, on disk once there are many. Two different keys with one hash are treated as repeated;
preparing compares the keys themselves afterwards, so nothing goes wrong then. A check may count one such pair too many:
at fifty million rows the odds of a single one are below one in ten thousand.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from onboarding.identity.work import spilling

Hashes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]
PARTS = 64
IN_MEMORY = 2_000_000


def key_hashes(keys: pa.StringArray) -> Hashes:
    """A 64-bit hash of each key; nulls have one too, so leave them out."""
    return np.asarray(pl.Series(pl.from_arrow(keys)).hash(seed=7).to_numpy())


@dataclass(frozen=True)
class Repeats:
    """What repeats. ``keys`` and ``rows`` count keys that occur more than once and all their rows; ``hashes`` are those
    keys', sorted; ``beyond_keys`` and ``beyond_rows`` count keys over the limit of rows and their rows beyond it;
    the ``…_at`` give the first row numbers of repetitions and of rows beyond the limit."""

    keys: int
    rows: int
    hashes: Hashes
    beyond_keys: int
    beyond_rows: int
    repeated_at: tuple[int, ...]
    beyond_at: tuple[int, ...]


class KeyScan:
    """Collects keys' hashes, then says which repeat. ``folder`` is for what does not fit into memory."""

    def __init__(self, folder: Path, limit: int, with_rows: bool) -> None:
        self._folder, self._limit, self._with_rows = folder, limit, with_rows
        self._held: list[tuple[Hashes, Rows]] = []
        self._count = 0
        self._spilled = False

    def add(self, hashes: Hashes, rows: Rows) -> None:
        """Takes the hashes of some keys and their row numbers."""
        self._held.append((hashes, rows if self._with_rows else np.zeros(0, np.int64)))
        self._count += len(hashes)
        if self._count > IN_MEMORY:
            self._spill()

    @spilling()
    def _spill(self) -> None:
        hashes, rows = self._joined()
        part = (hashes >> np.uint64(58)).astype(np.uint8)
        order = np.argsort(part, kind="stable")
        cuts = np.searchsorted(part[order], np.arange(PARTS + 1))
        for number in range(PARTS):
            chosen = order[cuts[number] : cuts[number + 1]]
            with (self._folder / f"keys-{number}").open("ab") as file:
                file.write(hashes[chosen].data)  # unlike `tofile` it says what went wrong
            if self._with_rows:
                with (self._folder / f"rows-{number}").open("ab") as file:
                    file.write(rows[chosen].data)
        self._held, self._count, self._spilled = [], 0, True

    def _joined(self) -> tuple[Hashes, Rows]:
        if not self._held:
            return np.zeros(0, np.uint64), np.zeros(0, np.int64)
        return np.concatenate([h for h, _ in self._held]), np.concatenate([r for _, r in self._held])

    def repeats(self) -> Repeats:
        """What repeats among all keys added."""
        if self._spilled:
            self._spill()
        found: list[Hashes] = []
        keys = rows = beyond_keys = beyond_rows = 0
        repeated_at: list[int] = []
        beyond_at: list[int] = []
        for number in range(PARTS if self._spilled else 1):
            hashes, where = self._part(number)
            # Sorting alone takes a tenth of sorting with the order kept.
            order = np.argsort(hashes, kind="stable") if self._with_rows else None
            ordered = np.sort(hashes) if order is None else hashes[order]
            starts = (
                np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(ordered) else np.zeros(0, np.int64)
            )
            counts = np.diff(np.append(starts, len(ordered)))
            many = counts > 1
            if not many.any():
                continue
            found.append(ordered[starts[many]])
            keys += int(many.sum())
            rows += int(counts[many].sum())
            over = counts > self._limit
            beyond_keys += int(over.sum())
            beyond_rows += int((counts[over] - self._limit).sum())
            if order is not None:
                rank = np.arange(len(ordered)) - np.repeat(starts, counts)
                located = where[order]
                repeated_at = _smallest(repeated_at, located[rank > 0])
                beyond_at = _smallest(beyond_at, located[rank >= self._limit])
        hashes = np.sort(np.concatenate(found)) if found else np.zeros(0, np.uint64)
        return Repeats(keys, rows, hashes, beyond_keys, beyond_rows, tuple(repeated_at), tuple(beyond_at))

    def _part(self, number: int) -> tuple[Hashes, Rows]:
        if not self._spilled:
            return self._joined()
        hashes = np.fromfile(self._folder / f"keys-{number}", np.uint64)
        rows = np.fromfile(self._folder / f"rows-{number}", np.int64) if self._with_rows else np.zeros(0, np.int64)
        return hashes, rows


def _smallest(so_far: list[int], more: Rows, count: int = 10) -> list[int]:
    return sorted([*so_far, *np.sort(more)[:count].tolist()])[:count]


def contains(hashes: Hashes, looked_for: Hashes) -> npt.NDArray[np.bool_]:
    """For each hash looked for, whether it is among the sorted ones."""
    if len(hashes) == 0:
        return np.zeros(len(looked_for), bool)
    place = np.minimum(np.searchsorted(hashes, looked_for), len(hashes) - 1)
    return np.asarray(hashes[place] == looked_for)
