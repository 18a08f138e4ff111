"""Reads CSV and Parquet files in bounded batches of strings, and says which rows could not be read.

CSV of any usual delimiter, quoting, byte-order mark and encoding, gzipped or not. Rows are counted from 1; the header
is not a row, nor are empty lines.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from onboarding.identity.errors import Unreadable
from onboarding.identity.storage import Source, SourceReader

HEAD = 1 << 18
LONGEST_RECORD = 64 << 20
DELIMITERS = ",;\t|"
GZIP = b"\x1f\x8b"
PARQUET = b"PAR1"
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
QUOTED = {
    delimiter: re.compile(rb'(?:(?<=[\n\r%s])|\A)"(?:[^"]|"")*(?:"|\Z)' % re.escape(delimiter.encode()))
    for delimiter in DELIMITERS
}
QUOTE = ord('"')
AROUND = {delimiter: np.isin(np.arange(256), [*f'{delimiter}\n\r"'.encode()]) for delimiter in DELIMITERS}
"""Whether a byte may stand before a quote that opens a field; two quotes in a field count as its end and a new one."""
UNCLOSED = re.compile(rb'"(?:[^"]|"")*')
PARQUET_ROWS = 65_536
# For the whole process: the standard library's own limit is 128 KB, less than a field may have here.
csv.field_size_limit(LONGEST_RECORD)


def _windows(error: UnicodeError) -> tuple[str, int]:
    """What is not UTF-8, read as Windows-1252, and where it ends."""
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error("windows", _windows)


@dataclass(frozen=True)
class Layout:
    """How a file is laid out. ``format`` is ``csv`` or ``parquet``; ``header`` its column names as they stand.

    ``encoding`` is ``utf-8``, ``utf-8-sig`` or ``utf-16``; rows that are not valid in UTF-8 are read as Windows-1252.
    """

    format: str
    header: tuple[str, ...]
    delimiter: str = ","
    encoding: str = "utf-8"
    gzip: bool = False
    header_looks_like_data: bool = False
    has_mark: bool = False


@dataclass
class Batch:
    """Some rows of a file: ``columns`` holds one array of strings for each position asked for.

    ``records`` is how many records it spans; ``numbers`` gives each row's number in the file, None when they are
    ``first``, ``first + 1``, … ``ragged`` and ``reencoded`` are the numbers of rows left out for having another count
    of fields than the header, and of rows read as Windows-1252. Numbers count from ``first``, which is 1 until the
    batches before are known.
    """

    columns: dict[int, pa.StringArray]
    rows: int
    records: int
    ragged: list[int] = field(default_factory=list)
    reencoded: list[int] = field(default_factory=list)
    skipped: npt.NDArray[np.int64] | None = None
    progress: int = 0

    def numbers(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Row numbers, from 1 in this batch, of the rows at those positions."""
        if self.skipped is None or len(self.skipped) == 0:
            return positions + 1
        kept = np.delete(np.arange(1, self.records + 1), self.skipped - 1)
        return np.asarray(kept[positions])


Load = Callable[[], Batch]


def describe(source: Source) -> Layout:
    """Looks at the beginning of a file. Raises Unreadable when it is neither CSV nor Parquet, or has no header."""
    head = source.read(0, HEAD)
    if head.startswith(PARQUET):
        return _describe_parquet(source)
    zipped = head.startswith(GZIP)
    if zipped:
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, HEAD)
        except zlib.error:
            raise Unreadable(source.name, "is not a valid gzip file") from None
        if head.startswith(PARQUET):
            raise Unreadable(source.name, "is a gzipped Parquet file; unpack it first")
    encoding = next((name for mark, name in MARKS if head.startswith(mark)), "utf-8")
    text = head.decode(encoding, "replace") if encoding != "utf-8" else _readable(head)
    if "\0" in text.partition("\n")[0]:
        raise Unreadable(source.name, "is neither CSV nor Parquet")
    delimiter = _delimiter(text, cut=len(head) == HEAD)
    records = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header = next((record for record in records if record), None)
    if header is None:
        raise Unreadable(source.name, "has no header row")
    return Layout(
        "csv", tuple(header), delimiter, encoding, zipped, _looks_like_data(header), encoding in ("utf-8-sig", "utf-16")
    )


def _describe_parquet(source: Source) -> Layout:
    try:
        schema = pq.ParquetFile(SourceReader(source)).schema_arrow
    except (pa.ArrowException, OSError):
        raise Unreadable(source.name, "is not a valid Parquet file") from None
    nested = [column.name for column in schema if pa.types.is_nested(column.type)]
    if nested:
        raise Unreadable(source.name, f"has nested columns: {', '.join(nested)}")
    return Layout("parquet", tuple(schema.names))


def _readable(head: bytes) -> str:
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        # A single row may be to blame: the names above it are what they are.
        return head.decode("utf-8", "windows")


def _delimiter(text: str, *, cut: bool) -> str:
    """The delimiter under which the first records have most fields, evenly; `cut`: the last may be half a record."""
    best, most = ",", 1
    for delimiter in DELIMITERS:
        try:
            records = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
            counts = [len(record) for record in itertools.islice(records, 20) if record]
            whole = next(records, None) is not None
        except csv.Error:
            continue
        if cut and not whole and len(counts) > 1:
            counts.pop()
        width = counts[0] if counts else 1
        even = sum(count == width for count in counts) / max(len(counts), 1)
        if width > most and even >= 0.5:
            best, most = delimiter, width
    return best


TELLING = r"\+?[\d\s().-]{5,}|[0-9a-fA-F]{64}|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
"""Telephone numbers, hashes and device ids."""


def _looks_like_data(header: Sequence[str]) -> bool:
    telling = [name for name in header if "@" in name or re.fullmatch(TELLING, name.strip())]
    return bool(telling)


class _Counting(io.RawIOBase):
    """Reads a source front to back in large pieces and knows how far it is."""

    def __init__(self, source: Source, piece: int) -> None:
        self.source, self.piece = source, piece
        self.position = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.source.read(self.position, max(size, 1) if size >= 0 else self.source.size - self.position)
        self.position += len(data)
        return data

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)


def batches(source: Source, layout: Layout, columns: Sequence[int], size: int) -> Iterator[Load]:
    """The rows of a file as functions that each parse one batch, to be called on any thread, in any order.

    ``columns`` are the positions wanted; ``size`` is how many bytes of CSV a batch spans, about. Raises Unreadable,
    also out of the functions.
    """
    if layout.format == "parquet":
        yield from _parquet_batches(source, columns, size)
    else:
        yield from _csv_batches(source, layout, columns, size)


def _parquet_batches(source: Source, columns: Sequence[int], size: int) -> Iterator[Load]:
    try:
        file = pq.ParquetFile(SourceReader(source), pre_buffer=False)
        total, done = max(file.metadata.num_rows, 1), 0
        per_row = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups)) // total
        rows = max(1024, min(PARQUET_ROWS, size // max(per_row, 1)))
        # By position: several columns may have one name, which is for the check to say.
        groups = range(file.metadata.num_row_groups)
        for batch in file.reader.iter_batches(rows, groups, column_indices=list(columns), use_threads=False):
            done += batch.num_rows
            yield lambda batch=batch, done=done: _parquet_batch(  # type: ignore[misc]
                batch, source, columns, source.size * done // total
            )
    except (pa.ArrowException, OSError):
        raise Unreadable(source.name, "is a damaged Parquet file") from None


def _parquet_batch(batch: pa.RecordBatch, source: Source, columns: Sequence[int], progress: int) -> Batch:
    arrays = {}
    for position, values in zip(columns, batch.columns, strict=True):
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if pa.types.is_floating(values.type):
            rounded = pc.equal(values, pc.round(values))
            whole = pc.if_else(rounded, values, None).cast(pa.int64(), safe=False).cast(pa.string())
            values = pc.coalesce(whole, values.cast(pa.string()))
        try:
            arrays[position] = values.cast(pa.string())
        except pa.ArrowException:
            raise Unreadable(source.name, f"column {position + 1} cannot be read as text") from None
    return Batch(arrays, batch.num_rows, batch.num_rows, progress=progress)


def _csv_batches(source: Source, layout: Layout, columns: Sequence[int], size: int) -> Iterator[Load]:
    raw = _Counting(source, size)
    stream: IO[bytes] = io.BufferedReader(raw, 1 << 20) if layout.gzip else raw  # type: ignore[assignment]
    if layout.gzip:
        stream = gzip.GzipFile(fileobj=stream)  # type: ignore[assignment]
    plain = None if layout.gzip or layout.encoding == "utf-16" else raw
    first = True
    for data in _records(source, _utf8(stream, layout, size, source), layout, plain):
        if first:
            beginning = bytes(data)
            if not beginning.strip(b"\r\n"):
                continue
            first = False
            data = data[_header_end(beginning, layout) :]
        if data:
            yield lambda data=data, progress=raw.position: _csv_batch(  # type: ignore[misc]
                data, source, layout, columns, progress
            )


def _utf8(stream: IO[bytes], layout: Layout, size: int, source: Source) -> Iterator[bytes]:
    """The stream in pieces, in UTF-8 without byte-order mark."""
    decoder = codecs.getincrementaldecoder("utf-16")("replace") if layout.encoding == "utf-16" else None
    first = True
    while True:
        try:
            piece = stream.read(size)
        except (OSError, EOFError, zlib.error):
            raise Unreadable(source.name, "is a damaged gzip file") from None
        if decoder is not None:
            text = decoder.decode(piece, final=not piece)
            if text:
                yield text.encode("utf-8", "replace")
        elif piece:
            yield piece.removeprefix(codecs.BOM_UTF8) if first else piece
        first = False
        if not piece:
            return


def _records(source: Source, pieces: Iterable[bytes], layout: Layout, plain: _Counting | None) -> Iterator[memoryview]:
    """Regroups pieces so that each ends at the end of a record.

    Where the pieces are what stands in the file (``plain``), the beginning of a record is read again with the rest of
    it: to join the two here would hold all threads up.
    """
    rest = b""
    for piece in pieces:
        data = rest + piece if rest else piece
        end = _last_end(data, layout)
        if end == 0:
            if len(data) > LONGEST_RECORD:
                raise Unreadable(source.name, "has a quoted field that is never closed, or a record over 64 MB")
            rest = data
            continue
        if plain is not None:
            plain.position -= len(data) - end
            rest = b""
        else:
            rest = data[end:]
        yield memoryview(data)[:end]
    if rest:
        if b'"' in rest and _ends_quoted(rest, layout):
            raise Unreadable(source.name, "has a quoted field that is never closed")
        yield memoryview(rest)


def _last_end(data: bytes, layout: Layout) -> int:
    """Where the last whole record of ``data`` ends; 0 when none does."""
    newline = b"\n" if b"\n" in data else b"\r"
    end = data.rfind(newline)
    if end < 0:
        return 0
    # To look for a first quote is much quicker than to look for all.
    if b'"' not in data:
        return end + 1
    flat = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(flat == QUOTE)
    opening = quotes[::2]
    before = flat[opening[1:] - 1] if len(opening) and opening[0] == 0 else flat[opening - 1]
    if AROUND[layout.delimiter][before].all():
        while end >= 0 and (place := int(np.searchsorted(quotes, end))) % 2:
            end = data.rfind(newline, 0, int(quotes[place - 1]))
        return end + 1
    # Quotes inside unquoted fields upset the count: look at each field that really opens with one.
    masked = QUOTED[layout.delimiter].sub(_mask, data)
    return masked.rfind(newline) + 1


def _ends_quoted(data: bytes, layout: Layout) -> bool:
    """Whether a quoted field is open at the end."""
    quoted = deque(QUOTED[layout.delimiter].finditer(data), maxlen=1)
    return bool(quoted) and UNCLOSED.fullmatch(quoted[0][0]) is not None


def _mask(found: re.Match[bytes]) -> bytes:
    return b"x" * len(found[0])


def _header_end(data: bytes, layout: Layout) -> int:
    """Where the header record ends, empty lines before it included."""
    start = len(data) - len(data.lstrip(b"\r\n"))
    line = data.find(b"\n", start) + 1
    plain = data[start:line].rstrip(b"\r\n")
    if line and b'"' not in plain and b"\r" not in plain:
        return line
    masked = QUOTED[layout.delimiter].sub(_mask, data[start : start + (HEAD << 2)])
    ends = [end for end in (masked.find(b"\n"), masked.find(b"\r")) if end >= 0]
    if not ends:
        return len(data)
    end = start + min(ends) + 1
    return end + 1 if data[end - 1 : end + 1] == b"\r\n" else end


def _csv_batch(data: memoryview, source: Source, layout: Layout, columns: Sequence[int], progress: int) -> Batch:
    reencoded: list[int] = []
    if not _is_utf8(data):
        text, reencoded = _reencoded(bytes(data), layout)
        data = memoryview(text)
    names = [str(position) for position in range(len(layout.header))]
    ragged: list[int] = []

    def skip(row: pyarrow.csv.InvalidRow) -> str:
        ragged.append(row.number)
        return "skip"

    # Of no column the rows are counted still; without a name Arrow would read them all.
    wanted = [names[position] for position in columns] or names[:1]
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=layout.delimiter, newlines_in_values=True, invalid_row_handler=skip
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.string()),
                include_columns=wanted,
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                null_values=[""],
                check_utf8=False,
            ),
        )
    except pa.ArrowException:
        raise Unreadable(source.name, "cannot be read as CSV: a quoted field is never closed") from None
    arrays = {position: _whole(table.column(str(position))) for position in columns}
    skipped = np.array(ragged, np.int64)
    records = table.num_rows + len(ragged)
    return Batch(arrays, table.num_rows, records, ragged, reencoded, skipped, progress)


def _whole(column: pa.ChunkedArray) -> pa.StringArray:
    """A column as one array, without a copy where it is in one piece."""
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays([pa.array([], pa.string()), *column.chunks])


def _is_utf8(data: memoryview) -> bool:
    """Whether the bytes are UTF-8, found without holding other threads up."""
    offsets = pa.py_buffer(np.array([0, len(data)], np.int64))
    try:
        pa.LargeStringArray.from_buffers(1, offsets, pa.py_buffer(data)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _reencoded(data: bytes, layout: Layout) -> tuple[bytes, list[int]]:
    """The data with each line that is not UTF-8 read as Windows-1252, and the numbers of those records."""
    newline = b"\n" if b"\n" in data else b"\r"
    flat = np.frombuffer(QUOTED[layout.delimiter].sub(_mask, data), np.uint8)
    ends = np.append(np.flatnonzero(flat == newline[0]), len(flat))
    starts = np.append(0, ends[:-1] + 1)
    # Empty lines are no records.
    empty = (ends == starts) | ((ends == starts + 1) & (flat[np.minimum(starts, len(flat) - 1)] == 0x0D))
    numbers = np.cumsum(~empty)
    lines, bad, start = [], set(), 0
    for line in data.split(newline):
        try:
            line.decode()
        except UnicodeDecodeError:
            bad.add(int(numbers[np.searchsorted(ends, start)]))
            lines.append(line.decode("cp1252", "replace").encode())
        else:
            lines.append(line)
        start += len(line) + 1
    return newline.join(lines), sorted(bad)
