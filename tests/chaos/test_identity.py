"""A worker that is really killed in the middle of work on identity files: another takes it up, with the same result."""

import subprocess
import sys

import pytest

from tests.chaos.identity import CHECKING, SAMPLE
from tests.chaos.program import ROOT


@pytest.mark.timeout(920)
def test_workers_killed_while_they_check_and_prepare_identity_files():
    """A sample of the moments; `make chaos` has them all."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.identity", "--sample"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert sum(line.startswith("ok ") for line in lines) == len(CHECKING) + len(SAMPLE)
    assert lines[-1] == "identity: 3 workers killed, one result"
