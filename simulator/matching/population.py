"""The made-up people whom Amazon knows: each a pure function of country and number, so that they need no memory.

Person `i` of a country is computed, not stored. Numbers from 0 to `size` are people whom Amazon knows; numbers from
`size` up to `limit` are strangers, made the same way, who share no e-mail, phone, device or house with anybody known:
e-mail number, phone number, device and house (number, street and city) are one-to-one functions of `i`. Amazon holds
every value as hashes of its standardised form under both rule tables.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from math import gcd
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import polars_hash

from simulator.matching.standardise import Field, RuleTable, standardise

Keys = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]
Part = Literal[
    "FirstName", "LastName", "Email", "Phone", "Address", "City", "State", "Postal", "MAID", "LRP", "EXP", "MKL"
]

SEED = 20
COUNTRIES: tuple[str, ...] = ("US", "CA", "GB", "DE", "FR")
SAME_IN_BOTH_TABLES: frozenset[Part] = frozenset({"Email", "Phone", "Postal", "MAID", "LRP", "EXP", "MKL"})
"""What hashes alike under both rule tables for these people (the tests prove it)."""

UNHASHED = "clear:"
"""Put before ids, which are never hashed, when their key is made; so a hash of one matches nobody."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_EMAIL_NUMBERS = 10_000_000
_SEPARATORS = (".", "_", "", "-")


def mixed(values: Keys) -> Keys:
    """A fixed one-to-one scrambling of 64-bit numbers (splitmix64)."""
    with np.errstate(over="ignore"):
        z: Keys = values + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def combined(keys: list[Keys]) -> Keys:
    """One 64-bit key of several, by order."""
    whole = keys[0]
    with np.errstate(over="ignore"):
        for key in keys[1:]:
            whole = mixed(whole * _GOLDEN + key)
    return whole


def short_key(standardised: str) -> int:
    """The first 64 bits of the SHA-256 of a standardised value: all that is kept of a hash."""
    return int.from_bytes(sha256(standardised.encode("utf-8", "replace")).digest()[:8], "big")


def short_keys(hexes: pl.Series) -> tuple[Keys, npt.NDArray[np.bool_]]:
    """The first 64 bits of hashes in lower-case hex, and which of the values are such a hash."""
    fits = (hexes.str.len_bytes() == 64).fill_null(False).to_numpy(writable=True)
    keys = np.zeros(len(hexes), dtype=np.uint64)
    if fits.any():
        text = _bytes_of(hexes if fits.all() else hexes.filter(pl.Series(fits))).reshape(-1, 64)[:, :16]
        digits = _HEX_DIGITS[text]
        good = (digits < 16).all(axis=1)
        packed = (digits[:, ::2] << 4) | (digits[:, 1::2] & 15)
        keys[fits] = np.ascontiguousarray(packed).view(">u8").reshape(-1)
        if not good.all():
            fits[np.flatnonzero(fits)[~good]] = False
    return keys, fits


_HEX_DIGITS = np.full(256, 255, dtype=np.uint8)
for _value, _digit in enumerate(b"0123456789abcdef"):
    _HEX_DIGITS[_digit] = _value


def _bytes_of(texts: pl.Series) -> npt.NDArray[np.uint8]:
    """The UTF-8 bytes of all values (none of them null), one after the other."""
    array = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _valid, offsets, content = array.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    return np.frombuffer(content, dtype=np.uint8)[ends[0] : ends[-1]]


def hashed_keys(values: pl.Series) -> Keys:
    """`short_key` of each of many values (none of them null)."""
    if not len(values):
        return np.empty(0, dtype=np.uint64)
    name = "value"
    hexes = values.alias(name).to_frame().select(polars_hash.col(name).chash.sha2_256()).to_series()
    return short_keys(hexes)[0]


@cache
def _vocabulary() -> dict[str, Any]:
    path = Path(__file__).parent / "data" / "population.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


@dataclass(frozen=True)
class House:
    """Where people live: positions in the country's vocabularies, one each."""

    number: Numbers
    street: Numbers
    city: Numbers
    unit: Numbers


class People:
    """The people of one country. All methods take person numbers and give as many values.

    `size` people are known to Amazon, at most as many as the country has by default.
    """

    def __init__(self, country: str, size: int | None = None) -> None:
        """Raises ValueError for a country without people, or a size that the country can't house."""
        if country not in COUNTRIES:
            raise ValueError(f"There are no made-up people in {country}; there are in {', '.join(COUNTRIES)}.")
        words = _vocabulary()[country]
        self.country = country
        self.calling: str = words["calling"]
        self.trunk: str = words["trunk"]
        self.first: list[str] = words["first"]
        self.last: list[str] = words["last"]
        self._nicknames: dict[str, str] = words["nicknames"]
        self.streets: list[str] = words["streets"]
        self.units: list[str] = words["units"]
        self.domains: list[str] = words["domains"]
        self._numbers: int = words["numbers"]
        self._rest: int = words["rest"]
        self._prefixes = _phone_prefixes(words)
        self._cities: list[list[str]] = words["cities"]
        self.cities = list(dict.fromkeys(city[0] for city in self._cities))
        self.zips, self._zip_start, self._zip_count, self.zip_state = _zips(country, self._cities, self.cities)
        self.states: list[str] = list(dict.fromkeys(city[1] for city in self._cities if city[1]))
        self.state_names = {city[1]: city[2] for city in self._cities if city[1]}
        houses = self._numbers * len(self.streets) * len(self.cities)
        self.limit = min(houses, _EMAIL_NUMBERS, len(self._prefixes) * 10**self._rest)
        self._houses = houses
        self.size: int = size or words["size"]
        if not 0 < self.size <= self.limit // 2:
            raise ValueError(f"Between 1 and {self.limit // 2} people fit into {country}.")

    def _random(self, what: str, who: Numbers) -> Keys:
        start = np.uint64(short_key(f"{SEED}/{self.country}/{what}"))
        with np.errstate(over="ignore"):
            return mixed(mixed(who.astype(np.uint64)) ^ start)

    def _choice(self, what: str, who: Numbers, count: int) -> Numbers:
        return (self._random(what, who) % np.uint64(count)).astype(np.int64)

    def _shuffled(self, what: str, who: Numbers, space: int) -> Numbers:
        """A one-to-one function from the numbers below `space` to themselves (`space` below 2**31)."""
        start = short_key(f"{SEED}/{self.country}/{what}")
        step = start % space | 1
        while gcd(step, space) != 1:
            step += 2
        return (who * (step % space) + start % 1_000_003) % space

    def nickname(self, first_name: str) -> str:
        """What people of that name are called; the name itself when there is nothing shorter."""
        return self._nicknames.get(first_name, first_name)

    def first_name(self, who: Numbers) -> Numbers:
        """Positions in `first`."""
        return self._choice("first", who, len(self.first))

    def last_name(self, who: Numbers) -> Numbers:
        """Positions in `last`."""
        return self._choice("last", who, len(self.last))

    def house(self, who: Numbers) -> House:
        """The house of each, no two alike in number, street and city."""
        place = self._shuffled("house", who, self._houses)
        number, place = place % self._numbers + 1, place // self._numbers
        street, city = place % len(self.streets), place // len(self.streets)
        return House(number, street, city, self._choice("unit", who, len(self.units)))

    def zip_code(self, who: Numbers) -> Numbers:
        """Positions in `zips`: one of the post codes of the city."""
        city = self.house(who).city
        return self._zip_start[city] + (self._random("zip", who) % self._zip_count[city].astype(np.uint64)).astype(
            np.int64
        )

    def state(self, who: Numbers) -> Numbers:
        """Positions in `states`; -1 where the country's addresses have none."""
        return self.zip_state[self.zip_code(who)]

    def email(self, who: Numbers) -> pl.Series:
        """Addresses in lower case, no two alike."""
        frame = pl.DataFrame(
            {
                "first": self._ascii_first.gather(self.first_name(who)),
                "separator": pl.Series(_SEPARATORS).gather(self._choice("separator", who, len(_SEPARATORS))),
                "last": self._ascii_last.gather(self.last_name(who)),
                "number": pl.Series(self._shuffled("email", who, _EMAIL_NUMBERS)).cast(pl.String),
                "at": pl.Series(self.domains).gather(self._choice("domain", who, len(self.domains))),
            }
        )
        return frame.select(pl.concat_str("first", "separator", "last", "number", pl.lit("@"), "at")).to_series()

    def phone(self, who: Numbers) -> pl.Series:
        """National numbers without the trunk zero, digits only, no two alike; `calling` before it makes it E.164."""
        place = self._shuffled("phone", who, len(self._prefixes) * 10**self._rest)
        rest = pl.Series(place % 10**self._rest).cast(pl.String).str.zfill(self._rest)
        return pl.Series(self._prefixes).gather(place // 10**self._rest) + rest

    def device(self, who: Numbers) -> pl.Series:
        """Mobile advertising ids, lower case, no two alike."""
        text = self._hex("device", who)
        return (
            text.str.slice(0, 8)
            + "-"
            + text.str.slice(8, 4)
            + "-4"
            + text.str.slice(13, 3)
            + "-a"
            + text.str.slice(17, 3)
            + "-"
            + text.str.slice(20, 12)
        )

    def partner_id(self, partner: Literal["LRP", "EXP", "MKL"], who: Numbers) -> pl.Series:
        """Ids of LiveRamp, Experian and Merkle, as transcoded into Amazon's namespace."""
        return "XY" + self._hex(partner, who)

    def _hex(self, what: str, who: Numbers) -> pl.Series:
        # The low half counts up from a fixed start, so that no two are alike; the high half hides that.
        high, low = self._random(what, who), self._random(f"{what}/2", who)
        raw = np.stack([high, low], axis=1).astype(">u8").tobytes().hex()
        return pl.Series([raw[start : start + 32] for start in range(0, len(raw), 32)], dtype=pl.String)

    @cached_property
    def _ascii_first(self) -> pl.Series:
        return pl.Series([standardise("entity-resolution-1", "name", name) or "x" for name in self.first])

    @cached_property
    def _ascii_last(self) -> pl.Series:
        return pl.Series([standardise("entity-resolution-1", "name", name) or "x" for name in self.last])

    def standardised(self, table: RuleTable, field: Field, values: list[str]) -> list[str]:
        """Vocabulary words by one rule table. Raises ValueError for a word of which nothing is left."""
        done = [standardise(table, field, value, self.country) for value in values]
        missing = [value for value, result in zip(values, done, strict=True) if value and result is None]
        if missing:
            raise ValueError(f"{table} leaves nothing of {missing}")
        return [result or "" for result in done]

    def address(self, who: Numbers, table: RuleTable | None = None) -> pl.Series:
        """Street address as it is written, or as `table` standardises it."""
        house = self.house(who)
        streets, units = self.streets, self.units
        if table is not None:
            streets = self.standardised(table, "address", streets)
            units = self.standardised(table, "address", units)
        frame = pl.DataFrame(
            {
                "number": pl.Series(house.number).cast(pl.String),
                "street": pl.Series(streets).gather(house.street),
                "unit": pl.Series(units).gather(house.unit),
            }
        )
        blank = pl.lit(" " if table is None else "")
        return frame.select(pl.concat_str(*address_order(self.country, blank))).to_series()

    def keys(self, part: Part, table: RuleTable, who: Numbers) -> Keys:
        """The 64-bit keys of what Amazon holds of these people; 0 for a state where there is none."""
        if part == "FirstName":
            return self._word_keys(table, "name", "first")[self.first_name(who)]
        if part == "LastName":
            return self._word_keys(table, "name", "last")[self.last_name(who)]
        if part == "City":
            return self._word_keys(table, "city", "cities")[self.house(who).city]
        if part == "State":
            state = self.state(who)
            return np.where(state < 0, np.uint64(0), self._word_keys(table, "state", "states")[state])
        if part == "Postal":
            return self._word_keys(table, "zip", "zips")[self.zip_code(who)]
        if part == "Email":
            return hashed_keys(self.email(who))
        if part == "Phone":
            return hashed_keys(self.calling + self.phone(who))
        if part == "Address":
            return hashed_keys(self.address(who, table))
        if part == "MAID":
            return hashed_keys(UNHASHED + self.device(who))
        return hashed_keys(UNHASHED + self.partner_id(part, who))

    def address_keys_again(self, table: RuleTable, who: Numbers, other: RuleTable, keys: Keys) -> Keys:
        """`keys("Address", table, …)`, given the keys by the `other` table: only what differs is hashed anew."""
        house = self.house(who)
        differs = np.zeros(len(who), dtype=np.bool_)
        for words, place in ((self.streets, house.street), (self.units, house.unit)):
            one, two = (self.standardised(each, "address", words) for each in (table, other))
            differs |= np.array([a != b for a, b in zip(one, two, strict=True)])[place]
        again = keys.copy()
        again[differs] = hashed_keys(self.address(who[differs], table))
        return again

    def _word_keys(self, table: RuleTable, field: Field, attribute: str) -> Keys:
        words = self.standardised(table, field, getattr(self, attribute))
        return np.array([short_key(word) for word in words] or [0], dtype=np.uint64)


def address_order(country: str, blank: pl.Expr) -> list[pl.Expr]:
    """How number, street and unit (columns of those names) follow each other in an address of the country."""
    number, street, unit = pl.col("number"), pl.col("street"), pl.col("unit")
    if country == "DE":
        return [street, blank, number, unit]
    if country == "FR":
        return [number, unit, blank, street]
    if country == "GB":
        return [unit, number, blank, street]
    return [number, blank, street, unit]


def _phone_prefixes(words: dict[str, Any]) -> list[str]:
    if "prefixes" in words:
        return list(words["prefixes"])
    exchanges = [n for n in range(200, 1000) if n % 100 != 11 and n != 555]
    return [f"{area}{exchange}" for area in words["npas"] for exchange in exchanges]


_LETTERS = "ABDEFGHJLNPQRSTUWXYZ"


def _zips(country: str, entries: list[list[str]], cities: list[str]) -> tuple[list[str], Numbers, Numbers, Numbers]:
    """All post codes, city by city; where each city's begin and how many it has; the state of each."""
    zips: list[str] = []
    starts, counts, states = [], [], []
    codes = list(dict.fromkeys(entry[1] for entry in entries if entry[1]))
    for city in cities:
        starts.append(len(zips))
        for name, state, _state_name, base, count in entries:
            if name != city:
                continue
            if base.isdigit():
                new = [f"{int(base) + step:05d}" for step in range(int(count))]
            elif country == "CA":
                new = [f"{base} {n % 9 + 1}{_LETTERS[n % 20]}{n // 9 % 9 + 1}" for n in range(80)]
            else:
                new = [f"{base} {n % 9 + 1}{_LETTERS[n % 20]}{_LETTERS[n // 20]}" for n in range(80)]
            zips.extend(new)
            states.extend([codes.index(state) if state else -1] * len(new))
        counts.append(len(zips) - starts[-1])
    return zips, np.array(starts), np.array(counts), np.array(states)


@cache
def people(country: str, size: int | None = None) -> People:
    """The people of a country, made once. Raises ValueError as `People` does."""
    return People(country, size)
