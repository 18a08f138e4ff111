"""A real process that is stopped at any moment says so in one line and leaves nothing; a killed one not for long."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time

import pytest

from onboarding.identity import work
from onboarding.identity.command import main
from onboarding.identity.work import workspace

SPILLED = "from onboarding.identity import collapse, command; collapse.HELD_ROWS = 1\n"
HELD = "collapse.Collapser.collapse = lambda self: print('at it', flush=True) or time.sleep(60)\n"

# The command as it is started, held where it is about to load a module.
HELD_AT_IMPORT = """
import runpy, sys, time

def hold(event, arguments):
    if event == "import" and arguments[0] == "{module}":
        print("at it", flush=True)
        time.sleep(60)

sys.addaudithook(hold)
sys.argv[1:] = {words!r}
runpy.run_module("onboarding.identity", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files, here and in processes that are started."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def start():
    """Starts Python with signals as a terminal leaves them, and ends it with the test."""
    started = []

    def run(*words):
        def usual():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)

        command = [sys.executable, *words]
        started.append(
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1, preexec_fn=usual
            )
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def in_collapse(start, write_csv, person, tmp_path):
    """A process that prepares, with clear values on disk, and the folder that it writes into."""
    path = write_csv([person(f"c{n % 2}", email=f"m{n}@x.com") for n in range(6)])
    words = ["prepare", path, "--country", "US", "--out", str(tmp_path / "out")]
    code = "import sys, time\nfrom onboarding.identity import stopping\nstopping.listen()\n" + SPILLED + HELD
    process = start("-c", f"{code}sys.exit(stopping.stoppable(lambda: command.main({words!r})))")
    assert process.stdout.readline() == "at it\n", process.stderr.read()
    return process, path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_nothing_is_left(start, write_csv, person, tmp_path, temporary, number):
    process, _ = in_collapse(start, write_csv, person, tmp_path)
    assert list(temporary.glob("identity-*/rows-*/*"))
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (2, "stopped; nothing was published\n")
    assert list(temporary.iterdir()) == []
    assert list((tmp_path / "out").iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_run(start, write_csv, person, tmp_path, temporary):
    process, path = in_collapse(start, write_csv, person, tmp_path)
    # Not while it lives.
    assert main(["check", path, "--country", "US"]) == 1
    assert list(temporary.glob("identity-*/rows-*/*"))
    process.kill()
    process.communicate()
    assert list(temporary.glob("identity-*/rows-*/*"))
    assert main(["check", path, "--country", "US"]) == 1
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["onboarding.identity.command", "numpy", "pyarrow", "polars"])
def test_a_signal_while_it_loads_is_one_line(start, write_csv, person, temporary, number, module):
    words = ["check", write_csv([person("c1")]), "--country", "US"]
    process = start("-c", HELD_AT_IMPORT.format(module=module, words=words))
    assert process.stdout.readline() == "at it\n", process.stderr.read()
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (2, "stopped; nothing was published\n")
    assert list(temporary.iterdir()) == []


def test_the_folder_is_for_its_user_alone_and_goes(temporary):
    with workspace() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "rows-1").mkdir()
        (folder / "rows-1" / "000000").write_text("clear")
        with workspace() as other:
            assert other != folder
        assert (folder / "rows-1" / "000000").exists()
    assert list(temporary.iterdir()) == []


def test_folders_of_others_stay(temporary):
    """Without a lock: an earlier version's, known by age and content; what only bears such a name stays."""
    old = time.time() - 2 * 86_400
    for name, content, age in (
        ("identity-abcdefgh", "rows-3", old),
        ("identity-young___", "rows-3", time.time()),
        ("identity-theirs__", "letters.txt", old),
        ("identity-documents-of-mine", "rows-3", old),
    ):
        (temporary / name).mkdir()
        (temporary / name / content).write_text("x")
        os.utime(temporary / name, (age, age))
    (temporary / "elsewhere").mkdir()
    (temporary / "elsewhere" / work.LOCK).touch()
    (temporary / "identity-linked__").symlink_to(temporary / "elsewhere")
    with workspace():
        pass
    assert {path.name for path in temporary.iterdir()} == {
        "identity-young___",
        "identity-theirs__",
        "identity-documents-of-mine",
        "identity-linked__",
        "elsewhere",
    }
    assert (temporary / "elsewhere" / work.LOCK).exists()


def test_folders_of_another_user_stay(temporary, monkeypatch):
    (temporary / "identity-abcdefgh").mkdir()
    (temporary / "identity-abcdefgh" / work.LOCK).touch()
    with monkeypatch.context() as other:
        other.setattr(os, "getuid", lambda: 4711)
        work._remove_left()
    assert (temporary / "identity-abcdefgh").exists()
    work._remove_left()
    assert not (temporary / "identity-abcdefgh").exists()
