"""A state that many tests begin with: come to once by real steps, and put back as it was for each of them.

What a test finds is what the steps left: every row of the portal's database, and all of the local Amazon with what it
was asked on the way.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

Rows = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True)
class _Kept:
    snapshot: int
    rows: Rows
    # What each of the worlds holds.
    held: list[dict[str, Any]]


class _Place:
    """Stands in what is kept for something that each test has of its own."""


# By process: the local Amazon that keeps the snapshots is one of the process too.
_kept: dict[Hashable, _Kept] = {}


def prepared(
    key: Hashable, amazon: Any, worlds: Sequence[Any], build: Callable[[], object], own: Sequence[Any] = ()
) -> None:
    """Have `build` change `worlds`, or put back what it made of their like before in this process.

    `key` says what is built. It is built anew where this test came here by another way: with other rows, after other
    calls, or with an Amazon that is set otherwise. What the worlds' attributes hold is put back as well; `own` are the
    objects among them that the test brings itself, such as its folder.
    """
    if connection.vendor != "sqlite":
        build()
        return
    key = (key, _way(amazon))
    mine = [amazon, *worlds, *own]
    if key not in _kept:
        build()
        places: dict[int, Any] = {id(one): _PLACES[number] for number, one in enumerate(mine)}
        held = copy.deepcopy([vars(world) for world in worlds], places)
        _kept[key] = _Kept(amazon.control("POST", "snapshots")["id"], _rows(), held)
        return
    kept = _kept[key]
    amazon.control("POST", f"snapshots/{kept.snapshot}/restore")
    _put_back(kept.rows)
    given: dict[int, Any] = {id(_PLACES[number]): one for number, one in enumerate(mine)}
    for world, held in zip(worlds, copy.deepcopy(kept.held, given), strict=True):
        vars(world).update(held)


_PLACES = [_Place() for _ in range(8)]


def _way(amazon: Any) -> Hashable:
    """How a test came to where it is."""
    counts = tuple((name, len(rows)) for name, rows in _rows().items())
    calls = tuple(one["operation"] for one in amazon.control("GET", "exchanges"))
    return counts, calls, *(json.dumps(amazon.control("GET", what)) for what in ("rules", "settings", "pace", "quotas"))


def _rows() -> Rows:
    """Every row of every table."""
    tables = connection.connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_stat%'"
    ).fetchall()
    return {name: connection.connection.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in tables}


def _put_back(kept: Rows) -> None:
    """Have these rows, and no others, in the database."""
    with transaction.atomic():
        database = connection.connection
        for name, now in _rows().items():
            if now == kept[name]:
                continue
            if now:
                database.execute(f'DELETE FROM "{name}"')
            if kept[name]:
                values = ", ".join("?" * len(kept[name][0]))
                database.executemany(f'INSERT INTO "{name}" VALUES ({values})', kept[name])
