"""No value of a column ever reaches a report, a message, a manifest, progress or a finding."""

import json

import pytest

from onboarding.identity.check import check, look
from onboarding.identity.columns import Kind
from onboarding.identity.command import main
from onboarding.identity.errors import IdentityError
from onboarding.identity.prepare import prepare
from tests.identity.conftest import HEADER, MAPPING

MARK = "Zyxwvu"


def planted(person):
    """Rows whose every value carries the mark, good ones and bad ones."""
    rows = []
    for n in range(40):
        row = person(f"{MARK}{n % 35}", **{name: f"{MARK} {name} {n}" for name in HEADER[1:]})
        rows.append(row if n % 2 else [*row[:3], f"{MARK}{n}@{MARK}.com", *row[4:]])
    rows += [[f"{MARK}short"], [f"{MARK}x" * 20, *rows[0][1:]], ["", *rows[0][1:]], [*rows[1], MARK]]
    return rows


def nothing_planted(*things):
    for thing in things:
        text = thing if isinstance(thing, str) else json.dumps(thing, default=repr, ensure_ascii=False)
        assert MARK.lower() not in text.lower()


def test_reports_and_manifests(write_csv, person, tmp_path):
    path = write_csv(planted(person))
    seen = []
    report = check([path], MAPPING, country="US", progress=lambda at: seen.append(at.as_dict()))
    result = prepare(
        [path], MAPPING, str(tmp_path / "out"), country="US", progress=lambda at: seen.append(at.as_dict())
    )
    assert report.findings
    assert result.rows_written
    nothing_planted(report.as_dict(), repr(report), result.as_dict(), repr(result), seen, look([path]).as_dict())
    nothing_planted((tmp_path / "out" / "manifest.json").read_text())


def test_the_command_line(write_csv, person, tmp_path, capsys):
    path = write_csv(planted(person))
    columns = ",".join(f"{name}={kind}" for name, kind in MAPPING.items())
    assert main(["check", path, "--columns", columns, "--country", "US"]) == 1
    assert main(["check", path, "--columns", columns, "--country", "US", "--json"]) == 1
    assert main(["prepare", path, "--columns", columns, "--country", "US", "--out", str(tmp_path / "o")]) == 1
    assert main(["explain", path, "--columns", columns, "--country", "US", "--row", "1"]) == 2
    captured = capsys.readouterr()
    assert captured.out
    nothing_planted(captured.out, captured.err)


BARE = {
    "an address": [f"c1,{MARK}@example.com,x"],
    "names alone": [f"c1,{MARK},{MARK}son,12 {MARK} St,{MARK}ton,MA"],
    "a word that is a column's": [f"c1,{MARK},{MARK}son,{MARK}gata 1,{MARK}lo,NO"],
    "a device id": ["c1,0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f,x"],
    "one of several": [",".join(HEADER), f"c1,{MARK},{MARK}son,x@example.com,1,12 {MARK} St,{MARK}ton,MA,1,US"],
    "one of several, shorter": ["customer_id,email,first_name", f"c1,{MARK},{MARK}son"],
}


@pytest.mark.parametrize("case", BARE)
def test_a_first_row_that_is_somebodys_data_is_taken_for_no_header(tmp_path, capsys, case):
    folder = tmp_path / "parts"
    folder.mkdir()
    for number, first in enumerate(BARE[case]):
        width = first.count(",") + 1
        rest = "".join(f"c{number}{n},{','.join(['x'] * (width - 1))}\n" for n in range(3))
        (folder / f"part-{number}.csv").write_text(f"{first}\n{rest}")
    seen = look([str(folder)])
    bare = [layout for layout in seen.layouts.values() if layout.header_looks_like_data]
    assert len(bare) == 1
    report = check([str(folder)])
    assert "header-missing" in {finding.code for finding in report.findings}
    main(["check", str(folder)])
    main(["check", str(folder), "--json"])
    main(["prepare", str(folder), "--out", str(tmp_path / "out"), "--country", "US"])
    captured = capsys.readouterr()
    nothing_planted(seen.as_dict(), repr(seen), report.as_dict(), repr(report), captured.out, captured.err)
    assert captured.err.count("has no row with column names that are known; put one on top, or give --columns") == 1
    assert not (tmp_path / "out").exists()
    assert "0a1b2c3d" not in captured.out + json.dumps(seen.as_dict())


@pytest.mark.parametrize("header", ["id,tel", "uid,event_time", "ID,correo,nombre", "Customer ID,Amount", "no,plz,ort"])
def test_short_and_foreign_names_are_names(tmp_path, header):
    path = tmp_path / "x.csv"
    path.write_text(f"{header}\n{','.join('x' for _ in header.split(','))}\n")
    assert look([str(path)]).header == tuple(header.split(","))


def test_whoever_names_a_column_says_that_there_is_a_header(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("K,Correo\n1,a@example.com\n")
    assert look([str(path)]).header == ("column 1", "column 2")
    report = check([str(path)], {"K": Kind.KEY, "Correo": Kind.EMAIL}, country="ES")
    assert (report.usable_rows, [column.column for column in report.columns]) == (1, ["K", "Correo"])


@pytest.mark.parametrize("damage", ["quote", "gzip", "parquet", "binary"])
def test_messages_of_errors(tmp_path, damage, monkeypatch):
    monkeypatch.setattr("onboarding.identity.reading.LONGEST_RECORD", 1 << 19)
    good = f"customer_id,email\n{MARK}1,{MARK}@{MARK}.com\n".encode()
    data = {
        "quote": good + f'{MARK}2,"{MARK}'.encode() + f"{MARK},{MARK}\n".encode() * 60_000,
        "gzip": b"\x1f\x8b" + good,
        "parquet": b"PAR1" + good,
        "binary": b"\0" + good,
    }[damage]
    path = tmp_path / "damaged.csv"
    path.write_bytes(data)
    mapping = {"customer_id": Kind.KEY, "email": Kind.EMAIL}
    with pytest.raises(IdentityError) as caught:
        prepare([str(path)], mapping, str(tmp_path / "out"), country="US")
    nothing_planted(str(caught.value), repr(caught.value))
    chain, error = [], caught.value
    while error is not None:
        chain.append(f"{error!r} {error}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    nothing_planted(*chain)
