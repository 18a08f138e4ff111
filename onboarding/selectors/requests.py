"""The approver's inbox and one request."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import Count, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from onboarding.engine.notices import people_with
from onboarding.guide.plan import Call, load
from onboarding.guide.render import PlanRow, differences, rows
from onboarding.models import Decision, Person, Request, RequestComment, RequestState, person_name, waits_for
from onboarding.selectors.dashboard import AGES, asked
from onboarding.selectors.runs import as_sent

PAGE_SIZE = 50
SHOWS = {"waiting": "Waiting for you", "mine": "Your own", "all": "All"}


@dataclass(frozen=True, slots=True)
class RequestRow:
    """One line of the list: only what it shows, and no models, which cost more than the query."""

    pk: int
    title: str
    state: str
    asked_at: datetime
    expires_at: datetime
    approvers_needed: int
    account_id: int
    asked_by_name: str
    asked_by_email: str
    instance: str
    approved: int

    @property
    def asked_by(self) -> str:
        """Who asked, as people are named everywhere."""
        return person_name(self.asked_by_name, self.asked_by_email)


@dataclass(frozen=True)
class Inbox:
    """One page of requests (of RequestRow) and how many there are under each heading."""

    page: Page[Any]
    counts: dict[str, int]


@dataclass(frozen=True)
class RequestQuery:
    """What the person looks for; empty means any. `age` is a key of AGES, `expires` days from now."""

    show: str
    state: str = ""
    age: str = ""
    expires: int | None = None

    @property
    def whole(self) -> bool:
        """Whether the lists are not narrowed."""
        return not (self.state or self.age) and self.expires is None


_COLUMNS = (
    *("pk", "title", "state", "asked_at", "expires_at", "approvers_needed", "account_id"),
    *("asked_by__name", "asked_by__email", "step__run__instance__name", "approved"),
)


def _fitting(query: RequestQuery, accounts: Collection[int], now: datetime) -> QuerySet[Request]:
    visible = Request.objects.filter(account__in=accounts)
    if query.state:
        visible = visible.filter(state=query.state)
    if query.expires is not None:
        visible = visible.filter(expires_at__lte=now + timedelta(days=query.expires))
    for key, _, least, most in AGES:
        if key == query.age:
            visible = visible.filter(asked(now, least, most))
    return visible


def _which(person: Person) -> dict[str, Q]:
    """What makes a request one of each list."""
    return {"waiting": waits_for(person), "mine": Q(asked_by=person), "all": Q()}


def _ordered(visible: QuerySet[Request], person: Person, show: str) -> QuerySet[Request]:
    return visible.filter(_which(person)[show]).order_by(
        *(("asked_at", "pk") if show == "waiting" else ("-asked_at", "-pk"))
    )


def _counted(rows: QuerySet[Request]) -> QuerySet[Request]:
    """The requests with `approved`, how many have."""
    # Counted for the rows of the page alone: a join would group every request there is.
    approvals = Decision.objects.filter(request=OuterRef("pk"), approved=True).order_by().values("request")
    number = Subquery(approvals.annotate(number=Count("*")).values("number"), output_field=IntegerField())
    return rows.annotate(approved=Coalesce(number, 0))


def full(rows: QuerySet[Request]) -> QuerySet[Request]:
    """The requests with all that the API and the file show, and `approved`, how many have."""
    rows = rows.select_related("account", "asked_by", "step__run__instance")
    return _counted(rows.defer("plan", "step__plan", "step__answers"))


def inbox(person: Person, query: RequestQuery, number: str | int, *, accounts: Collection[int], now: datetime) -> Inbox:
    """The requests that wait for this person (oldest first), their own, or all of these accounts (newest first).

    The caller has checked that the person may see the accounts (by key). Three queries.
    """
    fitting = _fitting(query, accounts, now)
    counts = fitting.aggregate(**{key: Count("pk", filter=which) for key, which in _which(person).items()})
    # The keys of the page first: what a line shows is joined for these rows, not for every request there is.
    paginator = Paginator(_ordered(fitting, person, query.show).values_list("pk", flat=True), PAGE_SIZE)
    paginator.__dict__["count"] = counts[query.show]
    page: Page[Any] = paginator.get_page(number)
    keys = list(page.object_list)
    shown = _counted(Request.objects.filter(pk__in=keys)).order_by().values_list(*_COLUMNS)
    rows = {values[0]: RequestRow(*values) for values in shown}
    page.object_list = [rows[key] for key in keys if key in rows]
    return Inbox(page, counts)


def matching(person: Person, query: RequestQuery, *, accounts: Collection[int], now: datetime) -> QuerySet[Request]:
    """The requests of these accounts, which the caller has checked, that fit; in the order of `query.show`."""
    return full(_ordered(_fitting(query, accounts, now), person, query.show))


def every_request(
    person: Person, query: RequestQuery, *, accounts: Collection[int], now: datetime
) -> Iterator[Request]:
    """Every request that fits, bit by bit (one query)."""
    yield from matching(person, query, accounts=accounts, now=now).iterator(chunk_size=500)


@dataclass(frozen=True)
class RequestDetail:
    """All that the page of one request shows besides the request."""

    decisions: list[Decision]
    comments: list[RequestComment]
    approvers: list[Person]
    previous: Request | None
    changes: list[tuple[str, str | None, str | None]]

    @property
    def approved(self) -> int:
        """How many have approved."""
        return sum(decision.approved for decision in self.decisions)


def request_detail(request: Request) -> RequestDetail:
    """Decisions, comments, who could sign, and what changed since the last request for the same step (four queries)."""
    previous = (
        Request.objects.filter(step_id=request.step_id, asked_at__lt=request.asked_at)
        .exclude(pk=request.pk)
        .order_by("-asked_at")
        .first()
    )
    decisions = list(request.decisions.select_related("person"))
    decided = {decision.person_id for decision in decisions}
    approvers = []
    if request.state == RequestState.OPEN:
        approvers = [
            person
            for person in people_with(request.account, "approver")
            if person.pk != request.asked_by_id and person.pk not in decided
        ]
    return RequestDetail(
        decisions=decisions,
        comments=list(request.comments.select_related("person")),
        approvers=approvers,
        previous=previous,
        changes=differences(previous.plan, request.plan) if previous else [],
    )


def plan_rows(row: Request) -> list[PlanRow]:
    """The plan that was asked for, with what was known then of what is there."""
    verdicts = {one["call"]: one["verdict"] for one in row.findings}
    there = {one["call"]: [(label, value) for label, value in one["there"]] for one in row.findings if "there" in one}
    return rows(asked_calls(row), verdicts, there)


def asked_calls(row: Request) -> list[Call]:
    """The calls that were asked for, as they are sent."""
    return as_sent(load(row.plan), row.step)
