"""The dashboard: where everything stands, what is stuck and on whom, what failed, what is due; each number leads on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from onboarding.models import InstanceStatus, MappingTable, RoleName
from onboarding.numbers import number_of
from onboarding.selectors import dashboard as selector
from onboarding.selectors.instances import GROUPS
from onboarding.selectors.scope import Scope
from onboarding.views.access_control import person_of
from onboarding.views.components import Chart, Series, Tile
from onboarding.views.exports import csv_file, wants_csv
from onboarding.views.links import list_url, with_query
from onboarding.views.shell import Shell, render_page_or_part, shell_of

# Seconds until the next look while nothing changes: the longer nothing does, the seldomer.
LOOKS = (10.0, 15.0, 30.0, 60.0)
TONES = {
    InstanceStatus.PROBLEM: "bad",
    InstanceStatus.RECONNECT: "wait",
    InstanceStatus.APPROVAL: "wait",
    InstanceStatus.YOUR_TURN: "wait",
    InstanceStatus.IN_PROGRESS: "busy",
    InstanceStatus.AMAZON: "busy",
    InstanceStatus.DONE: "good",
}
# What is shown as a tile even when there is none of it.
ALWAYS = (
    InstanceStatus.PROBLEM,
    InstanceStatus.YOUR_TURN,
    InstanceStatus.APPROVAL,
    InstanceStatus.AMAZON,
    InstanceStatus.IN_PROGRESS,
    InstanceStatus.DONE,
)
_ORDER = (*ALWAYS[:3], InstanceStatus.RECONNECT, *ALWAYS[3:])


@dataclass(frozen=True)
class Due:
    """One thing that is due or broken: what, a remark, when, and where to do something about it."""

    icon: str
    tone: str
    text: str
    detail: str
    at: datetime | None
    url: str


class Figures:
    """All that the dashboard shows for one request, read once."""

    def __init__(self, request: HttpRequest) -> None:
        self.shell: Shell = shell_of(request)
        self.person = person_of(request)
        self.now = timezone.now()
        self.scope = scope_of(request)
        self.owner = self.scope.owner.pk if self.scope.owner else None
        self.approving = [account.pk for account in self.shell.seen_as(RoleName.APPROVER)]

    def read(self) -> dict[str, Any]:
        """The context of the page."""
        statuses = selector.by_status(self.scope)
        funnel = selector.funnel(self.scope, now=self.now)
        failures = selector.failures(self.scope, now=self.now)
        waiting = selector.waiting(self.scope, self.person, approving=self.approving, now=self.now)
        if len(self.shell.seen) == len(self.shell.accounts):
            # The number beside “Requests” in the navigation is the same: no query of its own.
            self.shell.__dict__["waiting_for_me"] = waiting.mine
        stuck = list(selector.stuck(self.scope))
        weak = selector.weak_connections(self.scope, now=self.now) if self.scope.owner is None else []
        refreshes = list(selector.refreshes(self.scope, now=self.now))
        ending = selector.ending(self.scope, now=self.now)
        rates = selector.match_rates(self.scope, now=self.now)
        names = {account.pk: account.name for account in self.shell.accounts}
        context = {
            "own": self.scope.owner is not None,
            "tiles": self.tiles(statuses),
            "all": sum(statuses.values()),
            "funnel": [(line, list_url("runs", procedure="onboard", at=line.key, owner=self.owner)) for line in funnel],
            "funnel_most": max((line.count for line in funnel), default=0) or 1,
            "onboardings": sum(line.count for line in funnel),
            "failures": failures,
            "causes": [(cause, self._failed(cause.code)) for cause in failures.causes[: selector.MOST]],
            "failed_url": list_url("runs", show="all", days=selector.FAILURE_DAYS, owner=self.owner),
            "failure_days": selector.FAILURE_DAYS,
            "failure_chart": Chart(
                f"Failures on each of the last {selector.FAILURE_DAYS} days",
                [f"{day:%-d %b}" for day in failures.days],
                [Series("Failures", failures.by_day, "bad")],
            ),
            "stuck": [{"row": one, "account": names.get(one.account_id, "")} for one in stuck],
            "stuck_all": self._count(statuses, "needs-a-person"),
            "stuck_url": list_url("instances", status="needs-a-person", sort="since", owner=self.owner),
            "waiting": waiting,
            "inbox": bool(self.approving),
            "ages": [
                (words, waiting.ages[key], list_url("requests", show="waiting", age=key))
                for key, words, *_ in selector.AGES
            ],
            "open_url": list_url("requests", show="mine" if self.scope.owner else "all", state="open"),
            "due": [*map(self._weak, weak), *map(self._ending, ending), *map(self._refresh, refreshes)],
            "ending": ending[0] if ending else None,
            "ending_url": self._ends(),
            "soon": selector.SOON.days,
            "rates": any(line.jobs for line in rates),
            "rate_chart": Chart(
                f"Match rate of the mapping jobs of each of the last {selector.WEEKS} weeks",
                [f"{line.week:%-d %b}" for line in rates],
                [
                    Series("Median", [line.median for line in rates]),
                    Series("Worst", [line.worst for line in rates], "wait"),
                ],
                kind="line",
                unit="%",
            ),
            "expiring_url": list_url("requests", show="mine" if self.scope.owner else "all", state="open", expires="3"),
            "all_url": list_url("instances", owner=self.owner),
            "runs_url": list_url("runs", procedure="onboard", owner=self.owner),
            "lead": self._lead(),
            "wide": len(self.shell.seen) > 1,
            "now": self.now,
        }
        seen = (statuses, [(line.key, line.count) for line in funnel], failures.by_day, waiting, weak, ending, rates)
        context["state"] = hashlib.sha256(repr(seen).encode()).hexdigest()[:12]
        return context

    def tiles(self, statuses: dict[str, int]) -> list[Tile]:
        """A number for each status that occurs, and for those that people look for."""
        others = [status for status in InstanceStatus if status not in _ORDER and statuses.get(status)]
        return [
            Tile(
                statuses.get(status, 0),
                InstanceStatus(status).label,
                list_url("instances", status=status.value, owner=self.owner),
                TONES.get(status, "") if statuses.get(status) else "",
            )
            for status in (*_ORDER, *others)
            if status in ALWAYS or statuses.get(status)
        ]

    def _lead(self) -> str:
        """What the numbers count."""
        where = f"your {len(self.scope.accounts)} AMC accounts"
        if len(self.scope.accounts) == 1:
            where = next(account.name for account in self.shell.seen if account.pk == self.scope.accounts[0])
        return f"What you own on {where}." if self.scope.owner else f"Everything on {where}."

    @staticmethod
    def _count(statuses: dict[str, int], group: str) -> int:
        return sum(statuses.get(status, 0) for status in GROUPS[group].statuses)

    def _failed(self, code: str) -> str:
        return list_url("runs", show="all", cause=code, days=selector.FAILURE_DAYS, owner=self.owner)

    @staticmethod
    def _weak(one: selector.Weak) -> Due:
        if one.kind == "amc":
            return Due("unplug", "bad", f"Login “{one.label}”", "Has to be reconnected", one.at, reverse("connections"))
        if one.kind == "pause":
            return Due("pause", "wait", one.label, "Paused", one.at, reverse("queues"))
        url = reverse("aws-connection", args=[one.pk])
        if one.kind == "link":
            return Due("link", "wait", f"Invitation of {one.label}", "Nobody has accepted it; it expires", one.at, url)
        broken = one.why == "broken"
        words = "Has to be reconnected" if broken else "Not connected yet"
        return Due("unplug", "bad" if broken else "wait", f"AWS account {one.label}", words, one.at, url)

    def _ends(self, instance: int | None = None) -> str:
        return list_url("results", days=selector.SOON.days, instance=instance, owner=self.owner)

    def _ending(self, one: selector.Ending) -> Due:
        words = "Can no longer be fetched" if one.count == 1 else f"{one.count} can no longer be fetched, the first"
        return Due("clock", "wait", f"Query results of {one.name}", words, one.first, self._ends(one.pk))

    def _refresh(self, table: MappingTable) -> Due:
        at = table.next_refresh_at
        words = "Can be refreshed since" if at is not None and at <= self.now else "Can be refreshed"
        url = reverse("mapping-table", args=[table.instance_id, table.pk])
        return Due("refresh", "", f"{table.name} of {table.instance}", words, at, url)


def scope_of(request: HttpRequest) -> Scope:
    """Whole accounts for admins, their own for others; on the account in view, or on all of theirs."""
    shell = shell_of(request)
    return Scope.of(person_of(request), seen=shell.seen, administered=shell.seen_as(RoleName.ADMIN))


@require_safe
def dashboard(request: HttpRequest) -> HttpResponseBase:
    """GET /dashboard/; with HX-Request the part that changes, with `format=csv&table=…` one of its tables."""
    shell = shell_of(request)
    if not shell.role_names:
        return redirect("access")
    if wants_csv(request):
        return _file(request)
    context = Figures(request).read()
    return show_live(request, context, "dashboard/dashboard.html", "dashboard/_dashboard.html")


def show_live(request: HttpRequest, context: dict[str, Any], page: str, part: str) -> HttpResponse:
    """The page or its live part, which asks again the later the longer `context["state"]` has not changed."""
    same = request.GET.get("seen", "") == context["state"]
    still = number_of(request.GET.get("still", ""))
    number = min(still + 1 if same and still is not None else 0, len(LOOKS) - 1)
    context["poll_url"] = with_query(request, seen=context["state"], still=str(number))
    context["poll_seconds"] = LOOKS[number]
    return render_page_or_part(request, page, part, context)


def _file(request: HttpRequest) -> HttpResponseBase:
    figures = Figures(request)
    scope, now, table = figures.scope, figures.now, request.GET.get("table", "")
    names = {account.pk: account.name for account in figures.shell.accounts}
    header: Sequence[str]
    rows: Iterable[Sequence[Any]]
    if table == "states":
        header = ("Status", "Instances")
        rows = [(InstanceStatus(key).label, number) for key, number in sorted(selector.by_status(scope).items())]
    elif table == "funnel":
        header = ("Step", "Onboardings", "Median time in it (s)", "Worst time in it (s)")
        rows = [(line.title, line.count, line.median, line.worst) for line in selector.funnel(scope, now=now)]
    elif table == "stuck":
        header = ("Instance", "AMC account", "Status", "Step", "On whom", "Since", "Owner")
        rows = (
            (
                one.name,
                names.get(one.account_id, ""),
                InstanceStatus(one.status).label,
                one.detail,
                one.on,
                one.since,
                one.owner,
            )
            for one in selector.stuck(scope, most=None)
        )
    elif table == "failures":
        found = selector.failures(scope, now=now)
        header = ("Cause", "Failures", *(day.isoformat() for day in found.days), "Last", "Example")
        rows = [
            (
                cause.code or "Not known",
                cause.count,
                *(cause.days.get(day, 0) for day in found.days),
                cause.last,
                cause.what,
            )
            for cause in found.causes
        ]
    elif table == "due":
        header = ("What", "Remark", "When")
        weak = selector.weak_connections(scope, now=now) if scope.owner is None else []
        refreshes = map(figures._refresh, selector.refreshes(scope, now=now, most=None))
        ending = map(figures._ending, selector.ending(scope, now=now, most=None))
        rows = ((due.text, due.detail, due.at) for due in (*map(figures._weak, weak), *ending, *refreshes))
    elif table == "rates":
        header = ("Week from", "Jobs", "Median match rate (%)", "Worst match rate (%)")
        rates = selector.match_rates(scope, now=now)
        rows = [(line.week.isoformat(), line.jobs, line.median, line.worst) for line in rates]
    else:
        raise Http404
    return csv_file(f"dashboard-{table}", header, rows)
