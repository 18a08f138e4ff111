"""A thousand onboardings at once through four workers, of one AMC account, against the local Amazon.

From the approved creation of each instance to the advertisers that it has: all that AMC alone decides. First Amazon
takes any number of calls, for what the engine adds to each step; then it takes `RATE` a second, for who keeps to that.
Printed are the calls that an onboarding makes beside the least that it could make. Held must be: every onboarding ends,
none waits much longer than the others, and once Amazon has asked for a pause nobody calls before that is over.

`BENCH_ONBOARDINGS` changes the number.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.bare import report
from scripts.stack import Stack
from simulator import people
from tests.postgres import postgres

ONBOARDINGS = int(os.environ.get("BENCH_ONBOARDINGS", "1000"))
WORKERS = 4
RATE = 2.0
"""AMC calls a second that the local Amazon takes in the second part, fewer than the workers could make; for so few
onboardings that it ends."""
THROTTLED = max(10, ONBOARDINGS // 20)
STEPS = ("create-instance", "collaboration", "advertisers-now")
UNDER_WAY = timedelta(seconds=1)
"""What was sent before the answer with the pause had arrived does not break it."""
MOST_REFUSED = 4 * WORKERS
"""Each worker may have a call under way when Amazon says no, each of the few times until the pace is found."""
MOST_SPREAD = 3.0


def main() -> int:
    """Print the figures; 1 if something was not held."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, postgres() as database:
        folder = Path(name)
        # What is read at night is left out, at whatever hour this is.
        far = {"NIGHT_BEGINS": str((datetime.now(UTC).hour + 12) % 24)}
        with Stack(folder, database_url=database, web=False, workers=WORKERS, environment=far) as stack:
            os.environ.update({**stack.settings, "DJANGO_SETTINGS_MODULE": "portal.settings"})
            import django

            django.setup()
            figures = _measure(stack, folder / "simulator" / "exchanges.jsonl")
    report("thousand", figures)
    return 1 if figures["failed"] else 0


def _measure(stack: Stack, exchanges: Path) -> dict[str, Any]:
    import httpx
    from django.db import close_old_connections

    control = httpx.Client(base_url=f"{stack.simulator_url}/_simulator", timeout=60)
    failed: list[str] = []
    parts = {}
    for part, count, rate in (("any number of calls", ONBOARDINGS, 0.0), (f"{RATE:g} calls a second", THROTTLED, RATE)):
        control.post("reset").raise_for_status()
        control.post("settings", json={"amc_rate": rate}).raise_for_status()
        account = _account(control, part)
        close_old_connections()
        cpu, began = _worker_seconds(stack), time.perf_counter()
        _begin(account, count)
        left = _wait(account)
        wall, cpu = time.perf_counter() - began, _worker_seconds(stack) - cpu
        calls = _calls(exchanges, account.entity_id)
        parts[part] = found = _figures(account, calls, count, wall, cpu)
        print(
            f"thousand: {part}: {found['done']:,} of {count:,} onboardings ended in {wall:.0f} s, "
            f"{found['steps_a_second']:.1f} steps a second, {found['cpu_ms_a_step']:.0f} ms of processor each"
        )
        print(
            f"thousand:   {found['calls']:.1f} calls an onboarding, at least {found['least']} "
            f"({', '.join(f'{name} {number:,}' for name, number in found['operations'].items())})"
        )
        print(
            f"thousand:   it took {found['median_s']:.0f} s in the middle and {found['worst_s']:.0f} s at worst "
            f"(at most {MOST_SPREAD:g}×)"
        )
        failed += [f"{part}: {left} are left"] if left else []
        failed += [f"{part}: some starve"] if found["worst_s"] > MOST_SPREAD * found["median_s"] else []
        if rate:
            print(
                f"thousand:   {found['refused']} of {len(calls):,} calls were refused (at most {MOST_REFUSED}), "
                f"{found['early']} were sent while Amazon wanted a pause (none may be); after the last refusal "
                f"{found['rate_after']:.1f} calls a second"
            )
            failed += ["calls in a pause"] if found["early"] else []
            failed += ["too many refusals"] if found["refused"] > MOST_REFUSED else []
            failed += ["Amazon was never asked too much"] if not found["refused"] else []
    return {"onboardings": ONBOARDINGS, "workers": WORKERS, "parts": parts, "failed": failed}


def _account(control: Any, part: str) -> Any:
    """An AMC account of its own, whose policy lets instances be made without a second person."""
    from onboarding.models import AccountPolicy, AmcAccount, AmcConnection, Person, Role

    known = people.HARBOUR if not AmcAccount.objects.exists() else people.PAPERBOAT
    grant = control.get("token", params={"person": "admin"}).json()
    login = AmcConnection.objects.create(label=part, amazon_id=part, refresh_token=grant["refresh_token"])
    account = AmcAccount.objects.create(
        entity_id=known.id, marketplace_id=known.marketplace, name=known.name, connection=login
    )
    AccountPolicy.objects.create(account=account, steps_without_approval=["create-instance"])
    person = Person.objects.create_user(part, name="Bench")
    Role.objects.create(person=person, account=account, name="analyst")
    return account


def _begin(account: Any, count: int) -> None:
    """So many onboardings whose instance may be created now; the clock finds them."""
    from django.utils import timezone

    from onboarding.guide import plan as plans
    from onboarding.guide.procedure import step_of, steps_of
    from onboarding.guide.step import Situation
    from onboarding.models import Instance, Role, Run, Step, StepState

    now, person = timezone.now(), Role.objects.get(account=account).person
    creating = step_of("onboard", "create-instance")
    instances = Instance.objects.bulk_create(
        Instance(account=account, name=f"Bench {number}", status_since=now, owner=person) for number in range(count)
    )
    runs = Run.objects.bulk_create(
        Run(procedure="onboard", account=account, instance=instance, owner=person, started_at=now)
        for instance in instances
    )
    rows = []
    for run in runs:
        answers = {
            "name": {"name": run.instance.name},
            "advertiser": {"name": ""},
            "aws-account": {"account_id": "111122223333"},
            "parties": {"multi": False},
        }
        situation = Situation(run, account, run.instance, {"create-instance": answers})
        documents = plans.dump(creating.plan(situation))
        for position, step in enumerate(steps_of("onboard")):
            if step.key == creating.key:
                values: dict[str, Any] = {
                    "state": StepState.QUEUED,
                    "answers": answers,
                    "plan": documents,
                    "digest": plans.digest(documents),
                    "asked_by": person,
                    "next_attempt_at": now,
                }
            else:
                done = position < 2
                values = {"state": StepState.DONE if done else StepState.BLOCKED, "finished_at": now if done else None}
            rows.append(Step(run=run, key=step.key, position=position, since=now, **values))
    Step.objects.bulk_create(rows, batch_size=2000)


def _wait(account: Any) -> int:
    """Until nothing is under way any more, or nothing has moved for two minutes; how many steps are not done."""
    from onboarding.models import Step, StepState

    steps = Step.objects.filter(run__account=account, key__in=STEPS)
    last, moved = -1, time.monotonic()
    while time.monotonic() - moved < 120:
        left = steps.exclude(state=StepState.DONE).count()
        if not left:
            return 0
        if left != last:
            last, moved = left, time.monotonic()
        time.sleep(1)
    return last


def _worker_seconds(stack: Stack) -> float:
    """Processor seconds of the workers and of all that they have forked."""
    ticks = 0
    for name, service in stack.services.items():
        if name.startswith("worker-") and service.process is not None:
            fields = Path(f"/proc/{service.process.pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _calls(exchanges: Path, account: str) -> list[dict[str, Any]]:
    """The account's AMC calls, in the order of their answers."""
    found = []
    with exchanges.open(encoding="utf-8") as lines:
        for line in lines:
            one = json.loads(line)
            if one["operation"].startswith("amc:") and one["account"] == account:
                wait = {name.lower(): value for name, value in one["response_headers"].items()}.get("retry-after")
                found.append(
                    {
                        "at": datetime.fromisoformat(one["at"]),
                        "operation": one["operation"].removeprefix("amc:"),
                        "status": one["status"],
                        "pause": timedelta(seconds=float(wait)) if one["status"] == 429 and wait else None,
                    }
                )
    return found


def _figures(account: Any, calls: list[dict[str, Any]], count: int, wall: float, cpu: float) -> dict[str, Any]:
    from onboarding.models import Run, Step, StepState

    steps = Step.objects.filter(run__account=account, key__in=STEPS, state=StepState.DONE)
    done = steps.count()
    ends: dict[Any, list[datetime]] = {}
    for run, at in steps.values_list("run", "finished_at"):
        ends.setdefault(run, []).append(at)
    began = dict(Run.objects.filter(account=account).values_list("pk", "started_at"))
    took = sorted((max(ats) - began[run]).total_seconds() for run, ats in ends.items() if len(ats) == len(STEPS))
    refusals = [one for one in calls if one["status"] == 429]
    early, pause_until, known_at = 0, None, None
    for one in calls:
        # A pause holds for whoever sends after its answer has arrived.
        if pause_until is not None and known_at is not None and known_at + UNDER_WAY < one["at"] < pause_until:
            early += 1
        if one["pause"] is not None and (pause_until is None or one["at"] >= pause_until):
            known_at, pause_until = one["at"], one["at"] + one["pause"]
    last = max((one["at"] for one in refusals), default=None)
    after = [one["at"] for one in calls if last is not None and one["at"] > last]
    operations = Counter(one["operation"] for one in calls)
    return {
        "count": count,
        "done": len(took),
        "wall_s": round(wall, 1),
        "steps_a_second": done / wall,
        "cpu_ms_a_step": 1000 * cpu / max(done, 1),
        "calls": len(calls) / count,
        # Look, create, see that it is there; the collaboration; the advertisers.
        "least": 5,
        "operations": dict(operations.most_common()),
        "median_s": statistics.median(took) if took else 0.0,
        "worst_s": max(took, default=0.0),
        # After how many seconds so many twentieths of the onboardings had ended.
        "ended_s": [round(took[max(0, len(took) * part // 20 - 1)], 1) for part in range(1, 21)] if took else [],
        "refused": len(refusals),
        "early": early,
        "rate_after": len(after) / max((after[-1] - after[0]).total_seconds(), 1) if after else 0.0,
    }


if __name__ == "__main__":
    raise SystemExit(main())
