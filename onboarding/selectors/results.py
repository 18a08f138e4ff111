"""The results of queries that can soon no longer be fetched: the list of them, and the next of one instance."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import F, Min, Q, QuerySet
from django.db.models.functions import Lower

from onboarding.models import Instance, QueryResult, ResultsReading
from onboarding.numbers import of_key

PAGE_SIZE = 50
ORDERS: dict[str, Lower | F] = {
    "ends": F("ends_at"),
    "name": Lower("instance__name"),
    "workflow": Lower("workflow_id"),
}
DEFAULT_ORDER = "ends"


@dataclass(frozen=True)
class ResultQuery:
    """What the person looks for; empty means any. `days`: what ends within so many days."""

    q: str = ""
    days: int = 0
    instance: str = ""
    account: str = ""
    owner: str = ""
    sort: str = DEFAULT_ORDER


def lasting(now: datetime, within: timedelta | None = None) -> Q:
    """What can still be fetched at `now`, of instances that are there, and no longer when `within` is over."""
    found = Q(instance__gone_at=None, ends_at__gt=now)
    return found & Q(ends_at__lte=now + within) if within else found


def matching(query: ResultQuery, *, accounts: Collection[int], now: datetime) -> QuerySet[QueryResult]:
    """What fits, of these accounts (by key), which the caller has checked."""
    within = timedelta(days=query.days) if query.days else None
    rows = QueryResult.objects.filter(lasting(now, within), instance__account__in=accounts)
    rows = of_key(of_key(rows, "instance__account", query.account), "instance__owner", query.owner)
    rows = of_key(rows, "instance", query.instance)
    words = query.q.strip()
    if words:
        rows = rows.filter(
            Q(instance__name__icontains=words)
            | Q(instance__instance_id__icontains=words)
            | Q(workflow_id__icontains=words)
        )
    name, down = query.sort.removeprefix("-"), query.sort.startswith("-")
    if name not in ORDERS:
        name, down = DEFAULT_ORDER, False
    order = ORDERS[name].desc() if down else ORDERS[name].asc()
    return rows.select_related("instance__owner").order_by(order, "ends_at", "pk")


def result_page(query: ResultQuery, number: str | int, *, accounts: Collection[int], now: datetime) -> Page[Any]:
    """One page of the results of these accounts (by key), which the caller has checked. Two queries."""
    page: Page[Any] = Paginator(matching(query, accounts=accounts, now=now), PAGE_SIZE).get_page(number)
    return page


def every_result(query: ResultQuery, *, accounts: Collection[int], now: datetime) -> Iterator[QueryResult]:
    """Every result that fits, bit by bit."""
    yield from matching(query, accounts=accounts, now=now).iterator(chunk_size=500)


@dataclass(frozen=True)
class NextEnd:
    """Of one instance: when it was last read (None: never), why not if that failed, and what ends next."""

    read_at: datetime | None = None
    unread: str = ""
    ends_at: datetime | None = None


def next_end(instance: Instance, *, now: datetime) -> NextEnd:
    """What is known of the results of an instance (one query)."""
    lasts = Min("instance__query_results__ends_at", filter=Q(instance__query_results__ends_at__gt=now))
    rows = ResultsReading.objects.filter(instance=instance).annotate(ends=lasts)
    return next((NextEnd(*row) for row in rows.values_list("read_at", "unread", "ends")), NextEnd())
