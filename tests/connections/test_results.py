"""Listing the queries of an instance in the local Amazon, over real connections and page by page."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from onboarding.clients.failures import Later
from onboarding.models import AmcConnection, Instance, QueryResult, ResultsReading
from onboarding.services import nightly, results
from onboarding.services.instances_import import import_instances
from simulator import exchanges, people
from tests.simulated import connect

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
LIST = "amc:listWorkflowExecutions"


@pytest.fixture
def instance(amazon, connected) -> Instance:
    amazon.control("POST", "seed-instances", account=people.PAPERBOAT.id, count=1)
    import_instances(connected)
    return Instance.objects.get(kind="STANDARD")


def seed(amazon, instance: Instance, *ages: float, status: str = "SUCCEEDED", workflow: str = "reach") -> list[str]:
    """Executions that were created so many days ago; their ids."""
    now = timezone.now()
    wanted = [
        {"workflowId": workflow, "createTime": f"{now - age * DAY:%Y-%m-%dT%H:%M:%SZ}", "status": status}
        for age in ages
    ]
    body = {"account": instance.account.entity_id, "instance": instance.instance_id, "executions": wanted}
    return amazon.control("POST", "seed-executions", **body)["executions"]


def test_the_night_finds_what_ends_soon(amazon, instance, monkeypatch):
    soon = seed(amazon, instance, 89.9, 85)
    seed(amazon, instance, 91, 30, 1)
    seed(amazon, instance, 88, status="FAILED", workflow="broken")
    put = []
    monkeypatch.setattr(nightly.queue, "put_job", lambda job, pk: put.append(pk) or True)
    results.put_due_readings(now=timezone.now() - DAY)
    results.put_due_readings(now=timezone.now())
    assert instance.pk in put
    results.read_instance(instance.pk)
    rows = QueryResult.objects.values_list("execution_id", "workflow_id")
    assert list(rows) == [(one, "reach") for one in soon]
    row = QueryResult.objects.first()
    assert row.ends_at - row.created_at == 90 * DAY
    reading = ResultsReading.objects.get(instance=instance)
    assert reading.read_at is not None and reading.next_at > timezone.now()
    asked = amazon.exchanges(LIST)
    assert [one["status"] for one in asked] == [200]
    assert exchanges.check(asked, exchanges.published()) == (1, [])


def test_page_after_page_only_as_far_as_something_ends_soon(amazon, instance):
    amazon.control("POST", "settings", page_size=2)
    ids = seed(amazon, instance, *(89 - number / 10 for number in range(5)))
    seed(amazon, instance, *(20 - number / 10 for number in range(10)))
    assert results.read(instance, now=timezone.now()) == 5
    assert set(QueryResult.objects.values_list("execution_id", flat=True)) == set(ids)
    # Three pages; the fourth and later ones hold nothing that is wanted.
    assert len(amazon.exchanges(LIST)) == 3


@pytest.mark.parametrize(
    "action", [{"kind": "error", "status": 503}, {"kind": "cut_after"}, {"kind": "throttle", "retry_after": 0}]
)
def test_a_list_that_breaks_off_is_read_again_later(amazon, instance, action):
    amazon.control("POST", "settings", page_size=1)
    seed(amazon, instance, 89, 88)
    amazon.control("POST", "rules", operation=LIST, nth=2, action=action)
    with pytest.raises(Later):
        results.read(instance, now=timezone.now())
    assert not QueryResult.objects.exists()
    results.read_instance(instance.pk)
    assert QueryResult.objects.count() == 2


def test_an_instance_that_can_not_be_listed_is_said_and_the_others_are_read(amazon, instance):
    seed(amazon, instance, 89)
    foreign = Instance.objects.create(
        account=instance.account,
        instance_id="amc00000000",
        name="Elsewhere",
        creation_status="COMPLETED",
        status_since=timezone.now(),
    )
    for one in (foreign, instance):
        results.read_instance(one.pk)
    assert "may not do this in Paper Boat Foods" in ResultsReading.objects.get(instance=foreign).unread
    assert QueryResult.objects.get().instance == instance


def test_a_revoked_grant_breaks_the_login_and_is_not_asked_again(amazon, instance, monkeypatch):
    ResultsReading.objects.create(instance=instance, next_at=timezone.now())
    AmcConnection.objects.update(access_token="")
    amazon.revoke("admin")
    results.read_instance(instance.pk)
    assert AmcConnection.objects.get().state == "broken"
    monkeypatch.setattr(nightly.queue, "put_job", lambda job, pk: pytest.fail("asked again"))
    assert results.put_due_readings(now=timezone.now() + DAY) == 0


def test_another_accounts_queries_stay_there(amazon, instance):
    harbour = connect(amazon, account=people.HARBOUR)
    import_instances(harbour)
    sandbox = Instance.objects.get(account=harbour)
    seed(amazon, sandbox, 89)
    results.read_instance(instance.pk)
    assert not QueryResult.objects.exists()
    results.read_instance(sandbox.pk)
    assert QueryResult.objects.get().instance == sandbox
