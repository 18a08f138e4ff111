"""Steps per second of the engine against bare RQ jobs, with the same worker on the same Redis, in one run.

Each round: so many bare jobs that do nothing, then so many steps that call nothing, each from the queue to its last
commit (lease, authority, log, audit entry, the run's end, the instance's standing). The medians of the rounds are
compared. The engine has to reach at least half.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from bench.bare import redis

LEAST_RATIO = 0.5
JOBS, ROUNDS = 100, 3


def nothing(number: int) -> None:
    """The bare job."""


def measure(folder: Path, redis_url: str) -> tuple[float, float]:
    """Bare jobs and steps a second (medians of the rounds)."""
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

    from onboarding.engine import queue
    from onboarding.guide import procedure
    from onboarding.guide.step import GuideStep
    from onboarding.models import AmcAccount, AmcConnection, Instance, Person, Run, Step, StepState

    class Nothing(GuideStep):
        """A step that calls nothing."""

        key, title, automatic = "nothing", "Do nothing", True

    procedure.PROCEDURES["bench"] = (Nothing(),)
    procedure.PROCEDURE_TITLES["bench"] = "Bench"
    call_command("migrate", verbosity=0)
    now = timezone.now()
    person = Person.objects.create_user("bench", name="Bench")
    connection = AmcConnection.objects.create(label="Bench", amazon_id="bench", refresh_token="-")
    account = AmcAccount.objects.create(entity_id="E", marketplace_id="M", name="Bench", connection=connection)
    work = django_rq.get_queue("default")

    def burst() -> float:
        began = time.perf_counter()
        django_rq.get_worker("default").work(burst=True, logging_level="ERROR")
        return JOBS / (time.perf_counter() - began)

    bare, engine = [], []
    for _ in range(ROUNDS):
        for number in range(JOBS):
            work.enqueue_call("bench.engine.nothing", args=(number,))
        bare.append(burst())
        instances = Instance.objects.bulk_create(
            Instance(account=account, name=f"Bench {number}", status_since=now) for number in range(JOBS)
        )
        runs = Run.objects.bulk_create(
            Run(procedure="bench", account=account, instance=instance, owner=person, started_at=now)
            for instance in instances
        )
        steps = Step.objects.bulk_create(
            Step(run=run, key="nothing", position=0, state=StepState.QUEUED, since=now, next_attempt_at=now)
            for run in runs
        )
        queue.put([step.pk for step in steps])
        engine.append(burst())
        left = Step.objects.exclude(state=StepState.DONE).count()
        if left:
            raise RuntimeError(f"{left} steps were not carried out")
    return statistics.median(bare), statistics.median(engine)


def main() -> int:
    """Print the figures; 1 if the engine does not reach its share."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, redis(name) as address:
        bare, engine = measure(Path(name), address)
    ratio = engine / bare
    print(
        f"engine: {engine:.0f} steps a second, {bare:.0f} bare RQ jobs a second: ratio {ratio:.2f}, "
        f"at least {LEAST_RATIO}"
    )
    return 0 if ratio >= LEAST_RATIO else 1


if __name__ == "__main__":
    raise SystemExit(main())
