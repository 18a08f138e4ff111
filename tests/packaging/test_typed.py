"""What a person typed wrongly behind `make` is one line that names it as it was typed."""

import os
import subprocess

import pytest

from scripts import typed
from scripts.stack import ROOT, StackError

LINES = {
    "run PORT=abc": "PORT=abc is not a port: a number from 1 to 65535",
    "run PORT=65536": "PORT=65536 is not a port: a number from 1 to 65535",
    "run PORT=": "PORT= is not a port: a number from 1 to 65535",
    "run PACE=x": "PACE=x is not a pace of the local Amazon: demo, fast or real",
    "run WORKERS=0": "WORKERS=0 is not how many workers to start: a number from 1",
    "run WORKERS=two": "WORKERS=two is not how many workers to start: a number from 1",
    "run SIMULATOR=maybe": "SIMULATOR=maybe is neither yes nor no",
    "simulator PORT=abc": "PORT=abc is not a port: a number from 1 to 65535",
    "simulator PACE=slow": "PACE=slow is not a pace of the local Amazon: demo, fast or real",
    "demo FILE=missing.yaml": "FILE=missing.yaml is not there: a file such as examples/single-party.yaml",
    "demo FILE=docs": "FILE=docs can't be read: Is a directory",
}


@pytest.mark.parametrize("typed_line", LINES)
def test_a_setting_that_cannot_be_is_one_line_and_nothing_starts(typed_line):
    # Installed it is; the prerequisites of `run` would look again each time. As by hand, though `make test` runs this.
    by_hand = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "--assume-old=install", "--assume-old=assets", *typed_line.split(" ")],
        cwd=ROOT,
        env=by_hand,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0 and done.stdout == ""
    line, *rest = done.stderr.splitlines()
    assert line == LINES[typed_line] and all(words.startswith("make: ") for words in rest)


def test_what_fits_is_read():
    assert (typed.port("1"), typed.port("65535"), typed.workers("3")) == (1, 65_535, 3)
    assert [typed.pace(name) for name in ("fast", "demo", "real")] == ["fast", "demo", "real"]
    assert (typed.simulator("yes"), typed.simulator("no")) == (True, False)
    for path in (ROOT / "examples").glob("*-party.yaml"):
        assert typed.onboarding_file(path)["account"]


@pytest.mark.parametrize("text", ["1_0", "٣", " 8000", "+1", "1.5", "9999999999"])
def test_a_number_is_digits_alone(text):
    with pytest.raises(StackError, match="is not a port"):
        typed.port(text)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("account: [a", "is not YAML"),
        ("", "is no onboarding file"),
        ("account: a\nsteps: {create-instance: [1]}", "is no onboarding file"),
        ("account: a\nsteps: {create-instance: {name: {name: Acme}}}", "names no account or no AWS account"),
        ("steps: {create-instance: {aws-account: {account_id: 1}}}", "names no account or no AWS account"),
    ],
)
def test_a_file_for_the_demo_is_one(content, words, tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text(content)
    with pytest.raises(StackError, match=f"FILE={path} {words}") as caught:
        typed.onboarding_file(path)
    assert "\n" not in str(caught.value)
