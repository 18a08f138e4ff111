"""The one place that moves a step from state to state, by compare-and-set, and refuses every move not in its table."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F

from onboarding.engine import queue
from onboarding.engine.situations import situation_of
from onboarding.engine.standing import update_standing
from onboarding.guide.procedure import needs_of, step_of
from onboarding.guide.step import GuideStep
from onboarding.models import Instance, LogLine, Run, Step, StepState, locked

_S = StepState
TABLE: dict[str, frozenset[str]] = {
    _S.BLOCKED: frozenset({_S.READY, _S.QUEUED, _S.DONE, _S.CANCELLED}),
    _S.READY: frozenset({_S.AWAITING_APPROVAL, _S.QUEUED, _S.DONE, _S.CANCELLED}),
    _S.AWAITING_APPROVAL: frozenset({_S.READY, _S.QUEUED, _S.CANCELLED}),
    # Queued to failed is an admin who stops it.
    _S.QUEUED: frozenset({_S.RUNNING, _S.READY, _S.FAILED, _S.CANCELLED}),
    # Running to running is another worker taking over a lease that ran out.
    _S.RUNNING: frozenset({_S.RUNNING, _S.WAITING, _S.DONE, _S.FAILED, _S.CANCELLED}),
    _S.WAITING: frozenset({_S.RUNNING, _S.FAILED, _S.CANCELLED}),
    _S.FAILED: frozenset({_S.READY, _S.QUEUED, _S.AWAITING_APPROVAL, _S.CANCELLED}),
    _S.DONE: frozenset(),
    _S.CANCELLED: frozenset(),
}
FINAL = frozenset(state for state, following in TABLE.items() if not following)


class MoveRefused(Exception):
    """The table has no such move."""


class Overtaken(Exception):
    """Somebody else moved the row first; whoever gets this must stop and change nothing."""


def move(step: Step, to: str, *, now: datetime, log: tuple[str, str] | None = None, **changes: Any) -> None:
    """Move `step` (as it was read) to state `to`, with other columns changed in the same statement.

    `log` is a level and a line for the step's log. Raises MoveRefused if the table has no such move, and Overtaken if
    the row is no longer as it was read. What follows from the move (the next steps, the run's end, the instance's
    standing, the queue) happens in the same transaction.
    """
    if to not in TABLE[step.state]:
        raise MoveRefused(f"a step that is {step.state} cannot become {to}")
    with transaction.atomic():
        changes.setdefault("next_attempt_at", now if to == _S.QUEUED else None)
        if to != _S.RUNNING:
            changes.update(lease_owner="", lease_until=None)
        changes["enqueued_until"] = None
        if to in FINAL:
            changes["finished_at"] = now
        changed = Step.objects.filter(pk=step.pk, version=step.version, state=step.state).update(
            state=to, since=now, version=F("version") + 1, **changes
        )
        if not changed:
            raise Overtaken
        for name, value in changes.items():
            setattr(step, name, value)
        step.state, step.since, step.version = to, now, step.version + 1
        if log:
            write_log(step, log[0], log[1], now=now)
        _follow(step, now=now)
    if to == _S.QUEUED:
        queue.put_on_commit(step.pk)


def write_log(step: Step, level: str, text: str, *, now: datetime) -> None:
    """Add a line to the step's log."""
    LogLine.objects.create(step=step, at=now, level=level, text=text[:500])


def _follow(step: Step, *, now: datetime) -> None:
    run = step.run
    # Locked: the standing of two steps that move at once is derived by one after the other.
    run.instance = locked(Instance).get(pk=run.instance_id)
    steps = list(Step.objects.filter(run=run).order_by("position"))
    if step.state == _S.DONE:
        done = {other.key for other in steps if other.state == _S.DONE}
        free = [o for o in steps if o.state == _S.BLOCKED and done.issuperset(needs_of(run.procedure, o.key))]
        for other in free:
            unblock(other, run=run, now=now)
        # A step that is not needed is completed at once, and moves those after it.
        if free:
            steps = list(Step.objects.filter(run=run).order_by("position"))
    for other in steps:
        other.run = run
    if run.ended_at is None and all(other.state in FINAL for other in steps):
        run.ended_at = now
        run.save(update_fields=["ended_at"])
    update_standing(run, steps, now=now)


def unblock(step: Step, *, run: Run, now: datetime) -> None:
    """Let a blocked step begin: an automatic one goes on the queue, any other waits for its answers.

    One that the run does not need is completed.
    """
    guide_step = step_of(run.procedure, step.key)
    automatic = guide_step.automatic
    if type(guide_step).applies is not GuideStep.applies and not guide_step.applies(situation_of(run)):
        step.run = run
        move(step, _S.DONE, now=now, log=("info", "Not needed here"))
        return
    to = _S.QUEUED if automatic else _S.READY
    changed = Step.objects.filter(pk=step.pk, version=step.version, state=_S.BLOCKED).update(
        state=to, since=now, version=F("version") + 1, next_attempt_at=now if automatic else None
    )
    if changed:
        step.state, step.since, step.version = to, now, step.version + 1
        if automatic:
            queue.put_on_commit(step.pk)
