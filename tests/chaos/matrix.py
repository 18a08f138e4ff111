"""The crash matrix: at every call of every procedure a worker killed before it, after its effect, before the commit."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.chaos.lane import (
    Failed,
    Lane,
    approve,
    ask,
    ask_for,
    rule,
    sleeps,
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

    `look` waits a moment for something to happen, and says whether it has; raises Failed when nothing does for a while.
    """
    deadline, moves = time.monotonic() + 2 * SOON, lane.moves()
    while True:
        if lane.news():
            if lane.phase_done(phase.procedure, phase.but, phase.at):
                return
            _people(lane, phase)
            if moves != (moves := lane.moves()):
                deadline = time.monotonic() + 2 * SOON
        if look():
            deadline = time.monotonic() + 2 * SOON
        if time.monotonic() > deadline:
            raise Failed(f"{phase.name}: nothing happened for {2 * SOON:g} s: {lane.states()}")


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


def sweep(
    lane: Lane, point: str, say: Callable[[str], None], only: set[Call] | None = None, *, wait: bool = False
) -> tuple[set[Call], set[Call]]:
    """One way through every phase in which the worker is killed once at each call, and another one goes on.

    `only`: at these calls, and no further than they are made. `wait`: until the lease of whoever was killed has run
    out; else that time passes at once. Returns the calls at which it was killed, and those that were made without: on a
    busy machine a call may be given up before it is seen to be held.
    """
    killed: set[Call] = set()
    missed: set[Call] = set() if only is None else set(only)
    seen = 0
    phases = [phase for phase in PHASES if only is None or any(name == phase.name for name, _ in only)]
    with _way(lane):
        for phase in PHASES[: PHASES.index(phases[-1]) + 1]:
            _begin(lane, phase)
            seen = _last(lane.exchanges(seen), seen)
            _hold(lane, phase, point, killed, only)

            def look(phase: Phase = phase) -> bool:
                held = lane.control("GET", "holds?wait=0.1")[:1]
                for one in held:
                    call = (phase.name, one["operation"])
                    killed.add(call)
                    waited = _kill_at(lane, phase, one, point, wait, lambda: _hold(lane, phase, point, killed, only))
                    if waited is None:
                        killed.discard(call)
                        continue
                    say(f"ok      {' '.join(call):<60} killed {point:<40} went on after {waited:.1f} s")
                return bool(held)

            _walk(lane, phase, look)
            lane.control("DELETE", "rules")
            exchanges = lane.exchanges(seen)
            seen = _last(exchanges, seen)
            made = {(phase.name, one["operation"]) for one in exchanges}
            missed |= {call for call in made if only is None and not call[1].startswith(_NOT_CALLS)}
            phase.after(lane)
    return killed, missed - killed


def _last(exchanges: list[dict[str, Any]], before: int) -> int:
    """The number of the last of these exchanges; `before` if there are none."""
    return int(exchanges[-1]["number"]) if exchanges else before


def _hold(lane: Lane, phase: Phase, point: str, killed: set[Call], only: set[Call] | None) -> None:
    """Have the simulator hold the next call that was not crashed yet. The first rule that fits is the one that acts."""
    kind = "hold_before" if point == POINTS[0] else "hold_after"
    if only is not None:
        wanted = {operation for of, operation in only - killed if of == phase.name}
        lane.misbehave_only([rule(operation, kind, times=None) for operation in sorted(wanted)])
        return
    past = [f"{service}*" for service in _NOT_CALLS] + [name for of, name in killed if of == phase.name]
    passed = [rule(operation, "slow", times=None, seconds=0) for operation in past]
    lane.misbehave_only([*passed, rule("*", kind, times=None)])


def _kill_at(
    lane: Lane, phase: Phase, held: dict[str, Any], point: str, wait: bool, hold_next: Callable[[], None]
) -> float | None:
    """Kill the worker whose call is held; return the seconds until another one has gone on.

    None where the worker, on a busy machine, gave its call up before it could be let go on: it is held again.
    """
    if point == POINTS[2]:
        carriers = lane.carriers("worker")
        with lane.database_held():
            if not lane.release(held):
                return None

            def waits() -> bool:
                # Work on files goes on with its next call; it can't write down anything of it either.
                return sleeps(carriers) or (phase.files and lane.control("GET", "holds") not in ([], [held]))

            until(waits, SOON, "the worker waits for the database with its answer")
            lane.kill("worker")
    else:
        lane.kill("worker")
    until(lambda: not lane.control("GET", "holds"), SOON, "the held call ends with its worker")
    hold_next()
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


def run(
    lane: Lane, point: str, say: Callable[[str], None], only: set[Call] | None = None, *, wait: bool = False
) -> set[Call] | None:
    """A sweep, and more at those calls that were missed; where a worker was killed, None if it failed."""
    killed: set[Call] = set()
    try:
        for _ in range(4):
            done, only = sweep(lane, point, say, only, wait=wait)
            killed |= done
            if not only:
                return killed
        raise Failed(f"never crashed: {', '.join(map(' '.join, sorted(only)))}")
    except Failed as error:
        say(f"FAILED  {point}: {error}\n{lane.said()}")
        return None
