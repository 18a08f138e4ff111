"""Puts everything that the portal needs into .venv, from the hashed locks. Runs on a bare Python 3.11 or newer.

A stamp, written last, tells a complete environment from a half-installed one: without it the environment is built anew.
Whatever goes wrong ends in one line on standard error and exit code 1; the installer's own words are in var/log.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "installed"
LOG = ROOT / "var" / "log" / "install.log"
BOOTSTRAP = ROOT / "requirements" / "bootstrap.txt"
LOCK = ROOT / "requirements" / "development.txt"

NO_NETWORK = re.compile(
    r"NewConnectionError|NameResolutionError|name resolution|getaddrinfo|nodename nor servname|Network is unreachable"
    r"|Connection refused|Connection reset|ConnectTimeout|Read ?timed? ?out|ProxyError|Cannot connect to proxy"
    r"|dns error|error sending request|tcp connect error",
    re.IGNORECASE,
)
CAUSES = (
    (re.compile(r"No space left on device|Disk quota exceeded", re.I), "the disk is full: the portal needs about 3 GB"),
    (NO_NETWORK, "the package index cannot be reached: connect this machine, or set HTTPS_PROXY, and run it again"),
    (re.compile(r"DO NOT MATCH THE HASHES|Hash mismatch", re.I), "a package is not the one that was locked (hash)"),
    (
        re.compile(r"No matching distribution|has no wheels|no compatible|not compatible", re.I),
        "a locked package does not exist for this Python and machine: use Python 3.11 to 3.13 on Linux or macOS",
    ),
)


class CannotInstall(Exception):
    """Installing failed; the text is one line for a person."""


def wanted() -> str:
    """What a complete environment looks like: the locks, the interpreter and the folder."""
    digest = hashlib.sha256()
    for lock in (BOOTSTRAP, LOCK):
        digest.update(lock.read_bytes())
    return f"{digest.hexdigest()} {VENV}\n"


def works() -> bool:
    """Whether the environment's interpreter still starts; it does not after its base Python went away."""
    try:
        done = subprocess.run([VENV / "bin" / "python", "-c", "import pip"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def because(text: str) -> str:
    """The cause of a failed installation in plain words, from what the installer wrote."""
    for pattern, words in CAUSES:
        if pattern.search(text):
            return words
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it ended without a word"


def step(*command: str | Path) -> None:
    """Run one command, its output into the log. Raises CannotInstall with the cause in one line."""
    with LOG.open("a+", encoding="utf-8", errors="replace") as log:
        start = log.seek(0, os.SEEK_END)
        done = subprocess.run([str(part) for part in command], stdout=log, stderr=subprocess.STDOUT, check=False)
        log.seek(start)
        if done.returncode:
            raise CannotInstall(f"Cannot install: {because(log.read())} (details: {LOG.relative_to(ROOT)})")


def install() -> None:
    """Make the environment complete. Raises CannotInstall."""
    if STAMP.is_file() and STAMP.read_text(encoding="utf-8") == wanted() and works():
        return
    LOG.write_text("", encoding="utf-8")
    usable = STAMP.is_file() and STAMP.read_text(encoding="utf-8").endswith(f" {VENV}\n") and works()
    if usable:
        print("The locked packages have changed: bringing .venv up to date.", flush=True)
        STAMP.unlink()
    elif VENV.exists():
        print("The environment in .venv is incomplete or broken: building it anew.", flush=True)
        shutil.rmtree(VENV)
    else:
        print("Installing into .venv, once.", flush=True)
    if not usable:
        try:
            import ensurepip  # noqa: F401 - Debian ships Python without it
        except ImportError:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise CannotInstall(
                f"This Python ({sys.executable}) has no venv: on Debian run `apt-get install python{version}-venv`"
            ) from None
        step(sys.executable, "-m", "venv", VENV)
    python = VENV / "bin" / "python"
    pip = (python, "-m", "pip", "install", "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:")
    step(*pip, "-r", BOOTSTRAP)
    try:
        step(python, "-m", "uv", "pip", "install", "--python", python, "--require-hashes", "-r", LOCK)
    except CannotInstall:
        # uv does not read pip's own configuration: a company's index may be known to pip alone.
        step(*pip, "-r", LOCK)
    STAMP.write_text(wanted(), encoding="utf-8")


def main() -> int:
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with (ROOT / "var" / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # `make run` and `make test` in two terminals take turns
        try:
            install()
        except CannotInstall as error:
            print(error, file=sys.stderr)
            return 1
        except OSError as error:
            print(f"Cannot install: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
