"""What is otherwise in Amazon than the portal believes: of one instance, and of all for admins."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from onboarding.engine.authority import MAY_ASK
from onboarding.models import Difference, RoleName
from onboarding.selectors import drift as selector
from onboarding.services import drift, lifecycle
from onboarding.services.errors import Refused
from onboarding.views.access_control import get_visible, person_of, require_role
from onboarding.views.instances import instance_page
from onboarding.views.shell import shell_of


@require_safe
def differences(request: HttpRequest) -> HttpResponse:
    """GET /differences/: the open differences of every instance that the person administers."""
    person, shell = person_of(request), shell_of(request)
    if not shell.is_admin:
        raise PermissionDenied
    seen = [shell.account] if shell.account else shell.accounts
    accounts = [account.pk for account in seen if person.has_role(account, RoleName.ADMIN)]
    page = selector.open_page(accounts, request.GET.get("page", 1))
    return render(request, "drift/differences.html", {"page": page})


@require_safe
def of_instance(request: HttpRequest, pk: int) -> HttpResponse:
    """GET /instances/N/differences/: what differs, since when, and what can be done about it."""
    page = instance_page(request, pk)
    found = selector.differences_of(page.instance)
    context: dict[str, Any] = {
        **page.context("instance-differences"),
        "found": found,
        "why_not_right": lifecycle.why_not("put-right", page.instance) if found.open else "",
    }
    return render(request, "drift/instance.html", context)


@require_POST
def compare(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /instances/N/compare: have a worker compare the instance now."""
    page = instance_page(request, pk)
    require_role(page.person, page.instance.account, *MAY_ASK)
    try:
        drift.ask_now(person=page.person, instance=page.instance, now=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, "The portal looks now what is there. Reload this page in a few seconds.")
    return redirect("instance-differences", pk)


@require_POST
def accept(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /differences/N/accept: believe from now on what was found."""
    person = person_of(request)
    rows = Difference.objects.visible_to(person).select_related("instance__account")
    row = get_visible(rows, person, pk=pk)
    require_role(person, row.instance.account, *MAY_ASK)
    try:
        drift.accept(person=person, difference=row, now=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, "Accepted: the portal believes this from now on.")
    return redirect("instance-differences", row.instance_id)
