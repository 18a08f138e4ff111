"""An instance on the local Amazon, joined, and the runs that come after."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone

from onboarding.engine import executor, queue
from onboarding.guide.bucket_calls import CLOSED
from onboarding.guide.roles import cleanrooms_trust, results_policy
from onboarding.models import Instance, Membership, Run
from onboarding.services import lifecycle, requests, runs
from tests.engine.conftest import person
from tests.hanging import Hanging
from tests.join.conftest import PRIMARY, Joining, aws, connect, portal_itself
from tests.simulated import amazon, connected

__all__ = ["amazon", "connected", "portal_itself"]


class Lifecycle(Joining):
    """One instance and its runs; `run` is the one that is driven."""

    def __init__(self, amazon, account, analyst, approver, primary: str = PRIMARY) -> None:
        self.primary = primary
        self.amazon, self.account, self.analyst, self.approver = amazon, account, analyst, approver
        self.run: Run | None = None
        self.instance: Instance | None = None

    def made(self, name: str = "Acme", partners: tuple[str, ...] = (), **facts) -> Instance:
        """An instance that AMC has, with its collaboration, as the portal imported it."""
        headers = self.headers()
        body = {"instanceName": name, "awsAccountId": self.primary, "acrBacked": True}
        if partners:
            body["acrCustomerPartners"] = [{"awsAccountId": one, "displayName": f"Data {one}"} for one in partners]
        answer = self.amazon.http.post("/amc/instances", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        made = answer.json()["instance"]
        # Even the quickest Amazon takes a moment until the collaboration has its id.
        for _ in range(50):
            answer = self.amazon.http.get(f"/amc/instances/{made['instanceId']}/collaboration", headers=headers)
            collaboration = answer.json()["collaboration"]
            if collaboration["id"]:
                break
        self.instance = Instance.objects.create(
            account=self.account,
            instance_id=made["instanceId"],
            name=name,
            kind="COLLABORATION",
            aws_account_id=self.primary,
            status_since=timezone.now(),
            collaboration_id=collaboration["id"],
            collaboration_name=collaboration["name"],
            **{"creation_status": "COMPLETED", **facts},
        )
        return self.instance

    def headers(self) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self.amazon.token()['access_token']}",
            "Amazon-Advertising-API-ClientId": "amzn1.application-oa2-client.demo",
            "Amazon-Advertising-API-AdvertiserId": self.account.entity_id,
            "Amazon-Advertising-API-MarketplaceId": self.account.marketplace_id,
            "Content-Type": "application/vnd.amcinstances.v1+json",
        }

    def amc(self, method: str, rest: str = "", **json):
        url = f"/amc/instances/{self.instance.instance_id}{rest}"
        answer = self.amazon.http.request(method, url, json=json or None, headers=self.headers())
        return answer

    def joined(self, partners: tuple[str, ...] = ()) -> Membership:
        """The instance, and the membership of its account; partners have joined as well."""
        self.made(partners=partners)
        for account in partners:
            self.joins(account)
        return self.joins(self.primary)

    def joins(self, account: str) -> Membership:
        """Connect an AWS account and join with it."""
        instance = self.instance
        self.connect(account)
        seen = aws(self.amazon.url, account, "cleanrooms").create_membership(
            collaborationIdentifier=instance.collaboration_id, queryLogStatus="DISABLED"
        )["membership"]
        return Membership.objects.create(
            instance=instance,
            aws_account_id=account,
            membership_id=seen["id"],
            arn=seen["arn"],
            status="ACTIVE",
            joined_at=timezone.now(),
            seen_at=timezone.now(),
        )

    def connect(self, account: str) -> None:
        """Connect an AWS account with one role that may do everything."""
        connect(self.account, self.amazon.url, account)

    def map_table(self, namespace: str) -> None:
        """An ID mapping table of that name space."""
        where = "/collaboration/idmappingtables"
        made = self.amc("POST", where, idMappingTableName="people", sourceIdNamespaceArn=namespace)
        assert made.status_code == 200, made.text

    def begin(self, procedure: str) -> Run:
        self.run = lifecycle.start(person=self.analyst, instance=self.instance, procedure=procedure, now=timezone.now())
        return self.run

    def answer(self, key: str, slug: str, /, **values) -> None:
        form = self.form(key, slug, **values)
        assert form.is_valid(), form.errors
        runs.answer_save(person=self.analyst, step=self.step(key), form=form, now=timezone.now())

    def form(self, key: str, slug: str, /, **values):
        step = self.step(key)
        situation = runs.situation_of(step.run)
        return runs.question_of(runs.step_of(self.run.procedure, key), situation, slug)(values, situation=situation)

    def ask(self, key: str):
        return runs.submit(person=self.analyst, step=self.step(key), now=timezone.now())

    def approve(self, request, who=None) -> None:
        requests.approve(person=who or self.approver, request=request, digest=request.digest, now=timezone.now())

    def advertisers(self) -> list[str]:
        return [one["id"] for one in self.amc("GET", "/advertisers").json()["advertisers"]]


@pytest.fixture
def life(connected, portal_itself, monkeypatch, settings, amazon) -> Lifecycle:
    monkeypatch.setattr(queue, "put", lambda ids: True)
    settings.POLL_SCALE = settings.RETRY_SCALE = 0.001
    yield Lifecycle(amazon, connected, person(connected, "Mia", "analyst"), person(connected, "Paul", "approver"))
    amazon.control("POST", "pace", preset="fast")


class Hung(Hanging):
    """The membership of a run's instance, with everything on it."""

    def __init__(self, life: Lifecycle) -> None:
        super().__init__(life.amazon.url, life.primary, life.joined().membership_id, life.map_table)


@pytest.fixture
def hung(life) -> Hung:
    return Hung(life)


class Killed(BaseException):
    """A worker that dies at once: nothing catches it."""


@pytest.fixture
def killed_before_writing(monkeypatch):
    """`killed_before_writing(key)`: the worker dies after Amazon has done that call, before it is written down."""
    keys: list[str] = []
    record = executor._Attempt._record

    def recording(self, call, *args):
        if call.key in keys:
            keys.remove(call.key)
            raise Killed
        record(self, call, *args)

    monkeypatch.setattr(executor._Attempt, "_record", recording)
    return keys.append


def settle(life: Lifecycle, row: Membership, bucket: str = "acme-old") -> None:
    """Have the results of a membership go to the folder amc of a bucket, by the portal's role without its boundary."""
    life.amc("GET", "/collaboration")
    name = f"amc-cleanrooms-results-{life.instance.instance_id}"
    iam, s3 = (aws(life.amazon.url, life.primary, service) for service in ("iam", "s3"))
    s3.create_bucket(Bucket=bucket)
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=dict(CLOSED))
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    submitter = life.amc("GET", "/collaboration").json()["collaboration"]["querySubmitter"]["membershipId"]
    life.instance.members.create(
        kind="query_submitter", account_id="1", membership_id=submitter, seen_at=timezone.now()
    )
    trust = cleanrooms_trust(submitter, [row.arn])
    role = iam.create_role(RoleName=name, Path="/service-role/", AssumeRolePolicyDocument=json.dumps(trust))["Role"]
    document = json.dumps(results_policy(bucket, "amc", life.primary))
    iam.put_role_policy(RoleName=name, PolicyName="receive-results", PolicyDocument=document)
    results = {"s3": {"bucket": bucket, "keyPrefix": "amc", "resultFormat": "CSV"}}
    aws(life.amazon.url, life.primary, "cleanrooms").update_membership(
        membershipIdentifier=row.membership_id,
        defaultResultConfiguration={"outputConfiguration": results, "roleArn": role["Arn"]},
    )


@pytest.fixture
def settled(life) -> Membership:
    """A membership whose results go to acme-old/amc, by the portal's role, made without the boundary."""
    row = life.joined()
    settle(life, row)
    return row
