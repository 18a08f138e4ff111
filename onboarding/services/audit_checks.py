"""Checks of a chain too long for one request: a worker walks along it part by part."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from django.db import IntegrityError, transaction
from django.utils import timezone

from onboarding import audit
from onboarding.engine import queue
from onboarding.models import AuditCheck, Person
from onboarding.services.access import require_superuser

log = structlog.get_logger(__name__)
JOB = "onboarding.services.audit_checks.go_on"
# Up to here the chain is walked at once; above, a worker does it.
AT_ONCE = 1000
PART = 10_000
# A check that has not moved for so long has lost its worker.
LOST_AFTER = timedelta(minutes=2)


def start(person: Person, *, now: datetime) -> AuditCheck:
    """Begin a check of the whole chain, or give the one that is under way. Raises PermissionDenied for no superuser."""
    require_superuser(person)
    running = AuditCheck.objects.filter(ended_at=None).first()
    if running is not None:
        return running
    number, last = audit.head()
    check = AuditCheck(asked_by=person, asked_at=now, head_number=number, head_hash=last, moved_at=now)
    try:
        with transaction.atomic():
            check.save()
    except IntegrityError:
        return AuditCheck.objects.latest("pk")
    if number <= AT_ONCE:
        go_on(check.pk)
        check.refresh_from_db()
    else:
        transaction.on_commit(lambda: queue.put_job(JOB, check.pk))
    return check


def go_on(check_id: int) -> None:
    """A job: walk on to the end. Two that do the same check do no harm: only the one that is ahead writes."""
    check = AuditCheck.objects.get(pk=check_id)
    while check.ended_at is None:
        before, until = check.number, min(check.number + PART, check.head_number)
        verdict, check.hash = audit.walk(check.number, check.hash, until=until)
        check.number, check.moved_at = verdict.entries, timezone.now()
        if until == check.head_number:
            verdict = audit.ends_at(verdict, check.hash, (check.head_number, check.head_hash))
        check.problem = verdict.problem
        if verdict.problem or until == check.head_number:
            check.ended_at = check.moved_at
        mine = AuditCheck.objects.filter(pk=check.pk, number=before, ended_at=None).update(
            number=check.number,
            hash=check.hash,
            moved_at=check.moved_at,
            problem=check.problem,
            ended_at=check.ended_at,
        )
        if not mine:
            return


def put_lost_checks(*, now: datetime) -> None:
    """Put a check whose worker is gone, or that never reached the queue, there again."""
    for pk in AuditCheck.objects.filter(ended_at=None, moved_at__lt=now - LOST_AFTER).values_list("pk", flat=True):
        queue.put_job(JOB, pk)
