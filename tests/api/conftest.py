"""People with tokens, and a program that uses one."""

from __future__ import annotations

import json

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from onboarding.models import ApiToken, Person
from onboarding.services import tokens
from tests.engine.conftest import account, amazon, queued  # noqa: F401
from tests.pages.conftest import admin, analyst, approver, as_, nobody, other_account, outsider, pages  # noqa: F401


class Program:
    """Calls the API with one token."""

    def __init__(self, token: str, row: ApiToken) -> None:
        self.token, self.row = token, row
        self.client = Client(headers={"Authorization": f"Bearer {token}"})

    def get(self, path: str, **query):
        return self.client.get(f"/api/v1{path}", query)

    def send(self, method: str, path: str, body=None, key: str = "", **headers):
        if method == "get":
            return self.client.get(f"/api/v1{path}")
        more = {"Idempotency-Key": key, **headers} if key else headers
        return getattr(self.client, method)(
            f"/api/v1{path}", json.dumps(body or {}), content_type="application/json", headers=more
        )

    def post(self, path: str, body=None, key: str = "", **headers):
        return self.send("post", path, body, key, **headers)

    def put(self, path: str, body=None, **headers):
        return self.send("put", path, body, **headers)


@pytest.fixture
def program(db):
    """`program(person, act=True)`: a program with a token of that person."""

    def make(person: Person, *, act: bool = True, approve: bool = True, days: int = 1) -> Program:
        row, token = tokens.make(
            person, name="Nightly job", may_act=act, may_approve=approve, days=days, now=timezone.now()
        )
        return Program(token, row)

    return make


@pytest.fixture(autouse=True)
def fresh_limits():
    cache.clear()
    yield
    cache.clear()
