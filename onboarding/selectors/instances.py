"""The list of instances: searched, filtered, ordered and paged by the database."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Lower

from onboarding.models import Instance, InstanceStatus, Person, person_name
from onboarding.numbers import of_key

PAGE_SIZE = 50
_S = InstanceStatus


@dataclass(frozen=True)
class Group:
    """Statuses that people look for together."""

    title: str
    statuses: tuple[str, ...]


GROUPS = {
    "needs-a-person": Group("Needs a person", (_S.DRAFT, _S.YOUR_TURN, _S.APPROVAL, _S.RECONNECT, _S.PROBLEM)),
    "under-way": Group("Under way", (_S.IN_PROGRESS, _S.AMAZON)),
    _S.DONE: Group("Completed", (_S.DONE,)),
    _S.IMPORTED: Group("Not onboarded", (_S.IMPORTED,)),
}
ORDERS: dict[str, Lower | F] = {
    "name": Lower("name"),
    "status": F("status"),
    "next": F("waiting_on"),
    "since": F("status_since"),
    "progress": F("steps_done"),
    "owner": Lower("owner__name"),
    "account": Lower("account__name"),
}
DEFAULT_ORDER = "-since"
_COLUMNS = (
    "pk",
    "name",
    "instance_id",
    "status",
    "status_detail",
    "waiting_on",
    "status_since",
    "steps_done",
    "steps_all",
    "account_id",
    "owner_id",
)


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """One line of the list: only the columns that it shows, and no model, which costs more than the query."""

    pk: int
    name: str
    instance_id: str
    status: str
    status_detail: str
    waiting_on: str
    status_since: datetime
    steps_done: int
    steps_all: int
    account_id: int
    owner_id: int | None


@dataclass(frozen=True)
class InstanceQuery:
    """What the person looks for; empty means any. `status` is a status or a key of GROUPS."""

    q: str = ""
    status: str = ""
    kind: str = ""
    owner: str = ""
    account: str = ""
    sort: str = DEFAULT_ORDER


@dataclass(frozen=True)
class InstancePage:
    """One page of the list (of InstanceRow), and how many rows there are in each status under the other filters."""

    page: Page[Any]
    by_status: dict[str, int]

    def count_of(self, key: str) -> int:
        """The rows of a group of GROUPS; of all, when the key is empty."""
        if not key:
            return sum(self.by_status.values())
        return sum(self.by_status.get(status, 0) for status in statuses_of(key))


def statuses_of(key: str) -> tuple[str, ...]:
    """The statuses that a value of the filter stands for."""
    return GROUPS[key].statuses if key in GROUPS else (key,)


def matching(query: InstanceQuery, *, accounts: Collection[int]) -> QuerySet[Instance]:
    """The instances of these accounts (by key) that fit, whatever their status, in no order."""
    rows: QuerySet[Instance] = Instance.objects.filter(account__in=accounts, gone_at=None)
    rows = of_key(of_key(rows, "account", query.account), "owner", query.owner)
    if query.kind:
        rows = rows.filter(kind=query.kind)
    words = query.q.strip()
    if words:
        rows = rows.filter(
            Q(name__icontains=words)
            | Q(instance_id__icontains=words)
            | Q(advertiser_name__icontains=words)
            | Q(aws_account_id=words.replace("-", ""))
        )
    return rows


def instance_page(query: InstanceQuery, number: str | int, *, accounts: Collection[int]) -> InstancePage:
    """One page of the instances of these accounts (by key), which the caller has checked. Two queries."""
    rows = matching(query, accounts=accounts)
    by_status = dict(rows.order_by().values_list("status").annotate(number=Count("*")))
    count = sum(by_status.values())
    if query.status:
        statuses = statuses_of(query.status)
        rows = rows.filter(status__in=statuses)
        count = sum(by_status.get(status, 0) for status in statuses)
    paginator = Paginator(_ordered(rows, query.sort).values_list(*_COLUMNS), PAGE_SIZE)
    paginator.__dict__["count"] = count  # known from the numbers by status: no query of its own
    page: Page[Any] = paginator.get_page(number)
    page.object_list = [InstanceRow(*values) for values in page.object_list]
    return InstancePage(page, by_status)


def every_instance(query: InstanceQuery, *, accounts: Collection[int]) -> Iterator[Instance]:
    """Every instance that fits, with its owner, bit by bit (one query)."""
    rows = matching(query, accounts=accounts)
    if query.status:
        rows = rows.filter(status__in=statuses_of(query.status))
    yield from _ordered(rows, query.sort).select_related("owner").iterator(chunk_size=500)


def _ordered(rows: QuerySet[Instance], sort: str) -> QuerySet[Instance]:
    name, down = sort.removeprefix("-"), sort.startswith("-")
    if name not in ORDERS:
        name, down = DEFAULT_ORDER.removeprefix("-"), True
    order, last = ORDERS[name], True if name == "owner" else None
    # The key makes the order total, or rows would jump between pages.
    if down:
        return rows.order_by(order.desc(nulls_last=last), "-pk")
    return rows.order_by(order.asc(nulls_last=last), "pk")


def owners(accounts: Collection[int]) -> dict[int, str]:
    """Who owns at least one instance of these accounts, by name: how they are called, by key."""
    theirs = Instance.objects.filter(owner=OuterRef("pk"), account__in=accounts)
    rows = Person.objects.filter(Exists(theirs)).order_by(Lower("name")).values_list("pk", "name", "email")
    return {pk: person_name(name, email) for pk, name, email in rows}
