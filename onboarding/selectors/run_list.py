"""The list of runs: what is under way and where it stands, what has ended, what stopped and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Lower

from onboarding.guide.procedure import PROCEDURE_TITLES, PROCEDURES
from onboarding.models import Run, Step, StepFailure, StepState
from onboarding.numbers import of_key
from onboarding.selectors.dashboard import since_days_ago

PAGE_SIZE = 50
SHOWS = {"open": "Under way", "ended": "Ended", "all": "All"}
ORDERS: dict[str, Lower | F] = {
    "name": Lower("instance__name"),
    "at": F("at"),
    "since": F("at_since"),
    "started": F("started_at"),
    "owner": Lower("owner__name"),
}
DEFAULT_ORDER = "since"
TITLES = {step.key: step.title for steps in PROCEDURES.values() for step in steps}
STATES = tuple(state for state in StepState.values if state not in (StepState.DONE, StepState.CANCELLED))


@dataclass(frozen=True)
class RunQuery:
    """What the person looks for; empty means any. `cause` with `days`: whatever failed so in the last days."""

    q: str = ""
    show: str = "open"
    at: str = ""
    state: str = ""
    procedure: str = ""
    owner: str = ""
    account: str = ""
    cause: str | None = None
    days: int = 0
    sort: str = DEFAULT_ORDER


@dataclass
class RunLine:
    """One run, with the step that it stands at (None: it has ended)."""

    run: Run
    step: Step | None

    @property
    def procedure(self) -> str:
        """What is carried out, in words."""
        return PROCEDURE_TITLES[self.run.procedure]

    @property
    def at(self) -> str:
        """The step's title."""
        return TITLES.get(self.run.at, "")

    @property
    def detail(self) -> str:
        """What the step waits for, or what went wrong."""
        if self.step is None:
            return ""
        if self.step.state == StepState.FAILED:
            return str((self.step.failure or {}).get("what", ""))
        return self.step.waiting_text if self.step.state == StepState.WAITING else ""


@dataclass(frozen=True)
class RunPage:
    """One page of the list, and how many runs there are under each heading."""

    page: Page[Any]
    counts: dict[str, int]


def _found(query: RunQuery, accounts: Collection[int], now: datetime) -> QuerySet[Run]:
    rows: QuerySet[Run] = Run.objects.filter(account__in=accounts)
    rows = of_key(of_key(rows, "account", query.account), "owner", query.owner)
    if query.procedure:
        rows = rows.filter(procedure=query.procedure)
    if query.at:
        rows = rows.filter(at=query.at)
    if query.state:
        rows = rows.filter(Exists(Step.objects.filter(run=OuterRef("pk"), key=OuterRef("at"), state=query.state)))
    if query.cause is not None or query.days:
        failed = StepFailure.objects.filter(step__run=OuterRef("pk"))
        if query.cause is not None:
            failed = failed.filter(code=query.cause)
        if query.days:
            failed = failed.filter(at__gte=since_days_ago(now, query.days))
        rows = rows.filter(Exists(failed))
    words = query.q.strip()
    if words:
        rows = rows.filter(Q(instance__name__icontains=words) | Q(instance__instance_id__icontains=words))
    return rows


def _shown(rows: QuerySet[Run], query: RunQuery) -> QuerySet[Run]:
    if query.show != "all":
        rows = rows.filter(ended_at__isnull=query.show == "open")
    name, down = query.sort.removeprefix("-"), query.sort.startswith("-")
    if name not in ORDERS:
        name, down = DEFAULT_ORDER, False
    order = ORDERS[name]
    ordered = order.desc(nulls_last=True) if down else order.asc(nulls_last=True)
    return rows.select_related("instance", "owner").order_by(ordered, "-started_at", "pk")


def run_page(query: RunQuery, number: str | int, *, accounts: Collection[int], now: datetime) -> RunPage:
    """One page of the runs of these accounts (by key), which the caller has checked. Three queries."""
    rows = _found(query, accounts, now)
    open_, every = rows.aggregate(open=Count("pk", filter=Q(ended_at=None)), every=Count("pk")).values()
    counts = {"open": open_, "ended": every - open_, "all": every}
    paginator = Paginator(_shown(rows, query), PAGE_SIZE)
    paginator.__dict__["count"] = counts[query.show]
    page: Page[Any] = paginator.get_page(number)
    page.object_list = _lines(list(page.object_list))
    return RunPage(page, counts)


def run_lines(query: RunQuery, *, accounts: Collection[int], now: datetime, chunk: int = 500) -> Iterator[RunLine]:
    """Every run that fits, bit by bit: two queries for each `chunk` runs."""
    batch: list[Run] = []
    for run in _shown(_found(query, accounts, now), query).iterator(chunk_size=chunk):
        batch.append(run)
        if len(batch) == chunk:
            yield from _lines(batch)
            batch = []
    yield from _lines(batch)


def _lines(runs: list[Run]) -> list[RunLine]:
    if not runs:
        return []
    steps = Step.objects.filter(run__in=[run.pk for run in runs], key=F("run__at"))
    columns = ("run_id", "key", "state", "since", "waiting_for", "waiting_text", "failure")
    found = {step.run_id: step for step in steps.only(*columns)}
    return [RunLine(run, found.get(run.pk)) for run in runs]
