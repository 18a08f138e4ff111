"""Counts the calls to Amazon, for `/metrics`: numbers alone, kept in Redis, where losing them loses nothing.

Workers fork for every job and live on many hosts, so a process's own counters would be gone before anybody reads them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from redis import Redis

from onboarding.clients import beside
from onboarding.clients.failures import RemoteFailure

CALLS, SECONDS, BUCKETS = "portal:calls", "portal:call-seconds", "portal:call-buckets"
LIMITS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


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
    bucket = next((str(limit) for limit in LIMITS if seconds <= limit), "+Inf")

    def count(connection: Redis) -> None:
        with connection.pipeline(transaction=False) as pipe:
            pipe.hincrby(CALLS, f"{service}|{operation}|{outcome}", 1)
            pipe.hincrbyfloat(SECONDS, service, seconds)
            pipe.hincrby(BUCKETS, f"{service}|{bucket}", 1)
            pipe.execute()

    beside.attempt("the count of calls", count)


def read() -> tuple[Mapping[str, int], Mapping[str, float], Mapping[str, int]]:
    """What was counted: calls by `service|operation|outcome`, seconds by service, calls by `service|limit`.

    Raises redis.RedisError when Redis does not answer.
    """
    with beside.connection().pipeline(transaction=False) as pipe:
        for name in (CALLS, SECONDS, BUCKETS):
            pipe.hgetall(name)
        calls, seconds, buckets = pipe.execute()
    return (
        {key.decode(): int(value) for key, value in calls.items()},
        {key.decode(): float(value) for key, value in seconds.items()},
        {key.decode(): int(value) for key, value in buckets.items()},
    )
