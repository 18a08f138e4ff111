"""Counts the calls to Amazon, for `/metrics`: numbers alone, kept in Redis, where losing them loses nothing.

Workers fork for every job and live on many hosts, so a process's own counters would be gone before anybody reads them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import redis
import structlog
from django.conf import settings

from onboarding.clients.failures import RemoteFailure

log = structlog.get_logger(__name__)
CALLS, SECONDS, BUCKETS = "portal:calls", "portal:call-seconds", "portal:call-buckets"
LIMITS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ANSWER_WITHIN = 0.25
LEAVE_ALONE = 30.0
_silent_until = 0.0


@lru_cache(maxsize=2)
def _redis(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=ANSWER_WITHIN, socket_connect_timeout=ANSWER_WITHIN)


@dataclass
class Call:
    """A call that is being counted, unless it turns out that none was `made`."""

    made: bool = True


@contextmanager
def counted(service: str, operation: str) -> Iterator[Call]:
    """Count one call: its service, operation, how it ended (`ok`, or the kind of failure) and how long it took."""
    start, outcome, call = time.monotonic(), "ok", Call()
    try:
        yield call
    except RemoteFailure as failure:
        outcome = failure.kind
        raise
    finally:
        if call.made:
            _count(service, operation, outcome, time.monotonic() - start)


def _count(service: str, operation: str, outcome: str, seconds: float) -> None:
    global _silent_until
    if time.monotonic() < _silent_until:
        return
    bucket = next((str(limit) for limit in LIMITS if seconds <= limit), "+Inf")
    try:
        with _redis(settings.REDIS_URL).pipeline(transaction=False) as pipe:
            pipe.hincrby(CALLS, f"{service}|{operation}|{outcome}", 1)
            pipe.hincrbyfloat(SECONDS, service, seconds)
            pipe.hincrby(BUCKETS, f"{service}|{bucket}", 1)
            pipe.execute()
    except redis.RedisError as error:
        # Counting must never hold up the work: leave Redis alone for a while.
        _silent_until = time.monotonic() + LEAVE_ALONE
        log.warning("calls are not counted", error=type(error).__name__)


def read() -> tuple[Mapping[str, int], Mapping[str, float], Mapping[str, int]]:
    """What was counted: calls by `service|operation|outcome`, seconds by service, calls by `service|limit`.

    Raises redis.RedisError when Redis does not answer.
    """
    with _redis(settings.REDIS_URL).pipeline(transaction=False) as pipe:
        for name in (CALLS, SECONDS, BUCKETS):
            pipe.hgetall(name)
        calls, seconds, buckets = pipe.execute()
    return (
        {key.decode(): int(value) for key, value in calls.items()},
        {key.decode(): float(value) for key, value in seconds.items()},
        {key.decode(): int(value) for key, value in buckets.items()},
    )
