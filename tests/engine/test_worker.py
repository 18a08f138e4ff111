"""The worker's children: which jobs share one, and what becomes of a job whose child is killed."""

from __future__ import annotations

import os
import signal
import time

import pytest
import redis
from rq import Queue
from rq.registry import FailedJobRegistry, StartedJobRegistry

from onboarding.engine import worker
from onboarding.engine.queue import DEFAULT_QUEUE, IDENTITY_QUEUE

HERE = "tests.engine.test_worker"


def _tell(number: int) -> None:
    with redis.Redis.from_url(os.environ["WORKER_TEST_REDIS"]) as server:
        server.rpush("told", f"{number}:{os.getpid()}")


def does(number: int) -> None:
    """A job that says which child it had."""
    _tell(number)


def fails(number: int) -> None:
    """A job that ends with an error."""
    _tell(number)
    raise ValueError


def is_killed(number: int) -> None:
    """A job whose child is killed."""
    _tell(number)
    os.kill(os.getpid(), signal.SIGKILL)


def lasts(number: int) -> None:
    """A job that takes itself for lost, and ends once its worker says that it is alive."""
    _tell(number)
    with redis.Redis.from_url(os.environ["WORKER_TEST_REDIS"]) as server:
        started = StartedJobRegistry(DEFAULT_QUEUE, connection=server).key
        (mine,) = server.zrange(started, 0, -1)
        server.zadd(started, {mine: 1})
        until = time.monotonic() + 20
        while server.zscore(started, mine) == 1 and time.monotonic() < until:
            time.sleep(0.02)
        server.set("alive", int(server.zscore(started, mine) > time.time()))


@pytest.fixture
def work(own_redis, redis_address, monkeypatch):
    """`work("does fails", queues)`: carry out such jobs by a worker; the child that each had, in order."""
    monkeypatch.setenv("WORKER_TEST_REDIS", redis_address)
    monkeypatch.setattr(worker, "warm_up", lambda: None)
    monkeypatch.setattr(worker.PortalWorker, "_install_signal_handlers", lambda self: None)
    options = {"connection": own_redis, "job_monitoring_interval": 1}

    def go(jobs: str, *names: str) -> list[int]:
        queues = [Queue(name, connection=own_redis) for name in names or (DEFAULT_QUEUE,)]
        for number, job in enumerate(jobs.split()):
            queues[0].enqueue_call(f"{HERE}.{job}", args=(number,), result_ttl=0)
        worker.PortalWorker(queues, **options).work(burst=True, logging_level="CRITICAL")
        told = [one.decode().split(":") for one in own_redis.lrange("told", 0, -1)]
        assert [int(number) for number, _ in told] == list(range(len(jobs.split())))
        return [int(child) for _, child in told]

    return go


@pytest.fixture
def left(own_redis):
    """`left(name)`: what lies on a queue, between it and a worker, with a worker, and among the failed jobs' names."""

    def look(name: str = DEFAULT_QUEUE) -> tuple[int, int, int, list[str]]:
        queue = Queue(name, connection=own_redis)
        failed = FailedJobRegistry(queue=queue)
        names = [str(queue.fetch_job(one).func_name).rpartition(".")[2] for one in failed.get_job_ids()]
        started = StartedJobRegistry(queue=queue).get_job_ids(cleanup=False)
        return queue.count, own_redis.llen(queue.intermediate_queue_key), len(started), names

    return look


@pytest.mark.parametrize("queues", [(DEFAULT_QUEUE,), (DEFAULT_QUEUE, IDENTITY_QUEUE)])
def test_a_child_goes_on_with_what_else_is_on_the_queue(work, left, queues):
    children = work("does does does does", *queues)
    assert len(set(children)) == 1 and os.getpid() not in children
    assert left() == (0, 0, 0, [])


def test_after_its_time_a_child_begins_nothing_more(work, left, monkeypatch):
    monkeypatch.setattr(worker, "CHILD_SECONDS", -1.0)
    assert len(set(work("does does does"))) == 3
    assert left() == (0, 0, 0, [])


def test_work_on_identity_files_has_each_child_to_itself(work, left):
    assert len(set(work("does does does", IDENTITY_QUEUE))) == 3
    assert left(IDENTITY_QUEUE) == (0, 0, 0, [])


def test_after_an_error_another_child_goes_on(work, left):
    children = work("does fails does does")
    assert children[0] == children[1] != children[2] == children[3]
    assert left() == (0, 0, 0, ["fails"])


@pytest.mark.parametrize("jobs", ["is_killed does does", "does is_killed does", "does does is_killed"])
def test_a_job_whose_child_was_killed_has_failed_and_no_other(work, left, own_redis, jobs):
    children = work(jobs)
    assert len(set(children)) == (1 if jobs.endswith("is_killed") else 2)
    assert left() == (0, 0, 0, ["is_killed"])
    assert not own_redis.keys("rq:execution:*") and not own_redis.keys("rq:worker:*:executions")


@pytest.mark.parametrize("jobs", ["lasts", "does lasts"])
def test_a_long_job_counts_as_alive_whichever_it_is(work, left, own_redis, jobs):
    assert len(set(work(jobs))) == 1
    assert own_redis.get("alive") == b"1"
    assert left() == (0, 0, 0, [])


def test_a_queue_out_of_reach_ends_the_child_and_fails_nothing(work, left, monkeypatch):
    parent, taken, wait = os.getpid(), Queue.dequeue_any, worker.PortalWorker.wait_for_horse
    ends = []

    def take(*args, **options):
        if os.getpid() == parent:
            return taken(*args, **options)
        raise redis.ConnectionError("away")

    def see(self):
        ended = wait(self)
        ends.append(ended[1])
        return ended

    monkeypatch.setattr(Queue, "dequeue_any", take)
    monkeypatch.setattr(worker.PortalWorker, "wait_for_horse", see)
    assert len(set(work("does does does"))) == 3
    assert ends == [0, 0, 0]
    assert left() == (0, 0, 0, [])
