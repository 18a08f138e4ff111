"""The audit log, for admins: who did, asked and approved what; found, read side by side, checked and exported."""

from __future__ import annotations

import json
from collections.abc import Iterable

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from onboarding import audit as chain
from onboarding.forms.audit import FindEntries, day_of
from onboarding.models import AuditEntry, RoleName
from onboarding.selectors import audit as selector
from onboarding.selectors.runs import act_words
from onboarding.services import audit_checks
from onboarding.services.people import visible_people
from onboarding.views.access_control import get_visible, person_of, require_some_role, require_superuser
from onboarding.views.components import Row
from onboarding.views.exports import csv_file, lines_file, wants_csv
from onboarding.views.links import list_url, with_query
from onboarding.views.polling import WHILE_RUNNING
from onboarding.views.saved_views import views_of
from onboarding.views.shell import shell_of

HEADER = ("No.", "When", "Who", "Act", "Object", "Reference", "AMC account", "Before and after", "Request id", "Hash")
# The pages of what an entry may be about.
PAGES = {
    "run": "run",
    "request": "request",
    "instance": "instance",
    "account": "account-policy",
    "aws": "aws-connection",
    "person": "person",
}


def query_of(request: HttpRequest) -> selector.AuditQuery:
    """What the address asks for."""
    get = request.GET
    return selector.AuditQuery(
        q=get.get("q", "")[:100],
        act=get.get("act", ""),
        actor=get.get("actor", ""),
        object=get.get("object", "")[:100],
        account=get.get("account", ""),
        since=day_of(get.get("since", "")),
        until=day_of(get.get("until", "")),
    )


@require_safe
def audit(request: HttpRequest) -> HttpResponseBase:
    """GET /audit/: the entries of the accounts that the person administers, and whether the chain is whole.

    With `format=csv` or `format=jsonl` all that fit, as a file.
    """
    person, shell = person_of(request), shell_of(request)
    if not shell.is_admin:
        raise PermissionDenied
    query = query_of(request)
    if wants_csv(request):
        return csv_file("audit", HEADER, _cells(selector.every(person, query, account=shell.account)))
    if request.GET.get("format") == "jsonl":
        rows = selector.every(person, query, account=shell.account)
        return lines_file("audit", (json.dumps(chain.as_document(row), ensure_ascii=False) for row in rows))
    page = selector.audit_page(person, query, number=request.GET.get("page", 1), account=shell.account)
    managed = [] if shell.account else shell.seen_as(RoleName.ADMIN)
    return render(
        request,
        "audit/audit.html",
        {
            "page": page,
            "rows": [(entry, act_words(entry.act), selector.changed_names(entry.details)) for entry in page],
            "form": FindEntries(
                request.GET or None,
                acts=[(act, act_words(act)) for act in selector.acts_for(person)],
                people=visible_people(person).order_by("name", "pk"),
                accounts=managed,
                object=query.object,
            ),
            "views": views_of(request, "audit"),
            "csv_url": with_query(request, format="csv"),
            "jsonl_url": with_query(request, format="jsonl"),
            "searched": query != selector.AuditQuery(),
            "shipped": selector.shipped_to(settings.AUDIT_SHIP) if person.is_superuser else None,
            **_chain_context(request),
        },
    )


@require_safe
def entry(request: HttpRequest, number: int) -> HttpResponse:
    """GET /audit/N/: one entry, with what it changed side by side."""
    person = person_of(request)
    require_some_role(person, RoleName.ADMIN)
    row = get_visible(selector.entries_for(person).select_related("account"), person, number=number)
    kind, _, key = row.subject_ref.partition(":")
    rest = selector.rest(row.details)
    facts = [
        Row("When", row.at.astimezone(timezone.get_default_timezone()).strftime("%-d %B %Y, %H:%M:%S UTC")),
        Row("Who", row.actor_name),
        Row("What", row.subject),
        Row("AMC account", row.account or "—"),
        Row("Request id", row.request_id or "—", mono=True),
        Row("Seal", row.hash, mono=True, hint="SHA-256 of this entry and of the seal of the one before."),
        Row("Seal of the one before", row.previous, mono=True),
    ]
    return render(
        request,
        "audit/entry.html",
        {
            "entry": row,
            "title": act_words(row.act),
            "facts": facts,
            "changes": selector.changes(row.details),
            "rest": rest,
            "object_url": reverse(PAGES[kind], args=[key]) if kind in PAGES and key else "",
            "object_name": _inside(selector.OBJECTS.get(kind, "Object")),
            "same_object": list_url("audit", object=row.subject_ref) if row.subject_ref else "",
            "same_person": list_url("audit", actor=row.actor_id or selector.THE_PORTAL),
        },
    )


@require_http_methods(["GET", "HEAD", "POST"])
def check(request: HttpRequest) -> HttpResponse:
    """/audit/check: how the check of the whole chain stands, as the part that renews itself; POST begins one
    (superusers)."""
    person = person_of(request)
    require_some_role(person, RoleName.ADMIN)
    if request.method == "POST":
        require_superuser(person)
        row = audit_checks.start(person, now=timezone.now())
        if row.ended_at is None:
            messages.success(request, "A worker walks along the chain. This page shows how far it is.")
        return redirect("audit")
    if not getattr(request, "htmx", None):
        return redirect("audit")
    return render(request, "audit/_chain.html", _chain_context(request))


def _chain_context(request: HttpRequest) -> dict[str, object]:
    """Whether the chain is whole: walked now if it is short, else what the last check found."""
    end = chain.head()
    number = end[0]
    if number <= audit_checks.AT_ONCE:
        return {"verdict": chain.verify(end), "poll_seconds": None}
    last = selector.last_check()
    running = last is not None and last.ended_at is None
    return {
        "checked": last,
        "since_then": number - last.head_number if last else 0,
        "may_check": person_of(request).is_superuser and not running,
        "poll_seconds": WHILE_RUNNING if running else None,
    }


def _inside(words: str) -> str:
    """The words inside a sentence: without their capital, unless it belongs to AMC, AWS or API."""
    return words if words[1:2].isupper() or words.startswith("Amazon") else words[:1].lower() + words[1:]


def _cells(rows: Iterable[AuditEntry]) -> Iterable[tuple[object, ...]]:
    for row in rows:
        yield (
            row.number,
            row.at,
            row.actor_name,
            row.act,
            row.subject,
            row.subject_ref,
            row.account.name if row.account else "",
            json.dumps(row.details, ensure_ascii=False) if row.details else "",
            row.request_id,
            row.hash,
        )
