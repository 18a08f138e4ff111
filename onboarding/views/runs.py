"""What is done with an instance beside its onboarding: what is offered, what was done, and the page of one such run."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from onboarding.engine.authority import MAY_ASK
from onboarding.engine.standing import Standing, standing
from onboarding.guide.procedure import PROCEDURE_TITLES
from onboarding.models import InstanceStatus, Person, RoleName, Run
from onboarding.selectors import runs as selector
from onboarding.services import lifecycle
from onboarding.services import runs as services
from onboarding.services.errors import Refused
from onboarding.views.access_control import get_visible, person_of, require_role
from onboarding.views.instances import MOVING, instance_page, next_step, task_groups
from onboarding.views.links import run_url
from onboarding.views.polling import next_look
from onboarding.views.shell import render_page_or_part
from portal.forms import ConfirmByName

# An instance may hold 2,000 advertisers; the page shows the first of them.
MOST_LISTED = 100


@dataclass(frozen=True)
class _Line:
    """One run in the list."""

    run: Run
    title: str
    stands: Standing
    url: str


@require_safe
def instance_runs(request: HttpRequest, pk: int) -> HttpResponse:
    """GET /instances/N/runs/: what can be changed now, and what was."""
    page = instance_page(request, pk)
    lines = [
        _Line(run, PROCEDURE_TITLES[run.procedure], _standing(run), run_url(run))
        for run in selector.other_runs(page.instance)
    ]
    advertisers = page.instance.advertisers.count()
    context = {
        **page.context("instance-runs"),
        "lines": lines,
        "offers": lifecycle.offers(page.instance),
        "may_invite": page.person.has_role(page.instance.account, RoleName.ADMIN),
        "advertisers": advertisers,
        "unlisted": max(0, advertisers - MOST_LISTED),
        "listed": list(page.instance.advertisers.order_by("type", "advertiser_id")[:MOST_LISTED]),
    }
    return render(request, "instances/runs.html", context)


def _standing(run: Run) -> Standing:
    return standing(run, list(run.steps.all()), now=run.ended_at or timezone.now())


@require_POST
def start(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /instances/N/runs/start: begin one of the procedures that the page offers."""
    page = instance_page(request, pk)
    require_role(page.person, page.instance.account, *MAY_ASK)
    try:
        run = lifecycle.start(
            person=page.person,
            instance=page.instance,
            procedure=request.POST.get("procedure", ""),
            now=timezone.now(),
        )
    except Refused as refusal:
        messages.error(request, str(refusal))
        return redirect("instance-runs", pk)
    return redirect("run", run.pk)


def _visible(request: HttpRequest, pk: UUID) -> tuple[Person, Run]:
    person = person_of(request)
    rows = Run.objects.visible_to(person).select_related("account", "instance__account", "instance__owner", "owner")
    return person, get_visible(rows, person, pk=pk)


@require_safe
def run(request: HttpRequest, pk: UUID) -> HttpResponse:
    """GET /runs/ID/: the steps of a run; with HX-Request only the part that changes."""
    person, row = _visible(request, pk)
    if row.procedure == "onboard":
        return redirect(run_url(row))
    found = selector.run_of(row)
    now = timezone.now()
    stands = standing(row, found.steps, now=row.ended_at or now)
    done = sum(step.state == "done" for step in found.steps)
    moving = stands.status in MOVING and row.ended_at is None
    may_ask = person.has_role(row.account, *MAY_ASK)
    state, seen = f"{stands.status}.{done}", request.GET.get("seen", "")
    context = {
        "instance": row.instance,
        "run": row,
        "title": PROCEDURE_TITLES[row.procedure],
        "stands": stands,
        "done": done,
        "all": len(found.steps),
        "groups": task_groups(found),
        "next": None if moving else next_step(found, may_ask),
        "poll_seconds": next_look(now - stands.since) if moving else None,
        "state": state,
        "news": InstanceStatus(stands.status).label if seen and seen != state else "",
        "can_cancel": row.ended_at is None and may_ask,
    }
    return render_page_or_part(request, "runs/run.html", "runs/_steps.html", context)


def cancel(request: HttpRequest, pk: UUID) -> HttpResponse:
    """GET and POST /runs/ID/cancel/: stop the run, after the instance's name was typed."""
    person, row = _visible(request, pk)
    require_role(person, row.account, *MAY_ASK)
    if row.procedure == "onboard":
        return redirect("instance-cancel", row.instance_id)
    if row.ended_at is not None:
        messages.info(request, "There is nothing to cancel: this has ended already.")
        return redirect("run", pk)
    form = ConfirmByName(request.POST if request.method == "POST" else None, name=row.instance.name)
    title = PROCEDURE_TITLES[row.procedure]
    if request.method == "POST" and form.is_valid():
        try:
            services.run_cancel(person=person, run=row, now=timezone.now())
        except Refused as refusal:
            form.add_error(None, str(refusal))
        else:
            messages.success(request, f"{title} of {row.instance} was cancelled. Nothing more will be done.")
            return redirect("instance-runs", row.instance_id)
    context = {
        "instance": row.instance,
        "run": row,
        "title": title,
        "form": form,
        "losses": [
            "Every step that is not completed ends, and a request that waits for approval is no longer valid.",
            "What was done in Amazon already stays done. A call that is just being made may still have its effect.",
        ],
        "keep_url": reverse("run", args=[pk]),
    }
    return render(request, "runs/cancel.html", context, status=422 if form.is_bound else 200)


@require_POST
def look_again(request: HttpRequest, pk: UUID) -> HttpResponse:
    """POST /runs/ID/look-again: read anew what leaving would delete, with the same answers."""
    person, row = _visible(request, pk)
    require_role(person, row.account, *MAY_ASK)
    try:
        new = lifecycle.look_again(person=person, run=row, now=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
        return redirect("run", pk)
    messages.success(request, "The portal reads again what is there. Then confirm and ask for approval anew.")
    return redirect("run", new.pk)
