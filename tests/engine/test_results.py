"""Which query results end soon: what is kept of the list, who is read when, and what a refusal changes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from onboarding.clients.failures import Fix, Later, Reconnect
from onboarding.management.commands.clock import Command
from onboarding.models import AmcConnection, Instance, Notice, Pause, QueryResult, ResultsReading
from onboarding.services import nightly, results, retention
from onboarding.services.errors import NotAllowed, Refused

DAY = timedelta(days=1)
NOW = timezone.now().replace(hour=12, minute=0, second=0, microsecond=0)


@pytest.fixture
def instance(account) -> Instance:
    return Instance.objects.create(
        account=account, instance_id="amcthere", name="There", creation_status="COMPLETED", status_since=NOW
    )


class List:
    """What AMC would list, the oldest first; `taken` is how much of it was asked for."""

    def __init__(self, monkeypatch) -> None:
        self.executions: list[dict] = []
        self.taken, self.asked, self.trouble = 0, [], None
        monkeypatch.setattr(results.AmcClient, "pages", lambda client, *args: self.pages(*args))

    def add(self, days: float, *, status="SUCCEEDED", **more) -> None:
        """One that was created so many days ago."""
        number = len(self.executions)
        created = f"{NOW - days * DAY:%Y-%m-%dT%H:%M:%SZ}"
        one = {"workflowExecutionId": f"e{number}", "workflowId": "reach", "status": status, "createTime": created}
        self.executions.append({**one, **more})

    def pages(self, operation: str, params: dict, items: str):
        self.asked.append((operation, params, items))
        for one in self.executions:
            self.taken += 1
            yield one
        if self.trouble:
            raise self.trouble


@pytest.fixture
def listed(monkeypatch) -> List:
    return List(monkeypatch)


def kept() -> list[str]:
    return list(QueryResult.objects.values_list("execution_id", flat=True))


def test_what_ends_soon_is_kept_and_no_more_is_read(instance, listed):
    for days, more in ((89.5, {}), (89, {"status": "FAILED"}), (80, {"workflowId": "paths"}), (77, {}), (70, {})):
        listed.add(days, **more)
    for _ in range(50):
        listed.add(1)
    assert results.read(instance, now=NOW) == 3
    assert kept() == ["e0", "e2", "e3"]
    row = QueryResult.objects.get(execution_id="e2")
    assert (row.workflow_id, row.created_at, row.ends_at) == ("paths", NOW - 80 * DAY, NOW + 10 * DAY)
    # The one of 77 days ends within a fortnight; the next shows that there is nothing more of the kind.
    assert listed.taken == 5
    ((operation, params, items),) = listed.asked
    assert (operation, items) == ("listWorkflowExecutions", "executions")
    assert params == {
        "instanceId": "amcthere",
        "minCreationTime": f"{NOW - 90 * DAY:%Y-%m-%dT%H:%M:%S}",
        "sortAscending": "true",
    }


def test_where_nothing_ends_soon_what_ends_next_is_known(instance, listed):
    listed.add(50, status="FAILED")
    listed.add(40)
    listed.add(30)
    results.read(instance, now=NOW)
    assert kept() == ["e1"] and QueryResult.objects.get().ends_at == NOW + 50 * DAY


def test_the_next_night_knows_what_came_and_what_is_gone(instance, listed):
    listed.add(88)
    listed.add(85)
    results.read(instance, now=NOW)
    first = QueryResult.objects.get(execution_id="e1").pk
    del listed.executions[0]
    listed.add(77)
    listed.executions[-1]["workflowExecutionId"] = "new"
    results.read(instance, now=NOW + DAY)
    assert kept() == ["e1", "new"] and QueryResult.objects.get(execution_id="e1").pk == first
    reading = ResultsReading.objects.get()
    assert (reading.read_at, reading.unread) == (NOW + DAY, "") and reading.next_at > NOW + DAY


def test_what_can_not_be_understood_is_left_out(instance, listed):
    listed.add(88, createTime="yesterday")
    listed.add(88, createTime=None)
    listed.add(88, workflowExecutionId=None)
    listed.add(90.5)
    listed.add(88, workflowId=None, createTime=f"{NOW - 88 * DAY:%Y-%m-%dT%H:%M:%S}")
    results.read(instance, now=NOW)
    row = QueryResult.objects.get()
    assert (row.execution_id, row.workflow_id, row.ends_at) == ("e4", "", NOW + 2 * DAY)


@pytest.mark.parametrize(
    "trouble",
    [Later("Amazon is away"), Fix("Amazon refused to list the queries", why="You may not.", code="403")],
    ids=["later", "fix"],
)
def test_a_list_that_breaks_off_changes_nothing_that_is_known(instance, listed, monkeypatch, trouble):
    monkeypatch.setattr(results.timezone, "now", lambda: NOW)
    listed.add(88)
    results.read_instance(instance.pk)
    ResultsReading.objects.update(next_at=NOW + nightly.AGAIN)
    listed.executions.clear()
    listed.trouble = trouble
    results.read_instance(instance.pk)
    reading = ResultsReading.objects.get()
    assert kept() == ["e0"] and reading.read_at == NOW
    if isinstance(trouble, Later):
        # Put on the queue again half an hour later.
        assert (reading.next_at, reading.unread) == (NOW + nightly.AGAIN, "")
    else:
        assert reading.next_at == nightly.next_night(instance.pk, now=NOW)
        assert reading.unread == "Amazon refused to list the queries. You may not."
    listed.trouble = None
    results.read_instance(instance.pk)
    assert kept() == [] and ResultsReading.objects.get().unread == ""


def test_of_a_login_that_is_broken_the_admins_are_told(instance, listed, admin):
    listed.trouble = Reconnect("Amazon refuses the login", connection="amc:1")
    for _ in range(2):
        results.read_instance(instance.pk)
    assert "has to be renewed" in Notice.objects.get(person=admin).subject
    assert kept() == []


@pytest.fixture
def put(monkeypatch) -> list[int]:
    found: list[int] = []
    monkeypatch.setattr(nightly.queue, "put_job", lambda job, pk: found.append(pk) or True)
    return found


def test_each_instance_that_was_created_once_a_night_at_its_minute(account, instance, put):
    def other(**values) -> Instance:
        values = {"creation_status": "SUCCEEDED", "instance_id": f"amc{Instance.objects.count()}", **values}
        return Instance.objects.create(account=account, name="Other", status_since=NOW, **values)

    old = other()
    for values in ({"instance_id": ""}, {"creation_status": "IN_PROGRESS"}, {"gone_at": NOW}):
        other(**values)
    assert results.put_due_readings(now=NOW) == 0
    planned = dict(ResultsReading.objects.values_list("instance", "next_at"))
    assert planned == {one.pk: nightly.next_night(one.pk, now=NOW) for one in (instance, old)}
    night = NOW + DAY
    assert [results.put_due_readings(now=night, most=1) for _ in range(3)] == [1, 1, 0]
    assert sorted(put) == [instance.pk, old.pk]
    # What never came back is put there again; what is gone since is not.
    Instance.objects.filter(pk=old.pk).update(gone_at=night)
    assert results.put_due_readings(now=night + nightly.AGAIN) == 1 and put[2:] == [instance.pk]


def test_what_another_clock_has_taken_is_left_to_it(instance, monkeypatch):
    other = Instance.objects.create(
        account=instance.account,
        name="Other",
        instance_id="amcother",
        creation_status="COMPLETED",
        status_since=NOW,
    )
    for one in (instance, other):
        ResultsReading.objects.create(instance=one, next_at=NOW)
    put = []

    def taken_meanwhile(job, pk):
        ResultsReading.objects.update(next_at=NOW + nightly.AGAIN)
        put.append(pk)
        return True

    monkeypatch.setattr(nightly.queue, "put_job", taken_meanwhile)
    assert results.put_due_readings(now=NOW) == len(put) == 1


@pytest.mark.parametrize("target", ["all", "queue:default", "account", "amc"])
def test_nothing_is_read_while_it_is_paused(account, instance, listed, put, target):
    key = {"account": account.pk, "amc": account.connection_id}.get(target)
    ResultsReading.objects.create(instance=instance, next_at=NOW)
    Pause.objects.create(target=target if key is None else f"{target}:{key}", name="It", paused_at=NOW)
    assert results.put_due_readings(now=NOW) == 0
    results.read_instance(instance.pk)
    assert listed.asked == []
    Pause.objects.all().delete()
    assert results.put_due_readings(now=NOW) == 1
    results.read_instance(instance.pk)
    assert len(listed.asked) == 1


def test_nothing_is_read_by_a_login_that_is_broken(account, instance, put):
    ResultsReading.objects.create(instance=instance, next_at=NOW)
    AmcConnection.objects.update(state=AmcConnection.State.BROKEN)
    assert results.put_due_readings(now=NOW) == 0
    AmcConnection.objects.update(state=AmcConnection.State.WORKING)
    assert results.put_due_readings(now=NOW) == 1


# The clock closes connections that it finds inside a transaction.
@pytest.mark.django_db(transaction=True)
def test_the_clock_asks_for_it(instance, queued, monkeypatch):
    asked = []
    monkeypatch.setattr("onboarding.management.commands.clock.put_due_readings", lambda *, now: asked.append(now))
    Command().handle(once=True)
    assert len(asked) == 1


def test_what_has_ended_is_deleted_at_night(instance):
    for name, days in (("over", -1), ("there", 1)):
        ends = NOW + days * DAY
        QueryResult.objects.create(
            instance=instance, execution_id=name, workflow_id="reach", created_at=ends - 90 * DAY, ends_at=ends
        )
    assert retention.sweep(now=NOW) == {"query results": 1}
    assert kept() == ["there"]


def test_who_may_ask_has_an_instance_read_at_once(instance, listed, put, analyst):
    planned = nightly.next_night(instance.pk, now=NOW)
    results.ask_now(person=analyst, instance=instance, now=NOW)
    # Should the job be lost, the clock puts it there again.
    assert put == [instance.pk] and ResultsReading.objects.get().next_at == NOW + nightly.AGAIN
    listed.add(88)
    results.read(instance, now=NOW)
    assert ResultsReading.objects.get().next_at == planned
    with pytest.raises(Refused, match="a moment ago"):
        results.ask_now(person=analyst, instance=instance, now=NOW + DAY / 1500)
    results.ask_now(person=analyst, instance=instance, now=NOW + nightly.A_MOMENT)
    assert put == [instance.pk] * 2


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda one: Instance.objects.filter(pk=one.pk).update(gone_at=NOW), "deleted"),
        (lambda one: Instance.objects.filter(pk=one.pk).update(creation_status="IN_PROGRESS"), "not made"),
        (lambda one: AmcConnection.objects.update(state=AmcConnection.State.BROKEN), "reconnect"),
        (lambda one: Pause.objects.create(target="all", name="It", paused_at=NOW), "paused"),
    ],
    ids=["gone", "in-creation", "broken", "paused"],
)
def test_it_is_said_why_an_instance_can_not_be_read_now(instance, put, analyst, spoil, why):
    spoil(instance)
    there = Instance.objects.select_related("account__connection").get(pk=instance.pk)
    with pytest.raises(Refused, match=why):
        results.ask_now(person=analyst, instance=there, now=NOW)
    assert put == []


def test_an_approver_alone_may_not_ask_for_it(instance, put, approver):
    with pytest.raises(NotAllowed):
        results.ask_now(person=approver, instance=instance, now=NOW)
    assert put == []


def test_without_a_queue_it_is_said_so(instance, analyst, monkeypatch):
    monkeypatch.setattr(nightly.queue, "put_job", lambda job, pk: False)
    with pytest.raises(Refused, match="does not answer"):
        results.ask_now(person=analyst, instance=instance, now=NOW)
