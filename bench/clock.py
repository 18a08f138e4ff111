"""What a tick of the clock costs while AMC creates 4,000 instances of one account: reads, and processor time.

PostgreSQL, Redis and the local Amazon are programs of their own; the clock's tick, and the work that it puts on the
queue, are in this process, whose processor time is taken. Looked at one by one they would be 4,000 reads a minute.
"""

from __future__ import annotations

import os
import tempfile
import time
from datetime import datetime, timedelta
from typing import Any

from bench.bare import redis, report
from simulator import people
from simulator.testing import running_simulator
from tests.postgres import postgres

INSTANCES = 4000
MOST_READS, MOST_CPU = 45, 1.0
TICKS = 120
"""Ticks, a simulated second apart, of which the reads are counted."""


def main() -> int:
    """Print the figures; 1 if a tick reads too much or takes too long."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        postgres() as database,
        redis(folder) as queue,
        running_simulator(pace="real") as amazon,
    ):
        os.environ.update(
            DJANGO_SETTINGS_MODULE="bench.at_size.settings",
            DATABASE_URL=database,
            REDIS_URL=queue,
            LOG_LEVEL="ERROR",
            AMC_URL=amazon.url,
            LOGIN_TOKEN_URL=f"{amazon.url}/auth/o2/token",
            LOGIN_CLIENT_ID=people.CLIENT_ID,
            LOGIN_CLIENT_SECRET=people.CLIENT_SECRET,
        )
        import django

        django.setup()
        figures = _measure(amazon.url)
    report("clock", figures)
    return 1 if figures["failed"] else 0


def _measure(url: str) -> dict[str, Any]:
    import httpx
    from django.core.management import call_command
    from django.utils import timezone

    from onboarding.models import AmcAccount, AmcConnection, Instance, Person, Run, Step
    from onboarding.services.instances_import import import_instances

    call_command("migrate", verbosity=0)
    control = httpx.Client(base_url=f"{url}/_simulator", timeout=120)
    account_of = people.PAPERBOAT
    answer = control.post("seed-instances", json={"account": account_of.id, "count": INSTANCES - 1, "finished": False})
    answer.raise_for_status()
    grant = control.get("token", params={"person": "admin"}).json()
    login = AmcConnection.objects.create(label="Bench", amazon_id="bench", refresh_token=grant["refresh_token"])
    account = AmcAccount.objects.create(
        entity_id=account_of.id, marketplace_id=account_of.marketplace, name=account_of.name, connection=login
    )
    person = Person.objects.create_user("bench", name="Bench")
    now = timezone.now()
    import_instances(account, now)
    runs = Run.objects.bulk_create(
        Run(procedure="onboard", account=account, instance=instance, owner=person, started_at=now)
        for instance in Instance.objects.all()
    )
    Step.objects.bulk_create(
        Step(
            run=run,
            key="create-instance",
            position=2,
            state="waiting",
            since=now,
            next_attempt_at=now + timedelta(seconds=5),
            polls=1,
            waiting_for="amazon",
            waiting_text="Amazon says REQUESTED",
        )
        for run in runs
    )
    # One thing to begin with: what is loaded and connected at first use is no part of a tick.
    _tick(now)
    found = []
    for name, after, advance in (("every status has changed", 5, 120), ("nothing has changed", 70, 0)):
        control.post("clock", json={"advance": advance}).raise_for_status()
        reads, single, cpu, wall = _tick(now + timedelta(seconds=after))
        found.append({"tick": name, "reads": reads, "single": single, "cpu": round(cpu, 3), "wall": round(wall, 3)})
        print(
            f"clock: {INSTANCES:,} wait, {name}: {reads} lists, {single} single reads (at most {MOST_READS} together), "
            f"{cpu:.2f} s of processor (at most {MOST_CPU:g}), {wall:.2f} s"
        )
    cpus, reads = [], 0
    for second in range(TICKS):
        lists, single, cpu, _ = _tick(now + timedelta(seconds=71 + second))
        cpus.append(cpu)
        reads += lists + single
    most_reads = MOST_READS * TICKS // 60
    print(
        f"clock: {TICKS} ticks, one a second: {reads} reads (at most {most_reads}); a tick without a reading takes "
        f"{sorted(cpus)[TICKS // 2] * 1000:.1f} ms of processor"
    )
    failed = [one["tick"] for one in found if one["reads"] + one["single"] > MOST_READS or one["cpu"] > MOST_CPU]
    failed += ["reads a minute"] if reads > most_reads or not reads else []
    failed += ["the list was not read"] if any(not one["reads"] for one in found) else []
    return {
        "instances": INSTANCES,
        "ticks": found,
        "idle_tick_ms": round(sorted(cpus)[TICKS // 2] * 1000, 1),
        "reads_in_two_minutes": reads,
        "failed": failed,
    }


def _tick(now: datetime) -> tuple[int, int, float, float]:
    """A tick and all that it puts on the queue: list reads, single reads, processor seconds, seconds."""
    import django_rq

    from onboarding.clients import counters
    from onboarding.engine import clock

    before = _calls(counters.read()[0])
    wall, cpu = time.perf_counter(), time.process_time()
    clock.tick(now=now)
    work = django_rq.get_queue("default")
    while job := work.connection.lpop(work.key):
        found = work.fetch_job(job.decode())
        if found is not None:
            found.func(*found.args)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    after = _calls(counters.read()[0])
    return after[0] - before[0], after[1] - before[1], cpu, wall


def _calls(counted: Any) -> tuple[int, int]:
    amc = {key: number for key, number in counted.items() if key.startswith("amc|")}
    lists = sum(number for key, number in amc.items() if key.startswith("amc|listInstances|"))
    return lists, sum(amc.values()) - lists


if __name__ == "__main__":
    raise SystemExit(main())
