"""The supervisor: ports, leftovers, restarts, stopping."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing

import psutil
import pytest

from scripts import stack as stacks
from scripts.stack import ROOT, Stack, StackError, port_is_free, read_env, redis_ping

REDIS_ONLY = {"web": False, "workers": 0, "clocks": 0, "simulator": False}
NOBODY = {"LOGIN_CLIENT_ID": "nobody", "LOGIN_CLIENT_SECRET": "nothing"}


_once = Stack._once


@pytest.fixture(autouse=True)
def without_migrating(monkeypatch):
    """These tests are about processes; migrating is shown by every other test that starts a stack."""
    monkeypatch.setattr(Stack, "_once", lambda self, name, *arguments: None)


def small(folder, **options) -> Stack:
    return Stack(folder, **{**REDIS_ONLY, "environment": NOBODY, **options})


@pytest.fixture
def taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_starts_keeps_its_settings_and_stops(tmp_path):
    with small(tmp_path) as stack:
        port = int(stack.settings["REDIS_PORT"])
        assert redis_ping(port)
        first = read_env(tmp_path / "local.env")
        assert stat.S_IMODE((tmp_path / "local.env").stat().st_mode) == 0o600
        process = stack.services["redis"].process
    assert process.poll() is not None
    assert not redis_ping(port)
    assert not (tmp_path / "pids.json").exists()
    with small(tmp_path) as stack:
        assert read_env(tmp_path / "local.env") == first | {"PORT": stack.settings["PORT"]}


def test_a_taken_web_port_is_one_line_with_the_way_out(tmp_path, taken):
    done = subprocess.run(
        [sys.executable, "-m", "scripts.run", "--port", str(taken), "--folder", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert f"Port {taken} is taken by" in lines[0]
    assert f"make run PORT={taken + 1}" in lines[0]


def test_a_taken_inner_port_is_chosen_anew(tmp_path, taken):
    (tmp_path / "local.env").write_text(f"REDIS_PORT={taken}\n")
    with small(tmp_path) as stack:
        assert int(stack.settings["REDIS_PORT"]) != taken
        assert redis_ping(int(stack.settings["REDIS_PORT"]))


def test_a_second_one_in_the_same_folder_is_refused(tmp_path):
    with small(tmp_path), pytest.raises(StackError, match=f"already runs .*process {os.getpid()}"), small(tmp_path):
        pass


def test_what_a_killed_supervisor_left_behind_is_ended(tmp_path):
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom scripts.stack import Stack\n"
        "Stack._once = lambda *_: None\n"
        "stack = Stack(Path(sys.argv[1]), web=False, workers=0, clocks=0, simulator=False)\n"
        "stack.start()\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = json.loads((tmp_path / "pids.json").read_text())[0]["pid"]
    assert psutil.pid_exists(left)
    with small(tmp_path) as stack:
        assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE
        assert stack.services["redis"].alive


def test_whoever_ends_the_supervisor_ends_what_it_started(tmp_path):
    code = (
        "import signal, sys; from pathlib import Path; from scripts.stack import Stack\n"
        "with Stack(Path(sys.argv[1]), web=False, workers=0, clocks=0, simulator=False) as stack:\n"
        "    print(stack.services['redis'].process.pid, flush=True)\n"
        "    signal.pause()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as supervisor:
        pid = int(supervisor.stdout.readline())
        assert psutil.pid_exists(pid)
        supervisor.terminate()
        assert supervisor.wait(30) == 128 + signal.SIGTERM
    assert not psutil.pid_exists(pid)


def test_a_process_that_dies_is_named_and_started_again(tmp_path):
    notices: list[str] = []
    until = threading.Event()
    with small(tmp_path) as stack:
        watcher = threading.Thread(target=stack.watch, args=(until, notices.append))
        watcher.start()
        try:
            before = stack.services["redis"].process.pid
            stack.kill("redis")
            back = threading.Event()
            for _ in range(100):
                process = stack.services["redis"].process
                if process.pid != before and redis_ping(int(stack.settings["REDIS_PORT"])):
                    back.set()
                    break
                until.wait(0.1)
            assert back.is_set()
        finally:
            until.set()
            watcher.join()
    assert notices[0].startswith("redis ended (signal SIGKILL); it is started again in 1 s.")
    assert "Ready to accept connections" in notices[0]


def test_a_process_that_cannot_start_shows_its_last_lines(tmp_path, monkeypatch):
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho this cannot work >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(stacks, "redis_server", lambda: str(program))
    with pytest.raises(StackError, match=r"(?s)redis did not start \(exit code 3\).*this cannot work"), small(tmp_path):
        pass


def test_every_setting_that_is_wrong_is_named_at_once_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(Stack, "_once", _once)
    (tmp_path / "portal.sqlite3").touch()
    wrong = dict.fromkeys(("CALL_TIMEOUT", "LEASE_SECONDS", "CLOCK_SECONDS", "NIGHT_HOURS", "UPLOAD_DAYS"), "x")
    wrong |= {"DIGEST_HOUR": "77", "METRICS_TOKEN": "short", "PORTAL_AWS_PRINCIPAL": "me", "FIELD_KEYS": "k"}
    # Each of these was taken, and failed later: in Django, in every answer, at the first mail, or never.
    wrong |= {"REDIS_URL": "http://x", "DATABASE_URL": "foo://x", "EMAIL_URL": "smtp:/", "SECRET_KEY": "short"}
    with pytest.raises(StackError) as refused, small(tmp_path, environment={**NOBODY, **wrong}):
        pass
    first, *others = str(refused.value).splitlines()
    assert first == "The settings are not complete:"
    assert sorted(line.strip(" -").partition(" ")[0].strip(":") for line in others) == sorted(wrong)


def test_the_shells_own_settings_stay_outside(tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://somebody:else@elsewhere/production")
    monkeypatch.setenv("SECRET_KEY_FILE", "/etc/another")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.settings")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    stack = small(tmp_path, environment={**NOBODY, "POLL_SCALE": "0.5"})
    environment = stack.environment
    # Or each of a dozen processes would compile everything anew.
    assert "PYTHONDONTWRITEBYTECODE" not in environment
    assert "SECRET_KEY_FILE" not in environment
    assert "DATABASE_URL" not in environment
    assert environment["DJANGO_SETTINGS_MODULE"] == "portal.settings"


def test_an_empty_database_is_migrated_once_for_all_stacks(tmp_path, monkeypatch):
    migrated = []

    def once(self, name, *arguments):
        migrated.append(name)
        with closing(sqlite3.connect(self.folder / "portal.sqlite3")) as made:
            made.execute("create table run (id)")

    digest = f"test-{os.getpid()}"
    monkeypatch.setattr(Stack, "_once", once)
    monkeypatch.setattr(stacks, "_migrations", lambda: digest)
    try:
        for name in ("first", "second"):
            with small(tmp_path / name), closing(sqlite3.connect(tmp_path / name / "portal.sqlite3")) as found:
                assert found.execute("select name from sqlite_master").fetchall() == [("run",)]
        assert migrated == ["migrate"]
        # One that has begun is migrated like any other.
        monkeypatch.setattr(Stack, "_once", lambda self, name, *arguments: migrated.append(name))
        with small(tmp_path / "first"):
            assert migrated == ["migrate", "migrate"]
    finally:
        (ROOT / "build" / "databases" / f"{digest}.sqlite3").unlink()


def test_settings_of_ones_own_win(tmp_path):
    with small(tmp_path, database_url="sqlite:////tmp/other.sqlite3") as stack:
        assert stack.environment["DATABASE_URL"] == "sqlite:////tmp/other.sqlite3"
        assert "DATABASE_URL" not in read_env(tmp_path / "local.env")


def test_a_line_that_is_no_setting_is_named(tmp_path):
    path = tmp_path / ".env"
    path.write_text("# fine\nFROM_EMAIL='A B <a@b.example>'\nnonsense\n")
    with pytest.raises(StackError, match=r"\.env, line 3"):
        read_env(path)
    path.write_text("export FROM_EMAIL='A B <a@b.example>' # said\nEMPTY=\n")
    assert read_env(path) == {"FROM_EMAIL": "A B <a@b.example>", "EMPTY": ""}


def test_ports():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert not port_is_free(port)
        assert stacks.holder_of(port)
    assert port_is_free(port)
