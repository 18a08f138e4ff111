"""What the queue holds: steps that are due, leased, waiting and why, and how many were done each hour."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import Count, F, Q, QuerySet
from django.db.models.functions import TruncHour

from onboarding.engine.leases import due
from onboarding.engine.pauses import of_aws, targets_of
from onboarding.models import AmcAccount, Pause, Step, StepState
from onboarding.models.run import NO_CONNECTION

PAGE_SIZE = 50
HOURS = 24
IN_HAND = (StepState.QUEUED, StepState.RUNNING, StepState.WAITING, StepState.FAILED)
SHOWS = {
    "due": "Due now",
    "leased": "Leased",
    "amazon": "Wait for Amazon",
    "retry": "Retry later",
    "connection": "Wait for a connection",
    "paused": "Put down",
    "failed": "Failed",
}


def sorts(now: datetime) -> dict[str, Q]:
    """The condition of each sort of SHOWS; every step in hand is of exactly one of them."""
    waiting = Q(state=StepState.WAITING)
    later = waiting & Q(next_attempt_at__gt=now)
    return {
        "due": due(now) & ~(waiting & Q(waiting_for="paused")),
        "leased": Q(state=StepState.RUNNING, lease_until__gte=now),
        "amazon": later & Q(waiting_for__in=["", "amazon"]),
        "retry": (later & Q(waiting_for__in=["retry", "released"]))
        | Q(state=StepState.QUEUED, next_attempt_at__gt=now),
        "connection": waiting & ~Q(waiting_for__in=NO_CONNECTION) & Q(next_attempt_at=None),
        "paused": waiting & Q(waiting_for="paused"),
        "failed": Q(state=StepState.FAILED),
    }


def _in_hand(accounts: Collection[int] | None) -> QuerySet[Step]:
    rows = Step.objects.filter(state__in=IN_HAND, run__ended_at=None)
    return rows if accounts is None else rows.filter(run__account__in=accounts)


def numbers(*, accounts: Collection[int] | None, now: datetime) -> dict[str, int]:
    """How many steps there are of each sort (one query). `accounts` by key, or None for the whole system."""
    return _in_hand(accounts).aggregate(**{key: Count("pk", filter=sort) for key, sort in sorts(now).items()})


def _steps(show: str, accounts: Collection[int] | None, now: datetime) -> QuerySet[Step]:
    rows = _in_hand(accounts).filter(sorts(now)[show])
    order = F("lease_until") if show == "leased" else F("since") if show == "failed" else F("next_attempt_at")
    return (
        rows.select_related("run__instance", "run__account")
        .defer("answers", "plan")
        .order_by(order.asc(nulls_last=True), "pk")
    )


def step_page(
    show: str, number: str | int, *, accounts: Collection[int] | None, now: datetime, count: int
) -> Page[Any]:
    """One page of the steps of a sort, those that are due first on top (one query; `count` is of `numbers`)."""
    paginator = Paginator(_steps(show, accounts, now), PAGE_SIZE)
    paginator.__dict__["count"] = count
    return paginator.get_page(number)


def every_step(show: str, *, accounts: Collection[int] | None, now: datetime) -> Iterator[Step]:
    """All of them, bit by bit."""
    yield from _steps(show, accounts, now).iterator(chunk_size=500)


@dataclass(frozen=True)
class Hours:
    """The steps that were completed in each of the last hours, the oldest first; the last hour is not over."""

    hours: list[datetime]
    done: list[int]


def throughput(*, accounts: Collection[int] | None, now: datetime, hours: int = HOURS) -> Hours:
    """Steps completed per hour (one query)."""
    start = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours - 1)
    rows = Step.objects.filter(state=StepState.DONE, finished_at__gte=start, finished_at__lte=now)
    if accounts is not None:
        rows = rows.filter(run__account__in=accounts)
    found = dict(rows.order_by().values_list(TruncHour("finished_at")).annotate(number=Count("pk")))
    places = [start + timedelta(hours=index) for index in range(hours)]
    return Hours(places, [found.get(place, 0) for place in places])


def pauses() -> dict[str, Pause]:
    """The pauses in force, by target (one query)."""
    return {row.target: row for row in Pause.objects.select_related("paused_by")}


def pauses_of(account: AmcAccount) -> list[Pause]:
    """What holds back runs of an account: everything, the queue, the account, its login or one of its AWS accounts."""
    targets = Q(target__in=targets_of(account)) | Q(target__startswith=of_aws(account.pk, ""))
    return list(Pause.objects.filter(targets).select_related("paused_by"))


def steps_at_work(keys: Collection[int]) -> dict[int, int]:
    """For the step that a job began with, the one of its run that is being worked on, else itself (one query)."""
    if not keys:
        return {}
    running = Step.objects.filter(run__steps__in=keys, state=StepState.RUNNING)
    return {key: key for key in keys} | dict(running.order_by("since").values_list("run__steps", "pk"))


def steps_by_key(keys: Collection[int]) -> dict[int, Step]:
    """Steps with their runs and instances (one query, none without keys)."""
    if not keys:
        return {}
    rows = Step.objects.filter(pk__in=keys).select_related("run__instance", "run__account").defer("answers", "plan")
    return {row.pk: row for row in rows}
