"""What a partner's own person sees: the part of one AWS account in one instance, and nothing else of the portal."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from onboarding.forms.aws_connections import RoleArns
from onboarding.models import CollaborationMember, PartnerInvitation, Person
from onboarding.services import aws_connections as service
from onboarding.services.errors import Refused
from onboarding.views.access_control import person_of
from onboarding.views.aws_connections import check_now, download, page_context, save_and_check


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def link(request: HttpRequest, token: str) -> HttpResponse:
    """/partner/<token>: what the invitation is for; POST takes it up. Whoever holds the link may open it."""
    me = person_of(request)
    if request.method == "POST":
        try:
            accepted = service.accept(me, token, now=timezone.now())
        except Refused as refusal:
            return render(request, "partner/gone.html", {"why": str(refusal)}, status=410)
        messages.success(request, "You have accepted the invitation.")
        return redirect("partner", accepted.pk)
    invitation = service.invitation_for(token, now=timezone.now())
    if invitation is None:
        why = "This link has expired, was withdrawn or was used already. Ask whoever sent it for a new one."
        return render(request, "partner/gone.html", {"why": why}, status=410)
    return render(request, "partner/link.html", {"invitation": invitation})


def _mine(request: HttpRequest, pk: int) -> tuple[Person, PartnerInvitation]:
    me = person_of(request)
    return me, get_object_or_404(service.invited(me), pk=pk)


def _page(request: HttpRequest, invitation: PartnerInvitation, form: RoleArns) -> HttpResponse:
    connection = invitation.connection
    member = CollaborationMember.objects.filter(
        instance=invitation.instance,
        account_id=connection.aws_account_id,
        kind=CollaborationMember.Kind.PARTNER,
    ).first()
    context = page_context(connection, form=form, invitation=invitation, member=member)
    return render(request, "partner/partner.html", context, status=422 if form.errors else 200)


@require_safe
def partner(request: HttpRequest, pk: int) -> HttpResponse:
    """/partner/<pk>/: my part: the template, the roles, the check, and how far my membership is."""
    _, invitation = _mine(request, pk)
    return _page(request, invitation, RoleArns(connection=invitation.connection))


@require_POST
def roles(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /partner/<pk>/roles: keep the ARNs and check them at once."""
    me, invitation = _mine(request, pk)
    form = RoleArns(request.POST, connection=invitation.connection)
    if not form.is_valid():
        return _page(request, invitation, form)
    save_and_check(request, me, invitation.connection, form)
    return redirect("partner", pk)


@require_POST
def check(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /partner/<pk>/check: check everything now."""
    me, invitation = _mine(request, pk)
    check_now(request, me, invitation.connection)
    return redirect("partner", pk)


@require_safe
def template(request: HttpRequest, pk: int, kind: str) -> HttpResponse:
    """/partner/<pk>/template/<kind>: a file that makes the roles."""
    _, invitation = _mine(request, pk)
    return download(invitation.connection, kind)
