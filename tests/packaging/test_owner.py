"""Running a downloaded script as the owner of an AWS account of the local Amazon."""

import os
import sys
from pathlib import Path

import pytest

from scripts import owner


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "local.env").write_text("AWS_ENDPOINT_URL=http://127.0.0.1:9\n")
    (tmp_path / "make.sh").write_text('echo "$AWS_ACCESS_KEY_ID $AWS_ENDPOINT_URL ${AWS_PROFILE-none}"; exit 3\n')
    return tmp_path


def run(monkeypatch, folder, account: str, file: str) -> int:
    monkeypatch.setattr(sys, "argv", ["owner", account, file, "--folder", str(folder)])
    return owner.main()


def test_the_script_is_signed_in_to_the_account_and_its_end_is_told(folder, monkeypatch, capfd):
    monkeypatch.setenv("AWS_PROFILE", "the-shells-own")
    assert run(monkeypatch, folder, "1111-2222-3333", str(folder / "make.sh")) == 3
    assert capfd.readouterr().out == "111122223333 http://127.0.0.1:9 none\n"
    path = owner.environment_of("http://x", "1", os.environ)["PATH"]
    assert path.split(os.pathsep)[0] == str(Path(sys.executable).parent)


@pytest.mark.parametrize(
    ("account", "file", "words"),
    [("", "make.sh", "ACCOUNT=111122223333"), ("111122223333", "other.sh", "other.sh")],
)
def test_what_is_missing_is_said(folder, monkeypatch, capsys, account, file, words):
    assert run(monkeypatch, folder, account, str(folder / file)) == 1
    assert words in capsys.readouterr().err


def test_without_a_local_amazon(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, tmp_path, "111122223333", "make.sh") == 1
    assert "make run" in capsys.readouterr().err
