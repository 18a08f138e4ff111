"""No value of a column ever reaches a report, a message, a manifest, progress or a finding."""

import json

import pytest

from onboarding.identity.__main__ import main
from onboarding.identity.check import check, look
from onboarding.identity.columns import Kind
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
