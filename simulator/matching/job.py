"""The ID mapping job (guide 7, "Create an ID mapping table"): reads the tables of a SOURCE ID namespace and joins
their records with Amazon's people.

The job streams: a batch of rows at a time, and 8 to 24 bytes for each row of the whole. What it reports is counted.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from simulator.matching import rules
from simulator.matching.population import (
    COUNTRIES,
    UNHASHED,
    Keys,
    Numbers,
    Part,
    combined,
    hashed_keys,
    mixed,
    short_keys,
)
from simulator.matching.standardise import Field, country_code, known_country_codes, standardise

if TYPE_CHECKING:
    from simulator.aws.front import AwsFront
    from simulator.clock import SimClock
    from simulator.store import World

MOST_TABLES = 20
MOST_COLUMNS = 25
MOST_ROWS_OF_A_KEY = 25
LONGEST_KEY = 38
RESERVED_NAMES = frozenset(
    {"emailaddress", "inputsourcearn", "matchrule", "matchid", "hashingprotocol", "confidencelevel", "source"}
)
_BATCH_ROWS = 131_072
_BLOCK_BYTES = 16 * 2**20

_FIELD_OF_TYPE: dict[str, Field] = {
    "NAME": "name",
    "NAME_FIRST": "name",
    "NAME_MIDDLE": "name",
    "NAME_LAST": "name",
    "EMAIL_ADDRESS": "email",
    "PHONE": "phone",
    "PHONE_NUMBER": "phone",
    "ADDRESS": "address",
    "ADDRESS_STREET1": "address",
    "ADDRESS_CITY": "city",
    "ADDRESS_STATE": "state",
    "ADDRESS_POSTALCODE": "zip",
    "ADDRESS_COUNTRY": "country",
}


class TableSource(Protocol):
    """A Glue table as the namespace's role may read it."""

    @property
    def name(self) -> str:
        """The table's name, for messages."""

    @property
    def columns(self) -> Sequence[str]:
        """The column names of the Glue table, in order."""

    @property
    def format(self) -> Literal["csv", "parquet"]:
        """The format of the files at the table's location."""

    @property
    def delimiter(self) -> str:
        """What separates the columns of a CSV file."""

    def files(self) -> Iterable[tuple[str, BinaryIO]]:
        """Name and seekable content of each file at the location; asked for twice. The caller closes them."""


@dataclass(frozen=True)
class MappedField:
    """One of the schema mapping's input fields."""

    name: str
    type: str
    match_key: str | None = None
    hashed: bool = False


@dataclass(frozen=True)
class MappedTable:
    """An input source of an ID namespace: a table and the schema mapping to read it by."""

    source: TableSource
    fields: tuple[MappedField, ...]


@dataclass(frozen=True)
class MappingMetrics:
    """What an ID mapping job reports, in rows but where it says otherwise."""

    inputRecords: int = 0
    totalRecordsProcessed: int = 0
    recordsNotProcessed: int = 0
    """Rows without a usable unique key, and rows beyond the 25th of one key."""
    totalMappedRecords: int = 0
    """Rows of the mapping table: different pairs of unique key and person."""
    totalMappedSourceRecords: int = 0
    """Different unique keys that matched anybody."""
    totalMappedTargetRecords: int = 0
    """Different people who were matched."""
    uniqueRecordsLoaded: int = 0
    """Different unique keys among the processed rows."""


@dataclass(frozen=True)
class MappingOutcome:
    """How a job ended: with metrics, or with the reason why it failed."""

    ok: bool
    error_details: str | None = None
    metrics: dict[str, int] = field(default_factory=lambda: asdict(MappingMetrics()))


class MappingFailed(Exception):
    """The job can't go on; the text is what `errorDetails` says."""


@dataclass
class _Tally:
    rows: int = 0
    skipped: int = 0
    keys: list[Keys] = field(default_factory=list)
    mapped_keys: list[Keys] = field(default_factory=list)
    mapped_people: list[Keys] = field(default_factory=list)

    def metrics(self) -> MappingMetrics:
        nothing: Keys = np.empty(0, dtype=np.uint64)
        sources = np.concatenate([nothing, *self.mapped_keys])
        targets = np.concatenate([nothing, *self.mapped_people])
        return MappingMetrics(
            inputRecords=self.rows,
            totalRecordsProcessed=self.rows - self.skipped,
            recordsNotProcessed=self.skipped,
            totalMappedRecords=len(np.unique(combined([mixed(sources), targets]))),
            totalMappedSourceRecords=len(np.unique(sources)),
            totalMappedTargetRecords=len(np.unique(targets)),
            uniqueRecordsLoaded=len(np.unique(np.concatenate([nothing, *self.keys]))),
        )


def map_tables(tables: Sequence[MappedTable], index_directory: Path | None = None) -> MappingOutcome:
    """Match all records of the tables. A table that breaks the guide's rules fails the job, with no metrics but 0.

    `index_directory` is where Amazon's side keeps its sorted keys from one run to the next.
    """
    tally = _Tally()
    try:
        if not 1 <= len(tables) <= MOST_TABLES:
            raise MappingFailed(
                f"An ID namespace has between 1 and {MOST_TABLES} input sources, but this has {len(tables)}."
            )
        for table in tables:
            _Reader(table, index_directory).read_into(tally)
    except MappingFailed as failure:
        return MappingOutcome(ok=False, error_details=str(failure))
    finally:
        rules.forget()
    return MappingOutcome(ok=True, metrics=asdict(tally.metrics()))


def run_mapping_job(world: World, clock: SimClock, aws: AwsFront, *, namespace_arn: str) -> MappingOutcome:
    """Run the ID mapping job of a SOURCE ID namespace, through the namespace's role and nothing else.

    What the role may not read, what is gone and what breaks the guide's rules ends in a failed outcome, never in an
    exception. The keys of Amazon's side are kept beside the simulator's other AWS data.
    """
    # Imported here: tables that lie on disk are matched without the AWS side.
    from simulator.aws import reading

    source = reading.namespace(world, namespace_arn)
    if source is None:
        return MappingOutcome(ok=False, error_details=f"The ID namespace {namespace_arn} does not exist.")
    account = namespace_arn.split(":")[4]
    tables: list[MappedTable] = []
    try:
        reader = reading.RoleReader(aws, source["roleArn"], clock)
        for config in source["inputSourceConfig"]:
            schema = reading.schema_mapping(world, account, config["schemaName"])
            if schema is None:
                raise MappingFailed(f"The schema mapping {config['schemaName']} does not exist.")
            fields = tuple(
                MappedField(each["fieldName"], each["type"], each.get("matchKey"), bool(each.get("hashed", False)))
                for each in schema["mappedInputFields"]
            )
            tables.append(MappedTable(reader.table(config["inputSourceARN"]), fields))
        return map_tables(tables, aws.moto.directory / "matching")
    except (MappingFailed, reading.AccessRefused) as failure:
        return MappingOutcome(ok=False, error_details=str(failure))


class _Reader:
    """Reads one table and matches its rows."""

    def __init__(self, table: MappedTable, index_directory: Path | None) -> None:
        self._source = table.source
        self._fields = table.fields
        self._index_directory = index_directory
        self._check_schema()
        (self._key,) = [f.name for f in self._fields if f.type == "UNIQUE_ID"]
        self._columns: dict[str, list[MappedField]] = {}
        for each in self._fields:
            if each.match_key is not None and each.type != "UNIQUE_ID":
                self._columns.setdefault(each.match_key, []).append(each)
        self._rules = rules.applicable(set(self._columns))
        if not self._rules:
            raise MappingFailed(
                f"None of the match rules of the target can be applied to table {self._source.name}: the schema "
                f"mapping has the match keys {', '.join(sorted(self._columns)) or '(none)'}."
            )
        used = {part for rule in self._rules for part in rule}
        self._parts: list[Part] = [part for part in get_args(Part) if part in used]
        needed = {f.name for part in [*self._parts, "Country"] for f in self._columns.get(part, [])}
        self._wanted = [self._key, *(name for name in self._source.columns if name in needed and name != self._key)]

    def _check_schema(self) -> None:
        name, columns = self._source.name, list(self._source.columns)
        upper = [column for column in columns if column != column.lower()]
        if upper:
            raise MappingFailed(f"Column names of table {name} must be in lowercase: {', '.join(upper)}.")
        reserved = [column for column in columns if column in RESERVED_NAMES]
        if reserved:
            raise MappingFailed(f"Table {name} uses reserved column names: {', '.join(reserved)}.")
        repeated = [column for column, times in Counter(columns).items() if times > 1]
        if repeated:
            raise MappingFailed(f"Table {name} has a column twice: {', '.join(repeated)}.")
        if len(self._fields) > MOST_COLUMNS:
            raise MappingFailed(
                f"The schema mapping of table {name} has {len(self._fields)} columns; "
                f"at most {MOST_COLUMNS} are supported."
            )
        if sum(f.type == "UNIQUE_ID" for f in self._fields) != 1:
            raise MappingFailed(f"The schema mapping of table {name} must have exactly one UNIQUE_ID field.")
        missing = [f.name for f in self._fields if f.name not in columns]
        if missing:
            raise MappingFailed(
                f"Input fields of the schema mapping are not columns of table {name}: {', '.join(missing)}."
            )

    def read_into(self, tally: _Tally) -> None:
        crowded = self._crowded_keys()
        room = dict.fromkeys(crowded.tolist(), MOST_ROWS_OF_A_KEY)
        for batch in self._batches(self._wanted):
            keys, usable = self._unique_keys(batch)
            tally.rows += len(keys)
            if len(crowded):
                for row in np.flatnonzero(usable & np.isin(keys, crowded)).tolist():
                    key = int(keys[row])
                    room[key] -= 1
                    usable[row] = room[key] >= 0
            tally.skipped += int(len(usable) - usable.sum())
            if not usable.all():
                batch, keys = batch.filter(pl.Series(usable)), keys[usable]
            tally.keys.append(np.unique(keys))
            for rows, who in self._matches(batch):
                tally.mapped_keys.append(keys[rows])
                tally.mapped_people.append(who)

    def _crowded_keys(self) -> Keys:
        """Keys with more rows than are read of one."""
        seen: list[Keys] = [np.empty(0, dtype=np.uint64)]
        for batch in self._batches([self._key]):
            keys, usable = self._unique_keys(batch)
            seen.append(keys[usable])
        keys, times = np.unique(np.concatenate(seen), return_counts=True)
        return keys[times > MOST_ROWS_OF_A_KEY]

    def _unique_keys(self, batch: pl.DataFrame) -> tuple[Keys, npt.NDArray[np.bool_]]:
        values = batch.get_column(self._key)
        length = values.str.len_chars()
        usable = ((length > 0) & (length <= LONGEST_KEY)).fill_null(False).to_numpy(writable=True)
        return values.hash(seed=1).to_numpy(), usable

    # --- files ------------------------------------------------------------------------------------------------------

    def _batches(self, columns: list[str]) -> Iterator[pl.DataFrame]:
        """All rows of all files: the columns asked for, as text, blank values as null."""
        name = ""
        try:
            for name, content in self._source.files():
                with content:
                    if self._source.format == "csv":
                        yield from self._csv_batches(name, content, columns)
                    else:
                        yield from self._parquet_batches(name, content, columns)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError, EOFError, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise MappingFailed(
                f"File {name} of table {self._source.name} can't be read as {self._source.format}: {reason}"
            ) from error
        if not name:
            raise MappingFailed(f"There are no files at the location of table {self._source.name}.")

    def _csv_batches(self, name: str, content: BinaryIO, columns: list[str]) -> Iterator[pl.DataFrame]:
        plain = _unzipped(content)
        header = _header(plain, self._source.delimiter)
        if header != list(self._source.columns):
            raise MappingFailed(self._header_difference(name, header))
        plain.seek(0)
        reader = pa.csv.open_csv(
            pa.PythonFile(plain, mode="r"),
            read_options=pa.csv.ReadOptions(block_size=_BLOCK_BYTES),
            parse_options=pa.csv.ParseOptions(delimiter=self._source.delimiter, newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                include_columns=columns, column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False
            ),
        )
        for batch in reader:
            yield _as_text(pa.Table.from_batches([batch]))

    def _parquet_batches(self, name: str, content: BinaryIO, columns: list[str]) -> Iterator[pl.DataFrame]:
        file = pa.parquet.ParquetFile(content)
        header = list(file.schema_arrow.names)
        if set(header) != set(self._source.columns) or len(header) != len(self._source.columns):
            raise MappingFailed(self._header_difference(name, header))
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
            yield _as_text(pa.Table.from_batches([batch])).select(columns)

    def _header_difference(self, name: str, header: list[str]) -> str:
        columns = list(self._source.columns)
        table = self._source.name
        upper = [column for column in header if column != column.lower()]
        if upper:
            return f"Column headers of file {name} must be in lowercase: {', '.join(upper)}."
        if set(header) == set(columns) and len(header) == len(columns):
            return f"The headers of file {name} are not in the order of the columns of table {table}."
        only_file = [column for column in header if column not in columns]
        only_table = [column for column in columns if column not in header]
        return (
            f"The headers of file {name} do not match the columns of table {table}: only in the file: "
            f"{', '.join(only_file) or '(none)'}; only in the table: {', '.join(only_table) or '(none)'}."
        )

    # --- matching ---------------------------------------------------------------------------------------------------

    def _matches(self, batch: pl.DataFrame) -> Iterator[tuple[Numbers, Keys]]:
        """Row numbers of the batch, and the person each matched, once for every way to match."""
        if not batch.height:
            return
        codes, nations, agrees = self._countries(batch)
        columns = {part: [self._column_keys(batch, f, codes) for f in self._columns[part]] for part in self._parts}
        hashed = {part: [f.hashed for f in self._columns[part]] for part in self._parts}
        for rule in self._rules:
            for choice in _choices(rule, columns):
                rows_there = np.logical_and.reduce([columns[part][at][1] for part, at in choice])
                wanted = combined([columns[part][at][0] for part, at in choice])
                signatures = rules.signatures(rule, {part: hashed[part][at] for part, at in choice})
                for number, country in enumerate(COUNTRIES):
                    here = (nations == number) | (nations == _NOWHERE)
                    if rule in rules.COUNTRY_RULES and "Country" in self._columns:
                        here = (nations == number) & agrees
                    rows = np.flatnonzero(rows_there & here)
                    if not len(rows):
                        continue
                    for signature in signatures:
                        who = rules.index(country, signature, self._index_directory).find(wanted[rows])
                        found = who >= 0
                        yield rows[found], (who[found] + (number << 32)).astype(np.uint64)

    def _countries(self, batch: pl.DataFrame) -> tuple[pl.Series, Numbers, npt.NDArray[np.bool_]]:
        """Of each row the country as Entity Resolution standardises it (null if not told), the position in COUNTRIES
        of those whose people to search, and whether the country is written as Amazon holds it."""
        codes = pl.Series([None] * batch.height, dtype=pl.String)
        nations = np.full(batch.height, _NOWHERE, dtype=np.int64)
        agrees = np.zeros(batch.height, dtype=np.bool_)
        for each in self._columns.get("Country", []):
            column = batch.get_column(each.name)
            different = column.unique().to_list()
            told = [_nation(value, each.hashed) for value in different]
            new = nations == _NOWHERE
            for place, kind in ((nations, pl.Int64), (agrees, pl.Boolean)):
                values = [nation.place if place is nations else nation.agrees for nation in told]
                place[new] = column.replace_strict(different, values, return_dtype=kind).to_numpy()[new]
            names = column.replace_strict(different, [nation.code for nation in told], return_dtype=pl.String)
            codes = codes.fill_null(names)
        return codes, nations, agrees

    def _column_keys(
        self, batch: pl.DataFrame, each: MappedField, codes: pl.Series
    ) -> tuple[Keys, npt.NDArray[np.bool_]]:
        """The key of each value and whether there is one."""
        values = batch.get_column(each.name)
        if each.hashed:
            return short_keys(values)
        if each.match_key == "MAID":
            # Apple writes device ids in capitals, Android does not.
            values = values.str.to_lowercase()
        return _clear_keys(values, codes, _FIELD_OF_TYPE.get(each.type))


_NOWHERE = -1
_ELSEWHERE = -2


@dataclass(frozen=True)
class _Nation:
    code: str | None
    place: int
    agrees: bool


def _nation(value: str | None, hashed: bool) -> _Nation:
    """What a country column tells. Amazon knows what USA means, but its rules compare the standardised value."""
    if hashed:
        code = known = _hashed_countries().get(value or "")
    else:
        code = (standardise("entity-resolution-1", "country", value) or "").upper() or None
        known = country_code(value)
    if known is None:
        return _Nation(code, _NOWHERE, False)
    return _Nation(code, COUNTRIES.index(known) if known in COUNTRIES else _ELSEWHERE, code == known)


@cache
def _hashed_countries() -> dict[str, str]:
    """The ISO codes by the hash of their standardised form."""
    return {sha256(code.lower().encode()).hexdigest(): code for code in known_country_codes()}


def _choices(
    rule: rules.Rule, columns: dict[Part, list[tuple[Keys, npt.NDArray[np.bool_]]]]
) -> Iterator[list[tuple[Part, int]]]:
    """Every way to take one column for each match key of the rule."""
    ways: list[list[tuple[Part, int]]] = [[]]
    for part in rule:
        ways = [[*way, (part, at)] for way in ways for at in range(len(columns[part]))]
    yield from ways


_MANY_TIMES_THE_SAME: frozenset[Field] = frozenset({"name", "city", "state", "zip", "country"})


def _clear_keys(values: pl.Series, countries: pl.Series, kind: Field | None) -> tuple[Keys, npt.NDArray[np.bool_]]:
    """The key of each clear value, standardised by its kind and country, and whether there is one."""
    if kind is None:
        texts = UNHASHED + values.str.strip_chars()
    elif kind in _MANY_TIMES_THE_SAME:
        different = values.unique().to_list()
        done = [standardise("entity-resolution-1", kind, value) for value in different]
        texts = values.replace_strict(different, done, return_dtype=pl.String)
    else:
        pairs = zip(values.to_list(), countries.to_list(), strict=True)
        texts = pl.Series([standardise("entity-resolution-1", kind, *pair) for pair in pairs], dtype=pl.String)
    return hashed_keys(texts.fill_null("")), texts.is_not_null().to_numpy()


def _unzipped(content: BinaryIO) -> BinaryIO | gzip.GzipFile:
    start = content.read(2)
    content.seek(0)
    return gzip.GzipFile(fileobj=content) if start == b"\x1f\x8b" else content


def _header(content: BinaryIO | gzip.GzipFile, delimiter: str) -> list[str]:
    """The first line of a CSV file; a byte order mark counts as part of the first name."""
    line = content.readline(2**20)
    return next(csv.reader(io.StringIO(line.decode("utf-8")), delimiter=delimiter), [])


def _as_text(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame.select(pl.all().cast(pl.String)).with_columns(
        pl.when(pl.all().str.len_bytes() > 0).then(pl.all()).otherwise(None)
    )
