"""The rules by which Amazon's side matches a record with its people, and the sorted keys that answer them fast.

A rule is a set of match keys, all of which have to be equal. A record matches a person when any rule says so. The
addresses of a record's country are searched; a record without a country that Amazon knows is searched among all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt

from simulator.matching.population import SAME_IN_BOTH_TABLES, SEED, Keys, Numbers, Part, combined, people
from simulator.matching.standardise import RuleTable

Rule = tuple[Part, ...]

RULES: tuple[Rule, ...] = (
    ("Email",),
    ("Phone",),
    ("MAID",),
    ("LRP",),
    ("EXP",),
    ("MKL",),
    ("FirstName", "LastName", "Address", "Postal"),
    ("FirstName", "LastName", "Address", "City", "State"),
)

COUNTRY_RULES: frozenset[Rule] = frozenset(rule for rule in RULES if "Address" in rule)
"""Rules that, where the schema maps a country, also need the record to have one that Amazon knows."""


def applicable(match_keys: set[str]) -> list[Rule]:
    """The rules for which a schema has every match key."""
    return [rule for rule in RULES if match_keys.issuperset(rule)]


Signature = tuple[tuple[Part, RuleTable], ...]
"""A rule, and for each of its match keys the rule table by which the values were standardised."""


def signatures(rule: Rule, hashed: dict[Part, bool]) -> list[Signature]:
    """Which of the hashes that Amazon holds a rule has to be tried with.

    Clear values are standardised as Entity Resolution does it. Whoever hashed values did so by either table, but by
    one for the whole file, so that at most two signatures come out.
    """
    found: dict[Signature, None] = {}
    tables: tuple[RuleTable, RuleTable] = ("amazon-ads-1", "entity-resolution-1")
    for table in tables:
        signature = tuple(
            (part, table if hashed[part] and part not in SAME_IN_BOTH_TABLES else "entity-resolution-1")
            for part in rule
        )
        found[signature] = None
    return list(found)


@dataclass(frozen=True)
class Index:
    """The keys of all people of one country for one signature, sorted, and whose each is."""

    keys: Keys
    who: npt.NDArray[np.uint32]

    def find(self, wanted: Keys) -> Numbers:
        """The person of each key, -1 where there is none."""
        if not len(self.keys):
            return np.full(len(wanted), -1, dtype=np.int64)
        # Searching in sorted order keeps the walk through the index in the processor's cache.
        order = np.argsort(wanted)
        place = np.empty(len(wanted), dtype=np.int64)
        place[order] = np.searchsorted(self.keys, wanted[order])
        place = np.minimum(place, len(self.keys) - 1)
        return np.where(self.keys[place] == wanted, self.who[place].astype(np.int64), -1)


@lru_cache(maxsize=64)
def _part_keys(country: str, part: Part, table: RuleTable) -> Keys:
    known = people(country)
    who = np.arange(known.size)
    if part == "Address" and table == "entity-resolution-1":
        return known.address_keys_again(table, who, "amazon-ads-1", _part_keys(country, part, "amazon-ads-1"))
    return known.keys(part, table, who)


def _built(country: str, signature: Signature) -> Index:
    known = people(country)
    who = np.arange(known.size, dtype=np.uint32)
    keys = combined([_part_keys(country, part, table) for part, table in signature])
    if any(part == "State" for part, _table in signature):
        housed = known.state(np.arange(known.size)) >= 0
        keys, who = keys[housed], who[housed]
    order = np.argsort(keys)
    return Index(keys[order], who[order])


def index(country: str, signature: Signature, directory: Path | None = None) -> Index:
    """The index of a country for a signature; kept in `directory`, when given, for the next start."""
    with _building:
        return _index(country, signature, directory)


_building = Lock()


@lru_cache(maxsize=64)
def _index(country: str, signature: Signature, directory: Path | None) -> Index:
    if directory is None:
        return _built(country, signature)
    name = "-".join(
        [f"{SEED}", country, f"{people(country).size}", *(f"{part}.{table[0]}" for part, table in signature)]
    )
    path = directory / f"{name}.npy"
    if not path.exists():
        made = _built(country, signature)
        directory.mkdir(parents=True, exist_ok=True)
        table = np.empty(len(made.keys), dtype=[("key", np.uint64), ("who", np.uint32)])
        table["key"], table["who"] = made.keys, made.who
        part_file = path.with_suffix(".part")
        with part_file.open("wb") as out:
            np.save(out, table)
        part_file.rename(path)
        return made
    stored = np.load(path)
    return Index(np.ascontiguousarray(stored["key"]), np.ascontiguousarray(stored["who"]))


def forget() -> None:
    """Give back the memory that whole columns of keys take, once the indexes made of them stand."""
    _part_keys.cache_clear()
