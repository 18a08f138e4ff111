"""The approver's inbox, and one request: read it, decide it, talk about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from onboarding.engine.situations import situation_of
from onboarding.forms.requests import Approve, Comment, SendBack
from onboarding.guide import render as rendering
from onboarding.guide.procedure import step_of
from onboarding.models import Person, Request, RequestState, RoleName
from onboarding.numbers import number_of
from onboarding.selectors import requests as selector
from onboarding.selectors.dashboard import AGES
from onboarding.services import requests as services
from onboarding.services.errors import Refused
from onboarding.views.access_control import get_visible, person_of, require_role
from onboarding.views.components import Tab
from onboarding.views.exports import csv_file, wants_csv
from onboarding.views.links import with_query
from onboarding.views.saved_views import views_of
from onboarding.views.shell import shell_of
from onboarding.views.steps import entries

MOST_DAYS = 90
CSV_HEADER = (
    "What is asked",
    "Instance",
    "AMC account",
    "Status",
    "Asked by",
    "Asked",
    "Expires",
    "Ended",
    "Approvals",
    "Approvals needed",
)


@require_safe
def requests(request: HttpRequest) -> HttpResponseBase:
    """GET /requests/: waiting for me, my own, or all; with `format=csv` as a file."""
    person, shell = person_of(request), shell_of(request)
    if not shell.role_names:
        return redirect("access")
    default = "waiting" if RoleName.APPROVER in shell.role_names else "mine"
    show = request.GET.get("show", "")
    show = show if show in selector.SHOWS else default
    now, expires = timezone.now(), number_of(request.GET.get("expires", ""))
    query = selector.RequestQuery(
        show=show,
        state=request.GET.get("state", ""),
        age=request.GET.get("age", ""),
        expires=None if expires is None else min(expires, MOST_DAYS),
    )
    keys = [account.pk for account in shell.seen]
    if wants_csv(request):
        every = selector.every_request(person, query, accounts=keys, now=now)
        return csv_file("requests", CSV_HEADER, map(_csv_row, every))
    inbox = selector.inbox(person, query, request.GET.get("page", 1), accounts=keys, now=now)
    if query.whole and RoleName.APPROVER in shell.role_names and len(shell.seen) == len(shell.accounts):
        # The number beside “Requests” in the navigation is the same: no query of its own.
        shell.__dict__["waiting_for_me"] = inbox.counts["waiting"]
    return render(
        request,
        "requests/list.html",
        {
            "show": show,
            "page": inbox.page,
            "accounts": {account.pk: account.name for account in shell.seen},
            "now": now,
            "tabs": [
                Tab(title, with_query(request, show=key), current=key == show, count=inbox.counts[key])
                for key, title in selector.SHOWS.items()
            ],
            "narrowed": _narrowed(query),
            "csv_url": with_query(request, show=show, format="csv"),
            "views": views_of(request, "requests"),
        },
    )


def _narrowed(query: selector.RequestQuery) -> str:
    """What the list is narrowed to, in words; empty when it is whole."""
    words = [RequestState(query.state).label.lower()] if query.state in RequestState.values else []
    words += [f"asked {text} ago" for key, text, *_ in AGES if key == query.age]
    words += [f"expiring within {query.expires} days"] if query.expires is not None else []
    return ", ".join(words)


def _csv_row(row: Request) -> tuple[object, ...]:
    return (
        row.title,
        row.step.run.instance.name,
        row.account.name,
        row.get_state_display(),
        row.asked_by,
        row.asked_at,
        row.expires_at,
        row.ended_at,
        row.approved,  # type: ignore[attr-defined]
        row.approvers_needed,
    )


def _visible(request: HttpRequest, pk: int) -> tuple[Person, Request]:
    person = person_of(request)
    rows = Request.objects.visible_to(person).select_related("account", "asked_by", "step__run__instance")
    return person, get_visible(rows, person, pk=pk)


@require_safe
def request_page(request: HttpRequest, pk: int) -> HttpResponse:
    """GET /requests/N/: who asks for what, the plan as it was frozen, what changed, and the decision."""
    person, row = _visible(request, pk)
    return _show(request, person, row)


def _show(
    request: HttpRequest,
    person: Person,
    row: Request,
    *,
    approve_form: Approve | None = None,
    send_back_form: SendBack | None = None,
    comment_form: Comment | None = None,
) -> HttpResponse:
    detail = selector.request_detail(row)
    guide_step = step_of(row.step.run.procedure, row.step.key)
    situation = situation_of(row.step.run)
    reason = services.why_not_decide(person, row)
    digest = {"digest": row.digest}
    context: dict[str, Any] = {
        "row": row,
        "instance": row.step.run.instance,
        "step": row.step,
        "guide_step": guide_step,
        "sheet": guide_step.sheet(situation),
        "plan": entries(selector.plan_rows(row)),
        "commands": rendering.commands(selector.asked_calls(row), row.account),
        "detail": detail,
        "missing": row.approvers_needed - detail.approved,
        "why_not": reason,
        "can_withdraw": not services.why_not_withdraw(person, row),
        "objection": guide_step.objection(situation) if row.state == RequestState.OPEN else "",
        "stale": row.state == RequestState.OPEN and row.step.digest != row.digest,
        "approve_form": approve_form or Approve(initial=digest, prefix=None, auto_id="approve-%s"),
        "send_back_form": send_back_form or SendBack(initial=digest, auto_id="send-back-%s"),
        "comment_form": comment_form or Comment(auto_id="comment-%s"),
        "history": _history(row, detail),
    }
    failed = any(form is not None for form in (approve_form, send_back_form, comment_form))
    return render(request, "requests/request.html", context, status=422 if failed else 200)


def _history(row: Request, detail: selector.RequestDetail) -> list[dict[str, Any]]:
    """What happened to the request, the oldest first."""
    events: list[dict[str, Any]] = [
        {"at": row.asked_at, "who": row.asked_by, "what": "asked for approval", "text": row.note, "icon": "inbox"}
    ]
    for decision in detail.decisions:
        what = "approved it" if decision.approved else "sent it back"
        picture = "done" if decision.approved else "undo"
        events.append(
            {"at": decision.at, "who": decision.person, "what": what, "text": decision.comment, "icon": picture}
        )
    for comment in detail.comments:
        events.append(
            {"at": comment.at, "who": comment.person, "what": "wrote", "text": comment.text, "icon": "comment"}
        )
    ended = {
        RequestState.WITHDRAWN: "The request was withdrawn",
        RequestState.VOID: "The answers changed: the request is no longer valid",
        RequestState.EXPIRED: "Nobody decided in time: the request expired",
    }
    if row.state in ended and row.ended_at:
        events.append(
            {"at": row.ended_at, "who": "", "what": ended[RequestState(row.state)], "text": "", "icon": "stop"}
        )
    return sorted(events, key=lambda event: event["at"])


def _act(request: HttpRequest, act: Callable[[], object], done: str, pk: int) -> HttpResponse:
    try:
        act()
    except Refused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, done)
    return redirect("request", pk)


@require_POST
def approve(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /requests/N/approve with `digest` and `comment`."""
    person, row = _visible(request, pk)
    require_role(person, row.account, RoleName.APPROVER)
    form = Approve(request.POST, auto_id="approve-%s")
    if not form.is_valid():
        return _show(request, person, row, approve_form=form)
    data = form.cleaned_data
    return _act(
        request,
        lambda: services.approve(
            person=person, request=row, digest=data["digest"], comment=data["comment"].strip(), now=timezone.now()
        ),
        f"You approved: {row.title}.",
        pk,
    )


@require_POST
def send_back(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /requests/N/send-back with `digest` and `comment`."""
    person, row = _visible(request, pk)
    require_role(person, row.account, RoleName.APPROVER)
    form = SendBack(request.POST, auto_id="send-back-%s")
    if not form.is_valid():
        return _show(request, person, row, send_back_form=form)
    data = form.cleaned_data
    return _act(
        request,
        lambda: services.send_back(
            person=person, request=row, digest=data["digest"], comment=data["comment"], now=timezone.now()
        ),
        f"You sent it back: {row.title}.",
        pk,
    )


@require_POST
def withdraw(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /requests/N/withdraw: by who asked, or an admin."""
    person, row = _visible(request, pk)
    if row.asked_by_id != person.pk:
        require_role(person, row.account, RoleName.ADMIN)
    try:
        services.withdraw(person=person, request=row, now=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
        return redirect("request", pk)
    messages.success(request, "The request was withdrawn. The answers are kept; change them and ask again.")
    return redirect("step", row.step.run.address, row.step.key)


@require_POST
def comment(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /requests/N/comment with `text`: by anybody who can see the request."""
    person, row = _visible(request, pk)
    form = Comment(request.POST, auto_id="comment-%s")
    if not form.is_valid():
        return _show(request, person, row, comment_form=form)
    try:
        services.comment(person=person, request=row, text=form.cleaned_data["text"], now=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
    return redirect(reverse("request", args=[pk]) + "#history")
