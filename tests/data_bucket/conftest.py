"""An onboarding that has joined already, on the local Amazon: from here on it is about the data."""

from __future__ import annotations

import pytest
from django.utils import timezone

from onboarding.engine import queue
from onboarding.models import Instance, Membership, Step
from tests.engine.conftest import person
from tests.join.conftest import PARTNER_1, PRIMARY, Joining, aws, connect, portal_itself  # noqa: F401
from tests.simulated import amazon, connected  # noqa: F401


class Bringing(Joining):
    """A run whose steps up to the joined collaboration are done."""

    def __init__(self, *args, who: str = "portal", partners: bool = False) -> None:
        super().__init__(*args)
        answers = {
            "create-instance": {
                "aws-account": {"account_id": PRIMARY},
                "parties": {"multi": partners},
                **({"partners": {"account_1": PARTNER_1, "name_1": "Source Data 1"}} if partners else {}),
            },
            "aws-access": {"who": {"who": who}},
            "join": {"bucket": {"kind": "new", "name": "acme-results"}},
        }
        for step in self.run.steps.exclude(key="data-bucket"):
            if step.position < self.step("data-bucket").position:
                step.state, step.answers = "done", answers.get(step.key, {})
                step.save()
        Step.objects.filter(run=self.run, key="data-bucket").update(state="ready")
        Instance.objects.filter(pk=self.run.instance_id).update(
            instance_id="amcdata", aws_account_id=PRIMARY, collaboration_id="c-1", collaboration_name="AMC amcdata"
        )
        self.run.instance.refresh_from_db()
        Membership.objects.create(
            instance=self.run.instance,
            aws_account_id=PRIMARY,
            membership_id="m-1",
            status="ACTIVE",
            receives_results=True,
            results_bucket="acme-results",
            seen_at=timezone.now(),
        )

    def describe(self, kind: str = "new", name: str = "acme-data", uploads: str = "", prefix: str = "amc-data") -> None:
        self.answer("data-bucket", "where", where="files")
        self.answer("data-bucket", "bucket", kind=kind, name=name)
        self.answer("data-bucket", "folder", prefix=prefix)
        if kind == "existing":
            self.answer("data-bucket", "uploads", uploads=uploads or "no")

    def carry_out(self) -> Step:
        self.submit("data-bucket")
        return self.work("data-bucket")


@pytest.fixture
def bring(connected, amazon, portal_itself, monkeypatch, settings):  # noqa: F811
    """Make an onboarding that has joined; `who` acts in AWS, with or without a partner."""
    monkeypatch.setattr(queue, "put", lambda ids: True)
    settings.POLL_SCALE = settings.RETRY_SCALE = 0.001
    account = getattr(connected, "account", connected)
    people = (person(account, "Mia", "analyst"), person(account, "Paul", "approver"))
    return lambda **more: Bringing(amazon, account, *people, **more)


@pytest.fixture
def bringing(bring, amazon):  # noqa: F811
    found = bring()
    connect(found.account, amazon.url, PRIMARY)
    return found


@pytest.fixture
def s3(amazon):  # noqa: F811
    """S3 as the administrator of the primary account."""
    return aws(amazon.url, PRIMARY, "s3")
