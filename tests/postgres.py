"""A PostgreSQL of the tests' own: a cluster in a temporary folder, on a free port, gone afterwards.

    with postgres() as url:
        ...  # url is a DATABASE_URL

PG_BIN names the folder of initdb and pg_ctl where they are in an unusual place.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path


def _programs() -> Path:
    if os.environ.get("PG_BIN"):
        return Path(os.environ["PG_BIN"])
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if installed:
        return installed[-1].parent
    found = shutil.which("initdb")
    assert found, (
        "PostgreSQL's programs are not here, and these tests are never left out: `sh scripts/test-needs.sh` installs "
        "them as root on Debian and says how elsewhere; PG_BIN names the folder of initdb"
    )
    return Path(found).resolve().parent


def _as_somebody() -> list[str]:
    """How to run a program as an ordinary user: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return []
    names = {entry.pw_name for entry in pwd.getpwall()}
    return ["runuser", "-u", "postgres" if "postgres" in names else "nobody", "--"]


@contextlib.contextmanager
def postgres(inside: Sequence[str] = (), address: str = "127.0.0.1", trusted: str = "") -> Iterator[str]:
    """The DATABASE_URL of an empty database on a new server that is stopped at the end.

    `inside` is put in front of its commands, such as what enters a network of its own; there it listens at `address`
    and lets hosts of the network `trusted` in.
    """
    programs, somebody = _programs(), [*inside, *_as_somebody()]
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    data = folder / "data"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    try:
        if _as_somebody():
            owner = pwd.getpwnam(_as_somebody()[2])
            os.chown(folder, owner.pw_uid, owner.pw_gid)

        def run(program: str, *arguments: str) -> None:
            done = subprocess.run(
                [*somebody, str(programs / program), *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            log = folder / "server.log"
            words = (done.stdout or "") + (log.read_text() if log.exists() else "")
            assert done.returncode == 0, f"{program} failed:\n{words}"

        run("initdb", "-D", str(data), "-U", "portal", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C")
        if trusted:
            with (data / "pg_hba.conf").open("a", encoding="utf-8") as rules:
                rules.write(f"host all all {trusted} trust\n")
        options = f"-p {port} -h {address} -k {folder} -c fsync=off -c full_page_writes=off -c max_connections=200"
        run("pg_ctl", "-D", str(data), "-w", "-t", "60", "-l", str(folder / "server.log"), "-o", options, "start")
        try:
            yield f"postgres://portal@{address}:{port}/postgres"
        finally:
            run("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
