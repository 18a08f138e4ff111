"""Ships the audit log to a second place (AUDIT_SHIP), from a cursor row: nothing is lost while the place is away.

At least once: a clock that dies between sending and moving the cursor leaves a batch that is sent again. Entries carry
their number and hash, by which a receiver knows them; a file is never given one twice.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db.models import Q

from onboarding import audit
from onboarding.clients.audit_target import deliver
from onboarding.clients.failures import Later
from onboarding.engine.backoff import delay
from onboarding.models import AuditCursor, AuditEntry

log = structlog.get_logger(__name__)
BATCH = 500
LEASE = timedelta(minutes=2)


def ship(*, now: datetime) -> int:
    """Ship the next entries, BATCH at most, if any are new and no other clock is at it; how many went out."""
    target = settings.AUDIT_SHIP
    if not target:
        return 0
    cursor = AuditCursor.objects.filter(target=target).first()
    if cursor is None:
        cursor, _ = AuditCursor.objects.get_or_create(target=target)
    if (cursor.next_attempt_at or now) > now or audit.head()[0] <= cursor.number:
        return 0
    free = Q(leased_until=None) | Q(leased_until__lte=now)
    until = now + LEASE
    mine = AuditCursor.objects.filter(free, pk=cursor.pk, number=cursor.number)
    if not mine.update(leased_until=until):
        return 0
    # Entries are numbered under a lock, so that what is read here has no gap that is filled later.
    entries = list(AuditEntry.objects.filter(number__gt=cursor.number).order_by("number")[:BATCH])
    held = AuditCursor.objects.filter(pk=cursor.pk, leased_until=until)
    try:
        deliver(target, [audit.as_document(entry) for entry in entries])
    except Later as failure:
        pause = timedelta(seconds=delay(cursor.attempts + 1))
        held.update(
            leased_until=None,
            attempts=min(cursor.attempts + 1, 1000),
            next_attempt_at=now + pause,
            problem=failure.why[:200],
        )
        log.warning("audit log not shipped", error=failure.code, number=cursor.number)
        return 0
    held.update(leased_until=None, number=entries[-1].number, attempts=0, next_attempt_at=None, problem="")
    return len(entries)
