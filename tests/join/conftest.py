"""An onboarding that stands before joining, on the local Amazon, with the AWS accounts connected."""

from __future__ import annotations

import json
from contextlib import suppress

import boto3
import pytest
from django.utils import timezone

from onboarding.clients.aws import forget_sessions
from onboarding.engine import executor, queue
from onboarding.guide.boundary import BOUNDARY_NAME
from onboarding.models import AwsConnection, Step
from onboarding.services import requests, runs
from tests.engine.conftest import person
from tests.simulated import amazon, connected  # noqa: F401

PRIMARY, PARTNER_1, PARTNER_2 = "111122223333", "444455556666", "777788889999"
PORTAL = "999988887777"


def aws(amazon_url: str, account: str, service: str):
    """A client that acts as the administrator of an account."""
    return boto3.client(
        service,
        endpoint_url=amazon_url,
        region_name="us-east-1",
        aws_access_key_id=account,
        aws_secret_access_key="any",
    )


def connect(account, url: str, aws_account: str) -> AwsConnection:
    """Connect an AWS account with one role that may do everything."""
    connection = AwsConnection(account=account, aws_account_id=aws_account, state="working")
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{PORTAL}:root"},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"sts:ExternalId": connection.external_id}},
            }
        ],
    }
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam = aws(url, aws_account, "iam")
    with suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_policy(PolicyName=BOUNDARY_NAME, PolicyDocument=json.dumps(everything))
    name = f"portal-{connection.external_id[-8:]}"
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=json.dumps(everything))
    connection.provisioner_role_arn = role["Role"]["Arn"]
    connection.save()
    return connection


@pytest.fixture
def portal_itself(monkeypatch, settings, amazon):  # noqa: F811
    """The portal's own AWS identity, and the local Amazon as AWS."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", PORTAL)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    settings.AWS_ENDPOINT_URL = amazon.url
    from onboarding.clients import aws as module

    module._boto.cache_clear()
    forget_sessions()
    yield
    forget_sessions()
    module._boto.cache_clear()


class Joining:
    """A run on the local Amazon, driven by hand."""

    def __init__(self, amazon, account, analyst, approver) -> None:  # noqa: F811
        self.amazon, self.account, self.analyst, self.approver = amazon, account, analyst, approver
        self.run = runs.run_start(person=analyst, account=account, name="Join me", now=timezone.now())

    def step(self, key: str) -> Step:
        return Step.objects.select_related("run__account__connection", "run__instance").get(run=self.run, key=key)

    def answer(self, key: str, slug: str, /, **values) -> None:
        step = self.step(key)
        situation = runs.situation_of(step.run)
        form = runs.question_of(runs.step_of("onboard", key), situation, slug)(values, situation=situation)
        assert form.is_valid(), form.errors
        runs.answer_save(person=self.analyst, step=step, form=form, now=timezone.now())

    def submit(self, key: str):
        request = runs.submit(person=self.analyst, step=self.step(key), now=timezone.now())
        if request:
            requests.approve(person=self.approver, request=request, digest=request.digest, now=timezone.now())
        return request

    def approve(self, key: str) -> None:
        request = self.step(key).requests.get(state="open")
        requests.approve(person=self.approver, request=request, digest=request.digest, now=timezone.now())

    def work(self, key: str, tries: int = 60) -> Step:
        """Work on a step until it neither waits for Amazon nor for a role to settle."""
        for _ in range(tries):
            Step.objects.filter(run=self.run, key=key, next_attempt_at__isnull=False).update(
                next_attempt_at=timezone.now()
            )
            executor.work(self.step(key).pk)
            step = self.step(key)
            if step.state not in ("queued", "waiting") or step.next_attempt_at is None:
                return step
        return self.step(key)

    def until_invited(self, partners: tuple[str, ...] = (), who: str = "portal") -> None:
        self.answer("requirements", "eligibility", agreement="on", campaigns="on", advertisers="on")
        self.answer("requirements", "aws", aws_account="on", aws_services="on", two_buckets="on")
        self.submit("requirements")
        assert self.work("amc-access").state == "done"
        self.answer("create-instance", "name", name="Join me")
        self.answer("create-instance", "advertiser", name="Acme")
        self.answer("create-instance", "aws-account", account_id=PRIMARY)
        self.answer("create-instance", "parties", multi="yes" if partners else "no")
        if partners:
            more = {"account_2": partners[1], "name_2": "Source Data 2"} if len(partners) > 1 else {}
            self.answer("create-instance", "partners", account_1=partners[0], name_1="Source Data 1", **more)
        self.submit("create-instance")
        assert self.work("create-instance").state == "done"
        assert self.work("collaboration").state == "done"
        assert self.work("advertisers-now").state == "done"
        self.answer("advertisers", "when", when="later")
        self.submit("advertisers")
        self.answer("aws-access", "who", who=who)
        self.submit("aws-access")

    def bring_nothing(self) -> None:
        """End the onboarding with the joined collaboration."""
        self.answer("data-bucket", "where", where="later")
        assert self.submit("data-bucket") is None

    def describe_join(self, bucket: str, kind: str = "new", logging: str = "DISABLED") -> None:
        self.answer("join", "bucket", kind=kind, name=bucket)
        self.answer("join", "shape", format="CSV", prefix="amc")
        self.answer("join", "logging", logging=logging)


@pytest.fixture
def joining(connected, amazon, portal_itself, monkeypatch, settings) -> Joining:  # noqa: F811
    monkeypatch.setattr(queue, "put", lambda ids: True)
    settings.POLL_SCALE = settings.RETRY_SCALE = 0.001
    account = connected
    account = getattr(account, "account", account)
    return Joining(amazon, account, person(account, "Mia", "analyst"), person(account, "Paul", "approver"))
