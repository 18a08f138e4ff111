"""The command that writes samples."""

import json

import polars as pl
import pytest

from simulator.matching.sample import COLUMNS, Plan, main, make, write_sample


def test_the_same_seed_makes_the_same_file(tmp_path):
    plan = Plan(rows=500, countries={"US": 1.0, "DE": 1.0})
    one, two = write_sample(plan, tmp_path / "1.csv"), write_sample(plan, tmp_path / "2.csv")
    assert one == two
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()
    write_sample(Plan(rows=500, countries={"US": 1.0, "DE": 1.0}, seed=2), tmp_path / "3.csv")
    assert (tmp_path / "1.csv").read_bytes() != (tmp_path / "3.csv").read_bytes()


def test_parquet_and_csv_hold_the_same_rows(tmp_path):
    plan = Plan(rows=300, countries={"FR": 1.0})
    write_sample(plan, tmp_path / "a.csv")
    write_sample(plan, tmp_path / "a.parquet")
    text = pl.read_csv(tmp_path / "a.csv", infer_schema=False)
    assert text.columns == list(COLUMNS)
    assert text.equals(pl.read_parquet(tmp_path / "a.parquet"))


def test_a_clean_sample_of_known_people_matches_whole():
    truth = make(
        Plan(rows=1000, countries={"GB": 1.0}, messy=0, strangers=0, blank=0, duplicates=0), lambda frame: None
    )
    assert truth.customers == truth.rows == truth.known_rows == 1000
    assert {must.rows for must in truth.must_match.values()} == {1000}


def test_strangers_never_have_to_match():
    truth = make(Plan(rows=1000, countries={"US": 1.0}, strangers=1), lambda frame: None)
    assert truth.stranger_rows == 1000
    assert {must.rows for must in truth.must_match.values()} == {0}


def test_duplicates_repeat_ids_up_to_the_most_rows():
    frames = []
    plan = Plan(rows=5000, countries={"US": 1.0}, duplicates=0.95, most_rows=30)
    truth = make(plan, frames.append)
    times = frames[0]["customerid"].value_counts()["count"]
    assert truth.second_rows == 5000 - truth.customers
    assert times.max() == 30
    assert len(times) == truth.customers


def test_the_command_writes_files_and_truth(tmp_path, capsys):
    out, other, truth = tmp_path / "a.csv", tmp_path / "b.parquet", tmp_path / "truth.json"
    assert main([str(out), str(other), "--rows", "101", "--country", "US:3,CA:1", "--truth", str(truth)]) == 0
    told = json.loads(truth.read_text())
    assert told[str(out)]["rows"] == 51
    assert told[str(other)]["rows"] == 50
    assert pl.read_parquet(other).height == 50
    printed = capsys.readouterr().out
    must = told[str(out)]["must_match"]["hashed with amazon-ads-1"]["rows"]
    assert f"hashed with amazon-ads-1: {must} rows must match" in printed


@pytest.mark.parametrize(
    "arguments",
    [
        ["--country", "XX"],
        ["--country", "US:many"],
        ["--country", "US:0"],
        ["--messy", "2"],
        ["--columns", "customerid,email"],
        ["--columns", "shoe"],
        ["--rows", "0"],
        ["--most-rows", "0"],
    ],
)
def test_wrong_arguments_are_explained(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / "a.csv"), *arguments])
    assert stopped.value.code == 2
    assert "error" in capsys.readouterr().err
