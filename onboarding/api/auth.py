"""Who calls: a personal token in the `Authorization` header, and nothing else. Cookies are not looked at."""

from __future__ import annotations

from django.http import HttpRequest
from ninja.security import HttpBearer

from onboarding.api.problems import Problem
from onboarding.models import ApiToken, Person

_NO_TOKEN = "Send a personal token that works: Authorization: Bearer amcp_…"  # noqa: S105 (words, no token)


class PersonalToken(HttpBearer):
    """The security scheme of every operation. `gate` has looked the token up; here it is only demanded."""

    def __call__(self, request: HttpRequest) -> ApiToken:
        return token_of(request)

    def authenticate(self, request: HttpRequest, token: str) -> ApiToken:
        """Not asked by `__call__`; the same answer."""
        return token_of(request)


def bearer(request: HttpRequest) -> str:
    """The token that was sent, or an empty text."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def token_of(request: HttpRequest) -> ApiToken:
    """The token of the request. Raises Problem when none that works was sent."""
    token: ApiToken | None = getattr(request, "api_token", None)
    if token is None:
        sent = "Authorization" in request.headers
        challenge = 'Bearer realm="AMC onboarding portal"' + (', error="invalid_token"' if sent else "")
        raise Problem("no-token", _NO_TOKEN, headers={"WWW-Authenticate": challenge})
    return token


def caller(request: HttpRequest) -> Person:
    """Whose token it is."""
    return token_of(request).person


def acting(request: HttpRequest) -> Person:
    """Whose token it is, if it may change things. Raises Problem."""
    return _with_scope(request, token_of(request).may_act, "act")


def approving(request: HttpRequest) -> Person:
    """Whose token it is, if it may decide requests. Raises Problem."""
    return _with_scope(request, token_of(request).may_approve, "approve")


def _with_scope(request: HttpRequest, has: bool, scope: str) -> Person:
    if not has:
        challenge = f'Bearer realm="AMC onboarding portal", error="insufficient_scope", scope="{scope}"'
        raise Problem(
            "scope",
            f"This token has no scope “{scope}”. Make one that has it.",
            headers={"WWW-Authenticate": challenge},
        )
    return token_of(request).person
