"""The suite on PostgreSQL too: what a database can decide, on a server of the test's own, migrated from nothing.

`python -m tests.on_postgres` runs any test, or all, in the same way.
"""

from __future__ import annotations

import os
import subprocess
import sys

from scripts.stack import ROOT
from tests.postgres import postgres

# Leases, moves and races; the audit chain; answers once only; window functions.
PARTS = (
    "tests/databases/test_races.py",
    "tests/databases/test_migrations.py",
    "tests/engine",
    "tests/audit",
    "tests/api/test_requests.py",
    "tests/pages/test_dashboard.py",
)
LEAST = 110


def test_what_a_database_decides_is_the_same_on_postgresql():
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DATABASE_URL"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *PARTS]
    with postgres() as url:
        done = subprocess.run(
            command, cwd=ROOT, env={**own, "DATABASE_URL": url}, capture_output=True, text=True, check=False
        )
    words = done.stdout + done.stderr
    assert done.returncode == 0, f"On PostgreSQL:\n{words[-6000:]}"
    passed = int(words.rpartition(" passed")[0].rpartition(" ")[2].rpartition("\n")[2])
    assert passed >= LEAST and " skipped" not in words, words[-500:]
