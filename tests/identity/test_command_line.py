"""``python -m onboarding.identity``: exit codes, JSON, and rows explained on a terminal only."""

import json
import subprocess
import sys

import pytest

from onboarding.identity.__main__ import main, memory
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
