"""The results of queries that can soon no longer be fetched: the list of them, and listing those of an instance."""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from onboarding.engine.authority import MAY_ASK
from onboarding.forms.results import FindResults
from onboarding.models import QueryResult
from onboarding.models.results import AHEAD
from onboarding.numbers import number_of
from onboarding.selectors import results as selector
from onboarding.selectors.instances import owners as owners_of
from onboarding.services import results as service
from onboarding.services.errors import Refused
from onboarding.views.access_control import require_role
from onboarding.views.exports import csv_file, wants_csv
from onboarding.views.instances import instance_page
from onboarding.views.links import with_query
from onboarding.views.saved_views import views_of
from onboarding.views.shell import render_page_or_part, shell_of

HEADER = (
    "Instance",
    "AMC instance id",
    "AMC account",
    "Workflow",
    "Workflow execution",
    "Created",
    "Can be fetched until",
    "Owner",
)


@require_safe
def results(request: HttpRequest) -> HttpResponseBase:
    """GET /dashboard/results/: the list; with HX-Request only its rows, with `format=csv` all of it as a file."""
    shell = shell_of(request)
    if not shell.role_names:
        return redirect("access")
    get, now = request.GET, timezone.now()
    query = selector.ResultQuery(
        q=get.get("q", "")[:100],
        days=min(number_of(get.get("days", "")) or 0, AHEAD.days),
        instance=get.get("instance", ""),
        account=get.get("account", ""),
        owner=get.get("owner", ""),
        sort=get.get("sort", "") or selector.DEFAULT_ORDER,
    )
    names = {account.pk: account.name for account in shell.seen}
    if wants_csv(request):
        return csv_file("results", HEADER, _rows(selector.every_result(query, accounts=names, now=now), names))
    page = selector.result_page(query, get.get("page", 1), accounts=names, now=now)
    context = {
        "page": page,
        "lines": [(row, names.get(row.instance.account_id, "")) for row in page],
        "show_account": len(names) > 1,
        "default_sort": selector.DEFAULT_ORDER,
        "one": bool(query.instance),
        "instance": next((row.instance for row in page), None) if query.instance else None,
        "all_url": with_query(request, instance=""),
        "searched": any((query.q, query.days, query.instance, query.account, query.owner)),
        "csv_url": with_query(request, format="csv"),
        "ahead": AHEAD.days,
    }
    if not getattr(request, "htmx", None):
        wide = shell.seen if len(names) > 1 else []
        context["form"] = FindResults(get or None, accounts=wide, owners=owners_of(list(names)))
        context["views"] = views_of(request, "results")
    return render_page_or_part(request, "results/list.html", "results/_list.html", context)


@require_POST
def read(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /instances/N/results/read: have a worker list the queries of the instance now."""
    page = instance_page(request, pk)
    require_role(page.person, page.instance.account, *MAY_ASK)
    try:
        service.ask_now(person=page.person, instance=page.instance, now=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, "The portal lists the queries now. Reload this page in a few seconds.")
    return redirect("instance-ready", pk)


def _rows(found: Iterable[QueryResult], names: dict[int, str]) -> Iterable[tuple[object, ...]]:
    for row in found:
        yield (
            row.instance.name,
            row.instance.instance_id,
            names.get(row.instance.account_id, ""),
            row.workflow_id,
            row.execution_id,
            row.created_at,
            row.ends_at,
            row.instance.owner or "",
        )
