"""“I have done this: check”: whoever acts in AWS alone has the portal look now what is really there."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import F

from onboarding import audit
from onboarding.engine import queue
from onboarding.engine.authority import MAY_ASK
from onboarding.engine.moves import write_log
from onboarding.guide.procedure import step_of
from onboarding.models import Person, Step, StepState, locked
from onboarding.services.access import authorize
from onboarding.services.errors import Refused

# What a step may be waiting for when somebody says that it is done; a broken connection is mended elsewhere.
LOOKS = ("amazon", "retry")


def check_now(*, person: Person, step: Step, now: datetime) -> None:
    """Have the worker look at once. What the person says is not believed: only what Amazon then answers counts.

    Raises NotAllowed without the role of analyst (or admin), Refused when the step does not wait for Amazon.
    """
    authorize(person, step.run.account, *MAY_ASK)
    with transaction.atomic():
        row = locked(Step).select_related("run__account", "run__instance").get(pk=step.pk)
        if row.state != StepState.WAITING or row.waiting_for not in LOOKS:
            raise Refused(_why_not(row))
        changed = Step.objects.filter(pk=row.pk, version=row.version, state=StepState.WAITING).update(
            next_attempt_at=now, enqueued_until=None, polls=0, version=F("version") + 1
        )
        if not changed:
            raise Refused("It moved on just now. Look again.")
        write_log(row, "info", f"{person} says that it is done; the portal looks now", now=now)
        audit.record(
            "step.checked",
            actor=person,
            account=row.run.account,
            subject=f"{step_of(row.run.procedure, row.key).title} of {row.run.instance}",
            subject_ref=f"run:{row.run_id}",
            now=now,
        )
    queue.put_on_commit(row.pk)


def _why_not(step: Step) -> str:
    if step.state == StepState.DONE:
        return "This step is completed already."
    if step.state in (StepState.QUEUED, StepState.RUNNING):
        return "The portal is looking just now."
    if step.state == StepState.FAILED:
        return "The portal found a problem. Mend it, then choose “Try again”."
    if step.state == StepState.WAITING:
        return "An admin has to renew the connection first."
    return "There is nothing to check yet."
