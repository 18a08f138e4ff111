"""``python -m onboarding.identity``: exit codes, JSON, and rows explained on a terminal only."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from onboarding.identity.command import main, memory
from onboarding.identity.reference import hashed
from onboarding.identity.storage import default_s3
from tests.identity.conftest import MAPPING


def test_exit_codes(write_csv, person, tmp_path, capsys):
    good = write_csv([person("c1"), person("c2")])
    bad = write_csv([person("c1"), person("")], name="bad.csv")
    assert main(["check", good, "--country", "US"]) == 0
    assert main(["check", bad, "--country", "US"]) == 1
    assert main(["check", str(tmp_path / "none.csv")]) == 2
    assert (
        main(["prepare", good, "--country", "US", "--out", str(tmp_path / "out"), "--jobs", "1", "--memory", "64MB"])
        == 0
    )
    assert main(["prepare", bad, "--country", "US", "--out", str(tmp_path / "out2"), "--clear"]) == 1
    none = write_csv([], name="none-yet.csv")
    assert main(["check", none, "--country", "US"]) == 1
    assert main(["prepare", none, "--country", "US", "--out", str(tmp_path / "out4")]) == 1
    assert main(["prepare", good, "--country", "Narnia", "--out", str(tmp_path / "out3")]) == 2
    assert "nothing to read there" in capsys.readouterr().err


def test_an_event_table_with_people_in_it_has_problems(write_csv):
    people = write_csv(
        [["c1", "x", "y", "z", "u", "v"]], header=["customerid", "name", "full_name", "birthdate", "username", "ip"]
    )
    assert main(["check", "--event", people]) == 1
    sales = write_csv([["c1", "x", "y"]], name="sales.csv", header=["customerid", "event_name", "order_id"])
    assert main(["check", "--event", sales]) == 0


def test_json_and_a_mapping_from_a_file(write_csv, person, tmp_path, capsys):
    columns = tmp_path / "map.json"
    columns.write_text(json.dumps({name: kind.value for name, kind in MAPPING.items()}))
    assert main(["check", write_csv([person("c1")]), "--columns", str(columns), "--country", "US", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 1


def test_consent_is_shown_by_its_counts_and_not_as_values(write_csv, person, capsys):
    rows = [[*person("c1"), "CPXxRfA.YA", "GRANTED"], [*person("c2"), "yes", "no"], [*person("c3"), "", "GRANTED"]]
    path = write_csv(rows, header=[*MAPPING, "tcf", "amz_ad_storage_consent"])
    assert main(["check", path, "--country", "US"]) == 1
    table, consent = capsys.readouterr().out.split("\nconsent ")
    assert "email" in table and "tcf" not in table and "amz_" not in table
    shown = [" ".join(line.split()) for line in consent.partition("\n\n")[0].splitlines()]
    assert shown[1:] == [
        "tcf Carries a consent string 1",
        "tcf Carries something that is no consent string 1",
        "tcf Empty 1",
        "amz_ad_storage_consent Granted 2",
        "amz_ad_storage_consent Not granted 1",
        "amz_ad_storage_consent Empty 0",
    ]


def test_explain_shows_a_row_on_a_terminal(write_csv, person, monkeypatch, capsys):
    path = write_csv([person("c1"), ["ragged"], person("c3", first_name="José")])
    assert main(["explain", path, "--row", "3", "--country", "US"]) == 2
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["explain", path, "--row", "3", "--country", "US"]) == 0
    shown = capsys.readouterr().out
    assert "'jos'" in shown
    assert "12065550100" in shown
    assert main(["explain", path, "--row", "3", "--country", "Narnia"]) == 2
    german = write_csv([person("c1", phone="030 123456", country="")], name="german.csv")
    assert main(["explain", german, "--row", "1", "--country", "Germany"]) == 0
    assert "'4930123456'" in capsys.readouterr().out
    assert main(["explain", path, "--row", "2"]) == 1
    assert main(["explain", path, "--row", "9"]) == 2


def test_a_bar_says_how_far_it_is_on_a_terminal_alone(write_csv, person, tmp_path, monkeypatch, capsys):
    path = write_csv([person(f"c{n}") for n in range(30)])
    assert main(["check", path, "--country", "US"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert main(["prepare", path, "--country", "US", "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().err
    assert "keys" in shown and "prepare" in shown and "100%" in shown and "30 rows" in shown


def test_a_fault_of_the_program_is_no_finding_and_quotes_nothing(write_csv, person, monkeypatch, capsys):
    def fault(*args, **kwargs):
        raise RuntimeError("planted value")

    monkeypatch.setattr("onboarding.identity.check._differs", fault)
    assert main(["check", write_csv([person("c1")]), "--country", "US"]) == 2
    said = capsys.readouterr().err
    assert "RuntimeError at" in said and "test_command_line.py" in said and "planted" not in said


def test_it_runs_without_django(write_csv, person):
    code = "import runpy, sys; sys.argv = ['identity', 'check', sys.argv[1], '--country', 'US']\n"
    code += "try:\n runpy.run_module('onboarding.identity', run_name='__main__')\n"
    code += "except SystemExit as end:\n assert not [m for m in sys.modules if m.split('.')[0] == 'django']\n raise"
    done = subprocess.run([sys.executable, "-c", code, write_csv([person("c1")])], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("text", "size"), [("512MB", 512 << 20), ("2gb", 2 << 30), ("1000", 1000)])
def test_sizes(text, size):
    assert memory(text) == size


@pytest.mark.parametrize("row", ["0", "-1", "x"])
def test_rows_are_numbered_from_1(write_csv, person, capsys, row):
    with pytest.raises(SystemExit) as ended:
        main(["explain", write_csv([person("c1")]), f"--row={row}", "--country", "US"])
    assert ended.value.code == 2
    assert "rows are numbered from 1" in capsys.readouterr().err


def test_explain_refuses_columns_that_no_file_has(write_csv, person, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    one = write_csv([person("c1")])
    two = write_csv([["c2", "x"]], name="two.csv", header=["customer_id", "nick"])
    words = ["--row", "1", "--country", "US", "--columns"]
    assert main(["explain", one, *words, "customer_id=key,email=email,unknown=email"]) == 2
    assert capsys.readouterr().err == "the files have no column named unknown\n"
    assert main(["explain", one, two, *words, "customer_id=key,nick=first_name"]) == 0


def test_why_a_mapping_cannot_be_read(write_csv, person, tmp_path, capsys):
    path, columns = write_csv([person("c1")]), tmp_path / "map.json"
    said = []
    for content in (None, b'{"customer_id": "key",\n "email": email}', b'{"caf\xe9": "key"}'):
        if content is not None:
            columns.write_bytes(content)
        assert main(["check", path, "--columns", str(columns)]) == 2
        said.append(capsys.readouterr().err)
    assert said == [
        f"{columns} cannot be read: No such file or directory\n",
        f"{columns} is not JSON: look at line 2, column 11\n",
        f"{columns} is not in UTF-8\n",
    ]


def test_a_forbidden_folder_is_named(write_csv, person, tmp_path, monkeypatch, capsys):
    (tmp_path / "in" / "closed").mkdir(parents=True)
    write_csv([person("c1")], name="in/people.csv")
    closed, scandir = str(tmp_path / "in" / "closed"), os.scandir

    def guarded(path):
        if str(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert main(["check", str(tmp_path / "in"), "--country", "US"]) == 2
    assert capsys.readouterr().err == f"{closed}: Permission denied\n"
    words = ["prepare", str(tmp_path / "in" / "people.csv"), "--country", "US", "--out", str(tmp_path / "in")]
    assert main(words) == 2
    assert capsys.readouterr().err == f"{tmp_path / 'in'} cannot be written: Permission denied\n"


@pytest.mark.parametrize("stage", ["keys", "rows", "collapsed", "out"])
def test_a_disk_that_is_full_is_said_with_its_folder(write_csv, person, tmp_path, monkeypatch, capsys, stage):
    path, out = write_csv([person(f"c{n % 50}", city=f"T{n}") for n in range(99)]), tmp_path / "out"
    monkeypatch.setattr("onboarding.identity.keys.IN_MEMORY", 10 if stage == "keys" else 10**6)
    write_ipc = pl.DataFrame.write_ipc

    def full(make):
        """The same on a device that is full, so that the library speaks as it does then."""
        return lambda folder, *rest, **more: make("/dev/full", *rest, **more)

    if stage == "keys":
        opened = Path.open
        monkeypatch.setattr(
            Path, "open", lambda p, *a, **k: opened(Path("/dev/full") if p.name.startswith("keys-") else p, *a, **k)
        )
    elif stage == "rows":
        monkeypatch.setattr("onboarding.identity.collapse.pa.OSFile", full(pa.OSFile))
    elif stage == "collapsed":
        monkeypatch.setattr(pl.DataFrame, "write_ipc", lambda frame, _, **k: write_ipc(frame, "/dev/full", **k))
    else:
        create = "onboarding.identity.publish.LocalFolder.create"
        monkeypatch.setattr(create, lambda *_: Path("/dev/full").open("wb"))  # noqa: SIM115
    assert main(["prepare", path, "--country", "US", "--out", str(out)]) == 2
    where = f"{out} cannot be written" if stage == "out" else tempfile.gettempdir()
    assert capsys.readouterr().err == f"{where}: No space left on device\n"
    assert list(out.iterdir()) == []


def test_an_endpoint_that_is_no_address(monkeypatch, capsys):
    default_s3.cache_clear()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "not an address")
    assert main(["check", "s3://people/in/", "--country", "US"]) == 2
    said = capsys.readouterr().err
    assert "endpoint's address is not valid" in said and "not an address" not in said


def test_rows_without_a_country_are_a_problem(write_csv, person, tmp_path, capsys):
    path = write_csv([person("c1", country="")])
    assert main(["prepare", path, "--out", str(tmp_path / "out")]) == 1
    assert "1 rows whose country is not known" in capsys.readouterr().out
    assert main(["prepare", path, "--out", str(tmp_path / "out"), "--country", "US"]) == 0
    assert main(["prepare", path, "--out", str(tmp_path / "out"), "--clear"]) == 0
    assert "not known" not in capsys.readouterr().out


def test_what_cannot_be_prepared_that_way_is_said(write_csv, person, tmp_path, capsys):
    path = write_csv([person("c1", email=hashed("a@x.com")), person("c2")], name="in.csv")
    for words, said in (
        ([path, "--table", "../evil", "--out", str(tmp_path / "out")], "table's name"),
        ([path, "--clear", "--out", str(tmp_path / "out")], "column email holds hashed and clear values"),
        ([str(tmp_path), "--out", str(tmp_path / "out")], "next run would read it"),
    ):
        assert main(["prepare", *words, "--country", "US"]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "evil").exists()


def test_stopped_while_it_publishes_is_not_said_to_be_unpublished(write_csv, person, tmp_path, monkeypatch, capsys):
    def stopped(folder, manifest):
        raise KeyboardInterrupt

    monkeypatch.setattr("onboarding.identity.publish.LocalFolder.publish", stopped)
    assert main(["prepare", write_csv([person("c1")]), "--country", "US", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "stopped while it published; run it again to make the folder whole\n"
