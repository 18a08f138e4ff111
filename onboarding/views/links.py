"""Addresses that several pages link to."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse

from onboarding.models import Run


def run_url(run: Run) -> str:
    """The page with the steps of a run: the instance's own for its onboarding."""
    return reverse("instance" if run.procedure == "onboard" else "run", args=[run.address])


def with_query(request: HttpRequest, **changes: str) -> str:
    """The address of this page with other parameters; without the page's number, which would no longer fit."""
    query = request.GET.copy()
    for name in ("page", "format", *changes):
        query.pop(name, None)
    for name, value in changes.items():
        if value:
            query[name] = value
    return f"{request.path}?{query.urlencode()}" if query else request.path


def list_url(name: str, **filters: object) -> str:
    """The address of a list with filters; those that are None are left out."""
    chosen = {key: value for key, value in filters.items() if value is not None}
    return f"{reverse(name)}?{urlencode(chosen)}" if chosen else reverse(name)
