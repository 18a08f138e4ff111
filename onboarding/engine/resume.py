"""Lets paused runs go on."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from onboarding.engine import identity_jobs, queue
from onboarding.engine.standing import update_standing
from onboarding.models import Run, Step, StepState


def connection_restored(connection: str, *, now: datetime | None = None) -> int:
    """Make every step that was paused for `connection` (`amc:7`) due at once; returns how many there were."""
    moment = now or timezone.now()
    with transaction.atomic():
        paused = list(Step.objects.filter(state=StepState.WAITING, waiting_for=connection).values_list("pk", "run_id"))
        ids = [pk for pk, _ in paused]
        Step.objects.filter(pk__in=ids, state=StepState.WAITING, waiting_for=connection).update(
            next_attempt_at=moment,
            enqueued_until=None,
            waiting_for="retry",
            waiting_text="The connection works again",
            failure=None,
            attempts=0,
            troubled_since=None,
            version=F("version") + 1,
        )
        runs = Run.objects.filter(pk__in={run_id for _, run_id in paused}).select_related("instance")
        for run in runs.prefetch_related("steps"):
            update_standing(run, list(run.steps.all()), now=moment)
    identity_jobs.resume(connection, now=moment)
    queue.put(ids)
    return len(ids)
