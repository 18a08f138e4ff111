"""Preparing: standardise, hash, one row a key, Parquet, manifest; all or nothing."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onboarding.identity import manifest, reference, rules
from onboarding.identity.columns import MEANINGS, Kind
from onboarding.identity.errors import BadDestination, BadMapping, Cancelled, Unreadable
from onboarding.identity.prepare import prepare
from onboarding.identity.work import batch_size
from tests.identity.conftest import HEADER, MAPPING

ADS = rules.load(rules.AMAZON_ADS)


def read(folder, table="identity"):
    return pq.read_table(Path(folder) / table).to_pylist()


def digest(kind, value, country="US", table=ADS):
    return reference.standardise_and_hash(table, MEANINGS[kind].rule, value or None, country)


def expected(row, table=ADS, country="US"):
    made = {}
    for (_, kind), value in zip(MAPPING.items(), row, strict=True):
        if kind is Kind.KEY:
            made["customer_id"] = value
        else:
            made[MEANINGS[kind].column] = digest(kind, value, country, table)
    return made


def files_below(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


@pytest.mark.parametrize("table", rules.NAMES)
def test_rows_are_standardised_and_hashed(write_csv, person, mapping, tmp_path, table):
    rows = [person("c1"), person("c2", email="", state="Narnia", zip="2139"), person("c3", first_name="José")]
    result = prepare([write_csv(rows)], mapping, str(tmp_path / "out"), country="US", rule_table=table)
    assert read(tmp_path / "out") == [expected(row, rules.load(table)) for row in rows]
    assert (result.rows_read, result.rows_written) == (3, 3)
    assert (result.fields["email"].values, result.fields["email"].empty) == (2, 1)
    if table == rules.AMAZON_ADS:
        assert result.fields["state"].invalid == 1


def test_each_row_is_read_by_its_own_country(write_csv, person, mapping, tmp_path):
    rows = [person("c1", phone="030 123456", country="Germany", zip="1067"), person("c2"), person("c3", country="")]
    prepare([write_csv(rows)], mapping, str(tmp_path / "out"), country="US")
    found = {row["customer_id"]: row for row in read(tmp_path / "out")}
    assert found["c1"]["phone"] == reference.hashed("4930123456")
    assert found["c1"]["zip"] == reference.hashed("01067")
    assert found["c2"]["phone"] == found["c3"]["phone"] == reference.hashed("12065550100")


def test_rows_of_one_key_become_numbered_columns(write_csv, person, mapping, tmp_path):
    rows = [
        person("c1"),
        person("c2"),
        person("c1", email="other@x.com", city="Tacoma"),
        person("c1", email="C1@example.com"),
    ]
    result = prepare([write_csv(rows)], mapping, str(tmp_path / "out"), country="US")
    found = {row["customer_id"]: row for row in read(tmp_path / "out")}
    assert set(found) == {"c1", "c2"}
    assert found["c1"]["email"] == digest(Kind.EMAIL, "c1@example.com")
    assert found["c1"]["email_2"] == digest(Kind.EMAIL, "other@x.com")
    assert found["c1"]["city_2"] == digest(Kind.CITY, "Tacoma")
    assert found["c2"]["email_2"] is None
    assert "phone_2" not in found["c1"]
    assert (result.rows_of_repeated_keys, result.rows_collapsed_into, result.rows_written) == (3, 1, 2)


def test_rows_that_differ_in_consent_are_not_mixed(write_csv, person, mapping, tmp_path):
    mapping["amz_ad_storage_consent"] = Kind.CONSENT
    rows = [
        [*person("c1"), "GRANTED"],
        [*person("c1", email="a@b.c"), "DENIED"],
        [*person("c1", email="d@e.f"), "GRANTED"],
    ]
    path = write_csv(rows, header=[*HEADER, "amz_ad_storage_consent"])
    prepare([path], mapping, str(tmp_path / "out"), country="US")
    found = {row["amz_ad_storage_consent"]: row for row in read(tmp_path / "out")}
    assert found["GRANTED"]["email_2"] == digest(Kind.EMAIL, "d@e.f")
    assert (found["DENIED"]["email"], found["DENIED"]["email_2"]) == (digest(Kind.EMAIL, "a@b.c"), None)


def test_a_table_over_25_columns_is_split(write_csv, person, mapping, tmp_path):
    rows = [person("c1", email=f"a{n}@x.com", first_name=f"Ann{n}", city=f"City{n}") for n in range(12)] + [
        person("c2")
    ]
    result = prepare([write_csv(rows)], mapping, str(tmp_path / "out"), country="US")
    assert [table.name for table in result.tables] == ["identity", "identity_2"]
    assert all(len(table.columns) <= 25 for table in result.tables)
    names = [column.name for table in result.tables for column in table.columns]
    assert len([name for name in names if name.startswith("email")]) == 12
    first, second = read(tmp_path / "out"), read(tmp_path / "out", "identity_2")
    assert [row["customer_id"] for row in second] == ["c1"]
    both = {**next(row for row in first if row["customer_id"] == "c1"), **second[0]}
    assert {both["email" if n == 1 else f"email_{n}"] for n in range(1, 13)} == {
        digest(Kind.EMAIL, f"a{n}@x.com") for n in range(12)
    }


def test_at_most_25_values_of_a_field_are_kept(write_csv, person, mapping, tmp_path):
    rows = [person("guest", email=f"a{n}@x.com") for n in range(30)]
    result = prepare([write_csv(rows)], mapping, str(tmp_path / "out"), country="US")
    assert result.values_beyond_limit == 5


def test_rows_without_usable_key_are_left_out_and_counted(write_csv, person, mapping, tmp_path):
    path = write_csv([person("c1"), person(""), person("k" * 39), person("ü" * 38), ["c5", "short"]])
    result = prepare([path], mapping, str(tmp_path / "out"), country="US")
    assert {row["customer_id"] for row in read(tmp_path / "out")} == {"c1", "ü" * 38}
    counts = (result.rows_without_key, result.rows_with_long_key, result.rows_ragged, result.rows_read)
    assert counts == (1, 1, 1, 5)


def test_ids_and_consent_are_carried_untouched_and_unmapped_columns_left_out(write_csv, tmp_path):
    header = ["uid", "Device", "LiveRamp", "tcf", "notes"]
    rows = [["u1", "AEBE52E7-03EE-455A-B3C4-E57283966239", " XY12ab ", "CPx", "secret"]]
    mapping = {
        "uid": Kind.KEY,
        "Device": Kind.MAID,
        "LiveRamp": Kind.LIVERAMP,
        "tcf": Kind.CONSENT,
        "notes": Kind.IGNORE,
    }
    prepare([write_csv(rows, header=header)], mapping, str(tmp_path / "out"), country="US")
    carried = {"uid": "u1", "maid": rows[0][1], "liverampid": " XY12ab ", "tcf": "CPx"}
    assert read(tmp_path / "out") == [carried]


def test_clear_values_are_left_as_they_are(write_csv, person, mapping, tmp_path):
    row = person("c1", first_name=" José ", email="A+b@X.com")
    result = prepare([write_csv([row])], mapping, str(tmp_path / "out"), rule_table=None)
    assert read(tmp_path / "out")[0]["firstname"] == " José "
    assert read(tmp_path / "out")[0]["email"] == "A+b@X.com"
    assert not any(column["hashed"] for column in result.as_dict()["tables"][0]["columns"])


def test_preparing_what_is_prepared_changes_nothing(write_csv, person, mapping, tmp_path):
    prepare([write_csv([person("c1"), person("c2", email="")])], mapping, str(tmp_path / "one"), country="US")
    again = {MEANINGS[kind].column: kind for kind in MAPPING.values() if kind is not Kind.KEY} | {
        "customer_id": Kind.KEY
    }
    prepare([str(tmp_path / "one" / "identity")], again, str(tmp_path / "two"), country="US")
    assert read(tmp_path / "two") == [
        {key: row[key] for key in read(tmp_path / "two")[0]} for row in read(tmp_path / "one")
    ]


def test_the_same_again_gives_the_same_bytes(write_csv, person, mapping, tmp_path):
    path = write_csv([person(f"c{n % 400}", city=f"Town {n % 7}") for n in range(900)])
    prepare([path], mapping, str(tmp_path / "one"), country="US", memory=1, jobs=1)
    prepare([path], mapping, str(tmp_path / "two"), country="US", memory=1, jobs=3)
    prepare([path], mapping, str(tmp_path / "one"), country="US", memory=1, jobs=2)
    assert files_below(tmp_path / "one") == files_below(tmp_path / "two")


def test_files_and_row_groups_are_limited(write_csv, person, mapping, tmp_path):
    path = write_csv([person(f"c{n:06d}") for n in range(24_000)])
    out = tmp_path / "out"
    result = prepare([path], mapping, str(out), country="US", memory=1, row_group=100_000, file_limit=250_000)
    files = result.tables[0].files
    assert len(files) > 2
    assert all(file.bytes <= 250_000 for file in files)
    assert sum(file.rows for file in files) == 24_000
    assert len(read(out)) == 24_000
    metadata = pq.ParquetFile(out / files[0].path).metadata
    assert metadata.num_row_groups > 1
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert metadata.schema.to_arrow_schema().field("email").type == pa.string()


def test_the_manifest_tells_all_but_values(write_csv, person, mapping, tmp_path):
    prepare([write_csv([person("c1")])], mapping, str(tmp_path / "out"), country="US")
    written = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert written["rules"] == "amazon-ads-1"
    assert written["rows_written"] == 1
    table = written["tables"][0]
    assert table["files"][0]["path"] == "identity/part-00000.parquet"
    assert {
        "name": "email",
        "kind": "email",
        "er_type": "EMAIL_ADDRESS",
        "match_key": "Email",
        "hashed": True,
    } in table["columns"]
    assert "example.com" not in json.dumps(written)


def test_stale_files_of_an_earlier_run_go_and_foreign_ones_stop_it(write_csv, person, mapping, tmp_path):
    out = tmp_path / "out"
    many = write_csv([person(f"c{n:06d}") for n in range(12_000)])
    prepare([many], mapping, str(out), country="US", memory=1, row_group=100_000, file_limit=250_000)
    assert len(list((out / "identity").iterdir())) > 1
    few = write_csv([person("c1")], name="few.csv")
    prepare([few], mapping, str(out), country="US")
    assert [p.name for p in (out / "identity").iterdir()] == ["part-00000.parquet"]
    (out / "identity" / "mine.txt").write_text("x")
    with pytest.raises(BadDestination, match="not of an earlier run"):
        prepare([few], mapping, str(out), country="US")


@pytest.mark.parametrize("stage", ["keys", "collapse", "prepare"])
def test_a_cancelled_run_publishes_nothing(write_csv, person, mapping, tmp_path, stage):
    out = tmp_path / "out"
    stopped = []
    path = write_csv([person(f"c{n % 5000:06d}", city=f"T{n}") for n in range(6000)])
    with pytest.raises(Cancelled):
        prepare(
            [path],
            mapping,
            str(out),
            country="US",
            memory=1,
            progress=lambda at: stopped.append(at) if at.stage == stage else None,
            cancelled=lambda: bool(stopped),
        )
    assert files_below(out) == {}


def test_a_crash_leaves_the_earlier_run_as_it_was(write_csv, person, mapping, tmp_path, monkeypatch):
    out = tmp_path / "out"
    path = write_csv([person("c1")])
    prepare([path], mapping, str(out), country="US")
    before = files_below(out)

    def crash(_):
        raise OSError("disk gone")

    monkeypatch.setattr("onboarding.identity.manifest.document", crash)
    with pytest.raises(OSError, match="disk gone"):
        prepare([write_csv([person("c2")], name="b.csv")], mapping, str(out), country="US")
    assert files_below(out) == before


def test_a_crash_while_it_publishes_leaves_whole_files_and_no_manifest(
    write_csv, person, mapping, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    path = write_csv([person(f"c{n:06d}") for n in range(12_000)])

    def run():
        prepare([path], mapping, str(out), country="US", memory=1, row_group=100_000, file_limit=250_000)

    run()
    wanted, replace = files_below(out), Path.replace

    def killed(self, target):
        if Path(target).name == "part-00001.parquet":
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as broken:
        broken.setattr(Path, "replace", killed)
        broken.setattr("onboarding.identity.publish.LocalFolder.abandon", lambda folder: None)
        with pytest.raises(KeyboardInterrupt):
            run()
    left = files_below(out)
    assert "manifest.json" not in left and "_publishing.json" in left
    assert all(pq.ParquetFile(file).metadata for file in out.glob("identity/*"))
    run()
    assert files_below(out) == wanted


def test_many_files_of_several_formats_are_one_table(write_csv, person, mapping, tmp_path):
    one = write_csv([person("c1")], name="1.csv", delimiter=";")
    two = Path(write_csv([person("c2")], name="2.csv"))
    zipped = tmp_path / "2.csv.gz"
    zipped.write_bytes(gzip.compress(two.read_bytes()))
    columns = dict(
        zip(HEADER, map(list, zip(*[person("c3"), person("c1", email="z@x.com")], strict=True)), strict=True)
    )
    pq.write_table(pa.table({**columns, "zip": [98101, 98101]}), tmp_path / "3.parquet")
    short = write_csv([["c4", "x@y.com"]], name="4.csv", header=["customer_id", "email"])
    paths = [one, str(zipped), str(tmp_path / "3.parquet"), short]
    result = prepare(paths, mapping, str(tmp_path / "out"), country="US")
    found = {row["customer_id"]: row for row in read(tmp_path / "out")}
    assert set(found) == {"c1", "c2", "c3", "c4"}
    assert found["c3"]["zip"] == reference.hashed("98101")
    assert found["c1"]["email_2"] == reference.hashed("z@x.com")
    assert found["c4"]["phone"] is None
    assert len(result.sources) == 4


def test_all_rows_may_take_the_way_of_repeated_keys(write_csv, person, mapping, tmp_path, monkeypatch):
    rows = [person(f"c{n % 3000}", email=f"m{n}@x.com") for n in range(6000)]
    path = write_csv(rows)
    prepare([path], mapping, str(tmp_path / "one"), country="US")
    for name, value in {
        "prepare.ALL_REPEATED": 10,
        "collapse.ROWS_PER_PART": 500,
        "collapse.HELD_ROWS": 700,
        "keys.IN_MEMORY": 900,
    }.items():
        monkeypatch.setattr(f"onboarding.identity.{name}", value)
    prepare([path], mapping, str(tmp_path / "two"), country="US", memory=1)
    one, two = (sorted(read(tmp_path / name), key=lambda row: row["customer_id"]) for name in ("one", "two"))
    assert one == two
    assert len(one) == 3000


def test_mappings_that_cannot_work_are_refused(write_csv, person, mapping, tmp_path):
    path = write_csv([person("c1")])
    out = str(tmp_path / "out")
    with pytest.raises(BadMapping, match="country"):
        prepare([path], {k: v for k, v in mapping.items() if k != "country"}, out)
    with pytest.raises(BadMapping, match="unknown country"):
        prepare([path], mapping, out, country="Narnia")
    with pytest.raises(BadMapping, match="key"):
        prepare([path], {"email": Kind.EMAIL}, out, country="US")
    with pytest.raises(BadMapping, match="no column named"):
        prepare([path], {**mapping, "nix": Kind.EMAIL}, out, country="US")
    with pytest.raises(BadMapping, match="same name"):
        prepare(
            [write_csv([["a", "b", "c"]], name="d.csv", header=["id", "email", "email"])],
            {"id": Kind.KEY, "email": Kind.EMAIL},
            out,
            country="US",
        )
    with pytest.raises(Unreadable, match="nothing to read"):
        prepare([str(tmp_path / "no.csv")], mapping, out, country="US")


@pytest.mark.parametrize("keys", [9_500, 10_000], ids=["repeated", "once"])
def test_memory_and_jobs_change_no_byte(write_csv, person, mapping, tmp_path, keys):
    """A column that has few values at first and many later; spellings that become one value, and a country that comes
    late, in a dictionary; row groups that end inside batches."""
    rows = [
        person(
            f"c{n % keys:05d}",
            city=f"Town{n % 9}" if n < 3000 else f"Town{n}",
            state=("Bayern", "WA", "Washington", "Narnia", "")[n % 5],
            country="US" if n < 6000 else ("DE", "US", "")[n % 3],
        )
        for n in range(10_000)
    ]
    path = write_csv(rows)
    assert Path(path).stat().st_size > 3 * batch_size(64 << 20)
    made = []
    for number, (memory, jobs) in enumerate([(64 << 20, 1), (64 << 20, 3), (512 << 20, 2), (4 << 30, 2)]):
        for row_group in (120 << 20, 1_000_000):
            out = tmp_path / f"{number}-{row_group}"
            prepare([path], mapping, str(out), country="US", memory=memory, jobs=jobs, row_group=row_group)
            made.append(files_below(out))
    assert pq.ParquetFile(out / "identity/part-00000.parquet").metadata.num_row_groups > 1
    assert made[0::2] == [made[0]] * 4
    assert made[1::2] == [made[1]] * 4


def test_whether_a_column_is_a_dictionary_does_not_depend_on_memory(write_csv, person, mapping, tmp_path):
    """In the first 256 KB its values repeat, in the first two megabytes they do not."""
    path = write_csv([person(f"c{n}", city=f"Town{n % 9}" if n < 3000 else f"Town{n}") for n in range(22_000)])
    for name, memory in (("one", 64 << 20), ("two", 4 << 30)):
        prepare([path], mapping, str(tmp_path / name), country="US", memory=memory)
    assert files_below(tmp_path / "one") == files_below(tmp_path / "two")


def clear(folder):
    """Each column's name and whether the manifest, which has to be a valid one, says that it is hashed."""
    found = manifest.read((folder / "manifest.json").read_bytes())
    return {column["name"]: column["hashed"] for table in found["tables"] for column in table["columns"]}


def test_clear_columns_that_came_hashed_are_said_to_be(write_csv, tmp_path):
    header, mapping = ["id", "a", "b", "first"], {"id": Kind.KEY, "a": Kind.EMAIL, "b": Kind.EMAIL}
    mapping["first"] = Kind.FIRST_NAME
    one, two = reference.hashed("a@x.com"), reference.hashed("b@x.com")
    rows = [["u1", one, "b@x.com", "Ann"], ["u2", "", "", "Bob"], ["u3", two, "c@x.com", ""]]
    prepare([write_csv(rows, header=header)], mapping, str(tmp_path / "out"), rule_table=None)
    assert clear(tmp_path / "out") == {"id": False, "email": True, "email_2": False, "firstname": False}
    # Rows of one key fill the numbered columns from both.
    both = [["u1", one, two, "Ann"], ["u1", two, "", "Ann"], ["u2", "", one, "Bob"]]
    prepare([write_csv(both, header=header)], mapping, str(tmp_path / "both"), rule_table=None)
    assert clear(tmp_path / "both") == {"id": False, "email": True, "email_2": True, "firstname": False}


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([["u1", "hash", "b@x.com"], ["u2", "a@x.com", ""]], "column a holds hashed and clear values"),
        ([["u1", "hash", ""], ["u1", "a@x.com", ""]], "column a holds hashed and clear values"),
        ([["u1", "hash", "b@x.com"], ["u2", "", "c@x.com"], ["u2", "", "d@x.com"]], "columns a, b: some hold hashed"),
    ],
    ids=["rows", "one key", "numbered"],
)
def test_hashed_and_clear_values_in_one_column_are_refused_in_clear(write_csv, tmp_path, rows, named):
    rows = [[reference.hashed("a@x.com") if value == "hash" else value for value in row] for row in rows]
    path, out = write_csv(rows, header=["id", "a", "b"]), tmp_path / "out"
    mapping = {"id": Kind.KEY, "a": Kind.EMAIL, "b": Kind.EMAIL}
    with pytest.raises(BadMapping, match=f"{named}.*hashed here"):
        prepare([path], mapping, str(out), rule_table=None)
    assert files_below(out) == {}
    prepare([path], mapping, str(out), country="US")
    assert clear(out)["email"] is True


def test_rows_whose_country_is_not_known_are_counted(write_csv, person, mapping, tmp_path):
    needs_none = {"phone": "", "address": "", "state": "", "zip": ""}
    rows = [
        person("c1"),
        person("c2", country=""),
        person("c3", country="Narnia"),
        person("c4", country="Narnia"),
        person("c4", country="US", city="Tacoma"),
        person("c5", country="", **needs_none),
        person("c6", country="", **needs_none | {"phone": reference.hashed("12065550100")}),
        person("", country=""),
    ]
    path, out = write_csv(rows), tmp_path / "out"
    result = prepare([path], mapping, str(out))
    assert result.rows_without_country == result.as_dict()["rows_without_country"] == 3
    assert manifest.read((out / "manifest.json").read_bytes())["rows_without_country"] == 3
    assert prepare([path], mapping, str(out), country="US").rows_without_country == 0
    assert prepare([path], mapping | {"phone": Kind.IGNORE}, str(out), rule_table=None).rows_without_country == 0
    names = {"customer_id": Kind.KEY, "email": Kind.EMAIL, "country": Kind.COUNTRY}
    assert prepare([path], names, str(out)).rows_without_country == 0


def test_a_refused_folder_stays_as_it_is(write_csv, person, mapping, tmp_path):
    path, out = write_csv([person("c1")]), tmp_path / "out"
    prepare([path], mapping, str(out), country="US")
    for foreign in ("mine.txt", ".incoming/mine.txt"):
        (out / ".incoming" / "identity").mkdir(parents=True)
        (out / ".incoming" / "identity" / "part-00000.parquet").write_text("of a run that was lost")
        (out / foreign).write_text("x")
        before = files_below(out)
        with pytest.raises(BadDestination, match="not of an earlier run"):
            prepare([path], mapping, str(out), country="US")
        assert files_below(out) == before
        (out / foreign).unlink()
        prepare([path], mapping, str(out), country="US")
        assert not (out / ".incoming").exists()


@pytest.mark.parametrize("name", ["../evil", "a/b", "", "People", "a-b", "x" * 256, "x\n"])
def test_names_of_tables_that_do_not_fit_are_refused(write_csv, person, mapping, tmp_path, name):
    path = write_csv([person("c1")])
    before = files_below(tmp_path)
    with pytest.raises(BadDestination, match="table's name"):
        prepare([path], mapping, str(tmp_path / "deep" / "out"), country="US", table=name)
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("out", ["inn", "inn/out", "inn/a/../b/out", "link/out"])
def test_output_that_the_next_run_would_read_is_refused(write_csv, person, mapping, tmp_path, out):
    (tmp_path / "inn").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "inn")
    write_csv([person("c1")], name="inn/people.csv")
    with pytest.raises(BadDestination, match="next run would read it"):
        prepare([str(tmp_path / "inn")], mapping, str(tmp_path / out), country="US")
    assert list(files_below(tmp_path)) == ["inn/people.csv"]
    # Names that are passed over and the folder beside it are fine.
    for fine in ("inn/_out", "inn2"):
        prepare([str(tmp_path / "inn")], mapping, str(tmp_path / fine), country="US")
