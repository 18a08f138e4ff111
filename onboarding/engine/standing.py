"""Where an instance stands, in words: derived from the steps of its runs and kept beside the instance for the lists.

The newest run that is under way decides. When none is, it is what became of the instance: deleted, left, or where its
last onboarding ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from onboarding.guide.procedure import step_of
from onboarding.models import Instance, InstanceStatus, Membership, Request, RequestState, Run, Step, StepState

_S = StepState


@dataclass(frozen=True)
class Standing:
    """The status of a run, what it is about, who acts next and since when."""

    status: str
    detail: str
    waiting_on: str
    since: datetime


# The first state in this order that any step is in decides.
_ORDER: tuple[tuple[str, str], ...] = (
    (_S.FAILED, InstanceStatus.PROBLEM),
    (_S.AWAITING_APPROVAL, InstanceStatus.APPROVAL),
    (_S.RUNNING, InstanceStatus.IN_PROGRESS),
    (_S.QUEUED, InstanceStatus.IN_PROGRESS),
    (_S.WAITING, InstanceStatus.AMAZON),
    (_S.READY, InstanceStatus.YOUR_TURN),
)


def standing(run: Run, steps: list[Step], *, now: datetime) -> Standing:
    """Derive the standing of `run` from its `steps`."""
    for state, status in _ORDER:
        for step in steps:
            if step.state == state:
                return _of_step(run, step, status)
    if steps and any(step.state == _S.CANCELLED for step in steps):
        return Standing(InstanceStatus.CANCELLED, "Cancelled", "", now)
    return Standing(InstanceStatus.DONE, "Every step is completed", "", now)


def _of_step(run: Run, step: Step, status: str) -> Standing:
    title = step_of(run.procedure, step.key).title
    if step.put_down:
        return Standing(InstanceStatus.IN_PROGRESS, f"{title}: paused", "Admin", step.since)
    if step.state == _S.WAITING and step.waiting_for == "worker":
        status = InstanceStatus.IN_PROGRESS
    if step.waits_for_connection:
        return Standing(InstanceStatus.RECONNECT, title, "Admin", step.since)
    if step.state == _S.READY and step.position == 0 and not step.answers:
        status = InstanceStatus.DRAFT
    waiting_on = {
        InstanceStatus.PROBLEM: (step.failure or {}).get("who") or "Analyst",
        InstanceStatus.APPROVAL: "Approver",
        InstanceStatus.AMAZON: "Amazon",
        InstanceStatus.IN_PROGRESS: "The portal",
    }.get(InstanceStatus(status), "Analyst")
    if status == InstanceStatus.YOUR_TURN and step.asked_by_id is not None:
        title += _came_back(step)
    return Standing(status, title, waiting_on, step.since)


def _came_back(step: Step) -> str:
    """What is to be answered, if the step's last request was sent back or expired."""
    last = Request.objects.filter(step=step).order_by("-asked_at", "-pk").first()
    if last is not None and last.state == RequestState.EXPIRED:
        return ": expired, ask again"
    if last is None or last.state != RequestState.SENT_BACK:
        return ""
    refusal = last.decisions.filter(approved=False).select_related("person").first()
    return f": needs a change, says {refusal.person}" if refusal else ""


def _deciding(run: Run) -> Run | None:
    """The run that says where the instance stands: the newest under way, else the last onboarding."""
    runs = Run.objects.filter(instance=run.instance_id)
    newest = runs.filter(ended_at=None).order_by("-started_at", "-pk").values_list("pk", flat=True).first()
    if newest is not None:
        return run if newest == run.pk else runs.get(pk=newest)
    found = runs.filter(procedure="onboard").order_by("-started_at", "-pk").first()
    if found is None:
        # Taken over as it was.
        taken = runs.filter(procedure="adopt").exclude(steps__state=_S.CANCELLED)
        found = taken.order_by("-started_at", "-pk").first()
    return found


def has_left(instance: Instance) -> bool:
    """Whether the account that receives the results has left the collaboration."""
    mine = Membership.objects.filter(instance=instance, aws_account_id=instance.aws_account_id)
    ended = [left is not None for left in mine.values_list("left_at", flat=True)]
    return bool(ended) and all(ended)


def _at_rest(instance: Instance, *, now: datetime) -> Standing | None:
    if instance.gone_at is not None:
        return Standing(InstanceStatus.DELETED, "Deleted in AMC", "", now)
    if has_left(instance):
        return Standing(InstanceStatus.LEFT, "It can't be joined again", "", now)
    return None


def _update_place(run: Run, steps: list[Step], *, now: datetime) -> None:
    """Keep which step the run stands at: the first, in the guide's order, that has not ended."""
    at = next((step.key for step in steps if step.state not in (_S.DONE, _S.CANCELLED)), "")
    if run.at != at:
        run.at, run.at_since = at, now if at else None
        # Steps never go back, so whoever holds an older row finds the newer place written already.
        Run.objects.filter(pk=run.pk).exclude(at=at).update(at=at, at_since=run.at_since)


def update_standing(run: Run, steps: list[Step], *, now: datetime) -> None:
    """Write where the run and its instance stand, if that changed. Called inside the transaction of every move.

    `steps` are those of the run that has moved; it need not be the one that decides.
    """
    _update_place(run, steps, now=now)
    instance = run.instance
    deciding = _deciding(run)
    if deciding is None:
        new, steps = Standing(InstanceStatus.IMPORTED, "", "", now), []
    else:
        if deciding.pk != run.pk:
            run, steps = deciding, list(deciding.steps.order_by("position"))
        new = standing(run, steps, now=now)
    new = (_at_rest(instance, now=now) if deciding is None or deciding.ended_at is not None else None) or new
    done = sum(step.state == _S.DONE for step in steps)
    before = (instance.status, instance.status_detail, instance.waiting_on, instance.steps_done, instance.steps_all)
    after = (new.status, new.detail, new.waiting_on, done, len(steps))
    if before == after:
        return
    instance.status, instance.status_detail, instance.waiting_on, instance.steps_done, instance.steps_all = after
    if before[:3] != after[:3]:
        instance.status_since = new.since
    instance.save(update_fields=["status", "status_detail", "waiting_on", "status_since", "steps_done", "steps_all"])
