"""What RQ calls. A job's arguments are ids of rows, never anything else."""

from __future__ import annotations

from onboarding.engine import executor, identity_jobs


def work(step_id: int) -> None:
    """Carry on with one step."""
    executor.work(step_id)


def identity(job_id: int) -> None:
    """Look at, check or prepare identity files."""
    identity_jobs.work(job_id)
