"""Sample identity files whose truth is known: who of the rows is in Amazon's population, and must match.

Every row is a person of the made-up population or a stranger, written down as messily as real exports are. Each way
to write a value is marked with whether the rule tables bring it back to what Amazon holds; a row must match when for
one of the match rules all its values come back. So the truth follows from how the row was made, not from a search.
"""

from __future__ import annotations

import argparse
import json
import sys
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet

from simulator.matching import rules
from simulator.matching.population import (
    COUNTRIES,
    SAME_IN_BOTH_TABLES,
    Numbers,
    Part,
    People,
    address_order,
    people,
)
from simulator.matching.standardise import RULE_TABLES, Field, RuleTable, standardise

COLUMNS: dict[str, Part | Literal["Country"] | None] = {
    "customerid": None,
    "firstname": "FirstName",
    "lastname": "LastName",
    "email": "Email",
    "phone": "Phone",
    "address": "Address",
    "city": "City",
    "state": "State",
    "zip": "Postal",
    "country": "Country",
    "maid": "MAID",
}
"""The columns of a sample, as in guide 7, and the match key of each."""

Truths = npt.NDArray[np.uint8]
_CHUNK = 100_000

# What a written value is worth: one bit for each pair of the table that prepares and the table whose hash Amazon holds.
_PAIRS: tuple[tuple[RuleTable, RuleTable], ...] = tuple(
    (ours, theirs) for ours in RULE_TABLES for theirs in RULE_TABLES
)
_ALL = 0b1111
_BY: dict[RuleTable, int] = {
    ours: sum(1 << bit for bit, pair in enumerate(_PAIRS) if pair[0] == ours) for ours in RULE_TABLES
}

Way = Literal["hashed with amazon-ads-1", "hashed with entity-resolution-1", "clear"]
_WAY_BITS: dict[Way, tuple[int, ...]] = {
    "hashed with amazon-ads-1": tuple(b for b, pair in enumerate(_PAIRS) if pair[0] == "amazon-ads-1"),
    "hashed with entity-resolution-1": tuple(b for b, pair in enumerate(_PAIRS) if pair[0] == "entity-resolution-1"),
    "clear": (_PAIRS.index(("entity-resolution-1", "entity-resolution-1")),),
}
"""How a file can be handed over, and the bits of which one has to be set in all values of a rule."""


@dataclass
class WayTruth:
    """What a mapping job must report when the file is handed over in one of the ways."""

    rows: int = 0
    """Rows that match on their own."""
    customers: int = 0
    """Different customer ids that match."""
    people: int = 0
    """Different people of Amazon's who are matched."""


@dataclass
class Truth:
    """What is known about a sample."""

    rows: int = 0
    customers: int = 0
    known_rows: int = 0
    """Rows about people in Amazon's population, whether or not their values are good enough to match."""
    stranger_rows: int = 0
    second_rows: int = 0
    """Rows that repeat the customer id of an earlier one."""
    must_match: dict[str, WayTruth] = field(default_factory=lambda: {way: WayTruth() for way in _WAY_BITS})


@dataclass(frozen=True)
class Plan:
    """What to make.

    `countries` with their shares, `messy` the share of values not written in their plain form, `strangers` the share
    of rows about nobody Amazon knows, `blank` the share of values left out, `duplicates` the share of rows that repeat
    the customer id of an earlier row, `most_rows` the most rows of one customer.
    """

    rows: int
    countries: dict[str, float]
    messy: float = 0.3
    strangers: float = 0.25
    blank: float = 0.05
    duplicates: float = 0.02
    seed: int = 1
    columns: tuple[str, ...] = tuple(COLUMNS)
    most_rows: int = 3


class _Words:
    """All the ways to write each word of a vocabulary, and what each is worth."""

    def __init__(self, kind: Field, known: People, words: Sequence[str], ways: Sequence[Callable[[str], str]]) -> None:
        self.ways = len(ways)
        texts: list[str] = []
        worth: list[int] = []
        for word in words:
            true = {table: standardise(table, kind, word, known.country) for table in RULE_TABLES}
            for way in ways:
                text = way(word)
                texts.append(text)
                made = {table: standardise(table, kind, text, known.country) for table in RULE_TABLES}
                worth.append(sum(1 << bit for bit, (ours, theirs) in enumerate(_PAIRS) if made[ours] == true[theirs]))
        self._texts = pl.Series(texts)
        self._worth = np.array(worth, dtype=np.uint8)

    def write(self, word: Numbers, way: Numbers) -> tuple[pl.Series, Truths]:
        place = word * self.ways + way
        return self._texts.gather(place), self._worth[place]


def _plain(text: str) -> str:
    return text


def _stripped(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))


def _expanded(text: str) -> str:
    for letter, put in {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"}.items():
        text = text.replace(letter, put)
    return text


_NAME_WAYS: tuple[Callable[[str], str], ...] = (
    _plain,
    str.upper,
    str.lower,
    lambda text: f"  {text} ",
    lambda text: text.replace("'", "’"),
    lambda text: text.replace("'", " "),
    lambda text: text.replace("-", " "),
    lambda text: f"{text}.",
    lambda text: unicodedata.normalize("NFD", text),
    _stripped,
    _expanded,
    lambda text: f"\t{text.title()}",
)
_CITY_WAYS: tuple[Callable[[str], str], ...] = (
    _plain,
    str.upper,
    str.lower,
    lambda text: f" {text}  ",
    lambda text: f"{text},",
    lambda text: text.replace(".", ""),
    lambda text: text.replace("-", " "),
    _stripped,
)
_ZIP_WAYS: dict[str, tuple[Callable[[str], str], ...]] = {
    "US": (
        _plain,
        lambda text: f"{text}-{int(text) % 9000 + 1000}",
        lambda text: f" {text}",
        lambda text: f"{text}-0001 ",
        lambda text: f"{text}{int(text) % 9000 + 1000}",
        lambda text: text.lstrip("0"),
    ),
    "DE": (_plain, lambda text: f" {text} "),
    "FR": (_plain, lambda text: f" {text} ", lambda text: f"{text[:2]} {text[2:]}"),
    "GB": (_plain, str.lower, lambda text: text.replace(" ", ""), lambda text: f"{text} "),
    "CA": (_plain, str.lower, lambda text: text.replace(" ", ""), lambda text: f" {text}"),
}
_SUFFIXES = {
    "Street": "St",
    "Avenue": "Ave",
    "Road": "Rd",
    "Drive": "Dr",
    "Lane": "Ln",
    "Boulevard": "Blvd",
    "Court": "Ct",
    "Place": "Pl",
    "Route": "Rte",
    "Chemin": "Che",
}


def _shortened(dot: str) -> Callable[[str], str]:
    def shortened(text: str) -> str:
        return " ".join(_SUFFIXES[word] + dot if word in _SUFFIXES else word for word in text.split(" "))

    return shortened


_STREET_WAYS: tuple[Callable[[str], str], ...] = (
    _plain,
    _shortened(""),
    _shortened("."),
    str.upper,
    str.lower,
    lambda text: _shortened("")(text).upper(),
    lambda text: text.replace(" ", "  "),
    lambda text: f"{text},",
    lambda text: text.replace("North ", "N. ").replace("Saint ", "St "),
    lambda text: text.replace("straße", "str.").replace("Straße", "Str."),
    _stripped,
)
_UNIT_WAYS: tuple[Callable[[str], str], ...] = (
    _plain,
    lambda text: text.replace("Apartment", "Apt").replace("Suite", "Ste"),
    lambda text: text.replace("Apartment", "APT.").replace("Suite", "STE."),
    lambda text: text.replace("# ", "#"),
    lambda text: text.replace("#", "No."),
    str.upper,
    str.lower,
)
_COUNTRY_WAYS: dict[str, tuple[tuple[str, bool], ...]] = {
    # The way it is written, and whether entity-resolution-1 knows it.
    "US": (("US", True), ("us", True), ("United States", True), (" US ", True), ("USA", False)),
    "CA": (("CA", True), ("ca", True), ("Canada", True), ("CANADA ", True)),
    "GB": (("GB", True), ("gb", True), ("United Kingdom", True), ("GREAT BRITAIN", True), ("UK", False)),
    "DE": (("DE", True), ("de", True), ("Germany", True), ("GERMANY ", True)),
    "FR": (("FR", True), ("fr", True), ("France", True), (" france", True)),
}


def _digits(*pieces: tuple[int, int | None], marks: str) -> pl.Expr:
    """A national number cut at the given places and written with `marks`, in which each `_` takes a piece."""
    texts = marks.split("_")
    parts: list[pl.Expr] = [pl.lit(texts[0])]
    for (start, length), text in zip(pieces, texts[1:], strict=True):
        parts += [pl.col("national").str.slice(start, length), pl.lit(text)]
    return pl.concat_str(parts)


_NANP = ((0, 3), (3, 3), (6, 4))
_PAIRS_OF_FR = ((0, 1), (1, 2), (3, 2), (5, 2), (7, 2))


def _phone_ways(known: People) -> list[tuple[pl.Expr, bool, bool]]:
    """How to write a phone number, whether entity-resolution-1 understands it, and whether without a country too."""
    if known.calling == "1":
        return [
            (_digits(*_NANP, marks="(_) _-_"), True, False),
            (_digits(*_NANP, marks="_-_-_"), True, False),
            (_digits(*_NANP, marks="_._._"), True, False),
            (_digits(*_NANP, marks="+1 _ _ _"), True, True),
            (_digits(*_NANP, marks="1-_-_-_"), True, True),
            (_digits((0, None), marks="+1_"), True, True),
            (_digits((0, None), marks=" _ "), True, False),
        ]
    code, rest = known.calling, (3, None)
    ways = [
        (_digits((0, None), marks="0_"), True, False),
        (_digits((0, None), marks=f"+{code}_"), True, True),
        (_digits((0, None), marks=f"00{code}_"), True, True),
        (_digits((0, 3), rest, marks="0_ / _" if code == "49" else "0_-_"), True, False),
        (_digits((0, 3), rest, marks=f"+{code} _ _"), True, True),
        (_digits((0, 3), rest, marks=f"+{code} (0)_ _"), False, False),
    ]
    if code == "33":
        ways.append((_digits(*_PAIRS_OF_FR, marks="0_ _ _ _ _"), True, False))
    return ways


_EMAIL_WAYS: tuple[tuple[Callable[[pl.Expr], pl.Expr], int], ...] = (
    (lambda email: email, _ALL),
    (lambda email: email.str.to_uppercase(), _ALL),
    (lambda email: pl.concat_str(pl.lit(" "), email, pl.lit("  ")), _ALL),
    (lambda email: email.str.replace("@", " @", literal=True), _ALL),
    (lambda email: email.str.slice(0, 1).str.to_uppercase() + email.str.slice(1), _ALL),
    (lambda email: pl.concat_str(pl.lit("Customer <"), email, pl.lit(">")), _BY["entity-resolution-1"]),
    (lambda email: email.str.replace("@", "@@", literal=True), 0),
    (lambda email: email.str.replace(r"@(.)", "@${1}${1}"), 0),
    (lambda email: email.str.replace("@", "+news@", literal=True), 0),
)


class _Country:
    """Writes rows about people of one country."""

    def __init__(self, country: str) -> None:
        self.people = known = people(country)
        self._first = _Words("name", known, known.first, (*_NAME_WAYS, known.nickname))
        self._last = _Words("name", known, known.last, _NAME_WAYS)
        self._city = _Words("city", known, known.cities, _CITY_WAYS)
        self._zip = _Words("zip", known, known.zips, _ZIP_WAYS[country])
        state_ways: tuple[Callable[[str], str], ...] = (
            _plain,
            str.lower,
            lambda code: known.state_names[code],
            lambda code: f" {code} ",
            lambda code: known.state_names[code].upper(),
        )
        self._state = _Words("state", known, known.states, state_ways)
        self._street = _Words("address", known, known.streets, _STREET_WAYS)
        self._unit = _Words("address", known, known.units, _UNIT_WAYS)
        self._phone = _phone_ways(known)

    def write(
        self, who: Numbers, plan: Plan, random: np.random.Generator
    ) -> tuple[pl.DataFrame, dict[Part, Truths], npt.NDArray[np.bool_]]:
        """The columns of rows about these people, what each value is worth, and whether entity-resolution-1 knows the
        country as it is written."""
        known = self.people

        def way(count: int) -> Numbers:
            chosen = random.integers(0, count, len(who))
            return np.where(random.random(len(who)) < plan.messy, chosen, 0)

        house = known.house(who)
        columns: dict[str, pl.Series] = {}
        worth: dict[Part, Truths] = {}
        columns["firstname"], worth["FirstName"] = self._first.write(known.first_name(who), way(self._first.ways))
        columns["lastname"], worth["LastName"] = self._last.write(known.last_name(who), way(self._last.ways))
        columns["email"], worth["Email"] = _chosen(
            pl.DataFrame({"email": known.email(who)}),
            [(form(pl.col("email")), worth) for form, worth in _EMAIL_WAYS],
            way(len(_EMAIL_WAYS)),
        )
        nation = way(len(_COUNTRY_WAYS[known.country]))
        columns["country"] = pl.Series([text for text, _known in _COUNTRY_WAYS[known.country]]).gather(nation)
        understood = np.array([er for _text, er in _COUNTRY_WAYS[known.country]])[nation]
        columns["phone"], worth["Phone"] = self._phones(who, way(len(self._phone)), understood)
        columns["address"], worth["Address"] = self._addresses(who, way)
        columns["city"], worth["City"] = self._city.write(house.city, way(self._city.ways))
        columns["zip"], worth["Postal"] = self._zip.write(known.zip_code(who), way(self._zip.ways))
        # Where the country is not understood, its zip is standardised alike; but not so its address, which then needs
        # the country to agree anyway.
        state = known.state(who)
        if len(known.states):
            columns["state"], worth["State"] = self._state.write(np.maximum(state, 0), way(self._state.ways))
        else:
            columns["state"] = pl.Series([None] * len(who), dtype=pl.String)
            worth["State"] = np.zeros(len(who), dtype=np.uint8)
        device = known.device(who)
        capitals = pl.Series(random.random(len(who)) < 0.5)
        columns["maid"] = device.zip_with(capitals, device.str.to_uppercase()) if len(device) else device
        worth["MAID"] = np.full(len(who), _ALL, dtype=np.uint8)
        return pl.DataFrame(columns), worth, understood

    def _phones(self, who: Numbers, way: Numbers, understood: npt.NDArray[np.bool_]) -> tuple[pl.Series, Truths]:
        frame = pl.DataFrame({"national": self.people.phone(who)})
        choices = [(form, _ALL if er else _BY["amazon-ads-1"]) for form, er, _alone in self._phone]
        text, worth = _chosen(frame, choices, way)
        alone = np.array([alone for _form, _er, alone in self._phone])[way]
        worth[~understood & ~alone] &= _BY["amazon-ads-1"]
        return text, worth

    def _addresses(self, who: Numbers, way: Callable[[int], Numbers]) -> tuple[pl.Series, Truths]:
        house = self.people.house(who)
        street, street_worth = self._street.write(house.street, way(self._street.ways))
        unit, unit_worth = self._unit.write(house.unit, way(self._unit.ways))
        frame = pl.DataFrame({"number": pl.Series(house.number).cast(pl.String), "street": street, "unit": unit})
        text = frame.select(pl.concat_str(*address_order(self.people.country, pl.lit(" ")))).to_series()
        return text, street_worth & unit_worth


def _chosen(frame: pl.DataFrame, ways: Sequence[tuple[pl.Expr, int]], way: Numbers) -> tuple[pl.Series, Truths]:
    """For each row the way of its number, and what that is worth."""
    chain: pl.Expr = pl.lit(None, dtype=pl.String)
    for number, (form, _worth) in enumerate(ways):
        chain = pl.when(pl.col("way") == number).then(form).otherwise(chain)
    text = frame.with_columns(way=pl.Series(way)).select(chain).to_series()
    return text, np.array([worth for _form, worth in ways], dtype=np.uint8)[way]


def _must_match(
    worth: dict[Part, Truths], understood: npt.NDArray[np.bool_], columns: Sequence[str], way: Way
) -> npt.NDArray[np.bool_]:
    """Which rows match by a rule whose match keys are all among the columns."""
    parts = {COLUMNS[column] for column in columns}
    matches = np.zeros(len(understood), dtype=np.bool_)
    for rule in rules.RULES:
        if not parts.issuperset(rule):
            continue
        for bit in _WAY_BITS[way]:
            ours, theirs = _PAIRS[bit]
            good = np.ones(len(understood), dtype=np.bool_)
            for part in rule:
                # What hashes alike under both tables is worth the same whichever hash of it Amazon holds.
                look = _PAIRS.index((ours, ours)) if part in SAME_IN_BOTH_TABLES else _PAIRS.index((ours, theirs))
                good &= (worth[part] >> look & 1).astype(np.bool_)
            if rule in rules.COUNTRY_RULES and "country" in columns and ours == "entity-resolution-1":
                good &= understood
            matches |= good
    return matches


class _Deal:
    """Deals people to rows: in a shuffled order, from the start again when all were dealt."""

    def __init__(self, known: People, seed: int) -> None:
        self._known = known
        self._seed = seed
        self._dealt = {"known": 0, "strangers": 0}

    def take(self, what: Literal["known", "strangers"], count: int) -> Numbers:
        known = self._known
        space = known.size if what == "known" else min(known.limit - known.size, 5_000_000)
        at = self._dealt[what] + np.arange(count)
        self._dealt[what] += count
        step = next(s for s in range(space // 3 | 1, space, 2) if np.gcd(s, space) == 1) if space > 3 else 1
        return (at * step + self._seed * 7919) % space + (0 if what == "known" else known.size)


def make(plan: Plan, write: Callable[[pl.DataFrame], None]) -> Truth:
    """Make the rows of a plan, hand them chunk by chunk to `write`, and return what is known about them."""
    random = np.random.default_rng(plan.seed)
    writers = {country: _Country(country) for country in plan.countries}
    deals = {country: _Deal(people(country), plan.seed) for country in plan.countries}
    names = list(plan.countries)
    shares = np.array([plan.countries[name] for name in names]) / sum(plan.countries.values())
    truth = Truth()
    matched: dict[Way, list[Numbers]] = {way: [] for way in _WAY_BITS}
    customers = 0
    # A customer's later rows come in the chunk of the first, so that nothing of other chunks has to be remembered.
    for start in range(0, plan.rows, _CHUNK):
        count = min(_CHUNK, plan.rows - start)
        owner = _owners(count, plan, random)
        fresh = int(owner.max()) + 1
        nation = random.choice(len(names), fresh, p=shares)
        stranger = random.random(fresh) < plan.strangers
        who = np.zeros(fresh, dtype=np.int64)
        for number, name in enumerate(names):
            for flag, what in ((False, "known"), (True, "strangers")):
                there = (nation == number) & (stranger == flag)
                who[there] = deals[name].take("known" if what == "known" else "strangers", int(there.sum()))
        frames, places = [], []
        worth: dict[Part, Truths] = {}
        understood = np.ones(count, dtype=np.bool_)
        for number, name in enumerate(names):
            rows = np.flatnonzero(nation[owner] == number)
            if not len(rows):
                continue
            frame, values, nation_known = writers[name].write(who[owner[rows]], plan, random)
            frames.append(frame)
            places.append(rows)
            understood[rows] = nation_known
            for part, truths in values.items():
                worth.setdefault(part, np.zeros(count, dtype=np.uint8))[rows] = truths
        place = np.concatenate(places)
        frame = pl.concat(frames)[np.argsort(place)] if len(frames) > 1 else frames[0]
        frame = _with_blanks(frame, worth, understood, plan, random)
        identity = pl.Series(_customer_number(customers + owner, plan.seed)).cast(pl.String).str.zfill(10)
        frame = frame.with_columns(customerid="c" + identity)
        write(frame.select(plan.columns))

        known = ~stranger[owner]
        truth.rows += count
        truth.customers += fresh
        truth.known_rows += int(known.sum())
        truth.stranger_rows += int((~known).sum())
        truth.second_rows += count - fresh
        for way in _WAY_BITS:
            good = _must_match(worth, understood, plan.columns, way) & known
            told = truth.must_match[way]
            told.rows += int(good.sum())
            told.customers += len(np.unique(owner[good]))
            matched[way].append(np.unique(who[owner[good]] + (nation[owner[good]] << 32)))
        customers += fresh
    for way, chunks in matched.items():
        truth.must_match[way].people = len(np.unique(np.concatenate(chunks))) if chunks else 0
    return truth


def _owners(count: int, plan: Plan, random: np.random.Generator) -> Numbers:
    """For each row of a chunk the position of its customer in the chunk."""
    again = random.random(count) < plan.duplicates
    again[0] = False
    run = np.arange(count) - np.maximum.accumulate(np.where(again, 0, np.arange(count)))
    again &= run < plan.most_rows
    owner = np.cumsum(~again) - 1
    order = random.permutation(count)
    return owner[order]


def _customer_number(position: Numbers, seed: int) -> Numbers:
    """Numbers of up to ten digits, no two alike, that do not count up."""
    return (position * 7_368_787 + seed * 104_729) % 9_999_999_967


def _with_blanks(
    frame: pl.DataFrame,
    worth: dict[Part, Truths],
    understood: npt.NDArray[np.bool_],
    plan: Plan,
    random: np.random.Generator,
) -> pl.DataFrame:
    """Leave out some values, the way exports do: nothing, or a word for nothing. Most people have no device id."""
    changed = []
    for column, part in COLUMNS.items():
        if part is None or part == "Country":
            continue
        share = 0.7 if part == "MAID" else plan.blank
        gone = random.random(frame.height) < share
        text = pl.Series([None] * frame.height, dtype=pl.String)
        if part in ("Email", "Phone"):
            text = pl.Series(["N/A", None]).gather(random.integers(0, 5, frame.height).clip(max=1))
        changed.append(frame.get_column(column).zip_with(pl.Series(~gone), text).alias(column))
        worth[part][gone] = 0
    return frame.with_columns(changed)


class _CsvOut:
    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("wb")
        self._first = True

    def write(self, frame: pl.DataFrame) -> None:
        frame.write_csv(self._file, include_header=self._first)
        self._first = False

    def close(self) -> None:
        self._file.close()


class _ParquetOut:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pa.parquet.ParquetWriter | None = None

    def write(self, frame: pl.DataFrame) -> None:
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        if self._writer is None:
            self._writer = pa.parquet.ParquetWriter(self._path, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def write_sample(plan: Plan, path: Path) -> Truth:
    """Write the sample as Parquet if the name ends so, else as CSV; return its truth.

    Raises ValueError for a country without people, OSError when the file can't be written.
    """
    out = _ParquetOut(path) if path.suffix == ".parquet" else _CsvOut(path)
    try:
        return make(plan, out.write)
    finally:
        out.close()


def _countries(text: str) -> dict[str, float]:
    shares: dict[str, float] = {}
    for entry in text.split(","):
        name, _colon, share = entry.partition(":")
        name = name.strip().upper()
        if name not in COUNTRIES:
            raise argparse.ArgumentTypeError(f"{name or entry!r} is none of {', '.join(COUNTRIES)}")
        try:
            shares[name] = float(share or 1)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{share!r} is not a number") from None
    if min(shares.values()) <= 0:
        raise argparse.ArgumentTypeError("shares are above 0")
    return shares


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError("between 0 and 1")
    return number


def _column_names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    wrong = [name for name in names if name not in COLUMNS]
    if wrong:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(wrong)}; there are {', '.join(COLUMNS)}")
    if not {"customerid", "country"}.issubset(names):
        raise argparse.ArgumentTypeError(
            "customerid and country are needed: how a value is read depends on its country"
        )
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulator sample", description="Write an identity file whose matches with Amazon are known."
    )
    parser.add_argument("out", type=Path, nargs="+", help="CSV, or Parquet by its suffix; several share the rows")
    parser.add_argument("--rows", type=int, default=1000, help="rows in all (1000)")
    parser.add_argument("--country", "--countries", type=_countries, default={"US": 1.0}, help="US, or US:8,GB:1,DE:1")
    parser.add_argument("--messy", type=_share, default=0.3, help="share of values not in their plain form (0.3)")
    parser.add_argument("--strangers", type=_share, default=0.25, help="share of rows that must not match (0.25)")
    parser.add_argument("--blank", type=_share, default=0.05, help="share of values left out (0.05)")
    parser.add_argument("--duplicates", type=_share, default=0.02, help="share of rows with an earlier id (0.02)")
    parser.add_argument("--most-rows", type=int, default=3, help="most rows of one id (3); above 25 is too many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--columns", type=_column_names, default=tuple(COLUMNS), help="comma separated, of guide 7")
    parser.add_argument("--truth", type=Path, help="write what is known to this JSON file too")
    return parser


def main(argv: list[str]) -> int:
    """The command `sample`: write the files, print what must match. 0 when done, 2 for wrong arguments."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.rows < len(arguments.out) or arguments.most_rows < 1:
        parser.error("--rows must be at least 1 for each file, and --most-rows at least 1")
    told = {}
    for number, path in enumerate(arguments.out):
        rows = arguments.rows // len(arguments.out) + (number < arguments.rows % len(arguments.out))
        plan = Plan(
            rows=rows,
            countries=arguments.country,
            messy=arguments.messy,
            strangers=arguments.strangers,
            blank=arguments.blank,
            duplicates=arguments.duplicates,
            seed=arguments.seed + number,
            columns=arguments.columns,
            most_rows=arguments.most_rows,
        )
        truth = write_sample(plan, path)
        told[str(path)] = asdict(truth)
        lines = [
            f"{path}: {truth.rows} rows, {truth.customers} customers; {truth.known_rows} rows about people whom Amazon "
            f"knows, {truth.stranger_rows} about strangers."
        ]
        for way, must in truth.must_match.items():
            lines.append(
                f"  {way}: {must.rows} rows must match, of {must.customers} customers "
                f"({must.customers / max(1, truth.customers):.1%}), to {must.people} people"
            )
        sys.stdout.write("\n".join(lines) + "\n")
    if arguments.truth:
        content = told[str(arguments.out[0])] if len(arguments.out) == 1 else told
        arguments.truth.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return 0
