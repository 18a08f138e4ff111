"""What a Parquet file says of itself, read by range and without its values."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onboarding.identity.errors import Unreadable
from onboarding.identity.footer import footer
from onboarding.identity.prepare import prepare
from onboarding.identity.storage import LocalFile


class Watched(LocalFile):
    """A file that remembers what was read of it."""

    def read(self, start, length):
        self.__dict__.setdefault("ranges", []).append((start, start + length))
        return super().read(start, length)


def source(path):
    return Watched(str(path), path.stat().st_size)


def test_a_prepared_file_gives_its_columns_and_rows_and_no_value(write_csv, person, mapping, tmp_path):
    path = write_csv([person(f"c{number}") for number in range(300)])
    prepare([path], mapping, str(tmp_path / "out"), country="US")
    file = source(tmp_path / "out/identity/part-00000.parquet")
    found = footer(file)
    assert (found.rows, found.columns[:3], found.not_text) == (300, ("customer_id", "firstname", "lastname"), ())
    metadata = pq.read_metadata(file.name)
    group = metadata.row_group(0)
    columns = [group.column(number) for number in range(metadata.num_columns)]
    values_end = max(one.data_page_offset + one.total_compressed_size for one in columns if not one.has_dictionary_page)
    assert min(start for start, _ in file.ranges) >= values_end
    assert sum(end - start for start, end in file.ranges) == metadata.serialized_size + 8


def test_columns_that_are_no_strings_are_named(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"customerid": ["c1"], "zip": [98101], "raw": [b"x"]}), path)
    assert footer(source(path)).not_text == ("zip", "raw")


def test_what_is_no_parquet_is_said(tmp_path):
    whole = tmp_path / "a.parquet"
    pq.write_table(pa.table({"customerid": ["c1"]}), whole)
    body = whole.read_bytes()
    broken = body[:-20] + b"\xff" * 12 + body[-8:]
    for number, content in enumerate((b"", b"PAR1", b"customer_id\nc1\n", body[:-1], b"\xff\xff\xff\x7fPAR1", broken)):
        path = tmp_path / f"{number}.parquet"
        path.write_bytes(content)
        with pytest.raises(Unreadable, match=r"Parquet|footer"):
            footer(source(path))
