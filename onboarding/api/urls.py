"""The addresses of the API, all behind the gate; whatever has none is answered as a problem, not as a page."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path

from onboarding.api.gate import gate
from onboarding.api.interface import api, parameters_of


def unknown(request: HttpRequest, rest: str) -> HttpResponse:
    """There is no such address."""
    raise Http404


def _behind_the_gate() -> list[URLPattern]:
    found = []
    for pattern in api.urls[0]:
        assert isinstance(pattern, URLPattern)
        if pattern.name == "api-root":
            continue
        found.append(pattern)
        pattern.callback = gate(pattern.callback, parameters_of(pattern.name or ""))
    return [*found, path("<path:rest>", gate(unknown, {}), name="unknown")]


app_name = "api"
urlpatterns = _behind_the_gate()
