"""Installing on machines where something is wrong: one clear line each."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from scripts import install

# pip's configuration of this machine must not decide: no index answers on the discard port.
NO_NETWORK = {"PIP_CONFIG_FILE": "/dev/null", "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}


def one_line(done) -> str:
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1, done
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_an_old_python_is_named(checkout):
    old = '#!/bin/sh\n[ "$1" = -V ] && { echo "Python 3.9.2"; exit 0; }\nexit 1\n'
    for name in ("python3", "python3.14", "python3.13", "python3.12", "python3.11"):
        checkout.program(name, old)
    line = one_line(checkout.run("sh", "scripts/install.sh"))
    assert "Python 3.11 or newer is needed, found Python 3.9.2" in line


def test_a_newer_python_beside_an_old_one_is_found(checkout):
    checkout.program("python3", "#!/bin/sh\nexit 1\n")
    checkout.program("python3.14", "#!/bin/sh\nexit 1\n")
    checkout.program("python3.13", '#!/bin/sh\n[ "$1" = scripts/install.py ] && echo this one\nexit 0\n')
    done = checkout.run("sh", "scripts/install.sh")
    assert (done.returncode, done.stdout.strip()) == (0, "this one")


def test_a_python_without_venv_names_the_package(checkout):
    checkout.program("ensurepip.py", "raise ImportError('No module named ensurepip')\n")
    done = checkout.run(sys.executable, "scripts/install.py", PYTHONPATH=str(checkout.programs))
    assert "apt-get install python3." in one_line(done)


def test_no_network_is_said_in_one_line_and_leaves_no_stamp(checkout):
    done = checkout.run(sys.executable, "scripts/install.py", **NO_NETWORK)
    assert "the package index cannot be reached" in one_line(done)
    assert (checkout.folder / ".venv").is_dir()
    assert not (checkout.folder / ".venv" / "installed").exists()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The installer as a module, with its files in a temporary folder and its steps written down."""
    steps: list[list[str]] = []
    monkeypatch.setattr(install, "ROOT", tmp_path)
    monkeypatch.setattr(install, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(install, "STAMP", tmp_path / ".venv" / "installed")
    monkeypatch.setattr(install, "LOG", tmp_path / "install.log")

    def step(*command):
        steps.append([str(part) for part in command])
        if "venv" in steps[-1]:
            (tmp_path / ".venv" / "bin").mkdir(parents=True)
            (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)

    monkeypatch.setattr(install, "step", step)
    return steps


def test_a_complete_environment_is_left_alone(here):
    install.install()
    assert [command[-1].rpartition("/")[2] for command in here] == [".venv", "bootstrap.txt", "development.txt"]
    assert all("--require-hashes" in command for command in here[1:])
    here.clear()
    install.install()
    assert here == []


def test_a_half_installed_environment_is_built_anew(here):
    install.install()
    install.STAMP.unlink()
    (install.VENV / "rubbish").touch()
    here.clear()
    install.install()
    assert not (install.VENV / "rubbish").exists()
    assert len(here) == 3


def test_an_environment_whose_python_went_away_is_built_anew(here):
    install.install()
    python = install.VENV / "bin" / "python"
    python.unlink()
    python.symlink_to("/nonexistent/python3")
    here.clear()
    install.install()
    assert len(here) == 3


def test_a_changed_lock_is_installed_on_top(here, tmp_path, monkeypatch):
    install.install()
    lock = tmp_path / "changed.txt"
    lock.write_text("changed")
    monkeypatch.setattr(install, "LOCK", lock)
    here.clear()
    install.install()
    assert not any("venv" in command for command in here)
    assert here[-1][-1] == str(lock)


def test_pip_is_asked_when_uv_cannot(here, monkeypatch):
    recorded = install.step

    def step(*command):
        recorded(*command)
        if "uv" in command:
            raise install.CannotInstall("no")

    monkeypatch.setattr(install, "step", step)
    install.install()
    assert here[-1][1:4] == ["-m", "pip", "install"]
    assert install.STAMP.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "Retrying … NewConnectionError('… Network is unreachable')\nERROR: No matching distribution found",
            "cannot be",
        ),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "not the one that was locked"),
        ("ERROR: No matching distribution found for polars==1", "does not exist for this Python"),
        ("something\n\n  odd happened \n", "odd happened"),
    ],
)
def test_causes_in_plain_words(words, said):
    assert said in install.because(words)


def test_every_lock_is_hashed_and_names_no_index():
    locks = sorted((Path(install.__file__).parents[1] / "requirements").glob("*.txt"))
    assert len(locks) >= 5
    for lock in locks:
        text = lock.read_text()
        assert "://" not in text, lock
        pinned = [part for part in text.split("\n") if "==" in part and not part.startswith(("#", " "))]
        assert pinned, lock
        assert all(part.endswith("\\") for part in pinned), f"{lock} has a line without a hash"


def test_the_installer_needs_nothing_but_python():
    names = install.__dict__.values()
    modules = {value.__name__.partition(".")[0] for value in names if type(value) is type(sys)}
    assert modules <= sys.stdlib_module_names
    assert importlib.util.find_spec("scripts.install") is not None
