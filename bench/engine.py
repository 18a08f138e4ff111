"""Steps per second of the engine against bare RQ jobs, one worker on the same Redis, in one run.

Each round: so many bare jobs that do nothing, by RQ's own worker; then, by the portal's, so many steps that call
nothing, each from the queue to its last commit (lease, authority, log, audit entry, the instance's standing). The steps
are those of runs of `LENGTH`, each step following the one before, as most of an onboarding's do. The medians of the
rounds are compared. So are those of runs of a single step, each a job of its own. Both have to reach at least half.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from bench.bare import redis, report

LEAST_RATIO = 0.5
JOBS, ROUNDS = 100, 3
LENGTH = 5


def nothing(number: int) -> None:
    """The bare job."""


def measure(folder: Path, redis_url: str) -> tuple[float, float, float]:
    """Bare jobs, steps, and steps of runs of a single step a second (medians of the rounds)."""
    os.environ.update(
        DJANGO_SETTINGS_MODULE="tests.settings",
        DATABASE_URL=f"sqlite:///{folder / 'portal.sqlite3'}",
        REDIS_URL=redis_url,
        LOG_LEVEL="WARNING",
    )
    import django

    django.setup()
    import django_rq
    from django.core.management import call_command
    from django.utils import timezone
    from rq import Worker

    from onboarding.engine import queue
    from onboarding.engine.worker import PortalWorker
    from onboarding.guide import procedure
    from onboarding.guide.step import GuideStep
    from onboarding.models import AmcAccount, AmcConnection, Instance, Person, Run, Step, StepState

    class Nothing(GuideStep):
        """A step that calls nothing."""

        title, automatic = "Do nothing", True

        def __init__(self, number: int) -> None:
            self.key = f"nothing-{number}"
            self.needs = [f"nothing-{number - 1}"] if number else []

    for length in (LENGTH, 1):
        procedure.PROCEDURES[f"bench-{length}"] = tuple(map(Nothing, range(length)))
        procedure.PROCEDURE_TITLES[f"bench-{length}"] = "Bench"
    call_command("migrate", verbosity=0)
    now = timezone.now()
    person = Person.objects.create_user("bench", name="Bench")
    connection = AmcConnection.objects.create(label="Bench", amazon_id="bench", refresh_token="-")
    account = AmcAccount.objects.create(entity_id="E", marketplace_id="M", name="Bench", connection=connection)
    work = django_rq.get_queue("default")

    def begin(length: int) -> None:
        """Put on the queue as many runs as together have `JOBS` steps."""
        instances = Instance.objects.bulk_create(
            Instance(account=account, name=f"Bench {number}", status_since=now) for number in range(JOBS // length)
        )
        runs = Run.objects.bulk_create(
            Run(procedure=f"bench-{length}", account=account, instance=instance, owner=person, started_at=now)
            for instance in instances
        )
        first, rest = {"state": StepState.QUEUED, "next_attempt_at": now}, {"state": StepState.BLOCKED}
        steps = Step.objects.bulk_create(
            Step(run=run, key=f"nothing-{place}", position=place, since=now, **(rest if place else first))
            for run in runs
            for place in range(length)
        )
        queue.put([step.pk for step in steps if step.state == StepState.QUEUED])

    def burst(worker: Worker) -> float:
        if isinstance(worker, PortalWorker):
            worker.prepare()
        began = time.perf_counter()
        Worker.work(worker, burst=True, logging_level="ERROR")
        took = time.perf_counter() - began
        if left := Step.objects.exclude(state=StepState.DONE).count():
            raise RuntimeError(f"{left} steps were not carried out")
        return JOBS / took

    bare, runs, single = [], [], []
    for _ in range(ROUNDS):
        for number in range(JOBS):
            work.enqueue_call("bench.engine.nothing", args=(number,))
        bare.append(burst(Worker([work], connection=work.connection)))
        for length, rates in ((LENGTH, runs), (1, single)):
            begin(length)
            rates.append(burst(PortalWorker([work], connection=work.connection)))
    return statistics.median(bare), statistics.median(runs), statistics.median(single)


def main() -> int:
    """Print the figures; 1 if the engine does not reach its share."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, redis(name) as address:
        bare, engine, single = measure(Path(name), address)
    figures = {
        "bare_jobs_a_second": bare,
        "steps_a_second": engine,
        "ratio": engine / bare,
        "single_steps_a_second": single,
        "single_ratio": single / bare,
        "least_ratio": LEAST_RATIO,
        "length": LENGTH,
    }
    print(
        f"engine: {engine:.1f} steps a second in runs of {LENGTH}, {bare:.1f} bare RQ jobs a second: ratio "
        f"{engine / bare:.2f}; in runs of one step {single:.1f}, ratio {single / bare:.2f}; each at least {LEAST_RATIO}"
    )
    report("engine", figures)
    return 0 if min(engine, single) / bare >= LEAST_RATIO else 1


if __name__ == "__main__":
    raise SystemExit(main())
