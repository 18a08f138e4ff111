"""The job on plain files: what it counts, what it ignores, what makes it fail."""

import gzip
import io

import numpy as np
import polars as pl
import pytest

from simulator.matching.job import MappedField, MappedTable, map_tables
from simulator.matching.population import people
from simulator.matching.sample import Plan, write_sample
from simulator.matching.standardise import digest, standardise
from tests.simulator.matching.files import PlainFiles, fields_for, prepared, table_of

PLAN = Plan(rows=6000, countries={"US": 4, "GB": 1, "DE": 2, "FR": 1, "CA": 1}, messy=0.7, blank=0.4, duplicates=0.1)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    path = tmp_path_factory.mktemp("sample") / "people.csv"
    truth = write_sample(PLAN, path)
    return path, truth, pl.read_csv(path, infer_schema=False)


def agrees(outcome, truth, way):
    assert outcome.error_details is None
    must, metrics = truth.must_match[way], outcome.metrics
    assert metrics["inputRecords"] == metrics["totalRecordsProcessed"] == truth.rows
    assert metrics["recordsNotProcessed"] == 0
    assert metrics["uniqueRecordsLoaded"] == truth.customers
    assert metrics["totalMappedSourceRecords"] == must.customers
    assert metrics["totalMappedTargetRecords"] == must.people
    assert metrics["totalMappedRecords"] >= must.customers
    assert 0 < must.customers < truth.customers


@pytest.mark.parametrize("table", ["amazon-ads-1", "entity-resolution-1"])
def test_a_correctly_hashed_file_matches_exactly_what_it_must(sample, table, tmp_path, indexes):
    _path, truth, frame = sample
    path = tmp_path / "hashed.parquet"
    prepared(frame, table).write_parquet(path)
    agrees(map_tables([table_of(path, hashed=True)], indexes), truth, f"hashed with {table}")


def test_clear_values_match_exactly_what_they_must(sample, indexes):
    path, truth, _frame = sample
    agrees(map_tables([table_of(path, hashed=False)], indexes), truth, "clear")


def test_the_rule_tables_make_a_difference(sample):
    _path, truth, _frame = sample
    assert len({must.rows for must in truth.must_match.values()}) > 1


def test_hashing_without_standardising_lowers_the_match_rate(sample, tmp_path, indexes):
    _path, truth, frame = sample
    path = tmp_path / "wrong.parquet"
    identity = [name for name in frame.columns if name not in ("customerid", "maid")]
    hashed = [frame[name].map_elements(digest, return_dtype=pl.String) for name in identity]
    upper = [frame[name].str.to_uppercase().map_elements(digest, return_dtype=pl.String) for name in identity]
    frame.with_columns(hashed).write_parquet(path)
    as_written = map_tables([table_of(path, hashed=True)], indexes).metrics["totalMappedSourceRecords"]
    frame.with_columns(upper).write_parquet(path)
    shouted = map_tables([table_of(path, hashed=True)], indexes).metrics["totalMappedSourceRecords"]
    must = truth.must_match["hashed with amazon-ads-1"].customers
    only_devices = frame.filter(pl.col("maid").is_not_null()).height
    assert shouted < as_written < 0.8 * must
    assert shouted < only_devices


def test_hashed_values_said_to_be_clear_match_nobody_but_by_device(sample, tmp_path, indexes):
    _path, _truth, frame = sample
    path = tmp_path / "hashed.parquet"
    prepared(frame, "amazon-ads-1").with_columns(maid=pl.lit(None, dtype=pl.String)).write_parquet(path)
    right = map_tables([table_of(path, hashed=True)], indexes).metrics
    # A clear value that is a hash already is kept as it is, and then hashed once more with the others.
    wrong = map_tables([table_of(path, hashed=False)], indexes).metrics
    assert right["totalMappedRecords"] > 0
    assert wrong["totalMappedRecords"] == 0


def test_gzip_csv_and_several_files_are_one_table(sample, indexes):
    _path, truth, frame = sample
    first, second = frame[:2500], frame[2500:]
    contents = {"a.csv.gz": gzip.compress(first.write_csv().encode()), "b.csv": second.write_csv().encode()}
    table = MappedTable(PlainFiles([], frame.columns, contents=contents), fields_for(frame.columns, False))
    agrees(map_tables([table], indexes), truth, "clear")


def test_several_tables_count_a_customer_once(sample, indexes):
    path, truth, _frame = sample
    once = map_tables([table_of(path, hashed=False)], indexes).metrics
    twice = map_tables([table_of(path, hashed=False)] * 2, indexes).metrics
    assert twice["inputRecords"] == 2 * truth.rows
    for name in ("uniqueRecordsLoaded", "totalMappedRecords", "totalMappedSourceRecords", "totalMappedTargetRecords"):
        assert twice[name] == once[name]


# --- small tables ---------------------------------------------------------------------------------------------------


def email(number):
    return people("US").email(np.array([number]))[0]


def csv_table(text, fields=None, columns=None, **more):
    header = text.split("\n", 1)[0].split(",")
    columns = columns or header
    fields = fields or (MappedField("id", "UNIQUE_ID"), MappedField("email", "EMAIL_ADDRESS", "Email"))
    return MappedTable(PlainFiles([], columns, contents={"part-0.csv": text.encode()}, **more), fields)


def test_only_25_rows_of_a_key_are_read(indexes):
    strangers = ["k1,nobody@example.com"] * 25
    late = map_tables([csv_table("\n".join(["id,email", *strangers, f"k1,{email(1)}", f"k2,{email(2)}"]))], indexes)
    assert late.metrics["inputRecords"] == 27
    assert late.metrics["recordsNotProcessed"] == 1
    assert late.metrics["totalMappedSourceRecords"] == 1
    early = map_tables([csv_table("\n".join(["id,email", f"k1,{email(1)}", *strangers, f"k2,{email(2)}"]))], indexes)
    assert early.metrics["recordsNotProcessed"] == 1
    assert early.metrics["totalMappedSourceRecords"] == 2
    assert early.metrics["uniqueRecordsLoaded"] == 2


def test_rows_without_a_usable_key_are_not_processed(indexes):
    rows = ["id,email", f",{email(1)}", f"{'x' * 39},{email(2)}", f"{'é' * 38},{email(3)}"]
    metrics = map_tables([csv_table("\n".join(rows))], indexes).metrics
    assert (metrics["inputRecords"], metrics["recordsNotProcessed"], metrics["totalMappedRecords"]) == (3, 2, 1)
    frame = pl.DataFrame({"id": [None, "", "k"], "email": [email(1), email(2), email(3)]})
    out = io.BytesIO()
    frame.write_parquet(out)
    table = MappedTable(
        PlainFiles([], ["id", "email"], "parquet", contents={"x.parquet": out.getvalue()}), csv_table("id,email").fields
    )
    metrics = map_tables([table], indexes).metrics
    assert (metrics["inputRecords"], metrics["recordsNotProcessed"], metrics["totalMappedRecords"]) == (3, 2, 1)


def test_numbers_serve_as_keys(indexes):
    out = io.BytesIO()
    pl.DataFrame({"id": [1, 2], "email": [email(1), "nobody"]}).write_parquet(out)
    table = MappedTable(
        PlainFiles([], ["id", "email"], "parquet", contents={"x.parquet": out.getvalue()}), csv_table("id,email").fields
    )
    assert map_tables([table], indexes).metrics["totalMappedSourceRecords"] == 1


def test_columns_of_one_match_key_are_compared_crosswise(indexes):
    known = people("US")
    # Somebody whose address standardises alike when nobody tells the country.
    number = next(
        np.array([n])
        for n, text in enumerate(known.address(np.arange(1000)))
        if len({standardise("entity-resolution-1", "address", text, code) for code in ("US", None)}) == 1
    )
    first, last = known.first[known.first_name(number)[0]], known.last[known.last_name(number)[0]]
    address, zip_code = known.address(number)[0], known.zips[known.zip_code(number)[0]]
    fields = (
        MappedField("id", "UNIQUE_ID"),
        MappedField("first", "NAME_FIRST", "FirstName"),
        MappedField("last", "NAME_LAST", "LastName"),
        MappedField("address", "ADDRESS", "Address"),
        MappedField("address_2", "ADDRESS", "Address"),
        MappedField("zip", "ADDRESS_POSTALCODE", "Postal"),
        MappedField("zip_2", "ADDRESS_POSTALCODE", "Postal"),
        MappedField("country", "ADDRESS_COUNTRY", "Country"),
    )
    header = "id,first,last,address,address_2,zip,zip_2,country"
    rows = [
        f"k1,{first},{last},1 Elsewhere,{address},{zip_code},99999,US",
        f"k2,{first},{last},1 Elsewhere,{address},99999,99998,US",
        f"k3,{last},{first},{address},,{zip_code},,US",
        f"k4,{first},{last},{address},,{zip_code},,DE",
        f"k5,{first},{last},{address},,{zip_code},,",
    ]
    metrics = map_tables([csv_table("\n".join([header, *rows]), fields)], indexes).metrics
    assert metrics["totalMappedSourceRecords"] == 1
    without = tuple(each for each in fields if each.name != "country")
    metrics = map_tables([csv_table("\n".join([header, *rows]), without)], indexes).metrics
    assert metrics["totalMappedSourceRecords"] == 3


def test_partner_and_device_ids_match_as_they_are_and_never_hashed(indexes):
    known, number = people("US"), np.array([4])
    fields = (
        MappedField("id", "UNIQUE_ID"),
        MappedField("maid", "STRING", "MAID"),
        MappedField("liverampid", "STRING", "LRP"),
    )
    device, partner = known.device(number)[0], known.partner_id("LRP", number)[0]
    rows = [
        f"k1,{device.upper()},",
        f"k2,,{partner}",
        f"k3,,{partner.lower()}",
        f"k4,{digest(device)},{digest(partner)}",
    ]
    text = "\n".join(["id,maid,liverampid", *rows])
    assert map_tables([csv_table(text, fields)], indexes).metrics["totalMappedSourceRecords"] == 2
    hashed = (fields[0], *(MappedField(f.name, f.type, f.match_key, True) for f in fields[1:]))
    assert map_tables([csv_table(text, hashed)], indexes).metrics["totalMappedSourceRecords"] == 0


def test_an_empty_file_maps_nothing(indexes):
    outcome = map_tables([csv_table("id,email\n")], indexes)
    assert outcome.ok
    assert set(outcome.metrics.values()) == {0}


ID, EMAIL = MappedField("id", "UNIQUE_ID"), MappedField("email", "EMAIL_ADDRESS", "Email")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (csv_table("id,Email\nk,x", columns=["id", "email"]), "lowercase: Email"),
        (csv_table("email,id\nx,k", columns=["id", "email"]), "not in the order"),
        (csv_table("id,mail\nk,x", columns=["id", "email"]), "only in the file: mail; only in the table: email"),
        (csv_table("id,email,extra\nk,x,y", columns=["id", "email"]), "only in the file: extra"),
        (csv_table("\ufeffid,email\nk,x", columns=["id", "email"]), "do not match"),
        (csv_table("id;email\nk;x", columns=["id", "email"]), "do not match"),
        (csv_table("id,email\nk,x", columns=["id", "Email"]), "must be in lowercase"),
        (csv_table("id,email,source\nk,x,y"), "reserved column names: source"),
        (csv_table("id,email,email\nk,x,y"), "a column twice"),
        (csv_table("id,email\nk,x", fields=(ID, EMAIL, MappedField("phone", "PHONE", "Phone"))), "phone"),
        (csv_table("id,email\nk,x", fields=(EMAIL,)), "exactly one UNIQUE_ID"),
        (csv_table("id,email\nk,x", fields=(ID, MappedField("email", "STRING", "Hobby"))), "match rules"),
        (csv_table("id,email\nk,x", fields=(ID, *[EMAIL] * 25)), "at most 25"),
        (csv_table("id,email\nk,x,y"), "can't be read as csv"),
        (MappedTable(PlainFiles([], ["id", "email"]), (ID, EMAIL)), "no files"),
        (csv_table("id,email\nk,x", format="parquet"), "can't be read as parquet"),
        (
            MappedTable(
                PlainFiles([], ["id", "email"], contents={"a": "id,email\nk,\udc00".encode("utf-8", "surrogatepass")}),
                (ID, EMAIL),
            ),
            "can't be read as csv",
        ),
        (
            MappedTable(
                PlainFiles([], ["id", "email"], contents={"a.gz": gzip.compress(b"id,email\nk,x")[:-9]}), (ID, EMAIL)
            ),
            "can't be read as csv",
        ),
    ],
)
def test_what_the_guide_forbids_fails_the_job(table, says, indexes):
    outcome = map_tables([table], indexes)
    assert not outcome.ok
    assert says in outcome.error_details
    assert set(outcome.metrics.values()) == {0}


def test_a_namespace_has_at_most_20_tables(indexes):
    assert "20" in map_tables([csv_table("id,email\n")] * 21, indexes).error_details
    assert not map_tables([], indexes).ok
    assert map_tables([csv_table("id,email\n")] * 20, indexes).ok
