"""Error pages: what happened, and what to do; with the request's id, by which the logs can be searched."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template import loader
from django.views.decorators.csrf import requires_csrf_token

from onboarding.api import problems
from onboarding.api.gate import PREFIX
from onboarding.views.shell import theme_of


def _page(request: HttpRequest, template: str, status: int, text: str = "") -> HttpResponse:
    if request.path_info.startswith(PREFIX):
        return _problem(request, status)
    context = {"request_id": request.META.get("portal.request_id", ""), "text": text}
    return render(request, template, context, status=status)


def _problem(request: HttpRequest, status: int) -> HttpResponse:
    """What the API's own gate did not answer, for programs."""
    return problems.answer(request, problems.Problem(problems.code_for(status)))


@requires_csrf_token
def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """400: the browser sent something that cannot be understood."""
    return _page(request, "errors/400.html", 400)


@requires_csrf_token
def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """403: signed in, but without the role that this needs; a PermissionDenied with a sentence has it shown."""
    text = str(exception) if isinstance(exception, PermissionDenied) else ""
    return _page(request, "errors/403.html", 403, text)


@requires_csrf_token
def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """404: no such page, or nothing that this person may see."""
    return _page(request, "errors/404.html", 404)


@requires_csrf_token
def server_error(request: HttpRequest) -> HttpResponse:
    """500: rendered without context processors and without the database, since either may be what failed."""
    if request.path_info.startswith(PREFIX):
        return _problem(request, 500)
    context: dict[str, Any] = {
        "request_id": request.META.get("portal.request_id", ""),
        "theme": theme_of(request),
    }
    return HttpResponse(loader.get_template("errors/500.html").render(context), status=500)


@login_not_required
@requires_csrf_token
def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 for a form whose secret is missing or old; nothing was done."""
    return _page(request, "errors/csrf.html", 403)
