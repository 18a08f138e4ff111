"""How matchable a file is before Amazon has seen it: which match keys its rows carry together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onboarding.identity.columns import MEANINGS, VALUE_KINDS, Kind

DIRECT = (Kind.EMAIL, Kind.PHONE, Kind.MAID, Kind.LIVERAMP, Kind.EXPERIAN, Kind.MERKLE)
"""Kinds one of which is enough to find a person."""
NAME_AND_ADDRESS = (Kind.FIRST_NAME, Kind.LAST_NAME, Kind.ADDRESS)
BIT: dict[Kind, int] = {kind: 1 << place for place, kind in enumerate(VALUE_KINDS)}
MOST = 40


@dataclass(frozen=True)
class Combination:
    """Match keys that rows carry together, and how many rows do."""

    match_keys: tuple[str, ...]
    rows: int

    def as_dict(self) -> dict[str, Any]:
        return {"match_keys": list(self.match_keys), "rows": self.rows}


@dataclass(frozen=True)
class Forecast:
    """How many of ``rows`` usable rows carry a ``direct`` key (e-mail, telephone, device or partner id), only
    ``name_and_address`` (with postal code, or city and state), both sorts (``both``), or nothing to match by
    (``unmatchable``); and the ``combinations``, most frequent first."""

    rows: int
    direct: int
    name_and_address: int
    both: int
    unmatchable: int
    combinations: tuple[Combination, ...]

    @property
    def matchable(self) -> int:
        """Rows that can match at all."""
        return self.rows - self.unmatchable

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.__dict__,
            "matchable": self.matchable,
            "combinations": [combination.as_dict() for combination in self.combinations],
        }


def forecast(counts: npt.NDArray[np.int64]) -> Forecast:
    """From how many rows have each set of kinds: ``counts[bits]``, a bit a kind as in ``BIT``."""
    direct = name = both = nothing = 0
    combinations = []
    for bits in np.flatnonzero(counts).tolist():
        rows = int(counts[bits])
        has_direct, has_name = matchable(bits)
        both += rows * (has_direct and has_name)
        direct += rows * has_direct
        name += rows * (has_name and not has_direct)
        nothing += rows * (not has_direct and not has_name)
        combinations.append(Combination(match_keys(bits), rows))
    combinations.sort(key=lambda entry: (-entry.rows, entry.match_keys))
    return Forecast(int(counts.sum()), direct, name, both, nothing, tuple(combinations[:MOST]))


def matchable(bits: int) -> tuple[bool, bool]:
    """Whether a set of kinds has a direct key, and whether it has name and address."""
    direct = any(bits & BIT[kind] for kind in DIRECT)
    name = all(bits & BIT[kind] for kind in NAME_AND_ADDRESS)
    place = bool(bits & BIT[Kind.ZIP]) or all(bits & BIT[kind] for kind in (Kind.CITY, Kind.STATE))
    return direct, name and place


def match_keys(bits: int) -> tuple[str, ...]:
    """The match keys of a set of kinds, in the guide's order."""
    return tuple(MEANINGS[kind].match_key or "" for kind in VALUE_KINDS if bits & BIT[kind])


def unmatchable(rows: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """For each row's set of kinds, whether it has nothing to match by."""
    table = np.array([not any(matchable(bits)) for bits in range(1 << len(BIT))])
    return np.asarray(table[np.asarray(rows)])
