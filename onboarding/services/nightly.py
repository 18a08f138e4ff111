"""What is done for each instance once a night, by a row of its own that says when it is due next."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from onboarding.engine import queue
from onboarding.models import Instance
from onboarding.services.errors import Refused

# What was put on the queue and never came back, or met something in its way, is put there again.
AGAIN = timedelta(minutes=30)
MOST_AT_ONCE = 25
A_MOMENT = timedelta(minutes=1)


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


def put_now(model: type[Any], job: str, instance: Instance, *, done_at: str, now: datetime) -> None:
    """Have a worker call `job` for one instance at once, whenever its night is.

    `done_at` is the column of its row in `model` that says when it was done last. Raises Refused when that was a moment
    ago, or when the queue does not answer.
    """
    row, created = model._default_manager.get_or_create(instance=instance, defaults={"next_at": now + AGAIN})
    if not created:
        last = getattr(row, done_at)
        if last is not None and now - last < A_MOMENT:
            raise Refused("That was done a moment ago.")
        model._default_manager.filter(pk=row.pk).update(next_at=now + AGAIN)
    if not queue.put_job(job, instance.pk):
        raise Refused("The portal's queue does not answer just now. Try again in a minute.")
