"""Connections to Amazon: the grants through which AMC is reached, its accounts and their policies (admins)."""

from __future__ import annotations

import hmac
import secrets
import time
from typing import Any

import structlog
from django.contrib import messages
from django.db.models import Count, Prefetch, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from onboarding.clients import login
from onboarding.clients.failures import RemoteFailure
from onboarding.forms.connections import ChooseAccounts, PolicyForm
from onboarding.models import AccountPolicy, AmcAccount, AmcConnection, Person, RoleName
from onboarding.services import connections as service
from onboarding.services.errors import Refused
from onboarding.services.instances_import import put_import
from onboarding.views.access_control import get_visible, person_of, require_role, require_some_role, require_superuser

log = structlog.get_logger(__name__)
GRANT_KEY = "amazon_grant"
GRANT_SECONDS = 900


@require_safe
def connections(request: HttpRequest) -> HttpResponse:
    """/connections/: every connection that I administer, whether it works, and its AMC accounts."""
    me = person_of(request)
    require_some_role(me, RoleName.ADMIN)
    accounts = AmcAccount.objects.with_role(me, RoleName.ADMIN).annotate(
        instance_count=Count("instances", filter=Q(instances__gone_at=None))
    )
    rows = service.visible_connections(me).select_related("connected_by").order_by("label", "pk")
    accounts = accounts.prefetch_related("aws_connections")
    rows = rows.prefetch_related(Prefetch("accounts", accounts, to_attr="shown_accounts"))
    return render(request, "connections/connections.html", {"connections": rows})


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """/connections/new: what is asked of Amazon; POST goes there (superusers)."""
    require_superuser(person_of(request))
    if request.method == "POST":
        return _to_amazon(request, None)
    return render(request, "connections/new.html", {"scope": login.ADVERTISING_SCOPE})


@require_POST
def reconnect(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /connections/<pk>/reconnect: to Amazon, to make a connection again."""
    me = person_of(request)
    require_some_role(me, RoleName.ADMIN)
    return _to_amazon(request, get_visible(service.visible_connections(me), me, pk=pk))


@never_cache
@require_safe
def callback(request: HttpRequest) -> HttpResponse:
    """/connections/callback: Amazon sends people back here with a code, or says that they refused."""
    me = person_of(request)
    require_some_role(me, RoleName.ADMIN)
    state = request.GET.get("state", "")
    # Whatever page follows links back to itself: Amazon's code has no place in it.
    request.META["QUERY_STRING"] = ""
    grant: dict[str, Any] | None = request.session.pop(GRANT_KEY, None)
    if (
        not isinstance(grant, dict)
        or not hmac.compare_digest(state.encode(), str(grant["state"]).encode())
        or not 0 <= time.time() - grant["at"] <= GRANT_SECONDS
    ):
        return _problem(
            request,
            400,
            "This connection could not be made",
            "It was not begun in this browser, was finished before, or took longer than 15 minutes.",
            "Begin again on Connections.",
        )
    if request.GET.get("error"):
        denied = request.GET["error"] == "access_denied"
        return _problem(
            request,
            403 if denied else 502,
            "Amazon was not allowed to connect" if denied else "Amazon refused to connect",
            "Whoever was signed in at Amazon chose not to allow it."
            if denied
            else "Amazon does not accept this portal's request. Its client may lack the advertising scope.",
            "Begin again and choose Allow." if denied else "Check the client in Amazon's developer console.",
        )
    connection = None
    if grant["connection"] is not None:
        connection = get_visible(service.visible_connections(me), me, pk=grant["connection"])
    else:
        require_superuser(me)
    try:
        tokens = login.exchange_code(
            request.GET.get("code", ""), redirect_uri=grant["redirect_uri"], verifier=grant["verifier"]
        )
        profile = login.profile(tokens.access)
        made = _keep(me, connection, tokens, profile)
    except RemoteFailure as failure:
        return _failed(request, failure)
    except Refused as refusal:
        return _problem(request, 409, "The connection was not changed", str(refusal), "Go back to Connections.")
    if connection is not None:
        _say_what_is_out_of_reach(request, made)
        return redirect("connections")
    return redirect("connection-accounts", made.pk)


def _keep(me: Person, connection: AmcConnection | None, tokens: login.Tokens, profile: login.Profile) -> AmcConnection:
    if connection is None:
        return service.connect(me, tokens, profile, now=timezone.now())
    return service.reconnect(me, connection, tokens, profile, now=timezone.now())


@require_http_methods(["GET", "HEAD", "POST"])
def accounts(request: HttpRequest, pk: int) -> HttpResponse:
    """/connections/<pk>/accounts: which of the login's AMC accounts to add (superusers)."""
    me = person_of(request)
    require_some_role(me, RoleName.ADMIN)
    connection = get_visible(service.visible_connections(me), me, pk=pk)
    require_superuser(me)
    try:
        found = service.reachable_accounts(connection)
    except RemoteFailure as failure:
        return _failed(request, failure)
    form = ChooseAccounts(request.POST if request.method == "POST" else None, found=found)
    if request.method == "POST" and form.is_valid():
        added = service.add_accounts(me, connection, form.chosen, now=timezone.now())
        for account in added:
            put_import(account.pk)
        names = ", ".join(account.name for account in added)
        messages.success(
            request, f"Added: {names}. Their instances are being read from AMC." if added else "Nothing new."
        )
        return redirect("connections")
    context = {
        "connection": connection,
        "form": form,
        "here": [account for account in found if account.taken is not None],
        "any_left": any(account.taken is None for account in found),
    }
    return render(request, "connections/accounts.html", context, status=422 if form.errors else 200)


@require_POST
def refresh(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /accounts/<pk>/refresh: read the account's instances from AMC now."""
    me = person_of(request)
    account = get_visible(AmcAccount, me, pk=pk)
    require_role(me, account, RoleName.ADMIN)
    if put_import(account.pk):
        messages.success(request, f"The instances of {account} are being read from AMC. This takes up to a minute.")
    else:
        messages.error(request, "The queue does not answer. Try again in a minute; nothing was changed.")
    return redirect("connections")


@require_http_methods(["GET", "HEAD", "POST"])
def policy(request: HttpRequest, pk: int) -> HttpResponse:
    """/accounts/<pk>/policy/: what needs a sign-off on this account, and by how many people."""
    me = person_of(request)
    account = get_visible(AmcAccount, me, pk=pk)
    require_role(me, account, RoleName.ADMIN)
    current = AccountPolicy.of(account)
    form = PolicyForm(request.POST if request.method == "POST" else None, policy=current)
    if request.method == "POST" and form.is_valid():
        service.change_policy(me, account, dict(form.cleaned_data), now=timezone.now())
        messages.success(request, f"The policy of {account} is saved. Requests that are open keep the one before.")
        return redirect("account-policy", pk)
    context = {
        "account": account,
        "form": form,
        "policy": current,
        "approvers": Person.objects.filter(
            roles__account=account, roles__name=RoleName.APPROVER, is_active=True
        ).count(),
    }
    return render(request, "connections/policy.html", context, status=422 if form.errors else 200)


def _to_amazon(request: HttpRequest, connection: AmcConnection | None) -> HttpResponse:
    state, verifier = secrets.token_urlsafe(32), login.new_verifier()
    redirect_uri = request.build_absolute_uri(reverse("connections-callback"))
    request.session[GRANT_KEY] = {
        "state": state,
        "verifier": verifier,
        "redirect_uri": redirect_uri,
        "connection": connection.pk if connection else None,
        "at": int(time.time()),
    }
    scopes = [login.PROFILE_SCOPE, login.ADVERTISING_SCOPE]
    return redirect(login.authorize_url(redirect_uri=redirect_uri, scopes=scopes, state=state, verifier=verifier))


def _say_what_is_out_of_reach(request: HttpRequest, connection: AmcConnection) -> None:
    try:
        missing = service.unreachable(connection, service.reachable_accounts(connection))
    except RemoteFailure as failure:
        log.info("accounts not checked after reconnecting", connection=connection.pk, kind=failure.kind)
        missing = []
    for account in missing:
        messages.warning(
            request, f"{account} is out of this login's reach. Ask an administrator of that AMC account to invite it."
        )
    messages.success(request, f"{connection} is connected again. What was paused goes on by itself.")


def _failed(request: HttpRequest, failure: RemoteFailure) -> HttpResponse:
    log.info("amazon call failed", kind=failure.kind, code=failure.code)
    status = {"later": 503, "reconnect": 409}.get(failure.kind, 502)
    return render(request, "connections/failed.html", {"failure": failure.as_dict()}, status=status)


def _problem(request: HttpRequest, status: int, what: str, why: str, todo: str) -> HttpResponse:
    problem = {"what": what, "why": why, "who": "You", "todo": todo}
    return render(request, "connections/failed.html", {"failure": problem}, status=status)
