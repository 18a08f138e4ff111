"""Checks identity files before anything is made of them (guide 7, step 1). Reports counts and row numbers only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from onboarding.identity import fast, rules
from onboarding.identity.columns import (
    CARRIED_KINDS,
    CONSENT_COLUMNS,
    CONSENT_STRINGS,
    COUNTRY_RULES,
    MAX_COLUMNS,
    MAX_ROWS_PER_KEY,
    MEANINGS,
    RESERVED,
    Kind,
)
from onboarding.identity.errors import BadMapping, Unreadable
from onboarding.identity.findings import Finding, Level, Place, Tally
from onboarding.identity.forecast import BIT, Forecast, forecast, unmatchable
from onboarding.identity.keys import Hashes, KeyScan, key_hashes
from onboarding.identity.mapping import MAID_VALUE, SAMPLE_ROWS, Guess, country_named, guess, personal_beside
from onboarding.identity.prepare import good_keys
from onboarding.identity.reading import Batch, Layout, Load, batches, describe
from onboarding.identity.storage import S3Factory, Source, default_s3, find
from onboarding.identity.work import (
    DEFAULT_MEMORY,
    Pool,
    Progress,
    Report,
    Stop,
    batch_size,
    default_jobs,
    never,
    unreported,
    workspace,
)

FILE_STEP = 1 << 40
"""Row numbers of the n-th file are shifted by n times this, so that one number names file and row."""
SAMPLE_SIZE = 1 << 18
GRANTED = "GRANTED"
PERSONAL = frozenset(kind for kind, meaning in MEANINGS.items() if meaning.rule and kind is not Kind.COUNTRY)


@dataclass(frozen=True)
class Overview:
    """What the beginning of the files shows: all columns' names, a guess for each, and each file's layout."""

    header: tuple[str, ...]
    guesses: tuple[Guess, ...]
    layouts: Mapping[str, Layout]

    def mapping(self) -> dict[str, Kind]:
        """The guesses as a mapping."""
        return {guess.column: guess.kind for guess in self.guesses if guess.kind is not Kind.IGNORE}

    def as_dict(self) -> dict[str, Any]:
        return {
            "header": list(self.header),
            "guesses": [entry.as_dict() for entry in self.guesses],
            "layouts": {name: asdict(layout) for name, layout in self.layouts.items()},
        }


@dataclass
class ColumnReport:
    """What a column holds: of all rows, how many have a value that is valid (``values``), none (``empty``), or one that
    is not ``valid``; how many are ``hashed`` already, look like another kind (``wrong_kind``), and would be hashed
    differently by the two rule tables (``rules_differ``)."""

    column: str
    kind: Kind
    confidence: float | None = None
    values: int = 0
    empty: int = 0
    invalid: int = 0
    hashed: int = 0
    wrong_kind: int = 0
    rules_differ: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "kind": self.kind.value}


@dataclass
class CheckReport:
    """The result of a check. ``rows`` counts all rows read, ``usable_rows`` those that Entity Resolution would take;
    ``consent`` counts what the rows say in each consent column, by the keys of ``CONSENT_WORDS``."""

    files: list[dict[str, Any]]
    rules: str
    country: str | None
    rows: int = 0
    usable_rows: int = 0
    columns: list[ColumnReport] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    forecast: Forecast | None = None
    consent: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def worst(self) -> Level | None:
        """The worst level found."""
        levels = {finding.level for finding in self.findings}
        return next((level for level in Level if level in levels), None)

    @property
    def fine(self) -> bool:
        """Whether nothing worse than a note was found."""
        return self.worst in (None, Level.NOTE)

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.__dict__,
            "columns": [column.as_dict() for column in self.columns],
            "findings": [finding.as_dict() for finding in self.findings],
            "forecast": self.forecast.as_dict() if self.forecast else None,
            "worst": self.worst.value if self.worst else None,
        }


def look(places: Sequence[str], named: Collection[str] = (), *, s3: S3Factory = default_s3) -> Overview:
    """Reads the beginning of the files and guesses what each column holds. Raises Unreadable.

    ``named`` are columns that the caller knows by name: a first row that holds one of them is taken for a header. What
    looks like data instead is kept nowhere: such a file's columns are called by their place.
    """
    sources = find(places, s3)
    layouts = {source.name: _without_data(describe(source), named) for source in sources}
    # The columns of a file without a header cannot be told to be those of the others.
    sure = [layout for layout in layouts.values() if not layout.header_looks_like_data] or layouts.values()
    header = tuple(dict.fromkeys(name for layout in sure for name in layout.header))
    samples: dict[str, list[str | None]] = {name: [] for name in header}
    for source in sources:
        layout = layouts[source.name]
        wanted = [place for place, name in enumerate(layout.header) if len(samples.get(name, _FULL)) < SAMPLE_ROWS]
        if not wanted:
            continue
        for load in batches(source, layout, wanted, SAMPLE_SIZE):
            batch = load()
            for place in wanted:
                samples[layout.header[place]] += batch.columns[place].slice(0, SAMPLE_ROWS).to_pylist()
            break
    return Overview(header, tuple(guess(header, [samples[name] for name in header])), layouts)


_FULL = range(SAMPLE_ROWS)


def _without_data(layout: Layout, named: Collection[str]) -> Layout:
    """The layout; if the first row is more likely somebody's data than a header, with places instead of names."""
    if layout.format != "csv":
        return layout
    known = [entry.column for entry in guess(layout.header, [()] * len(layout.header)) if entry.reason == "header"]
    # A single short word, such as “NO”, may be a country as well; but hardly where all are written as names are.
    telling = len(known) > 1 or any(len(name.strip()) > 3 for name in known)
    telling |= bool(known) and all(re.fullmatch(r"[a-z][a-z0-9_]*", name.strip()) for name in layout.header)
    if not layout.header_looks_like_data and (telling or any(name in named for name in layout.header)):
        return layout
    places = tuple(f"column {place}" for place in range(1, len(layout.header) + 1))
    return replace(layout, header=places, header_looks_like_data=True)


def masked(value: str) -> str:
    """The shape of a value, fit to be shown: letters and digits are gone, the length is at most 24."""
    shape = re.sub(r"[^\W\d_]", "x", re.sub(r"\d", "9", value))
    shape = re.sub(r"[^x9@.\-+()/#, ]", "x", shape)
    return shape if len(shape) <= 24 else shape[:23] + "…"


@dataclass
class Seen:
    """What a batch showed."""

    tally: Tally
    columns: dict[str, ColumnReport]
    bits: npt.NDArray[np.int64]
    hashes: Hashes
    key_rows: npt.NDArray[np.int64]
    consent: dict[str, dict[str, int]]
    usable: int
    batch: Batch


def check(
    places: Sequence[str],
    mapping: Mapping[str, Kind] | None = None,
    *,
    country: str | None = None,
    rule_table: str = rules.AMAZON_ADS,
    event: bool = False,
    jobs: int | None = None,
    memory: int = DEFAULT_MEMORY,
    progress: Report = unreported,
    cancelled: Stop = never,
    s3: S3Factory = default_s3,
) -> CheckReport:
    """Reads all rows of the files and reports what is wrong with them.

    ``places`` are paths or ``s3://`` URLs, ``mapping`` gives each column's kind (None: as guessed), ``country`` is the
    country of rows that name none. Validity is judged by ``rule_table``. ``event`` says that the files are an event
    table, which must hold a key but no personal data. ``progress`` is called after each batch, ``cancelled`` asked
    before it. Raises Unreadable when a file cannot be opened at all, BadMapping, or Cancelled; a file that breaks
    off in the middle is a finding.
    """
    job = _Check(places, mapping, country, rule_table, event, batch_size(memory), s3)
    with Pool(jobs or default_jobs(), cancelled) as pool, workspace() as temporary:
        return job.run(pool, temporary, progress)


class _Check:
    def __init__(
        self,
        places: Sequence[str],
        mapping: Mapping[str, Kind] | None,
        country: str | None,
        rule_table: str,
        event: bool,
        size: int,
        s3: S3Factory,
    ) -> None:
        self._size, self._event = size, event
        self._sources: list[Source] = find(places, s3)
        self._overview = look(places, mapping or (), s3=s3)
        self._guesses = {entry.column: entry for entry in self._overview.guesses}
        given = self._overview.mapping() if mapping is None else dict(mapping)
        unknown = [name for name in given if name not in self._overview.header]
        if unknown:
            raise BadMapping(f"the files have no column named {', '.join(unknown)}")
        self._mapping = {name: kind for name, kind in given.items() if kind is not Kind.IGNORE}
        keys = [name for name, kind in self._mapping.items() if kind is Kind.KEY]
        if len(keys) > 1:
            raise BadMapping(f"several keys: {', '.join(keys)}")
        self._key = keys[0] if keys else None
        self._table = rules.load(rule_table)
        other = next(name for name in rules.NAMES if name != rule_table)
        self._chosen, self._other = fast.Standardiser(self._table), fast.Standardiser(rules.load(other))
        self._country = country_named(country)
        self._few: dict[str, bool] = {}
        self._tally = Tally()
        self.report = CheckReport(
            [
                {"name": s.name, "bytes": s.size, "format": self._overview.layouts[s.name].format, "rows": 0}
                for s in self._sources
            ],
            rule_table,
            self._country,
        )

    def run(self, pool: Pool, temporary: Path, progress: Report) -> CheckReport:
        report = self.report
        columns = {
            name: ColumnReport(name, kind, self._guesses[name].confidence if self._guesses[name].kind is kind else None)
            for name, kind in self._mapping.items()
        }
        self._look_at_headers()
        scan = KeyScan(temporary, MAX_ROWS_PER_KEY, with_rows=True)
        counts = np.zeros(1 << len(BIT), np.int64)
        total = sum(source.size for source in self._sources)
        before = 0
        for number, source in enumerate(self._sources):
            layout = self._overview.layouts[source.name]
            records = 0
            try:
                for seen in pool.ordered(self._tasks(source, layout)):
                    shift = number * FILE_STEP + records
                    self._tally.merge(seen.tally, shift)
                    scan.add(seen.hashes, seen.key_rows + shift)
                    counts += np.bincount(seen.bits, minlength=len(counts))
                    for name, part in seen.columns.items():
                        _add(columns[name], part)
                    for name, values in seen.consent.items():
                        into = report.consent.setdefault(name, dict.fromkeys(values, 0))
                        for what, rows in values.items():
                            into[what] += rows
                    records += seen.batch.records
                    report.usable_rows += seen.usable
                    progress(Progress("check", before + seen.batch.progress, total, report.rows + records))
            except Unreadable as error:
                at = Place(source.name, records + 1)
                report.findings.append(Finding("unreadable", 1, None, error.file, [at]))
            before += source.size
            report.rows += records
            report.files[number]["rows"] = records
        if not report.rows and all(finding.code != "unreadable" for finding in report.findings):
            report.findings.append(Finding("rows-none", len(self._sources)))
        repeats = scan.repeats()
        self._note("key-repeated", self._key, repeats.rows - repeats.keys, repeats.repeated_at)
        self._note("key-over-25-rows", self._key, repeats.beyond_rows, repeats.beyond_at)
        for (code, column), count in self._tally.counts.items():
            rows = self._tally.rows[code, column]
            if code == "field-hashed" and column is not None:
                entry = columns[column]
                code = "field-mixed" if entry.values + entry.invalid > entry.hashed else code
            self._note(code, column, count, rows)
        report.columns = [entry for entry in columns.values() if entry.kind is not Kind.CONSENT]
        report.forecast = None if self._event else forecast(counts)
        order = list(Level)
        report.findings.sort(key=lambda found: (order.index(found.level), found.code, found.column or ""))
        return report

    def _note(self, code: str, column: str | None, count: int, rows: Sequence[int]) -> None:
        if count:
            places = [Place(self._sources[row // FILE_STEP].name, row % FILE_STEP) for row in rows]
            self.report.findings.append(Finding(code, count, column, None, places))

    def _look_at_headers(self) -> None:
        found = self.report.findings
        for source in self._sources:
            layout = self._overview.layouts[source.name]
            if layout.header_looks_like_data:
                found.append(Finding("header-missing", 1, None, source.name))
                continue
            header = layout.header
            names = {name for name in header if name.strip()}
            for name in sorted(names):
                if header.count(name) > 1:
                    found.append(Finding("header-duplicate", header.count(name), name, source.name))
                if name != name.lower():
                    found.append(Finding("header-upper-case", 1, name, source.name))
                if re.fullmatch(r"[a-z0-9_]+", name.lower()) is None:
                    found.append(Finding("header-characters", 1, name, source.name))
                if name.strip().lower() in RESERVED:
                    found.append(Finding("header-reserved", 1, name, source.name))
            for same, count in Counter(name.lower() for name in names).items():
                if count > 1:
                    found.append(Finding("header-same-but-for-case", count, same, source.name))
            if len(header) > sum(bool(name.strip()) for name in header):
                found.append(Finding("header-empty", sum(not name.strip() for name in header), None, source.name))
            missing = [name for name in self._mapping if name not in header]
            for name in missing:
                found.append(Finding("columns-differ", 1, name, source.name))
            if layout.has_mark:
                found.append(Finding("encoding-mark", 1, None, source.name))
        if self._key is None:
            found.append(Finding("key-column-missing", 1))
        if len(self._mapping) > MAX_COLUMNS:
            found.append(Finding("columns-too-many", len(self._mapping)))
        partners = (Kind.LIVERAMP, Kind.EXPERIAN, Kind.MERKLE)
        for name, kind in self._mapping.items():
            if kind in partners:
                found.append(Finding("id-partner", 1, name))
        for entry in self._overview.guesses:
            looks_personal = entry.kind in PERSONAL or entry.kind in CARRIED_KINDS
            looks_personal |= personal_beside(entry, entry.column == self._key)
            if self._event and looks_personal:
                found.append(Finding("event-personal", 1, entry.column))
            elif looks_personal and entry.column not in self._mapping:
                found.append(Finding("unmapped-personal", 1, entry.column))
        if self._event:
            self._mapping = {n: k for n, k in self._mapping.items() if k in (Kind.KEY, Kind.CONSENT)}
        hashed_without = Kind.COUNTRY not in self._mapping.values() and self._country is None
        if hashed_without and any(MEANINGS[k].rule in COUNTRY_RULES for k in self._mapping.values() if k in MEANINGS):
            found.append(Finding("country-missing", 1))

    def _tasks(self, source: Source, layout: Layout) -> Any:
        at = {name: layout.header.index(name) for name in self._mapping if name in layout.header}
        for load in batches(source, layout, list(at.values()), self._size):
            yield self._task(load, at)

    def _task(self, load: Load, at: Mapping[str, int]) -> Callable[[], Seen]:
        def run() -> Seen:
            batch = load()
            values = {name: fast.text_array(batch.columns[place]) for name, place in at.items()}
            seen = self._seen(batch, values)
            batch.columns.clear()
            return seen

        return run

    def _seen(self, batch: Batch, values: dict[str, pa.StringArray]) -> Seen:
        tally = Tally()
        tally.add("ragged", None, np.array(batch.ragged, np.int64))
        tally.add("encoding", None, np.array(batch.reencoded, np.int64))
        rows = batch.rows
        usable = np.ones(rows, bool)
        hashes, key_rows = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        if self._key is not None:
            # A file without that column has rows without a key.
            keys = values.get(self._key, fast.text_array(pa.nulls(rows, pa.string())))
            usable = self._look_at_keys(keys, batch, tally)
            chosen = np.flatnonzero(usable)
            hashes, key_rows = key_hashes(keys)[chosen], batch.numbers(chosen)
        bits = np.zeros(rows, np.int64)
        columns: dict[str, ColumnReport] = {}
        consent: dict[str, dict[str, int]] = {}
        encoded = {
            name: fast.encoded(array, self._few.setdefault(name, fast.few_values(array)))
            for name, array in values.items()
            if name != self._key
        }
        countries = self._countries(encoded, batch, tally)
        for name, column in encoded.items():
            kind = self._mapping[name]
            if kind is Kind.CONSENT:
                consent[name] = self._look_at_consent(name, column, batch, tally)
                continue
            columns[name] = report = ColumnReport(name, kind)
            valid = self._look_at_values(name, kind, column, countries, batch, tally, report)
            bits |= np.where(valid, BIT[kind], 0)
        if self._key is not None:
            columns[self._key] = ColumnReport(self._key, Kind.KEY, None, int(usable.sum()), 0, 0)
            present = int(fast.is_valid(keys).sum())
            columns[self._key].empty = rows - present
            columns[self._key].invalid = present - columns[self._key].values
        if not self._event:
            tally.add("nothing-to-match", None, batch.numbers(np.flatnonzero(unmatchable(bits) & usable)))
        return Seen(tally, columns, bits[usable], hashes, key_rows, consent, int(usable.sum()), batch)

    def _look_at_keys(self, keys: pa.StringArray, batch: Batch, tally: Tally) -> npt.NDArray[np.bool_]:
        usable, missing, overlong = good_keys(keys)
        present = fast.is_valid(keys)
        if missing:
            tally.add("key-missing", self._key, batch.numbers(np.flatnonzero(~present)))
        if overlong:
            tally.add("key-overlong", self._key, batch.numbers(np.flatnonzero(present & ~usable)))
        trimmed = pc.not_equal(pc.binary_length(pc.utf8_trim_whitespace(keys)), pc.binary_length(keys))
        blanks = np.asarray(pc.fill_null(trimmed, False).to_numpy(zero_copy_only=False))
        tally.add("key-blanks", self._key, batch.numbers(np.flatnonzero(blanks)))
        return usable

    def _countries(self, encoded: dict[str, fast.Column], batch: Batch, tally: Tally) -> fast.Countries:
        name = next((n for n in encoded if self._mapping[n] is Kind.COUNTRY), None)
        if name is None:
            return fast.Countries([self._country])
        countries = self._chosen.country_codes(encoded[name], self._country)
        if self._country is None and countries.codes is not None:
            tally.add("country-missing", name, batch.numbers(np.flatnonzero(countries.codes == 0)))
        return countries

    def _look_at_consent(self, name: str, column: fast.Column, batch: Batch, tally: Tally) -> dict[str, int]:
        present = column.valid()
        known, empty = name.strip().lower(), int((~present).sum())
        if known in CONSENT_STRINGS:
            like = pc.match_substring_regex(column.values, f"^(?:{CONSENT_STRINGS[known]})$")
        elif known in CONSENT_COLUMNS:
            like = pc.equal(column.values, GRANTED)
        else:
            return {"values": len(present) - empty, "empty": empty}
        good = _per_row(np.asarray(pc.fill_null(like, False).to_numpy(zero_copy_only=False)), column)
        other = present & ~good
        if known in CONSENT_STRINGS:
            tally.add("consent-malformed", name, batch.numbers(np.flatnonzero(other)))
            tally.add("consent-empty", name, batch.numbers(np.flatnonzero(~present)))
            return {"strings": int(good.sum()), "malformed": int(other.sum()), "empty": empty}
        tally.add("consent-denied", name, batch.numbers(np.flatnonzero(~good)))
        return {"granted": int(good.sum()), "other": int(other.sum()), "empty": empty}

    def _look_at_values(
        self,
        name: str,
        kind: Kind,
        column: fast.Column,
        countries: fast.Countries,
        batch: Batch,
        tally: Tally,
        report: ColumnReport,
    ) -> npt.NDArray[np.bool_]:
        """Looks at one column; gives the rows that have something to match by in it."""
        present = column.valid()
        hashed = _per_row(fast.hashed_already(column.values), column)
        wrong = _per_row(_wrong_kind(kind, column.values), column)
        rule = MEANINGS[kind].rule
        if rule is None:
            valid = present & ~hashed
            if kind is Kind.MAID:
                uuid = pc.match_substring_regex(column.values, f"^(?:{MAID_VALUE.pattern})$")
                zero = pc.match_substring_regex(column.values, "^[0-]+$")
                good = pc.fill_null(pc.and_(uuid, pc.invert(zero)), False).to_numpy(zero_copy_only=False)
                valid &= _per_row(np.asarray(good), column)
            tally.add("id-hashed", name, batch.numbers(np.flatnonzero(hashed)))
            invalid = present & ~valid & ~hashed
        else:
            standard = self._chosen.column(rule, column, countries)
            other = self._other.column(rule, column, countries)
            valid = standard.valid()
            tally.add("field-hashed", name, batch.numbers(np.flatnonzero(hashed)))
            invalid = present & ~valid
            differs = _differs(standard, other)
            report.rules_differ = int(differs.sum())
            tally.add("rules-differ", name, batch.numbers(np.flatnonzero(differs)))
        report.values, report.empty = int(valid.sum()), int((~present).sum())
        report.invalid, report.hashed, report.wrong_kind = int(invalid.sum()), int(hashed.sum()), int(wrong.sum())
        tally.add("field-empty", name, batch.numbers(np.flatnonzero(~present)))
        tally.add("field-invalid", name, batch.numbers(np.flatnonzero(invalid)))
        tally.add("field-wrong-kind", name, batch.numbers(np.flatnonzero(wrong)))
        return valid & ~wrong


def _add(into: ColumnReport, part: ColumnReport) -> None:
    for name in ("values", "empty", "invalid", "hashed", "wrong_kind", "rules_differ"):
        setattr(into, name, getattr(into, name) + getattr(part, name))


def _per_row(flags: npt.NDArray[np.bool_], column: fast.Column) -> npt.NDArray[np.bool_]:
    return flags if column.index is None else np.append(flags, False)[column.index]


def _differs(one: fast.Column, other: fast.Column) -> npt.NDArray[np.bool_]:
    """Per row, whether two columns hold different values; a value and no value differ."""
    same_index = one.index is other.index or (
        one.index is not None and other.index is not None and np.array_equal(one.index, other.index)
    )
    left, right = (one.values, other.values) if same_index else (one.rows(), other.rows())
    equal = np.asarray(pc.fill_null(pc.equal(left, right), False).to_numpy(zero_copy_only=False))
    equal |= ~fast.is_valid(left) & ~fast.is_valid(right)
    differs = ~equal
    return np.append(differs, False)[one.index] if same_index and one.index is not None else differs


AT, DIGITS = ord("@"), fast.byte_set(b"0123456789")
PHONE_CHARACTERS = fast.byte_set(fast.PLAIN_PHONE)
NO_PHONES = frozenset({Kind.EMAIL, Kind.FIRST_NAME, Kind.LAST_NAME, Kind.CITY, Kind.STATE, Kind.COUNTRY, Kind.ADDRESS})


def _wrong_kind(kind: Kind, values: pa.StringArray) -> npt.NDArray[np.bool_]:
    """Per value, whether it looks like an e-mail address or telephone number where another kind should be."""
    data, offsets = fast.buffers(values)
    valid = fast.is_valid(values)
    wrong = np.zeros(len(values), bool)
    if len(values) == 0:
        return wrong
    if kind is not Kind.EMAIL:
        wrong |= fast.marked(data == AT, offsets)
    if kind in NO_PHONES:
        digits = np.zeros(offsets[-1] + 1, np.int32)
        np.cumsum(DIGITS[data[: offsets[-1]]], out=digits[1:])
        count = digits[offsets[1:]] - digits[offsets[:-1]]
        wrong |= (count >= 7) & ~fast.marked(~PHONE_CHARACTERS[data], offsets)
    return wrong & valid
