"""The crash matrix: at every call of every procedure a worker killed before it, after its effect, before the commit."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.lane import (
    Failed,
    Lane,
    approve,
    ask,
    ask_for,
    horse_is_asleep,
    tick,
    until,
    work,
)

POINTS = ("before the call", "after the effect, before the answer", "after the answer, before the commit")
SOON = 30.0
_NOT_CALLS = ("lwa:",)


def _nothing(lane: Lane) -> None:
    """Nothing happens by hand, and nothing is looked at."""


@dataclass(frozen=True)
class Phase:
    """A part of the way: the whole of a procedure, or some steps of it."""

    name: str
    procedure: str
    # The step that is left for the next phase, and its state by then.
    but: str = ""
    at: str = "ready"
    # How far the file goes with which an onboarding goes on.
    upto: str = "data"
    # Whether its calls read and write files: what they answer is not written down one by one.
    files: bool = False
    before: Callable[[Lane], object] = _nothing
    # What has to hold at its end.
    after: Callable[[Lane], object] = _nothing


PHASES = (
    Phase("onboard", "onboard", but="join-partners", upto="partner", after=Lane.check_so_far),
    Phase("join-partners", "onboard", upto="partner", after=Lane.check),
    Phase("look", "onboard", but="identity-files", at="awaiting_approval", files=True, before=Lane.bring_files),
    Phase("prepare", "onboard", but="source-role", files=True),
    Phase("identity", "onboard", after=Lane.check),
    Phase("refresh", "refresh", after=lambda lane: lane.check_tables(customers=2)),
    Phase("replace-dataset", "replace-dataset", before=Lane.hang, after=lambda lane: lane.check_tables(replaced=1)),
    Phase("delete-mapping-table", "delete-mapping-table", after=lambda lane: lane.check_tables()),
    Phase("advertisers", "advertisers"),
    Phase("membership", "membership"),
    Phase("put-right", "put-right", before=Lane.spoil, after=Lane.check_put_right),
    Phase("leave", "leave", before=Lane.map_what_hangs),
    Phase("delete-instance", "delete-instance", after=Lane.check_end),
)
# (phase, operation): the same operation is made in several phases.
Call = tuple[str, str]


def _begin(lane: Lane, phase: Phase) -> None:
    lane.upto = phase.upto
    phase.before(lane)


def _walk(lane: Lane, phase: Phase, look: Callable[[], bool]) -> None:
    """Be the people of a phase: ask and approve whenever it is their turn, until it is done.

    `look` is asked between, and says whether something has happened; raises Failed when nothing does for a while.
    """
    deadline = time.monotonic() + 2 * SOON
    while not lane.phase_done(phase.procedure, phase.but, phase.at):
        _people(lane, phase)
        if look():
            deadline = time.monotonic() + 2 * SOON
        if time.monotonic() > deadline:
            raise Failed(f"{phase.name}: nothing happened for {2 * SOON:g} s: {lane.states()}")
        time.sleep(0.03)


@contextlib.contextmanager
def _way(lane: Lane) -> Iterator[None]:
    """An empty portal with a clock and a worker, which are stopped again."""
    lane.fresh(upto="partner")
    lane.start("clock", tick)
    lane.start("worker", work)
    try:
        yield
    finally:
        lane.stop_all()


def calls_made(lane: Lane) -> list[Call]:
    """The calls of an undisturbed way through every phase, in the order in which each is made first."""
    seen: list[Call] = []
    with _way(lane):
        for phase in PHASES:
            _begin(lane, phase)
            before = len(lane.exchanges())
            _walk(lane, phase, lambda: False)
            for exchange in lane.exchanges()[before:]:
                call = (phase.name, exchange["operation"])
                if call not in seen and not call[1].startswith(_NOT_CALLS):
                    seen.append(call)
            phase.after(lane)
    return seen


def sweep(lane: Lane, points: Mapping[Call, str], say: Callable[[str], None], *, wait: bool = False) -> list[Call]:
    """One way through every phase in which the worker is killed once at these calls, and another one goes on.

    `wait`: until the lease of whoever was killed has run out; else that time passes at once. Returns the calls that
    were not reached: one that follows another without a commit between dies with that one.
    """
    left = set(points)
    last = max(number for number, phase in enumerate(PHASES) if any(name == phase.name for name, _ in points))
    with _way(lane):
        for phase in PHASES[: last + 1]:
            _begin(lane, phase)
            mine = {operation: point for (name, operation), point in points.items() if name == phase.name}
            for operation, point in mine.items():
                lane.misbehave(operation, "hold_before" if point == POINTS[0] else "hold_after")

            def look(phase: Phase = phase, mine: dict[str, str] = mine) -> bool:
                held = lane.control("GET", "holds")[:1]
                for one in held:
                    operation = one["operation"]
                    waited = _kill_at(lane, phase, one, mine[operation], wait)
                    left.discard((phase.name, operation))
                    words = f"{phase.name} {operation}"
                    say(f"ok      {words:<60} killed {mine[operation]:<40} went on after {waited:.1f} s")
                return bool(held)

            _walk(lane, phase, look)
            lane.control("DELETE", "rules")
            phase.after(lane)
    return sorted(left)


def _kill_at(lane: Lane, phase: Phase, held: dict[str, Any], point: str, wait: bool) -> float:
    """Kill the worker whose call is held; return the seconds until another one has gone on."""
    if point == POINTS[2]:
        with lane.database_held():
            lane.control("POST", f"holds/{held['id']}/release")
            worker = lane.processes["worker"].pid or 0
            # Work on files goes on with its next call; it can't write down anything of it either.
            with contextlib.suppress(*([Failed] if phase.files else [])):
                until(lambda: horse_is_asleep(worker), 1.4, "the worker waits for the database with its answer")
            lane.kill("worker")
    else:
        lane.kill("worker")
        until(lambda: not lane.control("GET", "holds"), 5, "the held call ends with its worker")
    if not wait:
        lane.leases_run_out()
    before, killed = lane.moves(), time.monotonic()
    lane.start("worker", work)
    until(lambda: lane.moves() > before, SOON, "work goes on after the kill")
    return time.monotonic() - killed


def _people(lane: Lane, phase: Phase) -> None:
    states = lane.states()
    begun = lane.sql(f"SELECT count(*) FROM onboarding_run WHERE procedure = '{phase.procedure}'") != [(0,)]
    mine = any(state == "ready" and (key, state) != (phase.but, phase.at) for key, state in states.items())
    if (not begun or mine) and not lane.files_in_work():
        if phase.procedure == "onboard":
            lane.act(ask, lane.upto)
        else:
            lane.act(ask_for, phase.procedure)
    if "awaiting_approval" in states.values() and phase.at != "awaiting_approval":
        lane.act(approve)


def sample(calls: Sequence[Call]) -> list[Call]:
    """Every call that changes something, and one read of each service: what is read twice changes nothing twice."""
    seen: set[str] = set()
    kept = []
    for phase, operation in calls:
        service, _, name = operation.partition(":")
        reads = name.lower().startswith(("get", "list", "head", "assume", "amcplink"))
        if not reads or service not in seen:
            kept.append((phase, operation))
        if reads:
            seen.add(service)
    return kept


def in_turn(calls: Sequence[Call]) -> dict[Call, str]:
    """Each call at one point, the points in turn."""
    return {call: POINTS[number % len(POINTS)] for number, call in enumerate(calls)}


def run(lane: Lane, say: Callable[[str], None], points: Mapping[Call, str], *, wait: bool = False) -> int:
    """A sweep with these calls, and more with those that were not reached; 1 if it failed, else 0."""
    left = dict(points)
    try:
        # On a busy machine a call may be given up before it is seen to be held.
        for _ in range(4):
            left = {call: points[call] for call in sweep(lane, left, say, wait=wait)}
            if not left:
                return 0
        raise Failed(f"never made, so never crashed: {', '.join(map(' '.join, left))}")
    except Failed as error:
        say(f"FAILED  {', '.join(sorted(set(points.values())))}: {error}")
        return 1
