"""Prepares identity files for Entity Resolution: standardise, hash, one row a key, Parquet (guide 7, step 1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from onboarding.identity import fast, manifest, rules
from onboarding.identity.collapse import Collapsed, Collapser, positions
from onboarding.identity.columns import (
    COUNTRY_RULES,
    HASHED_KINDS,
    MAX_COLUMNS,
    MAX_KEY_LENGTH,
    MAX_ROWS_PER_KEY,
    MAX_TABLES,
    MEANINGS,
    RESERVED,
    VALUE_KINDS,
    Kind,
)
from onboarding.identity.errors import BadDestination, BadMapping
from onboarding.identity.keys import Hashes, KeyScan, Repeats, contains, key_hashes
from onboarding.identity.mapping import checked, country_named, each_once
from onboarding.identity.parquet import FILE_LIMIT, ROW_GROUP, PreparedFile, TableWriter, apart
from onboarding.identity.publish import Destination, destination
from onboarding.identity.reading import Batch, Load, batches, describe
from onboarding.identity.storage import S3Factory, default_s3, find, lies_within
from onboarding.identity.work import (
    DEFAULT_MEMORY,
    Pool,
    Progress,
    Report,
    Stop,
    batch_size,
    default_jobs,
    give_back,
    never,
    unreported,
    workspace,
)

Values = dict[str, pa.StringArray]


class HasBatch(Protocol):
    """What was made of a batch, with the batch."""

    batch: Batch


Done = TypeVar("Done", bound=HasBatch)
ALL_REPEATED = 4_000_000
"""Above this many repeated keys every row takes the way of the repeated ones, so that their hashes need no room."""
LOOK = batch_size(DEFAULT_MEMORY)
"""Bytes of CSV by which columns are judged: the same whatever memory there is, since the output depends on it."""


@dataclass
class FieldCounts:
    """What became of one column's values: how many rows had ``values``, were ``empty``, held something ``invalid`` that
    became null, or were ``hashed`` already."""

    values: int = 0
    empty: int = 0
    invalid: int = 0
    hashed: int = 0

    def __iadd__(self, other: FieldCounts) -> FieldCounts:
        self.values += other.values
        self.empty += other.empty
        self.invalid += other.invalid
        self.hashed += other.hashed
        return self


@dataclass(frozen=True)
class OutputColumn:
    """A column of a prepared table. ``number`` counts the columns of one kind from 1."""

    name: str
    kind: Kind
    number: int
    hashed: bool

    def as_dict(self) -> dict[str, Any]:
        meaning = MEANINGS.get(self.kind)
        return {
            "name": self.name,
            "kind": self.kind.value,
            "er_type": meaning.er_type if meaning else None,
            "match_key": meaning.match_key if meaning else None,
            "hashed": self.hashed,
        }


@dataclass(frozen=True)
class PreparedTable:
    """A prepared table: a Glue table's worth of files in the folder ``name``."""

    name: str
    columns: tuple[OutputColumn, ...]
    rows: int
    files: tuple[PreparedFile, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "rows": self.rows,
            "columns": [column.as_dict() for column in self.columns],
            "files": [file.as_dict() for file in self.files],
        }


@dataclass
class Preparation:
    """What was prepared, in counts. ``destination`` is the folder, ``tables`` what lies there, ``fields`` the counts of
    each input column, ``rules`` the rule table's name or None for clear values. ``rows_without_country`` counts rows
    whose country is not known though values of theirs are standardised by it."""

    destination: str
    rules: str | None
    country: str | None
    columns: dict[str, str]
    tables: list[PreparedTable] = field(default_factory=list)
    fields: dict[str, FieldCounts] = field(default_factory=dict)
    rows_read: int = 0
    rows_written: int = 0
    rows_ragged: int = 0
    rows_reencoded: int = 0
    rows_without_key: int = 0
    rows_with_long_key: int = 0
    rows_without_country: int = 0
    rows_of_repeated_keys: int = 0
    rows_collapsed_into: int = 0
    rows_beyond_limit: int = 0
    values_beyond_limit: int = 0
    values_not_utf8: int = 0
    sources: list[dict[str, Any]] = field(default_factory=list)

    @property
    def hashed(self) -> bool:
        """Whether values were hashed."""
        return self.rules is not None

    def as_dict(self) -> dict[str, Any]:
        result = dict(self.__dict__)
        result["tables"] = [table.as_dict() for table in self.tables]
        result["fields"] = {name: asdict(counts) for name, counts in self.fields.items()}
        result["hashed"] = self.hashed
        return result


@dataclass
class Rows:
    """Rows of a batch ready to be written, with the counts that go with them."""

    table: pa.Table
    hashes: Hashes
    counts: dict[str, FieldCounts]
    without_country: int
    batch: Batch


@dataclass
class Scanned:
    """The keys of a batch."""

    hashes: Hashes
    missing: int
    overlong: int
    batch: Batch


def prepare(
    places: Sequence[str],
    mapping: Mapping[str, Kind],
    out: str,
    *,
    country: str | None = None,
    rule_table: str | None = rules.AMAZON_ADS,
    table: str = "identity",
    jobs: int | None = None,
    memory: int = DEFAULT_MEMORY,
    progress: Report = unreported,
    cancelled: Stop = never,
    s3: S3Factory = default_s3,
    row_group: int = ROW_GROUP,
    file_limit: int = FILE_LIMIT,
) -> Preparation:
    """Prepares files and publishes them with a manifest.

    ``places`` are paths or ``s3://`` URLs (see :func:`onboarding.identity.storage.find`), ``mapping`` gives each
    column's kind (columns not named are left out), ``out`` is a folder or ``s3://bucket/prefix``. ``country`` is the
    country of rows that name none, ``rule_table`` the rules to standardise by before hashing; None writes the values as
    they are, for Entity Resolution to standardise. ``memory`` (bytes) bounds the batches, ``jobs`` the threads.
    ``progress`` is called after each batch and ``cancelled`` asked before it.

    Every table lies in a folder of its own below ``out``: ``table``, then ``table_2``, … where the columns pass 25.
    Raises an IdentityError: BadMapping, Unreadable, BadDestination, Cancelled. Nothing is published then.
    """
    for place in places:
        if lies_within(out, place):
            raise BadDestination(f"{out} lies in {place}, so that the next run would read it; choose a place outside")
    job = _Job(places, mapping, out, country, rule_table, table, jobs, memory, progress, cancelled, s3)
    job.row_group, job.file_limit = row_group, file_limit
    folder = destination(out, s3)
    try:
        folder.prepare()
        with Pool(job.jobs, cancelled) as pool, workspace() as temporary:
            return job.run(folder, pool, temporary)
    except BaseException:
        folder.abandon()
        raise


class _Job:
    """One preparation: reads keys, collapses rows of repeated keys, writes all others, publishes."""

    def __init__(
        self,
        places: Sequence[str],
        mapping: Mapping[str, Kind],
        out: str,
        country: str | None,
        rule_table: str | None,
        table: str,
        jobs: int | None,
        memory: int,
        progress: Report,
        cancelled: Stop,
        s3: S3Factory,
    ) -> None:
        self.row_group, self.file_limit = ROW_GROUP, FILE_LIMIT
        self.jobs = jobs or default_jobs()
        self._size = batch_size(memory)
        self._progress = progress
        self._table_name = _table_name(table)
        self._sources = [(source, describe(source)) for source in find(places, s3)]
        header = list(dict.fromkeys(name for _, layout in self._sources for name in layout.header))
        for _, layout in self._sources:
            each_once(mapping, layout.header)
        self._mapping = {name: kind for name, kind in checked(mapping, header).items() if kind is not Kind.IGNORE}
        self._rules = rules.load(rule_table) if rule_table else None
        self._standardiser = fast.Standardiser(self._rules) if self._rules else None
        self._country = self._default_country(country)
        self._key = next(name for name, kind in self._mapping.items() if kind is Kind.KEY)
        self._consent = [name for name, kind in self._mapping.items() if kind is Kind.CONSENT]
        self._by_kind = {
            kind: [name for name, given in self._mapping.items() if given is kind]
            for kind in VALUE_KINDS
            if kind in self._mapping.values()
        }
        self._few: dict[str, bool] = {}
        self._written: dict[str, FieldCounts] = {}
        self._nulls = pa.nulls(0, pa.string())
        self._total = sum(source.size for source, _ in self._sources)
        self.result = Preparation(
            out,
            rule_table,
            self._country,
            {name: kind.value for name, kind in self._mapping.items()},
            sources=[{"name": PurePosixPath(s.name).name, "bytes": s.size} for s, _ in self._sources],
        )

    def _default_country(self, country: str | None) -> str | None:
        if country is None:
            if self._rules is not None and Kind.COUNTRY not in self._mapping.values():
                raise BadMapping("give the files' country: how values are standardised depends on it")
            return None
        return country_named(country)

    def run(self, folder: Destination, pool: Pool, temporary: Path) -> Preparation:
        """Does it all."""
        self._look()
        repeats = self._scan_keys(pool, temporary)
        everything = repeats.keys > ALL_REPEATED
        hashes = None if everything else repeats.hashes
        collapsed = Collapsed({kind.value: len(names) for kind, names in self._by_kind.items()})
        collapser = None
        if repeats.rows:
            fields = {kind.value: names for kind, names in self._by_kind.items()}
            rows = self.result.rows_read if everything else repeats.rows
            collapser = Collapser(temporary, rows, self._key, fields, self._consent, MAX_ROWS_PER_KEY)
            for part in self._passes(pool, "collapse", lambda batch, values: self._rows(batch, values, hashes, True)):
                collapser.add(part.table, part.hashes)
                self._count(part)
            collapser.collapse()
            collapsed = collapser.result
        give_back()
        writers = self._writers(folder, collapsed)
        if not everything:
            for part in self._passes(pool, "prepare", lambda batch, values: self._rows(batch, values, hashes, False)):
                self._write(writers, part.table)
                self._count(part)
                self._count_written(part.counts)
        if collapser is not None:
            for table in collapser.rows():
                pool.check()
                written = self._as_written(table)
                if self._rules is None:
                    self._count_written(_clear_counts(written))
                # Of several tables, `_write` takes each one's columns apart.
                self._write(writers, apart(written) if len(writers) == 1 else written)
        return self._finish(folder, pool, writers, collapsed)

    def _passes(self, pool: Pool, stage: str, work: Callable[[Batch, Values], Done]) -> Iterator[Done]:
        """Every batch of every file through ``work``, in order, with progress."""
        before = rows = 0
        for source, layout in self._sources:
            wanted = [self._key] if stage == "keys" else list(self._mapping)
            at = {name: layout.header.index(name) for name in wanted if name in layout.header}
            loads = batches(source, layout, list(at.values()), self._size)
            for done in pool.ordered(_task(load, at, wanted, work) for load in loads):
                rows += done.batch.rows
                self._progress(Progress(stage, before + done.batch.progress, self._total, rows))
                yield done
            before += source.size

    def _look(self) -> None:
        """Decides from the first rows which columns are worked on as dictionaries."""
        for source, layout in self._sources:
            at = {name: layout.header.index(name) for name in self._mapping if name in layout.header}
            for load in batches(source, layout, list(at.values()), LOOK):
                batch = load()
                for name, position in at.items():
                    if name != self._key and name not in self._few:
                        self._few[name] = fast.few_values(fast.text_array(batch.columns[position]))
                break

    def _scan_keys(self, pool: Pool, temporary: Path) -> Repeats:
        scan = KeyScan(temporary, MAX_ROWS_PER_KEY, with_rows=False)
        result = self.result
        for part in self._passes(pool, "keys", self._keys):
            scan.add(part.hashes, np.zeros(0, np.int64))
            result.rows_read += part.batch.records
            result.rows_ragged += len(part.batch.ragged)
            result.rows_reencoded += len(part.batch.reencoded)
            result.rows_without_key += part.missing
            result.rows_with_long_key += part.overlong
        return scan.repeats()

    def _keys(self, batch: Batch, values: Values) -> Scanned:
        keys = fast.text_array(values[self._key])
        good, missing, overlong = good_keys(keys)
        if missing or overlong:
            keys = fast.text_array(keys.take(positions(good)))
        return Scanned(key_hashes(keys), missing, overlong, batch)

    def _rows(self, batch: Batch, values: Values, repeated: Hashes | None, wanted: bool) -> Rows:
        """The rows whose keys repeat (``wanted``) or do not, standardised and hashed; None: all repeat."""
        keys = fast.text_array(values[self._key])
        hashes = key_hashes(keys)
        chosen, _, _ = good_keys(keys)
        if repeated is not None:
            chosen &= contains(repeated, hashes) == wanted
        if not chosen.all():
            index = positions(chosen)
            values = {name: array.take(index) for name, array in values.items()}
            hashes = hashes[chosen]
        values = {name: fast.text_array(array) for name, array in values.items()}
        counts: dict[str, FieldCounts] = {}
        made, without_country = self._made(values, counts)
        if wanted:
            table = pa.table({name: column.rows() for name, column in made.items()})
        else:
            table = apart(pa.table({name: column.arrow() for name, column in made.items()}))
        return Rows(table, hashes, counts, without_country, batch)

    def _made(self, values: Values, counts: dict[str, FieldCounts]) -> tuple[dict[str, fast.Column], int]:
        """Each column as it is written, and of how many rows the country is not known though they need it."""
        encoded = {name: fast.encoded(array, self._few.get(name, False)) for name, array in values.items()}
        countries = fast.Countries([self._country])
        if self._standardiser is not None and Kind.COUNTRY in self._by_kind:
            countries = self._standardiser.country_codes(encoded[self._by_kind[Kind.COUNTRY][0]], self._country)
        made: dict[str, fast.Column] = {}
        needed = np.zeros(0 if countries.codes is None or countries.names[0] else len(countries.codes), bool)
        for name, column in encoded.items():
            meaning = MEANINGS.get(self._mapping[name])
            made[name] = column
            if self._mapping[name] is Kind.KEY:
                continue
            if meaning is not None and meaning.rule is not None and self._standardiser is not None:
                made[name] = fast.hashed(column, self._standardiser.column(meaning.rule, column, countries))
            filled, left = int(column.valid().sum()), int(made[name].valid().sum())
            ready = fast.hashed_already(column.values)
            ready = ready if column.index is None else np.append(ready, False)[column.index]
            counts[name] = FieldCounts(left, len(column) - filled, filled - left, int(ready.sum()))
            if len(needed) and meaning is not None and meaning.rule in COUNTRY_RULES:
                needed |= column.valid() & ~ready
        if len(needed):
            needed &= countries.codes == 0
        return made, int(np.count_nonzero(needed))

    def _count(self, part: Rows) -> None:
        for name, counts in part.counts.items():
            total = self.result.fields.setdefault(name, FieldCounts())
            total += counts
            if self._rules is None and self._mapping[name] in HASHED_KINDS and 0 < total.hashed < total.values:
                raise BadMapping(f"column {name} holds hashed and clear values; let it be hashed here")
        self.result.rows_without_country += part.without_country

    def _count_written(self, counts: Mapping[str, FieldCounts]) -> None:
        """Counts what goes into each column of the tables; rows of one key may bring it from several read."""
        for name, more in counts.items():
            total = self._written.setdefault(name, FieldCounts())
            total += more

    def _as_found(self, column: OutputColumn, source: str) -> OutputColumn:
        """The column, of which it is known now whether it holds hashes. Raises BadMapping where it holds both."""
        if self._rules is not None or column.kind not in HASHED_KINDS:
            return column
        counts = self._written.get(source or f"{column.kind.value}:{column.number}", FieldCounts())
        if 0 < counts.hashed < counts.values:
            names = ", ".join(self._by_kind[column.kind])
            raise BadMapping(
                f"columns {names}: some hold hashed and some clear values, which rows of one key mix; "
                "let them be hashed here"
            )
        return replace(column, hashed=counts.hashed > 0)

    def _writers(
        self, folder: Destination, collapsed: Collapsed
    ) -> list[tuple[TableWriter, list[OutputColumn], list[str]]]:
        """A writer for each table, with its columns' names and where they come from."""
        taken: set[str] = set()
        key = OutputColumn(_named(self._key, taken, "customerid"), Kind.KEY, 1, False)
        consent = [
            (OutputColumn(_named(name, taken, "consent"), Kind.CONSENT, 1, False), name) for name in self._consent
        ]
        numbered: list[tuple[OutputColumn, str]] = []
        widest = max(collapsed.widths.values(), default=0)
        for number in range(1, widest + 1):
            for kind, names in self._by_kind.items():
                if number > collapsed.widths[kind.value]:
                    continue
                meaning = MEANINGS[kind]
                plain = meaning.column if number == 1 else f"{meaning.column}_{number}"
                column = OutputColumn(
                    _named(plain, taken, plain), kind, number, self._rules is not None and bool(meaning.rule)
                )
                numbered.append((column, names[number - 1] if number <= len(names) else ""))
        room = MAX_COLUMNS - 1 - len(consent)
        if room < 1:
            raise BadMapping(f"{len(consent)} consent columns leave no room for others in a table of {MAX_COLUMNS}")
        parts = [numbered[start : start + room] for start in range(0, len(numbered), room)]
        if len(parts) > MAX_TABLES:
            raise BadMapping(f"the columns make {len(parts)} tables; an ID namespace takes {MAX_TABLES}")
        writers = []
        for place, part in enumerate(parts):
            columns = [(key, self._key), *part, *consent]
            name = self._table_name if place == 0 else _table_name(f"{self._table_name}_{place + 1}")
            schema = pa.schema([(column.name, self._type(source)) for column, source in columns])
            dictionaries = [column.name for column, source in columns if self._few.get(source)]
            writer = TableWriter(folder, name, schema, dictionaries, self.row_group, self.file_limit)
            writers.append((writer, [column for column, _ in columns], [source for _, source in columns]))
        return writers

    def _type(self, source: str) -> pa.DataType:
        return pa.dictionary(pa.int32(), pa.string()) if self._few.get(source) else pa.string()

    def _as_written(self, table: pa.Table) -> pa.Table:
        """Collapsed rows with the columns that a batch of other rows has, and the further numbered ones."""
        names = {}
        for kind, sources in self._by_kind.items():
            for place, source in enumerate(sources):
                names[f"{kind.value}:{place + 1}"] = source
        arrays = {}
        for name, column in zip(table.column_names, table.columns, strict=True):
            source = names.get(name, name)
            values = column.combine_chunks()
            values = pa.array([], pa.string()) if isinstance(values, pa.ChunkedArray) else values
            arrays[source] = values.dictionary_encode() if self._few.get(source) else values
        return pa.table(arrays)

    def _write(self, writers: list[tuple[TableWriter, list[OutputColumn], list[str]]], table: pa.Table) -> None:
        self.result.rows_written += table.num_rows
        for place, (writer, columns, sources) in enumerate(writers):
            kinds = {
                source or f"{column.kind.value}:{column.number}": column.kind
                for column, source in zip(columns, sources, strict=True)
            }
            there = [name for name in kinds if name in table.column_names]
            part = table.select(there)
            if place:
                part = _with_values(part, [name for name in there if kinds[name] in self._by_kind])
            if part.num_rows == 0:
                continue
            if len(there) < table.num_columns:
                part = apart(part)  # each table is written at a time of its own
            nothing = self._nothing(part.num_rows)
            arrays = [part.column(name) if name in there else nothing for name in kinds]
            writer.add(pa.table(arrays, names=[column.name for column in columns]))

    def _nothing(self, rows: int) -> pa.StringArray:
        """A column of nulls; all share one piece of memory."""
        if len(self._nulls) < rows:
            self._nulls = pa.nulls(rows, pa.string())
        return self._nulls.slice(0, rows)

    def _finish(
        self,
        folder: Destination,
        pool: Pool,
        writers: list[tuple[TableWriter, list[OutputColumn], list[str]]],
        collapsed: Collapsed,
    ) -> Preparation:
        result = self.result
        for writer, columns, sources in writers:
            writer.finish()
            found = tuple(self._as_found(column, source) for column, source in zip(columns, sources, strict=True))
            result.tables.append(PreparedTable(writer.name, found, writer.rows, tuple(writer.files)))
        result.fields = {name: result.fields.get(name, FieldCounts()) for name in self._mapping if name != self._key}
        result.rows_of_repeated_keys, result.rows_collapsed_into = collapsed.before, collapsed.after
        result.rows_beyond_limit, result.values_beyond_limit = collapsed.dropped_rows, collapsed.dropped_values
        pool.check()
        self._progress(Progress("publish", self._total, self._total, result.rows_written))
        folder.publish(manifest.document(result))
        return result


def _table_name(name: str) -> str:
    """The name, fit for a folder and for AWS Glue. Raises BadDestination."""
    if not manifest.NAME.fullmatch(name):
        raise BadDestination("a table's name is 1 to 255 of a-z, 0-9 and underscore; choose another")
    return name


def _task(
    load: Load, at: Mapping[str, int], wanted: Sequence[str], work: Callable[[Batch, Values], Done]
) -> Callable[[], Done]:
    def run() -> Done:
        batch = load()
        values = {name: batch.columns[at[name]] if name in at else pa.nulls(batch.rows, pa.string()) for name in wanted}
        done = work(batch, values)
        batch.columns.clear()
        return done

    return run


def _clear_counts(table: pa.Table) -> dict[str, FieldCounts]:
    """How many values each column has, and how many of them are hashes."""
    counts = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        values = fast.text_array(column.cast(pa.string()))
        counts[name] = FieldCounts(len(values) - values.null_count, hashed=int(fast.hashed_already(values).sum()))
    return counts


def _with_values(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """The rows that have a value in one of those columns."""
    some = pa.array(np.zeros(table.num_rows, bool))
    for name in names:
        some = pc.or_(some, table.column(name).is_valid())
    return table.filter(some)


def good_keys(keys: pa.StringArray) -> tuple[npt.NDArray[np.bool_], int, int]:
    """Which rows have a key that Entity Resolution takes; how many have none, and how many one that is too long."""
    present = fast.is_valid(keys)
    _, offsets = fast.buffers(keys)
    long = np.diff(offsets) > MAX_KEY_LENGTH
    if long.any():
        long = np.asarray(
            pc.fill_null(pc.greater(pc.utf8_length(keys), MAX_KEY_LENGTH), False).to_numpy(zero_copy_only=False)
        )
    return present & ~long, int(len(present) - present.sum()), int(long.sum())


def _named(name: str, taken: set[str], instead: str) -> str:
    """A name that Glue and Entity Resolution accept and that is free: lower case, letters, digits, underscores."""
    plain = re.sub(r"[^a-z0-9_]+", "_", name.strip().lower()).strip("_") or instead
    if plain in RESERVED:
        plain = instead
    free, number = plain, 1
    while free in taken:
        number += 1
        free = f"{plain}_{number}"
    taken.add(free)
    return free
