"""What is done for each instance once a night, by a row of its own that says when it is due next."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from onboarding.engine import queue

# What was put on the queue and never came back, or met something in its way, is put there again.
AGAIN = timedelta(minutes=30)
MOST_AT_ONCE = 25


def next_night(instance_id: int, *, now: datetime) -> datetime:
    """When an instance's turn is next: once a night, each at its own minute; the night may go past midnight (UTC)."""
    share = int.from_bytes(hashlib.sha256(str(instance_id).encode()).digest()[:4]) / 2**32
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    moment = midnight + timedelta(days=-1, hours=settings.NIGHT_BEGINS + share * settings.NIGHT_HOURS)
    while moment <= now:
        moment += timedelta(days=1)
    return moment


def put_due(rows: QuerySet[Any], job: str, *, now: datetime, most: int) -> int:
    """Have workers call `job` for the instances of the rows whose `next_at` has come, so many at once; how many.

    Any number of clocks may ask: whoever moves a row's `next_at` has it done.
    """
    put = 0
    due = rows.filter(next_at__lte=now).order_by("next_at")
    for pk, instance_id, planned in list(due.values_list("pk", "instance_id", "next_at")[:most]):
        mine = rows.model._default_manager.filter(pk=pk, next_at=planned).update(next_at=now + AGAIN)
        put += bool(mine) and queue.put_job(job, instance_id)
    return put
