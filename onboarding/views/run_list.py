"""GET /runs/: every run that the person may see, and where it stands."""

from __future__ import annotations

from collections.abc import Iterable

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_safe

from onboarding.forms.runs import FindRuns
from onboarding.numbers import number_of
from onboarding.selectors import run_list as selector
from onboarding.selectors.instances import owners as owners_of
from onboarding.views.components import Tab
from onboarding.views.exports import csv_file, wants_csv
from onboarding.views.links import run_url, with_query
from onboarding.views.saved_views import views_of
from onboarding.views.shell import render_page_or_part, shell_of

HEADER = ("Instance", "AMC instance id", "AMC account", "Procedure", "Stands at", "State", "Detail", "Since", "Owner")
MOST_DAYS = 90


def query_of(request: HttpRequest) -> selector.RunQuery:
    """What the address asks for."""
    get = request.GET
    show = get.get("show", "")
    return selector.RunQuery(
        q=get.get("q", "")[:100],
        show=show if show in selector.SHOWS else "open",
        at=get.get("at", ""),
        state=get.get("state", ""),
        procedure=get.get("procedure", ""),
        owner=get.get("owner", ""),
        account=get.get("account", ""),
        cause=get.get("cause"),
        days=min(number_of(get.get("days", "")) or 0, MOST_DAYS),
        sort=get.get("sort", "") or selector.DEFAULT_ORDER,
    )


@require_safe
def runs(request: HttpRequest) -> HttpResponseBase:
    """The list; with HX-Request only its rows, with `format=csv` all of it as a file."""
    shell = shell_of(request)
    if not shell.role_names:
        return redirect("access")
    query, now = query_of(request), timezone.now()
    keys = [account.pk for account in shell.seen]
    names = {account.pk: account.name for account in shell.seen}
    if wants_csv(request):
        lines = selector.run_lines(query, accounts=keys, now=now)
        return csv_file("runs", (*HEADER, "Started", "Ended"), _rows(lines, names))
    found = selector.run_page(query, request.GET.get("page", 1), accounts=keys, now=now)
    context = {
        "page": found.page,
        "lines": [(line, run_url(line.run), names.get(line.run.account_id, "")) for line in found.page],
        "show_account": len(shell.seen) > 1,
        "default_sort": selector.DEFAULT_ORDER,
        "cause": query.cause,
        "days": query.days,
        "searched": bool(request.GET),
        "csv_url": with_query(request, format="csv"),
        "tabs": [
            Tab(title, with_query(request, show=key), current=key == query.show, count=found.counts[key])
            for key, title in selector.SHOWS.items()
        ],
    }
    if not getattr(request, "htmx", None):
        wide = shell.seen if len(shell.seen) > 1 else []
        context["form"] = FindRuns(request.GET or None, accounts=wide, owners=owners_of(keys))
        context["views"] = views_of(request, "runs")
    return render_page_or_part(request, "runs/list.html", "runs/_list.html", context)


def _rows(lines: Iterable[selector.RunLine], names: dict[int, str]) -> Iterable[tuple[object, ...]]:
    for line in lines:
        run, step = line.run, line.step
        yield (
            run.instance.name,
            run.instance.instance_id,
            names.get(run.account_id, ""),
            line.procedure,
            line.at,
            step.get_state_display() if step else "Ended",
            line.detail,
            run.at_since or run.ended_at,
            run.owner,
            run.started_at,
            run.ended_at,
        )
