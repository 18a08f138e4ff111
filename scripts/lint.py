"""`make lint`: every check that needs no test run; all of them run, and each that fails shows its words."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping

from scripts.stack import ROOT, known_settings

PRODUCTION = {
    "SECRET_KEY": "a-key-for-checks-only-J3v0cXq9T1sW7yBzR5mN2kLpQ8hD4gFa6eUi",
    "FIELD_KEYS": "Y2hlY2tzLW9ubHktY2hlY2tzLW9ubHktY2hlY2tzLW8=",
    "PORTAL_URL": "https://portal.example.com",
    "ALLOWED_HOSTS": "portal.example.com",
    "LOGIN_CLIENT_ID": "check",
    "LOGIN_CLIENT_SECRET": "check",
}
"""Settings as production has them, with made-up secrets that open nothing."""

CHECKS: dict[str, list[str]] = {
    "style": ["-m", "ruff", "check", "."],
    "format": ["-m", "ruff", "format", "--check", "."],
    "types": ["-m", "mypy"],
    "security": [
        "-m",
        "bandit",
        "-q",
        "-ll",
        "-r",
        "portal",
        "onboarding",
        "amc_portal",
        "scripts",
        "-x",
        "*/migrations/*",
    ],
    "imports": ["-c", "from importlinter.cli import lint_imports_command as run; run()"],
    "migrations": ["manage.py", "makemigrations", "--check", "--dry-run"],
    "deployment": ["manage.py", "check", "--deploy", "--fail-level", "WARNING"],
}


def run(command: list[str], settings: Mapping[str, str]) -> tuple[int, str]:
    """The exit code and the words of one check."""
    known = known_settings()
    environment = {name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in known}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**environment, **settings, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def main() -> int:
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for name, command in CHECKS.items():
            code, words = run(command, {**PRODUCTION, "VAR_DIR": folder})
            print(f"{name:<12}{'ok' if code == 0 else 'FAILED'}", flush=True)
            if code:
                failed.append(name)
                print(words.rstrip(), flush=True)
    print(f"lint: failed in {', '.join(failed)}" if failed else "lint: all fine")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
