"""Turns what goes wrong while signing in into a page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from social_core.exceptions import SocialAuthBaseException

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Problem:
    """What the page says, and its HTTP status."""

    status: int
    what: str
    why: str
    todo: str


_AGAIN = "Sign in again."
_START_AGAIN = Problem(
    400,
    "This sign-in could not be finished",
    "It was not begun in this browser, was finished before, or took too long.",
    _AGAIN,
)
_AWAY = Problem(
    503, "Amazon does not answer", "Login with Amazon cannot be reached right now.", "Try again in a few minutes."
)
_ODD = Problem(
    502,
    "Amazon's answer cannot be understood",
    "Login with Amazon answered something that the portal does not know.",
    "Try again. If it happens again, tell an admin and name the request id.",
)
_SETTINGS = Problem(
    503,
    "Signing in is not set up",
    "Amazon does not accept this portal, or a setting is missing.",
    "Tell an admin: LOGIN_CLIENT_ID, LOGIN_CLIENT_SECRET and the allowed return address have to be checked.",
)
_PROBLEMS = {
    "authorization_declined": Problem(
        403,
        "You did not allow the sign-in",
        "The portal asks Amazon only for your name, your e-mail address and your user id, to know who you are.",
        "Sign in again and choose Allow, or ask an admin why this is needed.",
    ),
    "authorization_code_rejected": _START_AGAIN,
    "missing_parameter": _START_AGAIN,
    "invalid_parameter": _START_AGAIN,
    "session_context_missing": _START_AGAIN,
    "state_mismatch": _START_AGAIN,
    "user_mismatch": _START_AGAIN,
    "identity_in_use": Problem(
        409,
        "Somebody else is signed in in this browser",
        "You signed in with another Amazon login than the one in use here.",
        "Sign out first, then sign in again.",
    ),
    "authentication_disallowed": Problem(
        403, "You may not sign in", "An admin has disabled your access to this portal.", "Ask an admin."
    ),
    "connection_failed": _AWAY,
    "timeout": _AWAY,
    "rate_limited": _AWAY,
    "unavailable": _AWAY,
    "tls_error": _SETTINGS,
    "missing_setting": _SETTINGS,
    "invalid_setting": _SETTINGS,
    "backend_missing": _SETTINGS,
}


def problem_of(error: SocialAuthBaseException) -> Problem:
    """The words for a failure of social-auth, by its code, what Amazon said and at which stage."""
    if error.code in _PROBLEMS:
        return _PROBLEMS[error.code]
    if error.code == "http_error" and error.status_code is not None:
        if error.status_code >= 500 or error.status_code == 429:
            return _AWAY
        if error.stage == "token_exchange":
            return _SETTINGS if error.status_code == 401 else _START_AGAIN
    if error.provider_code == "access_denied":
        return _PROBLEMS["authorization_declined"]
    return _ODD


def forget_query(request: HttpRequest) -> None:
    """Take the query out of the request: a page links back to itself, and Amazon's code has no place in a page."""
    request.META["QUERY_STRING"] = ""


class SignInErrorMiddleware:
    """Answers every failure of social-auth with a page of its own; nothing of what Amazon said is shown."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """The page for a failed sign-in; None leaves other exceptions to Django."""
        if not isinstance(exception, SocialAuthBaseException):
            return None
        log.info("sign-in failed", code=exception.code, stage=exception.stage, status=exception.status_code)
        problem = problem_of(exception)
        forget_query(request)
        response = render(request, "signin/problem.html", {"problem": problem}, status=problem.status)
        if problem.status == 503:
            response["Retry-After"] = "60"
        response["Cache-Control"] = "no-store"
        return response
