"""AWS accounts: added, connected by roles, checked, replaced, disabled; partners invited (admins)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from onboarding.clients.failures import RemoteFailure
from onboarding.forms.aws_connections import AddAwsAccount, InvitePartner, RoleArns
from onboarding.guide import aws_templates
from onboarding.guide.permissions import PROVISIONER_NAME, READER_NAME
from onboarding.models import AmcAccount, AwsConnection, PartnerInvitation, Person, RoleName
from onboarding.services import aws_connections as service
from onboarding.services.errors import Refused
from onboarding.views.access_control import get_visible, person_of, require_role, require_some_role

# What can be downloaded: how it is made, the file's name and its media type.
TEMPLATES = {
    "cloudformation": (aws_templates.cloudformation, "amc-onboarding-portal.yaml", "application/yaml"),
    "commands": (aws_templates.commands, "amc-onboarding-portal.sh", "text/x-shellscript"),
    "terraform": (aws_templates.terraform, "amc-onboarding-portal.tf", "text/plain"),
}
CONSOLE = "https://us-east-1.console.aws.amazon.com/cloudformation/home?region=us-east-1#/stacks/create"


def _connection(request: HttpRequest, pk: int) -> tuple[Person, AwsConnection]:
    me = person_of(request)
    connection = get_visible(AwsConnection.objects.visible_to(me).select_related("account", "made_by"), me, pk=pk)
    require_role(me, connection.account, RoleName.ADMIN)
    return me, connection


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """/connections/aws/new: add an AWS account to an AMC account; `?account=` chooses the latter."""
    me = person_of(request)
    require_some_role(me, RoleName.ADMIN)
    accounts = list(AmcAccount.objects.with_role(me, RoleName.ADMIN))
    form = AddAwsAccount(
        request.POST if request.method == "POST" else None,
        accounts=accounts,
        initial={"account": request.GET.get("account", "")},
    )
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            made = service.add(me, given["account"], given["aws_account_id"], given["label"], now=timezone.now())
        except Refused as refusal:
            form.add_error(None, str(refusal))
        else:
            return redirect("aws-connection", made.pk)
    return render(request, "aws_connections/new.html", {"form": form}, status=422 if form.errors else 200)


def page_context(connection: AwsConnection, **more: Any) -> dict[str, Any]:
    """What the page of a connection shows, to an admin and to a partner alike."""
    access = service.access_of(connection)
    ready = bool(settings.PORTAL_AWS_PRINCIPAL)
    return {
        "connection": connection,
        "checks": service.checks_of(connection),
        "ready": ready,
        "principal": settings.PORTAL_AWS_PRINCIPAL,
        "console": CONSOLE,
        "cloudformation": aws_templates.cloudformation(access) if ready else "",
        "commands": aws_templates.commands(access) if ready else "",
        "terraform": aws_templates.terraform(access) if ready else "",
        "provisioner_name": PROVISIONER_NAME,
        "reader_name": READER_NAME,
        **more,
    }


def _page(request: HttpRequest, connection: AwsConnection, form: RoleArns) -> HttpResponse:
    context = page_context(
        connection,
        form=form,
        invitations=connection.invitations.select_related("accepted_by", "made_by", "instance"),
        now=timezone.now(),
    )
    status = 422 if form.errors else 200
    return render(request, "aws_connections/connection.html", context, status=status)


@require_safe
def connection(request: HttpRequest, pk: int) -> HttpResponse:
    """/connections/aws/<pk>/: the state of one connection, its template, its roles and its last check."""
    _, found = _connection(request, pk)
    return _page(request, found, RoleArns(connection=found))


@require_POST
def roles(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /connections/aws/<pk>/roles: keep the ARNs and check them at once."""
    me, found = _connection(request, pk)
    form = RoleArns(request.POST, connection=found)
    if not form.is_valid():
        return _page(request, found, form)
    save_and_check(request, me, found, form)
    return redirect("aws-connection", pk)


@require_POST
def check(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /connections/aws/<pk>/check: check everything now."""
    me, found = _connection(request, pk)
    check_now(request, me, found)
    return redirect("aws-connection", pk)


def save_and_check(request: HttpRequest, me: Person, found: AwsConnection, form: RoleArns) -> None:
    """Keep the ARNs of a valid form and check them; what came of it is said on the next page."""
    given = form.cleaned_data
    try:
        found = service.set_roles(me, found, given["provisioner"], given["reader"], now=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
        return
    check_now(request, me, found)


def check_now(request: HttpRequest, me: Person, found: AwsConnection) -> None:
    """Check a connection; what came of it is said on the next page."""
    try:
        row = service.prove(found, now=timezone.now(), actor=me)
    except Refused as refusal:
        messages.error(request, str(refusal))
    except RemoteFailure as failure:
        messages.warning(request, f"{failure.what} Nothing was changed; check again in a minute.")
    else:
        failed = [one for one in service.checks_of(row) if not one.ok]
        if failed:
            messages.error(request, f"Not in order: {failed[0].title[0].lower()}{failed[0].title[1:]}. See below.")
        else:
            messages.success(request, f"{row} is connected. Anything that was paused for it goes on by itself.")


@require_safe
def template(request: HttpRequest, pk: int, kind: str) -> HttpResponse:
    """/connections/aws/<pk>/template/<kind>: a file that makes the roles; `?leave=1` with what leaving takes."""
    _, found = _connection(request, pk)
    return download(found, kind, deletes=request.GET.get("leave") == "1")


def download(found: AwsConnection, kind: str, *, deletes: bool = False) -> HttpResponse:
    """One of TEMPLATES as a file. Raises Http404 for another, or while the portal has no identity at AWS."""
    if kind not in TEMPLATES or not settings.PORTAL_AWS_PRINCIPAL:
        raise Http404
    make, name, media_type = TEMPLATES[kind]
    answer = HttpResponse(make(service.access_of(found, deletes=deletes)), content_type=f"{media_type}; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


@require_POST
def disable(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /connections/aws/<pk>/disable with `disabled` yes or no."""
    me, found = _connection(request, pk)
    disabled = request.POST.get("disabled") == "yes"
    if service.set_disabled(me, found, disabled, now=timezone.now()):
        messages.success(
            request,
            f"The portal no longer acts in {found}. Runs that need it pause."
            if disabled
            else f"{found} may be used again. Check it now.",
        )
    return redirect("aws-connection", pk)


@require_POST
def replace(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /connections/aws/<pk>/replace: a new external id."""
    me, found = _connection(request, pk)
    service.replace(me, found, now=timezone.now())
    messages.success(request, f"{found} has a new external id. Run the template again, then check.")
    return redirect("aws-connection", pk)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def invite(request: HttpRequest) -> HttpResponse:
    """/connections/aws/invite: a link for a partner's own person; it is shown this once."""
    me = person_of(request)
    require_some_role(me, RoleName.ADMIN)
    partners = service.partners(me)
    form = InvitePartner(request.POST if request.method == "POST" else None, partners=partners)
    context: dict[str, Any] = {"form": form, "partners": partners}
    if request.method == "POST" and form.is_valid():
        invitation, token = service.invite(me, form.chosen, days=form.cleaned_data["days"], now=timezone.now())
        context |= {
            "invitation": invitation,
            "link": request.build_absolute_uri(reverse("partner-link", args=[token])),
        }
    return render(request, "aws_connections/invite.html", context, status=422 if form.errors else 200)


@require_POST
def withdraw(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /connections/aws/invitations/<pk>/withdraw: neither the link nor its holder gets in any more."""
    me = person_of(request)
    mine = PartnerInvitation.objects.filter(connection__in=AwsConnection.objects.visible_to(me))
    invitation = get_object_or_404(mine.select_related("connection__account"), pk=pk)
    require_role(me, invitation.connection.account, RoleName.ADMIN)
    if service.withdraw(me, invitation, now=timezone.now()):
        messages.success(request, f"The invitation of {invitation.partner_name} is withdrawn.")
    return redirect("aws-connection", invitation.connection_id)
