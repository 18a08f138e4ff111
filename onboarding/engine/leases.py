"""Who works on a step now: a lease in the row, taken and renewed by compare-and-set."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F, Q

from onboarding.engine.moves import Overtaken, move
from onboarding.engine.pauses import not_paused
from onboarding.models import Step, StepState


def due(now: datetime) -> Q:
    """The steps that a worker may take at `now`: their time has come, or their worker's lease ran out."""
    return Q(state__in=[StepState.QUEUED, StepState.WAITING], next_attempt_at__lte=now) | Q(
        state=StepState.RUNNING, lease_until__lt=now
    )


def claim(step_id: int, owner: str, *, now: datetime) -> Step | None:
    """Take the lease of a step that is due; None if it isn't, is paused, or if somebody else was quicker."""
    step = (
        not_paused(Step.objects.filter(due(now), pk=step_id))
        .select_related("run__account__connection", "run__instance", "run__owner", "asked_by")
        .first()
    )
    if step is None:
        return None
    taken_over = step.state == StepState.RUNNING
    try:
        move(
            step,
            StepState.RUNNING,
            now=now,
            log=("info", "The worker was lost; another one goes on from here") if taken_over else None,
            lease_owner=owner,
            lease_until=now + timedelta(seconds=settings.LEASE_SECONDS),
            started_at=step.started_at or now,
        )
    except Overtaken:
        return None
    return step


def renew(step: Step, *, now: datetime) -> None:
    """Make the lease last a full term from `now`; done before every call, since a call takes less than a term.

    Raises Overtaken if the row was moved by somebody else in the meantime (cancelled, or the lease ran out).
    """
    until = now + timedelta(seconds=settings.LEASE_SECONDS)
    changed = Step.objects.filter(
        pk=step.pk, version=step.version, state=StepState.RUNNING, lease_owner=step.lease_owner
    ).update(lease_until=until, version=F("version") + 1)
    if not changed:
        raise Overtaken
    step.lease_until = until
    step.version += 1
