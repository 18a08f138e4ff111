"""An AMC account with its people, a run driven through pages, and an Amazon that answers from memory."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils import timezone

from onboarding.engine import executor
from onboarding.models import AmcAccount, Person, Step
from onboarding.services import runs
from tests.engine.conftest import account, amazon, person, queued  # noqa: F401


@pytest.fixture
def analyst(account) -> Person:  # noqa: F811
    return person(account, "Mia Analyst", "analyst")


@pytest.fixture
def approver(account) -> Person:  # noqa: F811
    return person(account, "Paul Approver", "approver")


@pytest.fixture
def admin(account) -> Person:  # noqa: F811
    return person(account, "Ada Admin", "admin")


@pytest.fixture
def other_account(account) -> AmcAccount:  # noqa: F811
    return AmcAccount.objects.create(
        entity_id="ENTITY2", marketplace_id="ATVPDKIKX0DER", name="Rival", connection=account.connection
    )


@pytest.fixture
def outsider(other_account) -> Person:
    """Holds every role on another account."""
    somebody = person(other_account, "Olga Outsider", "analyst", "approver", "admin")
    return somebody


@pytest.fixture
def nobody(db) -> Person:
    return Person.objects.create_user("amzn1.account.nobody", name="Nora Nobody", email="nora@example.com")


@pytest.fixture
def as_(db):
    """`as_(person)`: a browser in which the person is signed in."""

    def sign_in(somebody: Person) -> Client:
        client = Client()
        client.force_login(somebody)
        return client

    return sign_in


class Pages:
    """One onboarding, driven by form posts as a browser sends them."""

    def __init__(self, client: Client, approver_client: Client, pk: int) -> None:
        self.client, self.approver_client, self.pk = client, approver_client, pk

    def url(self, key: str, rest: str = "") -> str:
        return f"/instances/{self.pk}/steps/{key}/{rest}"

    def step(self, key: str) -> Step:
        steps = Step.objects.select_related("run__account", "run__instance")
        return steps.filter(run__instance=self.pk, key=key).latest("run__started_at")

    def answer(self, key: str, slug: str, **values):
        return self.client.post(self.url(key, f"q/{slug}/"), values)

    def confirm(self) -> None:
        self.answer("requirements", "eligibility", agreement="on", campaigns="on", advertisers="on")
        self.answer("requirements", "aws", aws_account="on", aws_services="on", two_buckets="on")
        assert self.client.post(self.url("requirements", "review/"), {"note": ""}).status_code == 302

    def work(self, key: str) -> Step:
        executor.work(self.step(key).pk, now=timezone.now)
        return self.step(key)

    def until_ready(self) -> None:
        """As far as the questions about the instance."""
        self.confirm()
        self.work("amc-access")

    def describe(self, name: str = "Acme US") -> None:
        self.answer("create-instance", "name", name=name)
        self.answer("create-instance", "advertiser", name="Acme")
        self.answer("create-instance", "aws-account", account_id="1111-2222-3333")
        self.answer("create-instance", "parties", multi="no")

    def ask(self, note: str = ""):
        """Submit the instance for approval and return the request."""
        response = self.client.post(self.url("create-instance", "review/"), {"note": note})
        assert response.status_code == 302, response.content
        return self.step("create-instance").requests.latest("asked_at")

    def until_asked(self, name: str = "Acme US", note: str = ""):
        self.until_ready()
        self.describe(name)
        return self.ask(note)

    def approve(self, request):
        return self.approver_client.post(f"/requests/{request.pk}/approve", {"digest": request.digest, "comment": ""})


@pytest.fixture
def pages(account, analyst, approver, amazon, queued, as_) -> Pages:  # noqa: F811
    run = runs.run_start(person=analyst, account=account, name="Acme US", now=timezone.now())
    return Pages(as_(analyst), as_(approver), run.instance_id)


def text_of(response) -> str:
    """The answer's text, without markup and with single blanks."""
    import html
    import re

    body = re.sub(r"<(script|style).*?</\1>", " ", response.content.decode(), flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())
