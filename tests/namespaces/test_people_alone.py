"""Whoever keeps AWS to themselves: the portal looks where it may, and otherwise believes AMC alone."""

import pytest

from onboarding.guide.plan import load
from onboarding.models import Step
from tests.join.conftest import PRIMARY

pytestmark = pytest.mark.django_db


@pytest.fixture
def alone(naming):
    Step.objects.filter(run=naming.run, key="aws-access").update(answers={"who": {"who": "ourselves"}})
    return naming


@pytest.mark.parametrize("key", ["source-role", "catalogue", "schema-mapping"])
def test_without_access_nothing_is_called(alone, key):
    alone.account.aws_connections.all().delete()
    alone.ready(key)
    alone.propose(key)
    assert alone.submit(key) is None
    assert alone.step(key).state == "done"


@pytest.mark.parametrize("key", ["source-role", "catalogue", "schema-mapping"])
def test_where_the_portal_may_look_it_looks(alone, key):
    alone.ready(key)
    alone.propose(key)
    assert alone.submit(key) is None
    calls = load(alone.step(key).plan)
    assert calls and not any(call.changes for call in calls)
    step = alone.work(key)
    assert (step.state, step.failure["code"]) == ("failed", "NotFound")
    assert "with the commands of this step" in step.failure["todo"]


def test_the_association_waits_for_amc_alone(alone):
    alone.account.aws_connections.all().delete()
    alone.ready("id-namespace")
    alone.propose("id-namespace")
    assert alone.submit("id-namespace") is None
    (call,) = load(alone.step("id-namespace").plan)
    arn = f"arn:aws:entityresolution:us-east-1:{PRIMARY}:idnamespace/amctest1-crm-v1"
    assert (call.effect, call.operation) == ("wait", "listCollaborationIdNamespaces")
    assert (call.until.done, call.until.one) == ((arn,), True)
