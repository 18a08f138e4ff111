"""Puts rows on the queue. Redis only carries: a job holds the id of a step, and losing it loses nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

import django_rq
import structlog
from django.conf import settings
from django.db import transaction
from redis import Redis
from redis.driver_info import DriverInfo
from redis.exceptions import RedisError
from rq import Queue

log = structlog.get_logger(__name__)
WORK = "onboarding.jobs.work"
IDENTITY_WORK = "onboarding.jobs.identity"
READ_INSTANCES = "onboarding.services.instances_import.import_account"
DEFAULT_QUEUE = "default"
# Long work has a queue of its own, or steps would wait behind it.
IDENTITY_QUEUE = "identity"
LONGEST_SECONDS = 7 * 86_400
_kept: ContextVar[list[int] | None] = ContextVar("kept", default=None)


@lru_cache(maxsize=2)
def _connection(url: str) -> Redis:
    """One for all queues of a process; a child that is forked gets sockets of its own."""
    return Redis.from_url(url, driver_info=DriverInfo())


def named(name: str) -> Queue:
    """The queue of that name. Nothing is sent before it is used, and then RedisError may be raised."""
    return django_rq.get_queue(name, connection=_connection(settings.RQ_QUEUES[name]["URL"]))


def put(step_ids: Iterable[int]) -> bool:
    """Enqueue a job for each step; False if Redis could not be reached (the clock will try again)."""
    return _enqueue(DEFAULT_QUEUE, WORK, step_ids)


def oldest() -> datetime | None:
    """When the oldest job that still lies on the queue was put there; None if there is none, or no answer."""
    try:
        waiting = named(DEFAULT_QUEUE).get_jobs(0, 1)
    except RedisError as error:
        log.warning("queue out of reach", error=type(error).__name__)
        return None
    if not waiting or waiting[0].enqueued_at is None:
        return None
    moment: datetime = waiting[0].enqueued_at
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def put_job(function: str, row: int) -> bool:
    """Have a worker call `function` (its dotted name) with the key of a row; False if Redis could not be reached."""
    return _enqueue(DEFAULT_QUEUE, function, [row])


def _enqueue(name: str, function: str, rows: Iterable[int], **options: Any) -> bool:
    ids = list(rows)
    if not ids:
        return True
    try:
        queue = named(name)
        with queue.connection.pipeline() as pipeline:
            for row in ids:
                queue.enqueue_call(function, args=(row,), pipeline=pipeline, **options)
            pipeline.execute()
    except RedisError as error:
        log.warning("queue out of reach", error=type(error).__name__, job=function, count=len(ids))
        return False
    return True


def put_identity(job_ids: Iterable[int]) -> bool:
    """Enqueue work on identity files by the ids of its rows; False if Redis could not be reached."""
    return _enqueue(IDENTITY_QUEUE, IDENTITY_WORK, job_ids, timeout=LONGEST_SECONDS)


def put_identity_on_commit(job_id: int) -> None:
    """Enqueue work on identity files once the surrounding transaction is committed."""
    transaction.on_commit(partial(put_identity, [job_id]))


@contextmanager
def keeping() -> Iterator[list[int]]:
    """Steps that would be put on the queue inside (by `put_on_commit`) are kept in this list instead.

    Whoever asks for it carries them on, or puts them on the queue; if it is killed before, the clock does.
    """
    kept: list[int] = []
    before = _kept.set(kept)
    try:
        yield kept
    finally:
        _kept.reset(before)


def put_on_commit(step_id: int) -> None:
    """Enqueue the step once the surrounding transaction is committed."""
    transaction.on_commit(partial(_put_or_keep, step_id))


def _put_or_keep(step_id: int) -> None:
    kept = _kept.get()
    if kept is None:
        put([step_id])
    else:
        kept.append(step_id)
