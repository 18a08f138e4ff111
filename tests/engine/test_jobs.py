"""What one job of the queue does: a step, and what follows it at once in its run."""

import pytest
import redis

from onboarding import jobs
from onboarding.clients import beside
from onboarding.engine import executor, queue
from onboarding.engine.clock import tick
from onboarding.models import Step

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def asked(transactional_db, onboarding, amazon, queued) -> Step:
    """The creation of an instance, approved and on the queue."""
    onboarding.approve(onboarding.until_asked())
    step = onboarding.step("create-instance")
    assert queued[-1] == step.pk
    queued.clear()
    return step


@pytest.fixture
def at(onboarding, monkeypatch) -> list[str]:
    """The keys of the steps that were carried out, in order; at the time of the onboarding's clock."""
    keys: list[str] = []
    carry_out = executor.work

    def work(step_id: int) -> None:
        keys.append(Step.objects.get(pk=step_id).key)
        carry_out(step_id, now=onboarding.clock)

    monkeypatch.setattr(executor, "work", work)
    return keys


def test_what_follows_a_step_goes_on_in_the_same_job_and_the_rest_on_the_queue(asked, onboarding, queued, at):
    jobs.work(asked.pk)
    assert at == ["create-instance", "collaboration"]
    assert onboarding.step("collaboration").state == "done"
    # Two steps follow the creation: one goes on here, the other is for whoever is free.
    assert queued == [onboarding.step("advertisers-now").pk]
    assert onboarding.step("advertisers-now").state == "queued"


def test_a_job_begins_nothing_more_after_its_time(asked, onboarding, queued, at, monkeypatch):
    monkeypatch.setattr(jobs, "CARRY_ON_SECONDS", -1.0)
    jobs.work(asked.pk)
    assert at == ["create-instance"]
    assert sorted(queued) == sorted(onboarding.step(key).pk for key in ("collaboration", "advertisers-now"))


def test_a_job_that_waits_is_over(asked, onboarding, amazon, queued, at):
    amazon.status = "REQUESTED"
    jobs.work(asked.pk)
    assert at == ["create-instance"]
    assert (onboarding.step("create-instance").state, queued) == ("waiting", [])


def test_what_a_killed_worker_kept_is_put_on_the_queue_by_the_clock(asked, onboarding, queued, at, monkeypatch):
    with queue.keeping() as kept:
        executor.work(asked.pk)
    assert len(kept) == 2
    assert queued == []
    monkeypatch.setattr(queue, "oldest", lambda: None)
    tick(now=onboarding.clock())
    assert sorted(queued) == sorted(kept)


def test_outside_of_a_job_a_step_is_put_on_the_queue(asked, onboarding, queued, at):
    with queue.keeping():
        pass
    executor.work(asked.pk)
    assert len(queued) == 2


def test_a_process_has_one_connection_to_the_queues_and_reads_no_metadata_for_it(settings, monkeypatch):
    settings.RQ_QUEUES = {"default": {"URL": "redis://127.0.0.1:1/0"}, "identity": {"URL": "redis://127.0.0.1:1/0"}}
    pools = [one.connection_pool for one in (queue.named("default").connection, beside.connection())]

    def read():
        pytest.fail("the version of the package is looked up again")

    monkeypatch.setattr(redis.utils, "get_lib_version", read)
    assert queue.named("default").connection is queue.named("identity").connection
    assert all(pool.make_connection().driver_info.lib_version for pool in pools)
