"""Waits that one list answers for many runs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from onboarding.clients.amc import AmcClient
from onboarding.clients.failures import Later
from onboarding.engine import executor, queue, shared_looks
from onboarding.engine.clock import tick
from onboarding.models import AmcAccount, Instance, LogLine, Run, Step
from onboarding.services.instances_import import import_account, import_instances
from tests.engine.conftest import START

EVERY = timedelta(seconds=shared_looks.SECONDS_A_PAGE)


@pytest.fixture
def read(monkeypatch) -> list[int]:
    """The accounts whose list was asked for."""
    asked: list[int] = []
    monkeypatch.setattr(
        queue,
        "put_job",
        lambda function, row: function != queue.READ_INSTANCES or asked.append(row) or True,
    )
    return asked


def waiting(account: AmcAccount, person, count: int, **fields) -> list[Step]:
    """So many steps that wait for AMC to create their instance, and are due."""
    steps = []
    for number in range(Instance.objects.count(), Instance.objects.count() + count):
        instance = Instance.objects.create(
            account=account, instance_id=f"amc{number}", name=f"Instance {number}", status_since=START
        )
        run = Run.objects.create(account=account, instance=instance, owner=person, started_at=START)
        values = {
            "state": "waiting",
            "waiting_for": "amazon",
            "waiting_text": "Amazon says REQUESTED",
            "polls": 1,
            "since": START,
            "next_attempt_at": START,
            **fields,
        }
        steps.append(Step.objects.create(run=run, key="create-instance", position=2, **values))
    AmcAccount.objects.filter(pk=account.pk).update(instances_read_at=START)
    return steps


def entries(**said: str) -> list[dict[str, str]]:
    return [
        {"instanceId": key, "instanceName": f"Instance {key.removeprefix('amc')}", "creationStatus": value}
        for key, value in said.items()
    ]


def test_many_that_wait_are_looked_at_by_one_list(account, analyst, queued, read):
    steps = waiting(account, analyst, 3)
    assert tick(now=START).enqueued == 0
    assert (read, queued) == ([account.pk], [])
    # Each at the pace of its own looks.
    assert {step.next_attempt_at for step in Step.objects.all()} == {START + timedelta(seconds=10)}
    assert {step.polls for step in Step.objects.all()} == {2}
    tick(now=START + timedelta(seconds=9))
    assert len(read) == 1
    tick(now=START + timedelta(seconds=10))
    assert (len(read), queued) == (2, [])
    # Who comes later waits for the next list, if the last one was just now.
    late = waiting(account, analyst, 1, next_attempt_at=START + timedelta(seconds=11), polls=4)[0]
    tick(now=START + timedelta(seconds=11))
    assert (len(read), queued) == (2, [])
    late.refresh_from_db()
    assert late.next_attempt_at == START + timedelta(seconds=71)
    assert all(step.state == "waiting" for step in steps)


def test_a_long_list_is_not_read_more_often_than_a_page_every_now_and_then(account, analyst, queued, read):
    Instance.objects.bulk_create(
        Instance(account=account, instance_id=f"old{number}", name="Old", status_since=START) for number in range(3900)
    )
    waiting(account, analyst, 41)
    for second in range(121):
        tick(now=START + timedelta(seconds=second))
    assert (len(read), queued) == (3, [])


def test_few_that_wait_look_by_themselves(account, analyst, queued, read):
    Instance.objects.bulk_create(
        Instance(account=account, instance_id=f"old{number}", name="Old", status_since=START) for number in range(150)
    )
    steps = waiting(account, analyst, 2)
    assert tick(now=START).enqueued == 2
    assert (sorted(queued), read) == (sorted(step.pk for step in steps), [])


def test_those_whose_wait_is_over_go_on(account, analyst, queued, read, monkeypatch, amazon, clock, settings):
    done, failed, lost, under_way, another = waiting(account, analyst, 5)
    tick(now=START)
    said = entries(amc0="COMPLETED", amc1="FAILED", amc3="IN_PROGRESS", amc4="REQUESTED")
    monkeypatch.setattr(AmcClient, "pages", lambda *_: iter(said))
    import_instances(account, START)
    assert sorted(queued) == [done.pk, failed.pk, lost.pk]
    for step in (done, failed, lost):
        step.refresh_from_db()
        assert (step.next_attempt_at, step.polls) == (START, 0)
    under_way.refresh_from_db()
    assert under_way.waiting_text == "Amazon says IN_PROGRESS" and another.waiting_text == "Amazon says REQUESTED"
    assert under_way.next_attempt_at > START
    assert [line.text for line in LogLine.objects.all()] == ["Amazon says IN_PROGRESS, in the list of instances"]
    # What the queue has lost is put there again, one by one: the list has been read for it.
    queued.clear()
    tick(now=START + timedelta(seconds=settings.PUT_AGAIN_SECONDS + 1))
    assert sorted(queued) == [done.pk, failed.pk, lost.pk]
    import_instances(account, START)
    assert LogLine.objects.count() == 1


def test_what_was_looked_for_too_long_is_told(account, analyst, queued, read, monkeypatch):
    step, _ = waiting(account, analyst, 2)
    Step.objects.exclude(pk=step.pk).update(since=START + timedelta(days=3))
    monkeypatch.setattr(AmcClient, "pages", lambda *_: iter(entries(amc0="SUBMITTED", amc1="SUBMITTED")))
    import_instances(account, START + timedelta(days=3, seconds=1))
    assert queued == [step.pk]


def test_a_person_who_asks_is_not_put_off(account, analyst, queued, read):
    asked = waiting(account, analyst, 1, polls=0)[0]
    waiting(account, analyst, 3)
    tick(now=START)
    assert (queued, read) == ([asked.pk], [account.pk])


def test_two_clocks_have_the_list_read_once(account, analyst):
    assert shared_looks.ask(account.pk, START - EVERY, now=START)
    assert not shared_looks.ask(account.pk, START - EVERY, now=START)
    assert shared_looks.ask(account.pk, START, now=START + EVERY)


def test_where_the_list_fails_each_looks_by_itself(account, analyst, queued, read, monkeypatch):
    steps = waiting(account, analyst, 3)

    def refuse(*_):
        raise Later("Not now")

    monkeypatch.setattr(AmcClient, "pages", refuse)
    now = START
    while not queued:
        assert now <= START + timedelta(minutes=15)
        tick(now=now)
        for pk in read:
            import_account(pk)
        read.clear()
        now += timedelta(seconds=10)
    assert now > START + shared_looks.FAILS_FOR
    assert set(queued) <= {step.pk for step in steps}


def test_through_a_broken_login_no_list_is_read(account, analyst, queued, read):
    waiting(account, analyst, 3)
    account.connection.state = "broken"
    account.connection.save()
    tick(now=START)
    assert (len(queued), read) == (3, [])


def test_with_the_queue_out_of_reach_all_stay_due(account, analyst, monkeypatch):
    waiting(account, analyst, 3)
    monkeypatch.setattr(queue, "put", lambda ids: False)
    monkeypatch.setattr(queue, "put_job", lambda function, row: False)
    tick(now=START)
    assert Step.objects.filter(next_attempt_at=START, enqueued_until=None).count() == 3


def test_the_whole_way_through_a_list(onboarding, amazon, read, queued, account, monkeypatch):
    amazon.status = "IN_PROGRESS"
    onboarding.approve(onboarding.until_asked())
    step = onboarding.work("create-instance")
    waiting(account, onboarding.analyst, 2)
    queued.clear()
    onboarding.clock.skip(6)
    now = onboarding.clock()
    tick(now=now)
    assert read == [account.pk]
    assert onboarding.work("create-instance").version == step.version
    monkeypatch.setattr(AmcClient, "pages", lambda *_: iter([{**amazon.instances[0], "creationStatus": "COMPLETED"}]))
    amazon.status = "COMPLETED"
    import_instances(account, now)
    assert step.pk in queued
    executor.work(step.pk, now=onboarding.clock)
    assert onboarding.step("create-instance").state == "done"
