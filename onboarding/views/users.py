"""Who was invited to an AMC account (admins alone: the records hold e-mail addresses)."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from onboarding.forms.users import InviteUser
from onboarding.models import AmcAccount, RoleName, UserInvitation
from onboarding.services import users as service
from onboarding.services.errors import Refused
from onboarding.views.access_control import get_visible, person_of, require_role

PAGE_SIZE = 50
LOOKS = {"sending": "queued", "invited": "done", "refused": "failed", "unknown": "waiting", "revoked": "cancelled"}


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def users(request: HttpRequest, pk: int) -> HttpResponse:
    """/accounts/N/users/: who was invited; POST invites somebody."""
    me = person_of(request)
    account = get_visible(AmcAccount.objects.visible_to(me).select_related("connection"), me, pk=pk)
    require_role(me, account, RoleName.ADMIN)
    form = InviteUser(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            row = service.invite(
                person=me,
                account=account,
                name=form.cleaned_data["name"],
                email=form.cleaned_data["email"],
                role=form.cleaned_data["role"],
                now=timezone.now(),
            )
        except Refused as refusal:
            form.add_error(None, str(refusal))
        else:
            _tell(request, row)
            return redirect("account-users", pk)
    rows = UserInvitation.objects.filter(account=account).select_related("invited_by")
    page = Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page"))
    lines = [{"row": row, "look": LOOKS[row.state]} for row in page.object_list]
    context = {"account": account, "form": form, "page": page, "lines": lines}
    return render(request, "users/users.html", context, status=422 if form.is_bound else 200)


def _tell(request: HttpRequest, row: UserInvitation) -> None:
    if row.state == UserInvitation.State.INVITED and not row.problem:
        messages.success(request, f"{row.name} is invited as {row.get_role_display().lower()}.")
    else:
        messages.error(request, f"{row.name}: {row.problem}")


def _one(request: HttpRequest, pk: int, act: Callable[[UserInvitation], None]) -> HttpResponse:
    me = person_of(request)
    rows = UserInvitation.objects.filter(account__in=AmcAccount.objects.visible_to(me))
    row = get_visible(rows.select_related("account__connection"), me, pk=pk)
    require_role(me, row.account, RoleName.ADMIN)
    try:
        act(row)
    except Refused as refusal:
        messages.error(request, str(refusal))
    return redirect("account-users", row.account_id)


@require_POST
def resend(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /users/N/resend: send the invitation again."""

    def act(row: UserInvitation) -> None:
        _tell(request, service.resend(person=person_of(request), invitation=row, now=timezone.now()))

    return _one(request, pk, act)


@require_POST
def revoked(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /users/N/revoked: record that the access was taken away in the AMC console."""

    def act(row: UserInvitation) -> None:
        service.revoked(person=person_of(request), invitation=row, now=timezone.now())
        messages.success(request, f"Recorded: the access of {row.name} was taken away in AMC.")

    return _one(request, pk, act)
