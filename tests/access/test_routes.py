"""Every route with every role, on an account of one's own and on a foreign one.

`EXPECTED` says, for each named route, what each kind of person gets. A route that is not in it fails the test: whoever
adds a page says there who may open it.
"""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from onboarding.models import AmcAccount, AmcConnection, Person, Role, RoleRequest
from tests.access import world
from tests.access.routes import ADMIN, EVERYBODY_IN, KINDS, NO_ADMIN, SOME_ADMIN, Route
from tests.simulated import browser, somebody

EXPECTED: dict[str, list[Route]] = {
    "healthz": [Route(KINDS, public=True)],
    "metrics": [Route(KINDS, public=True, status=(404,))],
    "readyz": [Route(KINDS, public=True, status=(200, 503))],
    "sign-in": [Route(KINDS, public=True)],
    "sign-out": [Route(KINDS, "post", public=True)],
    "social:begin": [Route(KINDS, "post", ("amazon",), public=True)],
    "social:complete": [Route(KINDS, args=("amazon",), public=True, status=(400,))],
    "theme": [Route(KINDS, "post", data={"theme": "dark"}, public=True)],
    "gallery": [Route((), public=True)],
    "gallery-page": [Route((), args=("forms",), public=True)],
    "access": [Route(EVERYBODY_IN), Route(EVERYBODY_IN, "post", data={"team": "Acme", "role": "analyst"})],
    "account-in-view": [
        Route(EVERYBODY_IN, "post", data={"account": ""}),
        Route(("analyst", "approver", "admin", "superuser"), "post", data={"account": "@account"}),
    ],
    "people": [Route(SOME_ADMIN, forbidden=NO_ADMIN), Route(SOME_ADMIN, "post", status=(422,), forbidden=NO_ADMIN)],
    "person": [Route(ADMIN, args=("@person",), forbidden=NO_ADMIN)],
    "role-give": [
        Route(
            ADMIN, "post", ("@person",), {"account": "@account", "role": "approver"}, status=(302,), forbidden=NO_ADMIN
        )
    ],
    "role-take": [Route(ADMIN, "post", ("@person", "@role"), status=(302,), forbidden=NO_ADMIN)],
    "person-active": [
        Route(("superuser",), "post", ("@person",), {"active": "no"}, forbidden=(*NO_ADMIN, "admin")),
    ],
    "role-request-decide": [
        Route(ADMIN, "post", ("@asked",), {"answer": "decline"}, status=(302,), forbidden=NO_ADMIN),
    ],
    "connections": [Route(SOME_ADMIN, forbidden=NO_ADMIN)],
    "connection-new": [
        Route(("superuser",), forbidden=(*NO_ADMIN, "admin", "foreign admin")),
        Route(("superuser",), "post", status=(302,), forbidden=(*NO_ADMIN, "admin", "foreign admin")),
    ],
    "connections-callback": [Route(SOME_ADMIN, status=(400,), forbidden=NO_ADMIN)],
    "connection-accounts": [
        Route(("superuser",), args=("@connection",), status=(503,), forbidden=(*NO_ADMIN, "admin")),
        Route(("superuser",), "post", ("@connection",), status=(503,), forbidden=(*NO_ADMIN, "admin")),
    ],
    "connection-reconnect": [Route(ADMIN, "post", ("@connection",), status=(302,), forbidden=NO_ADMIN)],
    "account-refresh": [Route(ADMIN, "post", ("@account",), status=(302,), forbidden=("analyst", "approver"))],
    "account-policy": [
        Route(ADMIN, args=("@account",), forbidden=("analyst", "approver")),
        Route(ADMIN, "post", ("@account",), status=(422,), forbidden=("analyst", "approver")),
    ],
    **world.EXPECTED_ELSEWHERE,
}
CASES = [
    pytest.param(name, route, kind, id=f"{name}-{route.method}-{index}-{kind}")
    for name, routes in EXPECTED.items()
    for index, route in enumerate(routes)
    for kind in KINDS
]


def routes(patterns=None, prefix: str = "") -> list[str]:
    """The names of every route of the portal."""
    names = []
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(pattern, URLResolver):
            space = f"{prefix}{pattern.namespace}:" if pattern.namespace else prefix
            names += routes(pattern.url_patterns, space)
        elif isinstance(pattern, URLPattern):
            names.append(f"{prefix}{pattern.name}" if pattern.name else f"{prefix}without a name: {pattern.pattern}")
    return names


def test_every_route_says_who_may_open_it():
    # The API's routes are in test_api_routes.
    pages = {name for name in routes() if not name.startswith("api:")}
    assert len(pages) > 20
    assert sorted(pages - set(EXPECTED)) == []
    assert sorted(set(EXPECTED) - pages) == []


@pytest.fixture
def objects(db, settings) -> dict[str, object]:
    """An account with everything on it that addresses name."""
    connection = AmcConnection.objects.create(label="own@example.com", amazon_id="amzn1.own", refresh_token="r")
    account = AmcAccount.objects.create(entity_id="ENTITY1", marketplace_id="M", name="Own", connection=connection)
    target = somebody("Target", account, "analyst")
    asked = RoleRequest.objects.create(person=somebody("Asker"), account=account, role="analyst")
    made = {
        "connection": connection,
        "account": account,
        "person": target,
        "role": Role.objects.get(person=target),
        "asked": asked,
    }
    return {**made, **world.more_objects(made, timezone.now())}


def person_of_kind(kind: str, account: AmcAccount) -> Person | None:
    if kind == "nobody":
        return None
    if kind == "superuser":
        return somebody("Superuser", is_superuser=True)
    if kind == "no role":
        return somebody("Newcomer")
    if kind == "foreign admin":
        connection = AmcConnection.objects.create(label="f@example.com", amazon_id="amzn1.f", refresh_token="r")
        foreign = AmcAccount.objects.create(
            entity_id="ENTITY2", marketplace_id="M", name="Foreign", connection=connection
        )
        person = somebody("Foreign", foreign, "analyst", "approver", "admin")
        return person
    return somebody("Kind", account, kind)


def send(client: Client, name: str, route: Route, objects: dict[str, object]):
    def value(text):
        return objects[text[1:]].pk if isinstance(text, str) and text.startswith("@") else text

    address = reverse(name, args=[value(arg) for arg in route.args])
    return getattr(client, route.method)(address, {key: value(one) for key, one in route.data.items()})


@pytest.mark.parametrize(("name", "route", "kind"), CASES)
def test_who_may_open_what(name, route, kind, objects):
    person = person_of_kind(kind, objects["account"])
    answer = send(browser(person) if person else Client(), name, route, objects)
    signed_out = answer.status_code == 302 and answer["Location"].startswith("/sign-in?next=")
    if kind in route.allowed:
        assert answer.status_code in route.status, answer.content.decode()[:2000]
        assert not signed_out
    elif kind == "nobody" and not route.public:
        assert signed_out
    else:
        expected = 403 if kind in route.forbidden else 422 if kind in route.invalid else 404
        assert answer.status_code == expected
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    assert b"Traceback" not in content
