"""Every operation of the API with every role, on an account of one's own and on a foreign one.

The list comes from the URL configuration and the operations behind it: one that says nothing here fails the test.
"""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from onboarding.api.interface import api
from onboarding.api.urls import urlpatterns
from onboarding.services import tokens
from tests.access.api_world import EXPECTED, more_objects
from tests.access.routes import KINDS
from tests.access.test_routes import objects, person_of_kind
from tests.simulated import amazon, browser, connected

__all__ = ["amazon", "connected", "objects"]


def operations() -> set[tuple[str, str]]:
    """Every named route with every method that it answers."""
    found = set()
    for router in api._get_bound_routers():
        for view in router.path_operations.values():
            for operation in view.operations:
                found |= {(operation.url_name, method.lower()) for method in operation.methods}
    return found


def test_every_operation_says_who_may_call_it():
    named = {name for name, _ in operations()}
    assert {pattern.name for pattern in urlpatterns} == named | {"openapi-json", "unknown"}
    assert sorted(operations() - {(name, route.method) for name, route in EXPECTED}) == []
    assert sorted({(name, route.method) for name, route in EXPECTED} - operations()) == []


def headers(person, **scopes) -> dict[str, str]:
    if person is None:
        return {}
    chosen = {"may_act": True, "may_approve": True, **scopes}
    _, token = tokens.make(person, name="test", days=1, now=timezone.now(), **chosen)
    return {"Authorization": f"Bearer {token}"}


def send(name, route, made, sent):
    def value(text):
        return made[text[1:]].pk if isinstance(text, str) and text.startswith("@") else text

    address = reverse(f"api:{name}", args=[value(arg) for arg in route.args])
    if route.method == "get":
        return Client(headers=sent).get(address)
    body = json.dumps({key: value(one) for key, one in route.data.items()})
    return getattr(Client(headers=sent), route.method)(address, body, content_type="application/json")


@contextmanager
def undone():
    """What is done inside is not there afterwards: every call finds the same world."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.fixture
def made(objects):
    return more_objects(objects)


def expected_of(route, kind) -> tuple[int, ...]:
    if kind == "nobody":
        return (401,)
    if kind in route.allowed:
        return route.status
    return (403,) if kind in route.forbidden else (422,) if kind in route.invalid else (404,)


@pytest.mark.parametrize("kind", KINDS)
def test_who_may_call_what(kind, made):
    sent = headers(person_of_kind(kind, made["account"]))
    wrong = []
    for name, route in EXPECTED:
        with undone():
            answer = send(name, route, made, sent)
        media_type = answer["Content-Type"].split(";")[0]
        fits = media_type == ("application/json" if answer.status_code < 300 else "application/problem+json")
        if answer.status_code not in expected_of(route, kind) or not fits:
            wrong.append((name, route.method, answer.status_code, media_type, answer.content.decode()[:300]))
    assert wrong == []


CHANGES = [(name, route) for name, route in EXPECTED if route.method != "get" and route.allowed]
DECIDING = ("request-approve", "request-send-back")


@pytest.mark.parametrize("scopes", [(), ("act",), ("approve",)], ids=["read", "act", "approve"])
def test_no_token_does_more_than_its_scope(scopes, made):
    person = person_of_kind("superuser", made["account"])
    sent = headers(person, may_act="act" in scopes, may_approve="approve" in scopes)
    for name, route in CHANGES:
        needed = "approve" if name in DECIDING else "act"
        with undone():
            answer = send(name, route, made, sent)
        refused = answer.status_code == 403 and answer.json()["code"] == "scope"
        assert refused is (needed not in scopes), name


def test_no_cookie_opens_anything(made):
    """Somebody who is signed in and may do everything, without a token: nothing, whatever their browser sends."""
    client = browser(person_of_kind("superuser", made["account"]))
    for name, route in EXPECTED:
        address = reverse(f"api:{name}", args=[made[a[1:]].pk if a.startswith("@") else a for a in route.args])
        answer = getattr(client, route.method)(address)
        assert answer.status_code == 401, name
        assert not answer.cookies
