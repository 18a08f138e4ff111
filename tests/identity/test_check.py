"""Checking: everything that goes wrong later is counted first, by file and row number."""

import hashlib
import json

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from onboarding.identity import rules
from onboarding.identity.check import check, look, masked
from onboarding.identity.columns import Kind
from onboarding.identity.errors import BadMapping, Cancelled
from onboarding.identity.findings import Level
from onboarding.identity.mapping import guess
from onboarding.identity.prepare import prepare
from tests.identity.conftest import HEADER, MAPPING

HASH = hashlib.sha256(b"x").hexdigest()


def found(report, code, column=None):
    matches = [f for f in report.findings if f.code == code and (column is None or f.column == column)]
    return matches[0] if matches else None


def rows_of(finding):
    return [place.row for place in finding.places]


def test_a_good_file_is_fine(write_csv, person, mapping):
    report = check([write_csv([person(f"c{n}") for n in range(5)])], mapping, country="US")
    assert report.fine, report.findings
    assert (report.rows, report.usable_rows) == (5, 5)
    assert report.forecast.matchable == 5
    assert report.forecast.combinations[0].match_keys[:3] == ("FirstName", "LastName", "Email")


def test_a_file_without_rows_is_not_fine(write_csv, mapping):
    report = check([write_csv([])], mapping, country="US")
    assert found(report, "rows-none").level is Level.ERROR
    assert not report.fine


def test_keys_are_checked(write_csv, person, mapping):
    rows = [person("c1"), person(""), person("k" * 39), person("c1"), person(" c2")] + [person("many")] * 28
    report = check([write_csv(rows)], mapping, country="US")
    assert rows_of(found(report, "key-missing")) == [2]
    assert rows_of(found(report, "key-overlong")) == [3]
    assert rows_of(found(report, "key-blanks")) == [5]
    assert (found(report, "key-repeated").count, rows_of(found(report, "key-repeated"))[:2]) == (28, [4, 7])
    over = found(report, "key-over-25-rows")
    assert (over.count, rows_of(over), over.level) == (3, [31, 32, 33], Level.ERROR)
    assert report.usable_rows == len(rows) - 2


def test_at_most_ten_rows_are_named_and_rows_of_later_batches_are_right(write_csv, person, mapping):
    rows = [person(f"c{n}", email="nonsense" if n % 500 == 499 else "a@b.com") for n in range(20_000)]
    report = check([write_csv(rows)], mapping, country="US", memory=1, jobs=3)
    invalid = found(report, "field-invalid", "email")
    assert (invalid.count, rows_of(invalid)) == (40, [500 * n for n in range(1, 11)])
    assert report.columns[3].invalid == 40


def test_values_are_checked(write_csv, person, mapping):
    rows = [
        person("c1", phone="ann@x.com", email="206-555-0100", first_name="2065550100", zip="1", state=""),
        person("c2", email=HASH, phone=HASH),
        person("c3", phone=HASH.upper()),
        person("c4", phone=""),
    ]
    report = check([write_csv(rows)], mapping, country="US")
    assert rows_of(found(report, "field-wrong-kind", "phone")) == [1]
    assert rows_of(found(report, "field-wrong-kind", "email")) == [1]
    assert rows_of(found(report, "field-wrong-kind", "first_name")) == [1]
    assert rows_of(found(report, "field-invalid", "zip")) == [1]
    assert rows_of(found(report, "field-empty", "state")) == [1]
    assert found(report, "field-mixed", "email").count == 1
    assert rows_of(found(report, "field-mixed", "email")) == [2]
    assert rows_of(found(report, "field-mixed", "phone")) == [2, 3]
    columns = {column.column: column for column in report.columns}
    assert (columns["phone"].hashed, columns["phone"].empty, columns["phone"].wrong_kind) == (2, 1, 1)


def test_a_column_all_hashed_is_no_mixture(write_csv):
    path = write_csv([["c1", HASH], ["c2", HASH.upper()], ["c3", ""]], header=["id", "email"])
    report = check([path], {"id": Kind.KEY, "email": Kind.EMAIL}, country="US")
    assert found(report, "field-hashed", "email").count == 2
    assert rows_of(found(report, "field-hashed", "email")) == [1, 2]
    assert found(report, "field-mixed") is None


def test_rows_that_the_two_tables_hash_differently_are_counted_per_field(write_csv, person, mapping):
    rows = [person("c1", first_name="José"), person("c2", first_name="Ann 3"), person("c3", city="Łódź"), person("c4")]
    report = check([write_csv(rows)], mapping, country="US")
    differs = {column.column: column.rules_differ for column in report.columns}
    assert differs["first_name"] == 2
    assert differs["email"] == 0
    assert rows_of(found(report, "rules-differ", "first_name")) == [1, 2]


def test_headers_are_checked(write_csv):
    header = ["Customer ID", "EMAIL", "MatchID", "", "phone", "phone"]
    report = check(
        [write_csv([["c1", "a@b.c", "x", "y", "1", "2"]], header=header)], {"Customer ID": Kind.KEY}, country="US"
    )
    assert found(report, "header-upper-case", "EMAIL")
    assert found(report, "header-reserved", "MatchID")
    assert found(report, "header-characters", "Customer ID")
    assert found(report, "header-duplicate", "phone").count == 2
    assert found(report, "header-empty").count == 1
    assert found(report, "unmapped-personal", "EMAIL").level is Level.WARNING


def test_a_column_is_mixed_when_its_hashes_lie_in_one_batch_alone(write_csv, person, mapping):
    rows = [person(f"c{n}", email=HASH if n >= 19_980 else f"c{n}@x.com") for n in range(20_000)]
    report = check([write_csv(rows)], mapping, country="US", memory=1, jobs=3)
    mixed = found(report, "field-mixed", "email")
    assert (mixed.count, rows_of(mixed)) == (20, list(range(19_981, 19_991)))
    assert found(report, "field-hashed") is None


def test_names_that_differ_in_case_alone_are_one_to_glue(write_csv):
    path = write_csv([["c1", "a@b.com", "c@d.com", "x", "y"]], header=["id", "Email", "email", "day", "day"])
    report = check([path], None, country="US")
    same = [f for f in report.findings if f.code == "header-same-but-for-case"]
    assert [(f.column, f.count, f.file, f.level) for f in same] == [("email", 2, path, Level.WARNING)]
    assert found(report, "header-duplicate", "day").count == 2
    assert found(report, "header-duplicate", "email") is None


def test_a_file_without_header_is_seen_and_not_repeated(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("c1,planted@example.com\nc2,b@x.com\n")
    report = check([str(path)], {}, country="US")
    assert found(report, "header-missing")
    assert found(report, "key-column-missing").level is Level.ERROR
    assert "planted" not in repr([f.as_dict() for f in report.findings if f.code != "unmapped-personal"])


def test_ragged_rows_encoding_and_marks(tmp_path, write_csv, person, mapping):
    lines = [",".join(person(f"c{n}")) for n in range(5)]
    lines[1] += ",extra"
    lines[3] = "c3,short"
    lines[2] = lines[2].replace("Ann", "Zoë")
    path = tmp_path / "x.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "\n".join([",".join(HEADER), *lines]).encode("cp1252"))
    report = check([str(path)], mapping, country="US")
    assert rows_of(found(report, "ragged")) == [2, 4]
    assert rows_of(found(report, "encoding")) == [3]
    assert found(report, "encoding-mark")
    assert report.usable_rows == 3
    assert report.rows == 5


def test_an_unclosed_quote_is_a_finding_with_its_row(tmp_path, monkeypatch, person, mapping):
    monkeypatch.setattr("onboarding.identity.reading.LONGEST_RECORD", 1 << 19)
    path = tmp_path / "x.csv"
    good = "\n".join([",".join(HEADER), *(",".join(person(f"c{n}")) for n in range(100))])
    path.write_text(good + '\nc100,"Ann,' + "x,y\n" * 400_000)
    report = check([str(path)], mapping, country="US", memory=1)
    assert found(report, "unreadable").level is Level.ERROR
    assert rows_of(found(report, "unreadable")) == [101]
    assert report.rows == 100


def test_countries(write_csv, person, mapping):
    rows = [person("c1", country="Germany"), person("c2", country=""), person("c3", country="Narnia")]
    report = check([write_csv(rows)], mapping)
    assert rows_of(found(report, "country-missing")) == [2, 3]
    assert found(check([write_csv(rows)], mapping, country="US"), "country-missing") is None
    without = {name: kind for name, kind in mapping.items() if kind is not Kind.COUNTRY}
    assert found(check([write_csv(rows)], without), "country-missing")


def test_consent_and_ids(write_csv):
    header = ["id", "maid", "rampid", "amz_user_data_consent", "tcf"]
    rows = [
        ["1", "aebe52e7-03ee-455a-b3c4-e57283966239", "XY1", "GRANTED", "CP"],
        ["2", "00000000-0000-0000-0000-000000000000", "", "granted", ""],
        ["3", HASH, HASH, "", ""],
    ]
    path = write_csv(rows, header=header)
    mapping = {
        "id": Kind.KEY,
        "maid": Kind.MAID,
        "rampid": Kind.LIVERAMP,
        "amz_user_data_consent": Kind.CONSENT,
        "tcf": Kind.CONSENT,
    }
    report = check([path], mapping, country="US")
    assert rows_of(found(report, "id-hashed", "maid")) == [3]
    assert rows_of(found(report, "field-invalid", "maid")) == [2]
    assert rows_of(found(report, "consent-denied")) == [2, 3]
    assert report.consent["amz_user_data_consent"] == {"granted": 1, "other": 1, "empty": 1}
    assert report.consent["tcf"] == {"strings": 1, "malformed": 0, "empty": 2}
    assert found(report, "id-partner", "rampid")
    assert rows_of(found(report, "nothing-to-match")) == [2, 3]
    assert report.forecast.unmatchable == 2


def test_a_consent_string_is_looked_at_by_its_form_alone(write_csv):
    header = ["id", "email", "tcf", "gpp", "consented"]
    strings = [
        ["CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA.YAAAAAAAAAA", "DBABMA~CPXxRfAPXxRfAAfKABENB-CgAAAAAAA", "x"],
        ["yes", "true", ""],
        ["CP..YA", "DBABMA~~1YNN", "y"],
        ["BOEFEAyOEFEAyAHABDENAI4AAAB9vABAASA", "CPXxRf~1YNN", "z"],
        ["", "DBACNY~1YNN~BVVqAAAAAAA.QA", ""],
    ]
    path = write_csv([[str(n), f"c{n}@x.com", *row] for n, row in enumerate(strings)], header=header)
    mapping = {"id": Kind.KEY, "email": Kind.EMAIL, **dict.fromkeys(header[2:], Kind.CONSENT)}
    report = check([path], mapping, country="US")
    assert report.consent["tcf"] == {"strings": 1, "malformed": 3, "empty": 1}
    assert report.consent["gpp"] == {"strings": 2, "malformed": 3, "empty": 0}
    assert report.consent["consented"] == {"values": 3, "empty": 2}
    assert rows_of(found(report, "consent-malformed", "tcf")) == [2, 3, 4]
    assert rows_of(found(report, "consent-malformed", "gpp")) == [2, 3, 4]
    assert found(report, "consent-malformed").level is Level.WARNING
    assert rows_of(found(report, "consent-empty", "tcf")) == [5]
    assert not report.fine
    assert [column.column for column in report.columns] == ["id", "email"]


def test_an_event_table_must_not_hold_people(write_csv):
    path = write_csv([["c1", "a@b.com", "2026-01-01"]], header=["customer_id", "email", "day"])
    report = check([path], {"customer_id": Kind.KEY}, event=True)
    assert found(report, "event-personal", "email").level is Level.ERROR
    assert report.forecast is None
    fine = check([write_csv([["c1", "2026-01-01"]], name="e.csv", header=["customer_id", "day"])], None, event=True)
    assert fine.fine


PERSONAL = ["name", "full_name", "birthdate", "username", "ip", "Date of Birth", "ssn", "ip_address", "user_name"]
HARMLESS = ["event_name", "product_name", "campaign_name", "file_name", "order_id", "sku", "zip_ok", "description"]


def test_personal_data_of_no_kind_is_seen_by_its_name(write_csv):
    header = ["customerid", *PERSONAL, *HARMLESS]
    path = write_csv([["c1", *"x" * (len(header) - 1)], ["c2", *"y" * (len(header) - 1)]], header=header)

    def columns(code, **options):
        return [f.column for f in check([path], {"customerid": Kind.KEY}, **options).findings if f.code == code]

    assert columns("event-personal", event=True) == sorted(PERSONAL)
    assert columns("unmapped-personal", country="US") == sorted(PERSONAL)


def test_hashes_are_personal_unless_they_are_the_key_or_of_a_thing(write_csv):
    header = ["customerid", "who", "order_id", "day"]
    rows = [[hashlib.sha256(b"%d" % n).hexdigest()] * 3 + ["2026-01-01"] for n in range(4)]
    path = write_csv(rows, header=header)
    report = check([path], {"customerid": Kind.KEY}, event=True)
    assert [f.column for f in report.findings if f.code == "event-personal"] == ["who"]
    assert found(check([path], {"customerid": Kind.KEY}), "unmapped-personal", "who")


def test_a_hash_in_the_place_of_a_header_is_not_repeated(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("".join(f"c{n},{hashlib.sha256(b'%d' % n).hexdigest()},c{n}@x.com\n" for n in range(4)))
    report = check([str(path)], {}, event=True)
    assert found(report, "header-missing")
    assert hashlib.sha256(b"0").hexdigest() not in repr(report.as_dict())


def test_too_many_columns(write_csv):
    header = ["id", *(f"email{n}" for n in range(1, 26))]
    report = check([write_csv([["1", *["a@b.c"] * 25]], header=header)], None, country="US")
    assert found(report, "columns-too-many").count == 26


def test_files_that_differ(write_csv, person, mapping):
    paths = [write_csv([person("c1")]), write_csv([["c1", "a@b.c"]], name="b.csv", header=["customer_id", "email"])]
    report = check(paths, mapping, country="US")
    assert found(report, "columns-differ", "phone").file == paths[1]
    repeated = found(report, "key-repeated")
    assert [(place.file, place.row) for place in repeated.places] == [(paths[1], 1)]


@pytest.mark.parametrize("parquet", [False, True])
def test_rows_of_a_file_without_the_key_are_rows_without_a_key(write_csv, person, mapping, tmp_path, parquet):
    """The check counts them as what they are when the files are prepared: left out."""
    good = write_csv([person("c1"), person("c2")])
    bare = write_csv([person("c3")[1:], person("c4")[1:], person("c5")[1:]], "bare.csv", HEADER[1:])
    if parquet:
        pq.write_table(pyarrow.csv.read_csv(bare), bare)
    report = check([good, bare], mapping, country="US")
    assert (report.rows, report.usable_rows, report.forecast.rows, report.forecast.matchable) == (5, 2, 2, 2)
    missing = found(report, "key-missing")
    assert (missing.count, [place.row for place in missing.places]) == (3, [1, 2, 3])
    assert found(report, "columns-differ")
    key = next(column for column in report.columns if column.kind is Kind.KEY)
    assert (key.values, key.empty, key.invalid) == (2, 3, 0)
    result = prepare([good, bare], mapping, str(tmp_path / "out"), country="US")
    assert (result.rows_read, result.rows_written, result.rows_without_key) == (5, 2, 3)


def test_parquet_is_checked_too(tmp_path, person, mapping):
    columns = dict(zip(HEADER, map(list, zip(person("c1"), person("c1", phone="x"), strict=True)), strict=True))
    pq.write_table(pa.table({**columns, "zip": [98101.0, 2139.0]}), tmp_path / "x.parquet")
    report = check([str(tmp_path / "x.parquet")], mapping, country="US")
    assert rows_of(found(report, "key-repeated")) == [2]
    assert rows_of(found(report, "field-invalid", "phone")) == [2]
    assert {c.column: c.values for c in report.columns}["zip"] == 2


def test_guessing_from_header_and_content(write_csv, person):
    overview = look([write_csv([person(f"c{n}") for n in range(30)])])
    assert overview.mapping() == MAPPING
    assert all(entry.confidence > 0.6 for entry in overview.guesses)
    header = ["Kunde", "Kontakt", "Vorname", "PLZ", "idfa", "note", "tcf", "id"]
    samples = [
        ["a"] * 9,
        [f"p{n}@x.de" for n in range(9)],
        ["Ann"] * 9,
        ["10115"] * 9,
        ["aebe52e7-03ee-455a-b3c4-e57283966239"] * 9,
        ["hello there"] * 9,
        ["CP"] * 9,
        [str(n) for n in range(9)],
    ]
    guesses = {entry.column: entry for entry in guess(header, samples)}
    kinds = [guesses[name].kind for name in header]
    assert kinds == [Kind.IGNORE, Kind.EMAIL, Kind.FIRST_NAME, Kind.ZIP, Kind.MAID, Kind.IGNORE, Kind.CONSENT, Kind.KEY]
    assert guesses["Kontakt"].reason == "content"
    swapped = guess(["phone"], [["ann@x.com", "bob@y.org"]])[0]
    assert (swapped.kind, swapped.reason) == (Kind.EMAIL, "content")
    assert guess(["email"], [[HASH, HASH]])[0].hashed


def test_numbered_columns_are_guessed_as_those_without_a_number():
    words = {
        "firstname_2": ("Ann", Kind.FIRST_NAME),
        "last_name_3": ("Lee", Kind.LAST_NAME),
        "lastname_25": (HASH, Kind.LAST_NAME),
        "email_10": ("a@b.com", Kind.EMAIL),
        "mobile_2": ("206-555-0100", Kind.PHONE),
        "city_2": ("Rome", Kind.CITY),
        "state_2": ("WA", Kind.STATE),
        "zip_12": ("98101", Kind.ZIP),
        "country_2": ("US", Kind.COUNTRY),
        "maid_2": ("not a device", Kind.MAID),
        "liverampid_2": ("XY1", Kind.LIVERAMP),
        "address_2": ("Flat 3", Kind.ADDRESS),
        "address2": ("Flat 3", Kind.ADDRESS),
        "address line 2": ("Flat 3", Kind.ADDRESS),
        "calle2": ("Flat 3", Kind.IGNORE),
        "last_7": ("12", Kind.IGNORE),
        "exp_1": ("blue", Kind.IGNORE),
        "user_id_2": ("c1", Kind.IGNORE),
        "city_26": ("Rome", Kind.IGNORE),
        "city_2024": ("Rome", Kind.IGNORE),
        "2": ("Ann", Kind.IGNORE),
        "_10": ("Ann", Kind.IGNORE),
    }
    guesses = guess(list(words), [[value] * 3 for value, _ in words.values()])
    assert {g.column: g.kind for g in guesses} == {name: kind for name, (_, kind) in words.items()}
    assert [g.kind for g in guess(["firstname_2", "state_2"], [[], []])] == [Kind.FIRST_NAME, Kind.STATE]


@pytest.mark.parametrize("rule_table", [rules.AMAZON_ADS, None])
def test_what_was_prepared_loses_no_column_when_it_is_checked_again(write_csv, person, mapping, tmp_path, rule_table):
    others = [
        {"first_name": f"Bo{n * 'o'}", "last_name": f"Na{n * 'a'}", "city": f"Ro{n * 'o'}", "zip": f"9810{n}"}
        | {"phone": f"(206) 555-010{n}", "address": f"{n} Main Street", "email": f"x{n}@y.com"}
        | {"state": ["WA", "OR", "CA", "NY"][n], "country": ["US", "CA", "DE", "FR"][n]}
        for n in range(4)
    ]
    mapping["maid"] = Kind.MAID
    rows = [[*person("c1", **one), f"aebe52e7-03ee-455a-b3c4-e5728396623{n}"] for n, one in enumerate(others)]
    path = write_csv([*rows, [*person("c2"), ""]], header=list(mapping))
    prepare([path], mapping, str(tmp_path / "out"), country="US", rule_table=rule_table)
    tables = json.loads((tmp_path / "out" / "manifest.json").read_text())["tables"]
    assert len(tables) > 1
    for table in tables:
        kinds = {column["name"]: column["kind"] for column in table["columns"]}
        assert look([str(tmp_path / "out" / table["name"])]).mapping() == kinds


def test_samples_are_masked():
    assert masked("Ann Lee-5, José@x.com") == "xxx xxx-9, xxxx@x.xxx"
    assert len(masked("x" * 100)) == 24


def test_it_can_be_stopped_and_refuses_nonsense(write_csv, person, mapping):
    path = write_csv([person("c1")])
    with pytest.raises(Cancelled):
        check([path], mapping, country="US", cancelled=lambda: True)
    with pytest.raises(BadMapping):
        check([path], {"nix": Kind.KEY}, country="US")
    with pytest.raises(BadMapping):
        check([path], mapping, country="Narnia")
