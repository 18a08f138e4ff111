"""Importing the instances that AMC lists."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from onboarding.clients.amc import AmcClient
from onboarding.clients.failures import Later, Reconnect
from onboarding.engine import queue
from onboarding.models import AmcAccount, Instance, InstanceStatus, Run
from onboarding.services.instances_import import import_account, import_instances, put_due_imports
from simulator import people
from tests.simulated import connect, somebody

pytestmark = pytest.mark.django_db
NEW = {"instanceName": "Acme US", "awsAccountId": "555566667777", "acrBacked": True, "advertiserName": "Acme"}


def seed(amazon, count: int, account=people.PAPERBOAT) -> None:
    amazon.control("POST", "seed-instances", account=account.id, count=count)


def test_four_thousand_instances_in_few_queries(amazon, connected):
    seed(amazon, 3999)
    with CaptureQueriesContext(connection) as first:
        result = import_instances(connected)
    assert (result.listed, result.added, result.gone) == (4000, 4000, 0)
    assert Instance.objects.filter(gone_at=None).count() == 4000
    asked = [one["query"] for one in amazon.exchanges("amc:listInstances")]
    assert len(asked) == len(set(asked)) == 40, asked
    # SQLite takes 999 parameters a statement: some 36 rows each. PostgreSQL takes 500 rows.
    assert len(first) <= 180
    with CaptureQueriesContext(connection) as again:
        result = import_instances(connected)
    assert (result.added, result.changed, result.gone) == (0, 0, 0)
    # One a page for the token, one for 500 rows, and a few.
    assert len(again) <= 40 + 8 + 10


def test_what_amc_says_is_written_into_the_row(amazon, connected):
    made = AmcClient.of(connected).call("createInstance", NEW)["instance"]
    now = timezone.now()
    import_instances(connected, now)
    row = Instance.objects.get(instance_id=made["instanceId"])
    assert (row.name, row.kind, row.advertiser_name, row.aws_account_id) == (
        "Acme US",
        "COLLABORATION",
        "Acme",
        "555566667777",
    )
    assert row.creation_status == "COMPLETED" and row.api_endpoint and row.created_in_amc_at
    assert (row.status, row.seen_at, row.status_since) == (InstanceStatus.IMPORTED, now, now)
    assert Instance.objects.get(name="AMC Sandbox").kind == "SANDBOX"
    connected.refresh_from_db()
    assert connected.instances_read_at == now


def test_changes_and_disappearances_follow_and_come_back(amazon, connected):
    client = AmcClient.of(connected)
    made = client.call("createInstance", NEW)["instance"]["instanceId"]
    import_instances(connected)
    client.call("updateInstance", {"instanceId": made, "instanceName": "Acme Canada"})
    assert import_instances(connected).changed == 1
    assert Instance.objects.get(instance_id=made).name == "Acme Canada"
    client.call("deleteInstance", {"instanceId": made})
    now = timezone.now()
    assert import_instances(connected, now).gone == 1
    row = Instance.objects.get(instance_id=made)
    assert row.gone_at == now and row.seen_at < now
    assert import_instances(connected).gone == 0
    Instance.objects.filter(instance_id__startswith="amc").exclude(pk=row.pk).update(gone_at=now)
    result = import_instances(connected)
    assert result.returned == 1
    assert Instance.objects.filter(gone_at=None).count() == 1


def test_what_a_run_keeps_is_never_overwritten(amazon, connected):
    owner, now = somebody("Mia", connected, "analyst"), timezone.now()
    made = AmcClient.of(connected).call("createInstance", NEW)["instance"]["instanceId"]
    row = Instance.objects.create(
        account=connected,
        instance_id=made,
        name="Acme US",
        status=InstanceStatus.AMAZON,
        status_detail="Waiting",
        status_since=now,
        owner=owner,
        steps_done=3,
        steps_all=13,
        collaboration_id="c-1",
        collaboration_status="PENDING_ACCEPTANCE",
    )
    result = import_instances(connected, now + timedelta(hours=1))
    assert result.added == 1
    row.refresh_from_db()
    assert (row.status, row.status_since, row.owner, row.steps_done) == (InstanceStatus.AMAZON, now, owner, 3)
    assert (row.status_detail, row.collaboration_status) == ("Waiting", "PENDING_ACCEPTANCE")
    assert row.creation_status == "COMPLETED"


def test_an_instance_that_a_run_is_just_making_is_left_to_the_run(amazon, connected):
    now = timezone.now()
    draft = Instance.objects.create(
        account=connected, name="Acme US", status=InstanceStatus.IN_PROGRESS, status_since=now
    )
    AmcClient.of(connected).call("createInstance", NEW)
    result = import_instances(connected)
    assert (result.added, result.left) == (1, 1)
    draft.refresh_from_db()
    assert draft.instance_id == ""
    Instance.objects.filter(pk=draft.pk).update(status=InstanceStatus.CANCELLED)
    assert import_instances(connected).added == 1


def test_an_instance_under_way_is_not_called_gone(amazon, connected):
    now = timezone.now()
    row = Instance.objects.create(account=connected, instance_id="amcnotyet", name="New", status_since=now)
    Run.objects.create(account=connected, instance=row, owner=somebody("Mia"), started_at=now)
    assert import_instances(connected).gone == 0
    Run.objects.update(ended_at=now)
    assert import_instances(connected).gone == 1


@pytest.mark.parametrize(
    "action", [{"kind": "error", "status": 503}, {"kind": "cut_before"}, {"kind": "throttle", "retry_after": 2}]
)
def test_a_listing_that_breaks_off_changes_nothing(amazon, connected, action):
    import_instances(connected)
    read_at = AmcAccount.objects.get().instances_read_at
    seed(amazon, 150)
    amazon.control("POST", "rules", operation="amc:listInstances", nth=2, action=action)
    with pytest.raises(Later):
        import_instances(connected)
    assert Instance.objects.count() == 1 and AmcAccount.objects.get().instances_read_at == read_at
    import_account(connected.pk)
    assert Instance.objects.count() == 151


def test_a_revoked_grant_imports_nothing(amazon, connected):
    amazon.revoke("admin")
    with pytest.raises(Reconnect):
        import_instances(connected)
    import_account(connected.pk)
    assert not Instance.objects.exists()


def test_accounts_are_kept_apart(amazon, connected):
    harbour = connect(amazon, account=people.HARBOUR)
    seed(amazon, 3, people.HARBOUR)
    import_instances(connected)
    import_instances(harbour)
    assert connected.instances.count() == 1 and harbour.instances.count() == 4


def test_the_clock_finds_the_accounts_that_are_due(amazon, connected, monkeypatch):
    put: list[int] = []
    monkeypatch.setattr(queue, "put_job", lambda function, row: put.append(row) or True)
    now = timezone.now()
    assert put_due_imports(now=now) == 1 and put == [connected.pk]
    # Asked for already, by whichever clock: again only after a while without success.
    assert put_due_imports(now=now + timedelta(minutes=14)) == 0
    assert put_due_imports(now=now + timedelta(minutes=15)) == 1
    now += timedelta(minutes=15)
    import_instances(connected, now)
    assert put_due_imports(now=now + timedelta(minutes=59)) == 0
    assert put_due_imports(now=now + timedelta(minutes=60)) == 1
    connected.connection.state = "broken"
    connected.connection.save()
    assert put_due_imports(now=now + timedelta(minutes=120)) == 0


def test_odd_entries_do_not_stop_an_import(connected, monkeypatch):
    entries = [
        {"instanceId": "amc1", "instanceName": "x" * 500, "creationDatetime": "yesterday", "acrCollaboration": "?"},
        {"instanceId": "amc2", "creationDatetime": "2026-02-31T00:00:00Z", "awsAccountId": None},
        {"instanceName": "without an id"},
        {"instanceId": "amc1", "instanceName": "listed twice"},
    ]
    monkeypatch.setattr(AmcClient, "pages", lambda *_: iter(entries))
    assert import_instances(connected).listed == 2
    assert set(Instance.objects.values_list("name", flat=True)) == {"listed twice", "amc2"}
