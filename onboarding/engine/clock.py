"""The clock: puts every row that is due on the queue, and does what is due by time alone.

Any number of clocks may tick; every act is a compare-and-set in the database, so two do no more than one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db.models import Q
from redis.exceptions import RedisError
from rq.registry import clean_registries

from onboarding.engine import deliveries, identity_jobs, queue, shared_looks, shipping
from onboarding.engine.leases import due
from onboarding.engine.pauses import not_paused
from onboarding.models import Step, StepState

log = structlog.get_logger(__name__)
MOST_AT_ONCE = 1000


@dataclass(frozen=True)
class Tick:
    """What one tick did."""

    enqueued: int
    mailed: int
    shipped: int


def tick(*, now: datetime) -> Tick:
    """Enqueue what is due at `now`, send the notices that are due, and ship the audit entries that are new."""
    due_ids = list(
        not_paused(Step.objects.filter(due(now)))
        .filter(_not_on_the_queue(now))
        .order_by("next_attempt_at")
        .values_list("pk", flat=True)[:MOST_AT_ONCE]
    )
    by_list = shared_looks.put_off(due_ids, now=now) if due_ids else frozenset()
    ids = [pk for pk in due_ids if pk not in by_list]
    if ids and queue.put(ids):
        # Not a move: the state stays, and a worker's compare-and-set must not fail because of it.
        Step.objects.filter(pk__in=ids).update(enqueued_until=now + timedelta(seconds=settings.PUT_AGAIN_SECONDS))
    files = identity_jobs.put_due(now)
    return Tick(enqueued=len(ids) + files, mailed=deliveries.send_due(now=now), shipped=shipping.ship(now=now))


def _not_on_the_queue(now: datetime) -> Q:
    """What was never put there, or has been lost: what was put there later is at its turn."""
    oldest = queue.oldest()
    if oldest is None:
        return Q(enqueued_until=None) | Q(enqueued_until__lt=now)
    # Whatever moves a step to “queued” puts it there.
    put_by_move = Q(state=StepState.QUEUED, since__gte=oldest)
    return (Q(enqueued_until=None) & ~put_by_move) | Q(enqueued_until__lt=min(now, oldest))


def tidy_queue() -> None:
    """Let RQ put jobs whose worker vanished back on its queue; the rows do not depend on it."""
    try:
        for name in ("default", queue.IDENTITY_QUEUE):
            clean_registries(queue.named(name))
    except RedisError as error:
        log.warning("queue out of reach", error=type(error).__name__)
