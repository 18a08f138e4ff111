"""What can be done with an instance once it is there: advertisers, leaving, deleting. Each is a run of its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from onboarding.engine.authority import MAY_ASK
from onboarding.engine.standing import has_left
from onboarding.guide.delete_instance import DELETABLE
from onboarding.guide.leave import LeaveCollaboration, ReadMembership, memberships
from onboarding.guide.procedure import PROCEDURE_TITLES
from onboarding.guide.put_right import rightable
from onboarding.models import Instance, Person, Run, Step, StepState, locked
from onboarding.services.access import authorize
from onboarding.services.errors import Refused
from onboarding.services.runs import begin, run_cancel, submit


@dataclass(frozen=True)
class Offer:
    """A procedure that an instance's page offers; `why_not` says why it can't be started now."""

    procedure: str
    title: str
    hint: str
    why_not: str = ""


_OFFERS = (
    ("advertisers", "Add or remove advertisers", "Which advertisers' signals the instance holds."),
    ("membership", "Change the membership", "Where results go, in which format, by which role; the log of queries."),
    ("leave", "Leave the collaboration", "Ends the membership of your AWS account for good."),
    ("delete-instance", "Delete the instance", "AMC deletes it with everything in it."),
)
LIFECYCLE = tuple(procedure for procedure, _, _ in _OFFERS)
# Begun from other pages than that of changes.
STARTED_ELSEWHERE = ("adopt", "put-right")
_OF_A_MEMBERSHIP = ("membership", "leave")
_ENDS = ("leave", "delete-instance")


def offers(instance: Instance) -> list[Offer]:
    """Every procedure with the reason why it can't be started now, if there is one."""
    under_way = _under_way(instance)
    return [Offer(name, title, hint, _why_not(name, instance, under_way)) for name, title, hint in _OFFERS]


def _under_way(instance: Instance) -> list[str]:
    return list(Run.objects.filter(instance=instance, ended_at=None).values_list("procedure", flat=True))


def why_not(procedure: str, instance: Instance) -> str:
    """Why a procedure can't be started for an instance now, or an empty text if it can."""
    return _why_not(procedure, instance, _under_way(instance))


def _why_not(procedure: str, instance: Instance, under_way: list[str]) -> str:
    if instance.gone_at is not None:
        return "AMC no longer has this instance."
    if not instance.instance_id:
        return "The instance was not made yet."
    if instance.kind == Instance.Kind.SANDBOX:
        return "A sandbox holds made-up data; AMC does not let it be changed."
    if instance.creation_status not in DELETABLE:
        return "AMC has not finished creating this instance."
    if procedure in under_way:
        return f"{PROCEDURE_TITLES[procedure]} is under way."
    ending = [name for name in under_way if name in _ENDS]
    if ending:
        return f"{PROCEDURE_TITLES[ending[0]]} is under way."
    if procedure == "adopt" and (instance.kind != Instance.Kind.COLLABORATION or under_way):
        return "Something is under way already." if under_way else "It has no collaboration to take over."
    if procedure == "put-right" and not rightable(instance):
        return "There is nothing that the portal could put right."
    if procedure in _ENDS and under_way:
        return f"{PROCEDURE_TITLES[under_way[0]]} is under way: complete or cancel it first."
    if procedure in _OF_A_MEMBERSHIP and not memberships(instance):
        return "It was left already." if has_left(instance) else "The portal knows of no membership."
    return ""


def start(*, person: Person, instance: Instance, procedure: str, now: datetime) -> Run:
    """Begin a procedure for an instance. Nothing is changed yet.

    Raises NotAllowed without the role of analyst (or admin), Refused when it can't be started now.
    """
    if procedure not in (*LIFECYCLE, *STARTED_ELSEWHERE):
        raise Refused("There is no such procedure.")
    authorize(person, instance.account, *MAY_ASK)
    with transaction.atomic():
        row = locked(Instance).select_related("account").get(pk=instance.pk)
        reason = why_not(procedure, row)
        if reason:
            raise Refused(reason)
        return begin(procedure, person=person, instance=row, now=now)


def why_not_look_again(run: Run, steps: list[Step]) -> str:
    """Why what would be lost by leaving can't be read anew, or an empty text if it can."""
    states = {step.key: step.state for step in steps}
    if run.procedure != "leave" or run.ended_at is not None:
        return "There is no leaving under way."
    if states.get(ReadMembership.key) != StepState.DONE:
        return "It was not read yet."
    if states.get(LeaveCollaboration.key) not in (StepState.READY, StepState.AWAITING_APPROVAL, StepState.FAILED):
        return "The portal is at work just now."
    return ""


def look_again(*, person: Person, run: Run, now: datetime) -> Run:
    """Begin leaving anew with the same answers, so that what came since is read: a new run; the old one is cancelled.

    What was deleted already stays deleted. Whatever was approved has to be approved again, as the plan is another.
    Raises NotAllowed, or Refused when there is nothing to look at again.
    """
    authorize(person, run.account, *MAY_ASK)
    with transaction.atomic():
        locked(Instance).get(pk=run.instance_id)
        steps = list(run.steps.order_by("position"))
        reason = why_not_look_again(Run.objects.get(pk=run.pk), steps)
        if reason:
            raise Refused(reason)
        answers = next(step.answers for step in steps if step.key == ReadMembership.key)
        run_cancel(person=person, run=run, now=now)
        new = start(person=person, instance=run.instance, procedure="leave", now=now)
        step = new.steps.get(key=ReadMembership.key)
        step.answers = answers
        step.save(update_fields=["answers"])
        submit(person=person, step=step, now=now)
    return new
