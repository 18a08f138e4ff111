"""Asking for a role, and choosing the AMC account in view."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from onboarding.forms.people import AskForRole
from onboarding.models import AmcAccount, RoleRequest
from onboarding.numbers import number_of
from onboarding.services import people as service
from onboarding.services.aws_connections import invited
from onboarding.services.errors import Refused
from onboarding.views.access_control import get_visible, person_of
from onboarding.views.shell import look_at, page_to_return_to


@require_http_methods(["GET", "HEAD", "POST"])
def access(request: HttpRequest) -> HttpResponse:
    """/access/: what I may do, and how to get a role. Open to everybody who is signed in."""
    me = person_of(request)
    accounts = AmcAccount.objects.visible_to(me)
    form = AskForRole(request.POST if request.method == "POST" else None, accounts=accounts)
    if request.method == "POST" and form.is_valid():
        wanted = form.cleaned_data
        try:
            service.ask_for_role(
                me,
                role=wanted["role"],
                team=wanted["team"],
                reason=wanted["reason"],
                account=wanted.get("account"),
                now=timezone.now(),
            )
        except Refused as refusal:
            messages.error(request, str(refusal))
        else:
            messages.success(request, "Your request is with the admins. You get an e-mail once one of them decides.")
        return redirect("access")
    latest = RoleRequest.objects.filter(person=me).select_related("account", "decided_by").first()
    waiting = latest if latest and latest.state == RoleRequest.State.OPEN else None
    context = {
        "form": form,
        "roles": me.roles.select_related("account").order_by("account__name", "name"),
        "waiting": waiting,
        "latest": latest,
        "partner_of": invited(me),
    }
    return render(request, "access/access.html", context, status=422 if form.errors else 200)


@require_POST
def account_in_view(request: HttpRequest) -> HttpResponse:
    """POST /account-in-view with `account` (empty: all): which AMC account the pages show."""
    me = person_of(request)
    chosen = request.POST.get("account", "")
    if chosen in ("", "all"):
        look_at(request, None)
    else:
        look_at(request, get_visible(AmcAccount, me, pk=number_of(chosen) or 0))
    return redirect(page_to_return_to(request))
