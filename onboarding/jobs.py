"""What RQ calls. A job's arguments are ids of rows, never anything else."""

from __future__ import annotations

import time

from onboarding.engine import executor, identity_jobs, queue

CARRY_ON_SECONDS = 5.0
"""A job begins no further step after this time: others wait for the worker, and it may have been asked to stop."""


def work(step_id: int) -> None:
    """Carry on with one step, and then with what follows it at once in its run.

    Most steps of a run follow each other: each on the queue by itself would wait for a turn and a fork of its own.
    """
    ends, step = time.monotonic() + CARRY_ON_SECONDS, step_id
    while True:
        # Should this raise, the clock puts on the queue what was kept.
        with queue.keeping() as kept:
            executor.work(step)
        goes_on = bool(kept) and time.monotonic() < ends
        # What can be done beside it, others do.
        queue.put(kept[1:] if goes_on else kept)
        if not goes_on:
            return
        step = kept[0]


def identity(job_id: int) -> None:
    """Look at, check or prepare identity files."""
    identity_jobs.work(job_id)
