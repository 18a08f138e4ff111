"""The home page: what needs this person now, then where their onboardings stand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from onboarding.guide.procedure import step_of
from onboarding.models import RoleName, StepState
from onboarding.selectors.home import Home, home_of
from onboarding.views.access_control import person_of
from onboarding.views.shell import shell_of


@dataclass(frozen=True)
class Need:
    """One thing that waits for the person: what, a remark, since when, and the act that leads there."""

    icon: str
    tone: str
    text: str
    detail: str
    since: datetime | None
    url: str
    act: str


def home(request: HttpRequest) -> HttpResponse:
    """GET /. Who holds no role yet is sent to the page where one is asked for."""
    person, shell = person_of(request), shell_of(request)
    if not shell.role_names:
        return redirect("access")
    page = home_of(person, account=shell.account, admin=shell.is_admin, approver=RoleName.APPROVER in shell.role_names)
    can_start = bool(shell.role_names & {RoleName.ANALYST, RoleName.ADMIN})
    return render(
        request,
        "home/home.html",
        {"needs": _needs(page), "home": page, "can_start": can_start and bool(shell.accounts)},
    )


def _needs(page: Home) -> list[Need]:
    needs = [
        Need(
            "unplug",
            "bad",
            f"The connection “{connection}” has to be renewed",
            connection.broken_reason or "Its runs are paused until then.",
            connection.state_since,
            reverse("connections"),
            "Reconnect",
        )
        for connection in page.connections
    ]
    for step in page.steps:
        title, back = step_of(step.run.procedure, step.key).title, page.returned.get(step.pk)
        if back is not None:
            needs.append(
                Need(
                    "clock" if back.expired else "undo",
                    "wait",
                    f"{step.run.instance}: {title}",
                    back.said,
                    back.at,
                    reverse("step", args=[step.run.address, step.key]),
                    "Ask again" if back.expired else "Fix",
                )
            )
            continue
        failed = step.state == StepState.FAILED
        what = (step.failure or {}).get("what", "") if failed else ""
        needs.append(
            Need(
                "problem" if failed else "hand",
                "bad" if failed else "wait",
                f"{step.run.instance}: {title}",
                what or ("Answers are kept; go on where you were." if step.answers else "Your answers are needed."),
                step.since,
                reverse("step", args=[step.run.address, step.key]),
                "Look at the problem" if failed else "Continue" if step.answers else "Start",
            )
        )
    needs += [
        Need(
            "inbox",
            "wait",
            f"Approve: {request.title}",
            f"Asked by {request.asked_by} · {request.account}",
            request.asked_at,
            reverse("request", args=[request.pk]),
            "Review",
        )
        for request in page.requests
    ]
    needs += [
        Need(
            "person",
            "wait",
            f"{asked.person} asks to be {asked.get_role_display().lower()}",
            str(asked.account or asked.team or "No account named"),
            asked.asked_at,
            reverse("people"),
            "Decide",
        )
        for asked in page.role_requests
    ]
    return needs
