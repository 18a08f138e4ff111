"""The rule tables by which identity values are standardised, as data.

A table names, for every field, the operations that turn a value into its standard form, and the maps they use.
:mod:`onboarding.identity.reference` defines what each operation does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

AMAZON_ADS = "amazon-ads-1"
ENTITY_RESOLUTION = "entity-resolution-1"
NAMES = (AMAZON_ADS, ENTITY_RESOLUTION)
FIELDS = ("name", "email", "phone", "city", "state", "zip", "country", "address")

Operation = tuple[str, ...]


@dataclass(frozen=True)
class Deviation:
    """A place where a table knowingly differs from the code it was taken from.

    ``published`` says what that code does, ``here`` what this table does, ``why`` the reason.
    """

    name: str
    field: str
    published: str
    here: str
    why: str


@dataclass(frozen=True, eq=False)
class RuleTable:
    """One published reading of the standardisation rules.

    ``fields`` maps a field (see ``FIELDS``) to its operations in order, ``maps`` the names used there to their data.
    """

    name: str
    title: str
    fields: Mapping[str, tuple[Operation, ...]]
    maps: Mapping[str, Any]
    deviations: tuple[Deviation, ...]

    def settles(self, field: str) -> int:
        """How many times at most a field's operations are repeated on what they gave, until that stays the same."""
        last = self.fields[field][-1]
        return int(last[1]) if last[0] == "settle" else 0

    def words(self, country: str | None) -> Mapping[str, str]:
        """The address words of a country (upper-case ISO code), each with its replacement; later maps win."""
        return _address_words(self.name, (country or "") if country in self.maps["address-words"] else "")

    def address_words(self, country: str | None) -> Iterable[str]:
        """All words that the table's rules for addresses replace in a country."""
        if "address-words" in self.maps:
            return self.words(country)
        general = [word for name in ("street-words", "directions", "number-words") for word in self.maps[name]]
        return [*general, *self.maps["country-street-words"].get(country, ())]


@cache
def load(name: str) -> RuleTable:
    """The rule table of that name. Raises ``KeyError`` with the known names when there is none."""
    if name not in NAMES:
        raise KeyError(f"unknown rule table; known are {', '.join(NAMES)}")
    document = json.loads(files(__package__).joinpath(f"{name}.json").read_text(encoding="utf-8"))
    return RuleTable(
        name=document["name"],
        title=document["title"],
        fields={field: tuple(tuple(op) for op in ops) for field, ops in document["fields"].items()},
        maps=document["maps"],
        deviations=tuple(Deviation(**entry) for entry in document["deviations"]),
    )


@cache
def _address_words(table: str, country: str) -> Mapping[str, str]:
    maps = load(table).maps
    words: dict[str, str] = {}
    for part in maps["address-words"][country]:
        words |= maps["word-maps"][part]
    return words
