"""Login with Amazon: the grant of the advertising scope, its tokens and the profile of who gave it.

Authorisation code grant with PKCE (RFC 7636, S256), refresh (RFC 6749, 6), and the profile. A refresh token is kept
only in the encrypted column of `AmcConnection`.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from onboarding import audit
from onboarding.clients.failures import Fix, Later, Reconnect
from onboarding.clients.http import Answer, Deadline, check_available, send
from onboarding.models import AmcConnection, locked

ADVERTISING_SCOPE = "advertising::campaign_management"
PROFILE_SCOPE = "profile"
AHEAD = timedelta(minutes=5)


@dataclass(frozen=True)
class Tokens:
    """What the token endpoint answers; `lifetime` counts from when it was asked."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    lifetime: timedelta


@dataclass(frozen=True)
class Profile:
    """Who signed in: the Login with Amazon user id (`amzn1.account.…`), name and e-mail address."""

    user_id: str
    name: str
    email: str


def new_verifier() -> str:
    """A PKCE code verifier, to be kept in the session until the code comes back."""
    return secrets.token_urlsafe(48)


def authorize_url(*, redirect_uri: str, scopes: list[str], state: str, verifier: str) -> str:
    """The address of Amazon's consent page for these scopes."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    query = {
        "client_id": settings.LOGIN_CLIENT_ID,
        "scope": " ".join(scopes),
        "response_type": "code",
        "redirect_uri": redirect_uri,
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    return f"{settings.LOGIN_AUTHORIZE_URL}?{urlencode(query)}"


def exchange_code(code: str, *, redirect_uri: str, verifier: str) -> Tokens:
    """Trade the code that came back from the consent page for tokens.

    Raises Fix if Amazon refuses the code (used, older than five minutes, not ours) and Later if it does not answer.
    """
    doing = "exchange the code of the sign-in"
    answer = _ask_for_tokens(
        {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri, "code_verifier": verifier},
        doing=doing,
        deadline=Deadline(),
    )
    if answer.status != 200:
        error = _error(answer)
        raise Fix(
            "Amazon did not accept the sign-in",
            why=_CODE_PROBLEMS.get(error, "Amazon refused the code that it had sent."),
            who="Admin" if error in ("invalid_client", "unauthorized_client") else "You",
            todo="Start again. If it happens again, check LOGIN_CLIENT_ID and LOGIN_CLIENT_SECRET."
            if error in ("invalid_client", "unauthorized_client")
            else "Start again from the beginning.",
            code=error,
            status=answer.status,
            request_id=answer.request_id,
        )
    return _tokens(answer, doing=doing)


_CODE_PROBLEMS = {
    "invalid_grant": "The code was used before, is older than five minutes, or belongs to another sign-in.",
    "invalid_client": "Amazon does not know this portal's client id, or the secret is wrong.",
    "unauthorized_client": "Amazon does not allow this portal's client to sign people in this way.",
}


def profile(access_token: str) -> Profile:
    """Who the token belongs to. Raises Fix if Amazon refuses the token and Later if it does not answer."""
    doing = "say who signed in"
    headers = {"Authorization": f"Bearer {access_token}", "Accept": "application/json"}
    answer = send("GET", settings.LOGIN_PROFILE_URL, doing=doing, deadline=Deadline(), reads=True, headers=headers)
    check_available(answer, doing=doing, reads=True)
    body = answer.body if isinstance(answer.body, dict) else {}
    if answer.status != 200 or not body.get("user_id"):
        raise Fix(
            "Amazon did not say who signed in",
            why="The sign-in does not include the profile.",
            who="You",
            todo="Start again, and allow the portal to see your profile.",
            code=_error(answer),
            status=answer.status,
            request_id=answer.request_id,
        )
    return Profile(str(body["user_id"]), str(body.get("name") or ""), str(body.get("email") or ""))


def access_token(
    connection: AmcConnection, now: datetime | None = None, *, rejected: str = "", deadline: Deadline | None = None
) -> str:
    """A valid access token of the connection, refreshed five minutes ahead, once however many workers need it.

    `rejected` is a token that Amazon has just refused: it is never returned again. Whoever wins the lease on the row
    (`refreshing_until`) asks Amazon, with no database lock held; the others go on with the old token while it is valid.
    Call it outside a transaction, or the lease is not seen by anybody.

    Raises Reconnect if the grant is gone (and writes that down), Later if Amazon does not answer or another worker is
    just refreshing.
    """
    now = now or timezone.now()
    row = _working(connection.pk)
    if _fresh(row, now, rejected):
        return str(row.access_token)
    lease = now + timedelta(seconds=settings.CALL_TIMEOUT + 5)
    won = (
        AmcConnection.objects.filter(pk=row.pk, state=AmcConnection.State.WORKING)
        .filter(Q(refreshing_until=None) | Q(refreshing_until__lte=now))
        .update(refreshing_until=lease)
    )
    row = _working(connection.pk)
    if not won:
        if _usable(row, now, rejected):
            return str(row.access_token)
        raise Later(
            "The connection to Amazon is being renewed",
            why="Another worker is renewing it at this moment.",
            who="The portal",
            todo="Nothing: it takes about a second.",
            retry_after=1,
        )
    mine = AmcConnection.objects.filter(pk=row.pk, refreshing_until=lease)
    if _fresh(row, now, rejected):
        mine.update(refreshing_until=None)
        return str(row.access_token)
    try:
        tokens = _refresh(row, deadline or Deadline())
    except Later:
        mine.update(refreshing_until=None)
        if _usable(row, now, rejected):
            return str(row.access_token)
        raise
    # A lease that ran out, or a reconnect in between, leaves a newer grant in the row: it is not overwritten.
    mine.update(
        access_token=tokens.access,
        refresh_token=tokens.refresh,
        access_expires_at=now + tokens.lifetime,
        refreshing_until=None,
    )
    return tokens.access


def mark_broken(connection: AmcConnection, *, reason: str, refresh_token: str) -> None:
    """Write down that the grant behind `refresh_token` no longer works.

    Does nothing if the connection has a newer grant, or was marked before.
    """
    with transaction.atomic():
        row = locked(AmcConnection).get(pk=connection.pk)
        if row.state == AmcConnection.State.BROKEN or row.refresh_token != refresh_token:
            return
        now = timezone.now()
        AmcConnection.objects.filter(pk=row.pk).update(
            state=AmcConnection.State.BROKEN,
            state_since=now,
            broken_reason=reason,
            access_token="",
            access_expires_at=None,
            refreshing_until=None,
        )
        audit.record(
            "connection.broken",
            actor=None,
            subject=row.label,
            subject_ref=f"amc:{row.pk}",
            details={"reason": reason},
            now=now,
        )


def lost(
    connection: AmcConnection, *, why: str, code: str = "", status: int | None = None, request_id: str = ""
) -> Reconnect:
    """The failure that says that this connection has to be made again."""
    return Reconnect(
        f"The connection “{connection.label}” to Amazon no longer works",
        connection=f"amc:{connection.pk}",
        why=why,
        who="Admin",
        todo="Open Connections and choose Reconnect. Everything that waits for it goes on by itself afterwards.",
        code=code,
        status=status,
        request_id=request_id,
    )


def _working(pk: int) -> AmcConnection:
    row = AmcConnection.objects.get(pk=pk)
    if row.state == AmcConnection.State.BROKEN:
        raise lost(row, why=row.broken_reason)
    return row


def _fresh(row: AmcConnection, now: datetime, rejected: str) -> bool:
    return _usable(row, now, rejected, AHEAD)


def _usable(row: AmcConnection, now: datetime, rejected: str, margin: timedelta = timedelta(seconds=10)) -> bool:
    return (
        bool(row.access_token)
        and row.access_token != rejected
        and row.access_expires_at is not None
        and row.access_expires_at - now > margin
    )


def _refresh(row: AmcConnection, deadline: Deadline) -> Tokens:
    doing = "renew the connection"
    answer = _ask_for_tokens(
        {"grant_type": "refresh_token", "refresh_token": row.refresh_token}, doing=doing, deadline=deadline
    )
    if answer.status == 200:
        return _tokens(answer, doing=doing, old_refresh=row.refresh_token)
    error = _error(answer)
    if error != "invalid_grant":
        # Nothing is wrong with the grant: reconnecting would not help, putting the portal's settings right does.
        raise Later(
            "Amazon refuses to renew the connection",
            why="Amazon does not accept this portal's client id and secret.",
            who="Admin",
            todo="Check LOGIN_CLIENT_ID and LOGIN_CLIENT_SECRET; the portal goes on trying.",
            code=error,
            status=answer.status,
            request_id=answer.request_id,
            retry_after=30,
        )
    why = "The person who connected it, or Amazon, has taken the permission back."
    mark_broken(row, reason=why, refresh_token=row.refresh_token)
    current = AmcConnection.objects.get(pk=row.pk)
    if current.state == AmcConnection.State.WORKING:
        raise Later("The connection to Amazon has just been made again", who="The portal", retry_after=0)
    raise lost(row, why=why, code=error, status=answer.status, request_id=answer.request_id)


def _ask_for_tokens(form: dict[str, str], *, doing: str, deadline: Deadline) -> Answer:
    answer = send(
        "POST",
        settings.LOGIN_TOKEN_URL,
        doing=doing,
        deadline=deadline,
        reads=True,
        headers={"Accept": "application/json"},
        form={**form, "client_id": settings.LOGIN_CLIENT_ID, "client_secret": settings.LOGIN_CLIENT_SECRET},
    )
    check_available(answer, doing=doing, reads=True)
    return answer


def _tokens(answer: Answer, *, doing: str, old_refresh: str = "") -> Tokens:
    body: dict[str, Any] = answer.body if isinstance(answer.body, dict) else {}
    access, refresh = body.get("access_token"), body.get("refresh_token") or old_refresh
    try:
        seconds = int(body.get("expires_in", 3600))
    except (TypeError, ValueError):
        seconds = 3600
    if not access or not refresh:
        raise Later(
            f"Amazon gave an answer that cannot be read when asked to {doing}",
            who="Amazon",
            code="unreadable",
            status=answer.status,
            request_id=answer.request_id,
        )
    return Tokens(str(access), str(refresh), timedelta(seconds=seconds))


def _error(answer: Answer) -> str:
    """The OAuth error word; never the description, which may quote what was sent."""
    return str(answer.body.get("error") or answer.status)[:60] if isinstance(answer.body, dict) else str(answer.status)
