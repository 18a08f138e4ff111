"""The numbers of the dashboard: where instances and onboardings stand, what is stuck, what failed, what is due.

Every function takes one query, whatever the number of rows; medians are taken by window functions that SQLite and
PostgreSQL both have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import (
    BigIntegerField,
    BooleanField,
    Case,
    CharField,
    Count,
    DateField,
    ExpressionWrapper,
    F,
    Max,
    Min,
    Q,
    QuerySet,
    Value,
    When,
    Window,
)
from django.db.models.functions import Cast, RowNumber, TruncDate, TruncWeek

from onboarding.engine.pauses import EVERYTHING, of_account, of_aws
from onboarding.guide.procedure import steps_of
from onboarding.models import (
    AmcConnection,
    AwsConnection,
    Instance,
    MappingJob,
    MappingTable,
    PartnerInvitation,
    Pause,
    Person,
    QueryResult,
    Request,
    RequestState,
    Run,
    StepFailure,
    waits_for,
)
from onboarding.models.mapping import REFRESH_EVERY
from onboarding.selectors.instances import statuses_of
from onboarding.selectors.results import lasting
from onboarding.selectors.scope import Scope

FAILURE_DAYS = 7
# What ends within this time is due.
SOON = timedelta(days=3)
MOST = 8
# How far back match rates are shown.
WEEKS = 12
STUCK = statuses_of("needs-a-person")
# How long requests wait: key, words, from and up to how many days.
AGES: tuple[tuple[str, str, int, int | None], ...] = (
    ("0-1", "less than a day", 0, 1),
    ("1-2", "1 to 2 days", 1, 2),
    ("2-7", "2 to 7 days", 2, 7),
    ("7-", "more than a week", 7, None),
)


def by_status(scope: Scope) -> dict[str, int]:
    """How many instances are in each status."""
    rows = Instance.objects.filter(scope.q(), gone_at=None).order_by()
    return dict(rows.values_list("status").annotate(number=Count("*")))


@dataclass(frozen=True)
class Standing:
    """How many onboardings stand at a step, and for how long: in the middle of them, and at worst."""

    key: str
    title: str
    count: int = 0
    median: timedelta | None = None
    worst: timedelta | None = None


def funnel(scope: Scope, *, now: datetime) -> list[Standing]:
    """For each step of an onboarding, in the guide's order, the onboardings under way that stand at it."""
    under_way = Run.objects.filter(scope.q(), procedure="onboard", ended_at=None).exclude(at="")
    found: dict[str, list[tuple[int, int, datetime]]] = {}
    for at, number, place, since in _first_and_middle(under_way, "at", "at_since"):
        found.setdefault(at, []).append((place, number, since or now))
    return [_standing(step.key, step.title, sorted(found.get(step.key, [])), now) for step in steps_of("onboard")]


def _first_and_middle(rows: QuerySet[Any], group: str, value: str) -> QuerySet[Any, tuple[Any, int, int, Any]]:
    """Of each group the row with the least value, and the one or two in the middle: group, size, place, value."""
    # In no order: a model's own would sort every row once more.
    numbered = (
        rows.order_by()
        .annotate(
            number=Window(Count("*"), partition_by=[F(group)]),
            place=Window(RowNumber(), partition_by=[F(group)], order_by=[F(value).asc(), F("pk").asc()]),
        )
        .filter(Q(place=1) | Q(place=(F("number") + 1) / 2) | Q(place=(F("number") + 2) / 2))
    )
    lines: QuerySet[Any, tuple[Any, int, int, Any]] = numbered.values_list(group, "number", "place", value)
    return lines


def _middle(rows: list[tuple[int, int, Any]]) -> list[Any]:
    """The one or two values in the middle of a group: pairs of its rows' places and size, and their values."""
    number = rows[0][1]
    return [value for place, _, value in rows if place in ((number + 1) // 2, (number + 2) // 2)]


def _standing(key: str, title: str, rows: list[tuple[int, int, datetime]], now: datetime) -> Standing:
    if not rows:
        return Standing(key, title)
    middle = [now - since for since in _middle(rows)]
    return Standing(key, title, rows[0][1], sum(middle, timedelta()) / len(middle), now - rows[0][2])


@dataclass(frozen=True)
class Stuck:
    """An instance that waits for a person."""

    pk: int
    name: str
    account_id: int
    status: str
    detail: str
    on: str
    since: datetime
    owner: str


def stuck_rows(scope: Scope) -> QuerySet[Instance, tuple[Any, ...]]:
    """What waits for a person, oldest first: pk, name, account, status, detail, on whom, since, owner, owner's mail."""
    rows = Instance.objects.filter(scope.q(), gone_at=None, status__in=STUCK).order_by("status_since", "pk")
    return rows.values_list(
        "pk",
        "name",
        "account_id",
        "status",
        "status_detail",
        "waiting_on",
        "status_since",
        "owner__name",
        "owner__email",
    )


def stuck(scope: Scope, *, most: int | None = MOST) -> Iterator[Stuck]:
    """The first of them; all of them, bit by bit, when `most` is None."""
    rows = stuck_rows(scope)
    for values in rows[:most] if most is not None else rows.iterator(chunk_size=500):
        pk, name, account, status, detail, on, since, owner, mail = values
        yield Stuck(pk, name, account, status, detail, on, since, owner or mail or "")


@dataclass
class Cause:
    """What made steps stop in the last days: how often, on which days, and one example in words."""

    code: str
    count: int = 0
    last: datetime | None = None
    what: str = ""
    days: dict[date, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Failures:
    """The causes, the most frequent first, and the days that were looked at."""

    causes: list[Cause]
    days: list[date]

    @property
    def count(self) -> int:
        """How many failures there were."""
        return sum(cause.count for cause in self.causes)

    @property
    def by_day(self) -> list[int]:
        """How many there were on each of the days."""
        return [sum(cause.days.get(day, 0) for cause in self.causes) for day in self.days]


def since_days_ago(now: datetime, days: int) -> datetime:
    """The beginning (UTC) of the first of the last `days` days, today included."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days - 1)


def failures(scope: Scope, *, now: datetime, days: int = FAILURE_DAYS) -> Failures:
    """The failures of the last days, by cause and day."""
    start = since_days_ago(now, days)
    rows = (
        StepFailure.objects.filter(scope.q(owner="step__run__owner"), at__gte=start, at__lte=now)
        .order_by()
        .values_list("code", TruncDate("at"))
        .annotate(number=Count("*"), last=Max("at"), what=Max("what"))
    )
    causes: dict[str, Cause] = {}
    for code, day, number, last, what in rows:
        cause = causes.setdefault(code, Cause(code))
        cause.count += number
        cause.days[day] = number
        if cause.last is None or last > cause.last:
            cause.last, cause.what = last, what
    ordered = sorted(causes.values(), key=lambda cause: (-cause.count, cause.code))
    return Failures(ordered, [(start + timedelta(days=index)).date() for index in range(days)])


@dataclass(frozen=True)
class Waiting:
    """The requests that are open: of the scope, and those that wait for the person, by how long they wait."""

    count: int
    oldest: datetime | None
    expiring: int
    mine: int
    mine_oldest: datetime | None
    ages: dict[str, int]


def waiting(scope: Scope, person: Person, *, approving: Sequence[int], now: datetime) -> Waiting:
    """The open requests. `approving` are the keys of the accounts on which the person is an approver."""
    yes: BooleanField[bool, bool] = BooleanField()
    theirs = ExpressionWrapper(scope.q(owner="asked_by"), yes)
    mine = ExpressionWrapper(Q(account__in=approving) & waits_for(person), yes)
    age = Case(*(When(asked(now, least, most), then=Value(key)) for key, _, least, most in AGES))
    # Grouped, so that the database judges each request once and not once for every number.
    groups = (
        Request.objects.filter(state=RequestState.OPEN, account__in={*scope.accounts, *approving})
        .order_by()
        .values_list(theirs, mine, age)
        .annotate(number=Count("*"), oldest=Min("asked_at"), expiring=Count("pk", filter=Q(expires_at__lte=now + SOON)))
    )
    found = list(groups)
    counted, own = [group for group in found if group[0]], [group for group in found if group[1]]
    ages = {key: sum(number for _, _, at, number, *_ in own if at == key) for key, *_ in AGES}
    return Waiting(
        count=sum(group[3] for group in counted),
        oldest=min((group[4] for group in counted), default=None),
        expiring=sum(group[5] for group in counted),
        mine=sum(group[3] for group in own),
        mine_oldest=min((group[4] for group in own), default=None),
        ages=ages,
    )


def asked(now: datetime, least: int, most: int | None) -> Q:
    """Asked at least `least` and less than `most` days ago."""
    found = Q(asked_at__lte=now - timedelta(days=least)) if least else Q()
    return found & Q(asked_at__gt=now - timedelta(days=most)) if most is not None else found


@dataclass(frozen=True)
class Weak:
    """A connection that is broken or about to be, or an invitation that ends: what, its key, what is wrong, when."""

    kind: str
    pk: int
    label: str
    account_id: int | None
    why: str
    at: datetime | None


def weak_connections(scope: Scope, *, now: datetime) -> list[Weak]:
    """What is paused or broken, AWS accounts never connected, partners' links that expire soon.

    A pause of everything, of a queue or of a login is shown to everybody whom it may concern.
    """
    text: CharField[str, str] = CharField()
    logins = AmcConnection.objects.filter(accounts__in=scope.accounts, state=AmcConnection.State.BROKEN).distinct()
    aws = AwsConnection.objects.filter(
        account__in=scope.accounts, state__in=[AwsConnection.State.BROKEN, AwsConnection.State.NEW]
    )
    links = PartnerInvitation.objects.filter(
        connection__account__in=scope.accounts, accepted_at=None, ended_at=None, expires_at__lte=now + SOON
    )
    # Cast: PostgreSQL takes a bare NULL in a union for text.
    nothing = Cast(Value(None), BigIntegerField())
    columns = ("kind", "key", "label_", "of", "why", "when")
    parts: list[QuerySet[Any, tuple[Any, ...]]] = [
        logins.annotate(
            kind=Value("amc", text), key=F("pk"), label_=F("label"), of=nothing, why=F("state"), when=F("state_since")
        ).values_list(*columns),
        aws.annotate(
            kind=Value("aws", text),
            key=F("pk"),
            label_=F("aws_account_id"),
            of=F("account_id"),
            why=F("state"),
            when=F("state_since"),
        ).values_list(*columns),
        links.annotate(
            kind=Value("link", text),
            key=F("connection_id"),
            label_=F("partner_name"),
            of=F("connection__account_id"),
            why=Value("expires", text),
            when=F("expires_at"),
        ).values_list(*columns),
    ]
    paused = Q(target__in=[of_account(pk) for pk in scope.accounts])
    for pk in scope.accounts:
        paused |= Q(target__startswith=of_aws(pk, ""))
    paused |= Q(target=EVERYTHING) | Q(target__startswith="queue:") | Q(target__startswith="amc:")
    parts.append(
        Pause.objects.filter(paused)
        .annotate(
            kind=Value("pause", text),
            key=F("pk"),
            label_=F("name"),
            of=nothing,
            why=Value("paused", text),
            when=F("paused_at"),
        )
        .values_list(*columns)
    )
    first, *rest = (part.order_by() for part in parts)
    found = [Weak(*row) for row in first.union(*rest, all=True)]
    order = {"paused": 0, AmcConnection.State.BROKEN: 1, "expires": 2}
    return sorted(found, key=lambda one: (order.get(one.why, 3), one.at or now, one.pk))


def refreshes(scope: Scope, *, now: datetime, most: int | None = MOST) -> Iterator[MappingTable]:
    """The mapping tables that can be refreshed again, or soon: 14 days after the last time; the oldest first."""
    rows = (
        MappingTable.objects.filter(
            scope.q("instance__account", "instance__owner"),
            deleted_at=None,
            refreshed_at__lte=now - REFRESH_EVERY + SOON,
        )
        .select_related("instance")
        .only("name", "refreshed_at", "instance__name")
        .order_by("refreshed_at", "pk")
    )
    yield from rows[:most] if most is not None else rows.iterator(chunk_size=500)


@dataclass(frozen=True)
class Ending:
    """Results of an instance's queries that soon can't be fetched any more: how many, and when the first ends.

    `every` is how many there are of all instances.
    """

    pk: int
    name: str
    count: int
    first: datetime
    every: int


def ending(scope: Scope, *, now: datetime, most: int | None = MOST) -> list[Ending]:
    """The instances with results that end soon, the soonest first."""
    mine = [F("instance")]
    firsts = (
        QueryResult.objects.filter(lasting(now, SOON), scope.q("instance__account", "instance__owner"))
        .order_by()
        .annotate(
            number=Window(Count("*"), partition_by=mine),
            place=Window(RowNumber(), partition_by=mine, order_by=[F("ends_at").asc(), F("pk").asc()]),
            every=Window(Count("*")),
        )
        .filter(place=1)
        .order_by("ends_at", "pk")
    )
    rows: QuerySet[Any, tuple[Any, ...]] = firsts.values_list(
        "instance", "instance__name", "number", "ends_at", "every"
    )
    return [Ending(*row) for row in rows[:most]]


@dataclass(frozen=True)
class Matched:
    """The match rates of the jobs that ended in one week: its first day, how many jobs, the middle and the worst rate.

    Rates are in per cent; None where no job ended.
    """

    week: date
    jobs: int
    median: float | None
    worst: float | None


def match_rates(scope: Scope, *, now: datetime, weeks: int = WEEKS) -> list[Matched]:
    """The match rates of the mapping jobs of the last weeks, week by week; the last one is not over."""
    monday = now.date() - timedelta(days=now.weekday())
    start = monday - timedelta(weeks=weeks - 1)
    rated = MappingJob.objects.filter(
        scope.q("table__instance__account", "table__instance__owner"),
        rate__isnull=False,
        ended_at__gte=datetime.combine(start, time(), UTC),
        ended_at__lte=now,
    ).annotate(week=TruncWeek("ended_at", output_field=DateField(), tzinfo=UTC))
    found: dict[date, list[tuple[int, int, float]]] = {}
    for week, number, place, rate in _first_and_middle(rated, "week", "rate"):
        found.setdefault(week, []).append((place, number, 100 * rate))
    return [_matched(week, sorted(found.get(week, []))) for week in (start + timedelta(weeks=n) for n in range(weeks))]


def _matched(week: date, rows: list[tuple[int, int, float]]) -> Matched:
    if not rows:
        return Matched(week, 0, None, None)
    middle = _middle(rows)
    return Matched(week, rows[0][1], round(sum(middle) / len(middle), 1), round(rows[0][2], 1))
