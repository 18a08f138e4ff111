"""Reading CSV of every usual sort, in blocks that end between records."""

import csv
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onboarding.identity.errors import Unreadable
from onboarding.identity.reading import batches, describe
from onboarding.identity.storage import LocalFile


class Text:
    """A source in memory."""

    name = "memory.csv"

    def __init__(self, data):
        self.data = data
        self.size = len(data)

    def read(self, start, length):
        return self.data[start : start + length]


def rows(source, size=1 << 20):
    layout = describe(source)
    found, numbers, before = [], [], 0
    for load in batches(source, layout, range(len(layout.header)), size):
        batch = load()
        columns = [batch.columns[place].to_pylist() for place in range(len(layout.header))]
        found += zip(*columns, strict=True)
        import numpy as np

        numbers += (batch.numbers(np.arange(batch.rows)) + before).tolist()
        before += batch.records
    return layout, found, numbers


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_dialects(delimiter, quoting, ending, encoding):
    wanted = [("1", 'Zoë, "Z"', "a;b"), ("2", "line\nbreak", "c|d\t"), ("3", None, "x")]
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=ending)
    writer.writerow(["id", "name", "more"])
    writer.writerows(wanted)
    for size in (7, 1 << 20):
        layout, found, numbers = rows(Text(text.getvalue().encode(encoding)), size)
        assert layout.header == ("id", "name", "more")
        assert found == wanted
        assert numbers == [1, 2, 3]


CELL = st.text(st.sampled_from('ab",\n é;\t'), max_size=6)


@settings(max_examples=150, deadline=None)
@given(table=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=30), size=st.integers(1, 60))
def test_blocks_never_cut_a_record(table, size):
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(["a", "b", "c"])
    writer.writerows(table)
    _, found, _ = rows(Text(text.getvalue().encode()), size)
    assert found == [tuple(cell or None for cell in row) for row in table]


def test_quotes_inside_unquoted_fields_are_letters():
    data = b"a,b,c\n" + b'5" pipe,x,y\n' + b"1,2,3\n" * 200
    _, found, _ = rows(Text(data), 100)
    assert len(found) == 201
    assert found[0] == ('5" pipe', "x", "y")


RAW = st.text(st.sampled_from("ab'\" "), min_size=1, max_size=5).filter(lambda cell: not cell.startswith('"'))


@settings(max_examples=300, deadline=None)
@given(
    table=st.lists(st.tuples(st.booleans(), RAW, CELL), min_size=1, max_size=20).filter(
        lambda t: any(c for c, *_ in t)
    ),
    size=st.integers(1, 80),
)
def test_letters_that_are_quotes_and_quoted_line_breaks_in_one_file(table, size):
    lines, wanted = ["a,b,c"], []
    for first, raw, cell in table:
        quoted = '"' + cell.replace('"', '""') + '"'
        lines.append(",".join([raw, quoted, "x"] if first else [quoted, raw, "x"]))
        wanted.append((raw, cell or None, "x") if first else (cell or None, raw, "x"))
    text = "\n".join(lines) + "\n"
    for block in (size, 1 << 20):
        _, found, _ = rows(Text(text.encode()), block)
        assert found == wanted


@pytest.mark.parametrize("size", [40, 1 << 20])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_rows_that_are_not_utf8_have_the_numbers_of_their_records(size, newline):
    """Empty lines, quotes that are letters and line breaks in fields do not count; the names above stay as they are."""
    lines = [
        "key,prénom".encode(),
        b"",
        b'1,\xe95" pipe',
        b"",
        b"",
        b"2,b",
        b'3,"a\n\xe9"',
        b"4",
        b'5,"\n\n"',
        b"6,\xe9",
    ]
    source = Text(newline.join([*lines, b""]))
    layout = describe(source)
    numbers, before = [], 0
    for load in batches(source, layout, [0, 1], size):
        batch = load()
        numbers += [before + number for number in batch.reencoded]
        before += batch.records
    assert (numbers, before, layout.header) == ([1, 3, 6], 6, ("key", "prénom"))


@pytest.mark.parametrize("long", [200_000, 2_000_000])
def test_the_delimiter_is_found_beside_a_long_field_and_a_ragged_row(long):
    for text in (f"key;email\n1;{'x' * long}\n2;b\n", "key;email\n1;a;b\n"):
        assert describe(Text(text.encode())).header == ("key", "email")


def test_columns_of_one_name_in_parquet_are_read_each():
    sink = io.BytesIO()
    columns = [pa.array([letter]) for letter in "abc"]
    pq.write_table(pa.Table.from_arrays(columns, names=["key", "email", "email"]), sink)
    layout, found, _ = rows(Text(sink.getvalue()))
    assert (layout.header, found) == (("key", "email", "email"), [("a", "b", "c")])


@pytest.mark.parametrize(
    "header", [b"a,b\n", b"a,b\r\n", b"a,b\r", b"\n\na,b\n", b'"a\nz",b\n', b'"a\rz",b\r\n', b'"a","b"\r']
)
@pytest.mark.parametrize("size", [5, 1 << 20])
def test_the_header_ends_where_its_record_ends(header, size):
    ending = header[header.rindex(b"b") :].lstrip(b'b"')
    layout, found, _ = rows(Text(header + ending.join([b"1,2", b"3,4", b""])), size)
    assert len(layout.header) == 2
    assert found == [("1", "2"), ("3", "4")]


def test_numbers_skip_ragged_rows():
    _, found, numbers = rows(Text(b"a,b\n1,2\n3\n4,5\n6,7,8\n9,0\n"), 4)
    assert found == [("1", "2"), ("4", "5"), ("9", "0")]
    assert numbers == [1, 3, 5]


def test_a_field_of_ten_megabytes():
    big = "x" * 10_000_000
    _, found, _ = rows(Text(f'a,b\n1,"{big}\n"\n2,y\n'.encode()), 1 << 18)
    assert found == [("1", big + "\n"), ("2", "y")]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x1f\x8bnonsense", "gzip"),
        (b"PAR1nonsense", "Parquet"),
        (b"\n\n", "header"),
        (b"\x00\x01\x02\x03,x\n", "neither"),
    ],
)
def test_what_cannot_be_read_is_said_plainly(tmp_path, data, why):
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(Unreadable, match=why):
        describe(LocalFile(str(path), len(data)))
