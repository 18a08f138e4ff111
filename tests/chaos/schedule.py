"""Seeded schedules: kills, an emptied Redis, throttling, errors, cut connections, two of everything, double clicks."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.chaos.lane import Failed, Lane, approve, ask, tick, work

CALLS = (
    "amc:AmcpLinkListAmcAccounts",
    "amc:listInstances",
    "amc:createInstance",
    "amc:getInstance",
    "amc:getInstanceCollaboration",
    "amc:*",
    "lwa:*",
    "cleanrooms:*",
    "cleanrooms:CreateMembership",
    "iam:*",
    "iam:CreateRole",
    "s3:*",
    "sts:*",
)
SOON = 30.0


@dataclass(frozen=True)
class Event:
    """Something that happens `at` so many seconds after the start."""

    at: float
    what: str

    def __str__(self) -> str:
        return f"{self.at:5.2f} s {self.what}"


@dataclass(frozen=True)
class Rule:
    """How the simulator misbehaves at the nth call that fits."""

    operation: str
    nth: int
    times: int
    kind: str
    values: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        values = " ".join(f"{name}={value:g}" for name, value in self.values)
        return f"{self.operation} no. {self.nth} (×{self.times}): {self.kind} {values}".rstrip()


@dataclass(frozen=True)
class Schedule:
    """All that goes wrong under one seed. The same seed gives the same schedule."""

    seed: int
    rules: tuple[Rule, ...]
    events: tuple[Event, ...]
    workers: int
    clocks: int
    clicks: int
    pace: tuple[tuple[str, float], ...]
    upto: str

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: {self.workers} workers, {self.clocks} clocks, {self.clicks} clicks at a time"]
        lines += ["  to the joined collaboration"] if self.upto == "joined" else []
        lines += [f"  pace {dict(self.pace)}"]
        return "\n".join(lines + [f"  {rule}" for rule in self.rules] + [f"  {event}" for event in self.events])


def schedule(seed: int) -> Schedule:
    """The schedule of a seed."""
    rng = random.Random(seed)
    rules = []
    for _ in range(rng.randint(1, 6)):
        kind = rng.choice(["throttle", "error", "cut_before", "cut_after", "slow", "cut_after"])
        values: tuple[tuple[str, float], ...] = ()
        if kind == "throttle":
            values = (("retry_after", rng.choice([0, 1])),)
        elif kind == "error":
            values = (("status", rng.choice([500, 502, 503])),)
        elif kind == "slow":
            # Longer than a call may take, now and then.
            values = (("seconds", rng.choice([0.2, 0.8, 1.9])),)
        # The call that makes something is made once: most of the trouble is at its first time.
        operation = rng.choice([*CALLS, "amc:createInstance", "amc:createInstance", "cleanrooms:CreateMembership"])
        rules.append(Rule(operation, rng.choice([1, 1, 1, 2, 3, 4]), rng.randint(1, 3), kind, values))
    workers, clocks = rng.choice([1, 2, 2, 3]), rng.choice([1, 2])
    events = []
    for _ in range(rng.randint(1, 5)):
        at = round(rng.uniform(0.05, 3.0), 2)
        kind = rng.choice(["kill worker", "kill worker", "kill every worker", "kill clock", "empty Redis"])
        if kind == "kill worker":
            kind += f" {rng.randint(1, workers)}"
        events.append(Event(at, kind))
    stages = ("instance_submitted", "instance_in_progress", "instance_completed")
    pace = tuple((stage, round(rng.uniform(0, 0.4), 2)) for stage in stages)
    return Schedule(
        seed,
        tuple(rules),
        tuple(sorted(events, key=lambda event: event.at)),
        workers,
        clocks,
        rng.choice([1, 2, 3]),
        pace,
        # Every fifth goes on to the joined collaboration.
        "made" if seed % 5 else "joined",
    )


class Run:
    """One schedule carried out in a lane."""

    def __init__(self, lane: Lane, plan: Schedule) -> None:
        self.lane, self.plan = lane, plan
        self.killed_at: list[float] = []

    def carry_out(self) -> None:
        """Raises Failed if anything that must hold does not."""
        lane, plan = self.lane, self.plan
        lane.fresh(dict(plan.pace), upto=plan.upto)
        for rule in plan.rules:
            lane.misbehave(rule.operation, rule.kind, rule.nth, rule.times, **dict(rule.values))
        for number in range(1, plan.clocks + 1):
            lane.start(f"clock {number}", tick)
        for number in range(1, plan.workers + 1):
            lane.start(f"worker {number}", work)
        began, events, progress = time.monotonic(), list(plan.events), 0
        last_move = began
        while True:
            now = time.monotonic()
            while events and now - began >= events[0].at:
                self._happen(events.pop(0))
                last_move = max(last_move, time.monotonic())
            if lane.news():
                if lane.ended():
                    break
                self._people()
                moved = lane.moves()
                if moved != progress:
                    progress, last_move = moved, time.monotonic()
            if time.monotonic() - last_move > SOON:
                raise Failed(f"nothing has moved for {SOON:g} s: {lane.states()}")
            time.sleep(0.03)
        lane.stop_all()
        lane.check()

    def _people(self) -> None:
        """Whoever's turn it is clicks, as often at once as the schedule says."""
        states = self.lane.states()
        act = None
        if not states or "ready" in states.values():
            act = ask
        elif "awaiting_approval" in states.values():
            act = approve
        if act is None:
            return
        # The first click makes the run; two first clicks would rightly be two runs of one name.
        clicks = 1 if not states else self.plan.clicks
        arguments = (self.lane.upto,) if act is ask else ()
        for wait in [self.lane.begin(act, *arguments) for _ in range(clicks)]:
            wait()

    def _happen(self, event: Event) -> None:
        lane = self.lane
        if event.what == "empty Redis":
            lane.redis.flushall()
            return
        kind, _, number = event.what.removeprefix("kill ").partition(" ")
        if kind == "every":
            names = [f"worker {n}" for n in range(1, self.plan.workers + 1)]
        elif kind == "clock":
            names = ["clock 1"]
        else:
            names = [f"worker {number}"]
        for name in names:
            lane.kill(name)
        for name in names:
            lane.start(name, tick if name.startswith("clock") else work)


def run(lane: Lane, seeds: Iterable[int], say: Callable[[str], None]) -> int:
    """Carry out the schedules of these seeds; returns how many failed, having printed how to repeat each."""
    failed = 0
    for seed in seeds:
        plan = schedule(seed)
        began = time.monotonic()
        try:
            Run(lane, plan).carry_out()
            say(f"ok      seed {seed} in {time.monotonic() - began:.1f} s")
        except Failed as error:
            failed += 1
            lane.stop_all()
            say(f"FAILED  {plan}\n  {error}\n  repeat: make chaos SEEDS=1 SEED_FROM={seed}")
    return failed
