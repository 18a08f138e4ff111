"""What RQ knows: its workers with their heartbeats, and the jobs that ended with an error.

None of it decides anything: the rows are the truth. Every function raises QueueAway when Redis does not answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from redis.exceptions import RedisError
from rq import Queue, Worker
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.registry import FailedJobRegistry

from onboarding.engine import queue as work
from onboarding.engine.queue import DEFAULT_QUEUE, IDENTITY_QUEUE

P = ParamSpec("P")
T = TypeVar("T")
MOST = 50
QUEUES = (DEFAULT_QUEUE, IDENTITY_QUEUE)
# RQ: a worker without a job reports when its wait for one ends, 15 seconds less than this, and one with a job every 30.
WORKER_TTL = 45
# One that missed two reports is taken for lost; a little later Redis forgets it.
SILENT = timedelta(seconds=75)


class QueueAway(Exception):
    """Redis does not answer."""


class NoSuchFailure(Exception):
    """There is no failed job of that id (any more)."""


def _asks_redis(function: Callable[P, T]) -> Callable[P, T]:
    @wraps(function)
    def asking(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except RedisError as error:
            raise QueueAway(type(error).__name__) from error

    return asking


@dataclass(frozen=True)
class WorkerLine:
    """One worker process of RQ, for `queues`. `step` is the key of the step that it is at, if it is at one."""

    name: str
    queues: tuple[str, ...]
    host: str
    pid: int
    state: str
    heartbeat: datetime | None
    since: datetime | None
    done: int
    failed: int
    step: int | None

    def lost(self, now: datetime) -> bool:
        """Whether it has been silent for too long."""
        return self.heartbeat is None or now - self.heartbeat > SILENT


@dataclass(frozen=True)
class FailedJob:
    """A job that ended with an error: an error of the database, or a worker that was killed; its step goes on."""

    id: str
    queue: str
    function: str
    step: int | None
    ended: datetime | None
    error: str


@dataclass(frozen=True)
class Carriers:
    """The workers, how many jobs lie on each queue, and the failed jobs (the newest MOST of `failures`)."""

    workers: list[WorkerLine]
    queued: dict[str, int]
    failed: list[FailedJob]
    failures: int


def _utc(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


def _step_of(job: Job | None) -> int | None:
    """The step that a job works on; other jobs have none."""
    if job is None or not (job.func_name or "").endswith(".work"):
        return None
    args: Any = job.args
    return args[0] if args and isinstance(args[0], int) else None


def _error_of(job: Job) -> str:
    """The name of the error; never its text, which could hold anything."""
    result = job.latest_result()
    text = (result.exc_string if result else None) or ""
    last = text.strip().rpartition("\n")[2].partition(":")[0].strip()
    name = last.rpartition(".")[2]
    return name if name.isidentifier() else "Not known"


def _failed(queue: Queue) -> list[FailedJob]:
    ids = FailedJobRegistry(queue=queue).get_job_ids(0, MOST - 1, desc=True)
    jobs = [job for job in Job.fetch_many(ids, connection=queue.connection) if job is not None]
    return [
        FailedJob(job.id, queue.name, job.func_name or "", _step_of(job), _utc(job.ended_at), _error_of(job))
        for job in jobs
    ]


@_asks_redis
def read() -> Carriers:
    """All of it, as it is now."""
    queues = [work.named(name) for name in QUEUES]
    workers = []
    for worker in Worker.all(connection=queues[0].connection):
        workers.append(
            WorkerLine(
                name=worker.name,
                queues=tuple(worker.queue_names()),
                host=worker.hostname or "",
                pid=worker.pid or 0,
                state=str(worker.get_state() or ""),
                heartbeat=_utc(worker.last_heartbeat),
                since=_utc(worker.birth_date),
                done=worker.successful_job_count or 0,
                failed=worker.failed_job_count or 0,
                step=_step_of(worker.get_current_job()),
            )
        )
    failed = sorted(
        (one for queue in queues for one in _failed(queue)),
        key=lambda one: one.ended.timestamp() if one.ended else 0.0,
        reverse=True,
    )
    return Carriers(
        workers=sorted(workers, key=lambda one: (one.host, one.pid)),
        queued={queue.name: queue.count for queue in queues},
        failed=failed[:MOST],
        failures=sum(FailedJobRegistry(queue=queue).count for queue in queues),
    )


@_asks_redis
def requeue(job_id: str) -> None:
    """Put a failed job back on its queue. Raises NoSuchFailure."""
    _registry_of(job_id).requeue(job_id)


@_asks_redis
def dismiss(job_id: str) -> None:
    """Forget a failed job. Raises NoSuchFailure."""
    _registry_of(job_id).remove(job_id, delete_job=True)


def _registry_of(job_id: str) -> FailedJobRegistry:
    """The registry of the queue on which the job failed. Raises NoSuchFailure."""
    for name in QUEUES:
        registry = FailedJobRegistry(queue=work.named(name))
        if job_id in registry.get_job_ids():
            try:
                Job.fetch(job_id, connection=registry.connection)
            except NoSuchJobError:
                registry.remove(job_id)
                break
            return registry
    raise NoSuchFailure(job_id)
