"""A portal with one AMC account and its people, and an Amazon that answers from memory."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from onboarding.clients.failures import Fix
from onboarding.engine import executor, queue
from onboarding.models import AmcAccount, AmcConnection, Person, Role, Step
from onboarding.services import requests, runs

START = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)


class Clock:
    """Time that passes when told to."""

    def __init__(self, start: datetime = START) -> None:
        self.value = start

    def __call__(self) -> datetime:
        self.value += timedelta(milliseconds=1)
        return self.value

    def skip(self, seconds: float) -> None:
        self.value += timedelta(seconds=seconds)


class Amazon:
    """An AMC that keeps instances in memory. `trouble` is raised, once each, before or after the effect of a call."""

    def __init__(self, entity_id: str, marketplace_id: str) -> None:
        self.accounts = [{"accountId": entity_id, "marketplaceId": marketplace_id}]
        self.instances: list[dict] = []
        self.status = "COMPLETED"
        self.collaboration_status = "PENDING_ACCEPTANCE"
        self.collaboration: dict = {}
        self.before: dict[str, list[Exception]] = {}
        self.after: dict[str, list[Exception]] = {}
        self.calls: Counter[str] = Counter()
        self.sent: list[tuple[str, dict]] = []
        self.hook = None
        self.page_size = 100

    def call(self, operation: str, params: dict) -> dict:
        self.calls[operation] += 1
        self.sent.append((operation, copy.deepcopy(dict(params))))
        if self.before.get(operation):
            raise self.before[operation].pop(0)
        answer = copy.deepcopy(getattr(self, f"_{operation}")(params))
        if self.hook:
            self.hook(operation)
        if self.after.get(operation):
            raise self.after[operation].pop(0)
        return answer

    def pages(self, operation: str, params: dict, items: str, before=None):
        """Of `page_size` items each; an empty list has one page as well."""
        for start in itertools.count(step=self.page_size):
            if before is not None:
                before()
            listed = self.call(operation, params)[items]
            yield from listed[start : start + self.page_size]
            if start + self.page_size >= len(listed):
                return

    def _AmcpLinkListAmcAccounts(self, params: dict) -> dict:
        return {"amcAccounts": self.accounts}

    def _listInstances(self, params: dict) -> dict:
        return {"instances": self.instances}

    def _createInstance(self, params: dict) -> dict:
        for instance in self.instances:
            if instance.get("token") == params["idempotencyToken"]:
                return {"instance": instance}
        self.instances.append(
            {
                "instanceId": f"amc{len(self.instances):06}",
                "instanceName": params["instanceName"],
                "awsAccountId": params["awsAccountId"],
                "creationStatus": "REQUESTED",
                "creationDatetime": None,
                "token": params["idempotencyToken"],
                "partners": params.get("acrCustomerPartners", []),
            }
        )
        return {"instance": self.instances[-1]}

    def _getInstance(self, params: dict) -> dict:
        for instance in self.instances:
            if instance["instanceId"] == params["instanceId"]:
                instance["creationStatus"] = self.status
                return {"instance": instance}
        raise Fix("There is no such instance", code="404", status=404)

    def _getInstanceAdvertisers(self, params: dict) -> dict:
        return {"advertisers": [], "totalCount": 0}

    def _getInstanceCollaboration(self, params: dict) -> dict:
        made = next((one for one in self.instances if one["instanceId"] == params["instanceId"]), {})
        account = made.get("awsAccountId", "111122223333")
        member = {"accountId": account, "displayName": "Customer", "status": "INVITED", "membershipId": ""}
        partners = [
            {**member, "accountId": one["awsAccountId"], "displayName": one["displayName"]}
            for one in made.get("partners", [])
        ]
        return {
            "collaboration": {
                "id": "c-1",
                "name": f"AMC {params['instanceId']}",
                "status": self.collaboration_status,
                "customer": member,
                "customerPartners": partners,
                "amcDataProviders": [{**member, "accountId": "999900001111", "displayName": "Amazon"}],
                **self.collaboration,
            }
        }


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def account(db) -> AmcAccount:
    connection = AmcConnection.objects.create(label="Login", amazon_id="amzn1.account.A", refresh_token="Atzr|secret")
    return AmcAccount.objects.create(
        entity_id="ENTITY1", marketplace_id="ATVPDKIKX0DER", name="Acme", connection=connection
    )


def person(account: AmcAccount, name: str, *roles: str) -> Person:
    somebody = Person.objects.create_user(f"amzn1.account.{name}", name=name, email=f"{name.lower()}@example.com")
    for role in roles:
        Role.objects.create(person=somebody, account=account, name=role)
    return somebody


@pytest.fixture
def analyst(account) -> Person:
    return person(account, "Mia", "analyst")


@pytest.fixture
def approver(account) -> Person:
    return person(account, "Paul", "approver")


@pytest.fixture
def admin(account) -> Person:
    return person(account, "Ada", "admin")


@pytest.fixture
def amazon(account, monkeypatch) -> Amazon:
    """The Amazon that every run of the test talks to."""
    fake = Amazon(account.entity_id, account.marketplace_id)
    monkeypatch.setattr(executor.Outbound, "client", lambda self, service, aws_account="", **more: fake)
    return fake


@pytest.fixture
def queued(monkeypatch) -> list[int]:
    """The steps that were put on the queue."""
    ids: list[int] = []
    monkeypatch.setattr(queue, "put", lambda step_ids: ids.extend(step_ids) or True)
    return ids


class Onboarding:
    """One run, driven by hand."""

    def __init__(self, run, analyst, approver, clock) -> None:
        self.run, self.analyst, self.approver, self.clock = run, analyst, approver, clock

    def step(self, key: str) -> Step:
        return Step.objects.select_related("run__account__connection", "run__instance").get(run=self.run, key=key)

    def answer(self, key: str, slug: str, **values) -> None:
        step = self.step(key)
        situation = runs.situation_of(step.run)
        form = runs.question_of(runs.step_of("onboard", key), situation, slug)(values, situation=situation)
        assert form.is_valid(), form.errors
        runs.answer_save(person=self.analyst, step=step, form=form, now=self.clock())

    def confirm(self) -> None:
        """Answer and submit the requirements."""
        self.answer("requirements", "eligibility", agreement="on", campaigns="on", advertisers="on")
        self.answer("requirements", "aws", aws_account="on", aws_services="on", two_buckets="on")
        self.submit("requirements")

    def describe(self, name: str = "Acme US", account_id: str = "1111-2222-3333") -> None:
        """Answer the questions about the instance."""
        self.answer("create-instance", "name", name=name)
        self.answer("create-instance", "advertiser", name="Acme")
        self.answer("create-instance", "aws-account", account_id=account_id)
        self.answer("create-instance", "parties", multi="no")

    def join_alone(self) -> None:
        """The steps after the collaboration, when the customer's own administrator acts in AWS."""
        self.answer("advertisers", "when", when="later")
        self.submit("advertisers")
        self.answer("aws-access", "who", who="ourselves")
        self.submit("aws-access")
        self.work("invitation")
        self.answer("join", "bucket", kind="existing", name="acme-results")
        self.answer("join", "shape", format="CSV", prefix="amc")
        self.answer("join", "logging", logging="DISABLED")
        self.answer("join", "payment-terms", may="no")
        self.submit("join")

    def bring_nothing(self) -> None:
        """End the onboarding with the joined collaboration."""
        self.answer("data-bucket", "where", where="later")
        self.submit("data-bucket")

    def submit(self, key: str):
        return runs.submit(person=self.analyst, step=self.step(key), now=self.clock())

    def approve(self, request):
        return requests.approve(person=self.approver, request=request, digest=request.digest, now=self.clock())

    def work(self, key: str) -> Step:
        executor.work(self.step(key).pk, now=self.clock)
        return self.step(key)

    def until_asked(self, name: str = "Acme US"):
        """Go as far as the open request for the instance."""
        self.confirm()
        self.work("amc-access")
        self.describe(name)
        return self.submit("create-instance")


@pytest.fixture
def onboarding(account, analyst, approver, clock, amazon, queued) -> Onboarding:
    run = runs.run_start(person=analyst, account=account, name="Acme US", now=clock())
    return Onboarding(run, analyst, approver, clock)
