"""No form does anything for another site: every route of the URL configuration refuses a POST without its secret."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from tests.access.test_routes import EXPECTED, objects, routes
from tests.simulated import somebody

__all__ = ["objects"]
METHODS = ("post", "put", "patch", "delete")


def views(patterns=None) -> list[tuple[str, object]]:
    """Every route's pattern and view, but for those of the API."""
    found = []
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(pattern, URLResolver) and pattern.namespace != "api":
            found += views(pattern.url_patterns)
        elif isinstance(pattern, URLPattern):
            found.append((str(pattern.pattern), pattern.callback))
    return found


@pytest.mark.django_db
def test_no_view_of_the_pages_is_exempt():
    assert len(views()) > 100
    # Social-auth's own, which here takes a GET alone and has the state of OAuth.
    exempt = [route for route, view in views() if getattr(view, "csrf_exempt", False)]
    assert exempt == ["<str:backend>/complete"]
    assert Client().post(reverse("social:complete", args=["amazon"])).status_code == 405


def test_every_route_refuses_what_has_no_secret(objects):
    client = Client(enforce_csrf_checks=True)
    client.force_login(somebody("Superuser", is_superuser=True))

    def value(text):
        return objects[text[1:]].pk if text.startswith("@") else text

    done = {}
    for name in routes():
        if name.startswith("api:"):
            continue
        address = reverse(name, args=[value(arg) for arg in EXPECTED[name][0].args])
        done[name] = {getattr(client, method)(address, {"typed": "x"}).status_code for method in METHODS}
    # A place that takes nothing but GET may say so instead.
    assert {name: codes for name, codes in done.items() if codes - {403, 405}} == {}
    assert sum(403 in codes for codes in done.values()) > 100


def test_with_the_secret_of_another_browser_nothing_is_done(objects):
    other = Client(enforce_csrf_checks=True)
    other.get("/sign-in")
    client = Client(enforce_csrf_checks=True)
    client.force_login(somebody("Superuser", is_superuser=True))
    client.get("/access/")
    sent = {"csrfmiddlewaretoken": other.cookies["csrftoken"].value, "theme": "dark"}
    assert client.post(reverse("theme"), sent).status_code == 403
    own = {**sent, "csrfmiddlewaretoken": client.cookies["csrftoken"].value}
    assert client.post(reverse("theme"), own).status_code == 302
    assert client.post(reverse("theme"), own, headers={"Origin": "https://evil.example"}).status_code == 403
