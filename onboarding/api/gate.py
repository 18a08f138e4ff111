"""Through here comes every request of the API: no cookies, limits, the token, and problems for whatever goes wrong."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import conditional_page

from onboarding import audit
from onboarding.api import limits, problems
from onboarding.api.auth import bearer
from onboarding.api.problems import FieldError, Problem
from onboarding.services import tokens
from portal.signin.limits import client_address

View = Callable[..., HttpResponse]
MOST_BYTES = 1_000_000


PREFIX = "/api/"


class NoCookies:
    """Middleware: a request of the API comes without its cookies, so that nothing behind it can mind a session."""

    def __init__(self, get_response: View) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith(PREFIX):
            request.META.pop("HTTP_COOKIE", None)
        return self.get_response(request)


def gate(view: View, parameters: Mapping[str, frozenset[str]]) -> View:
    """The view as the API serves it: for whoever sends a token; there is no session that another site could use.

    `parameters` is method → the names that the query may have.
    """

    @login_not_required
    @csrf_exempt
    @conditional_page
    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        standing = limits.count("address", client_address(request), settings.API_ADDRESS_LIMIT)
        if standing.over:
            return _finish(request, problems.answer(request, _too_many(standing)), standing)
        sent = bearer(request)
        token = tokens.authenticate(sent, now=timezone.now()) if sent else None
        if token is None:
            return _finish(request, _call(view, request, *args, **kwargs), standing)
        request.api_token = token  # type: ignore[attr-defined]
        standing = limits.count("token", str(token.pk), settings.API_TOKEN_LIMIT)
        if standing.over:
            return _finish(request, problems.answer(request, _too_many(standing)), standing)
        named = {"id": token.pk, "name": token.name}
        with audit.acting_through(named), structlog.contextvars.bound_contextvars(token_id=token.pk):
            unknown = sorted(set(request.GET) - parameters.get(request.method or "", frozenset(request.GET)))
            if unknown:
                return _finish(request, problems.answer(request, _no_such_parameters(unknown)), standing)
            return _finish(request, _call(view, request, *args, **kwargs), standing)

    return guarded


def _no_such_parameters(names: list[str]) -> Problem:
    errors = [FieldError(detail="There is no such parameter.", parameter=name[:100]) for name in names[:20]]
    return Problem("invalid", "The address has parameters that do not exist.", errors=errors)


def _too_many(standing: limits.Standing) -> Problem:
    return Problem(
        "too-many",
        f"At most {standing.most} requests a minute for one {standing.name}. Try again in {standing.reset} seconds.",
        headers=standing.headers,
    )


def _call(view: View, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    try:
        if int(request.META.get("CONTENT_LENGTH") or 0) > MOST_BYTES:
            raise Problem("too-large", f"A request may have at most {MOST_BYTES} bytes.")
        response = view(request, *args, **kwargs)
    except Problem as problem:
        return problems.answer(request, problem)
    except RequestDataTooBig:
        return problems.answer(request, Problem("too-large"))
    except Http404:
        return problems.answer(request, Problem("not-found"))
    except PermissionDenied as denied:
        return problems.answer(request, Problem("not-allowed", str(denied)))
    if response.status_code >= 400 and response.get("Content-Type") != problems.CONTENT_TYPE:
        allow = {"Allow": response["Allow"]} if "Allow" in response else {}
        return problems.answer(request, Problem(problems.code_for(response.status_code), headers=allow))
    return response


def _finish(request: HttpRequest, response: HttpResponse, standing: limits.Standing) -> HttpResponse:
    for name, value in standing.headers.items():
        response[name] = value
    if "Cache-Control" not in response:
        response["Cache-Control"] = "private, no-cache" if response.status_code == 200 else "no-store"
    patch_vary_headers(response, ["Authorization"])
    return response
