"""Redis for what goes beside the calls to Amazon, and must never hold one up or end it: counters, the common pace."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import redis
import structlog
from django.conf import settings
from redis.driver_info import DriverInfo

log = structlog.get_logger(__name__)
ANSWER_WITHIN = 0.25
LEAVE_ALONE = 30.0
T = TypeVar("T")
_silent_until = 0.0


def connection() -> redis.Redis:
    """One that gives up soon; made before a fork, it is ready in the children, each with a socket of its own."""
    return _connection(settings.REDIS_URL)


@lru_cache(maxsize=2)
def _connection(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url, socket_timeout=ANSWER_WITHIN, socket_connect_timeout=ANSWER_WITHIN, driver_info=DriverInfo()
    )


def attempt(what: str, do: Callable[[redis.Redis], T]) -> T | None:
    """What `do` gives, or None: then Redis is left alone for a while. `what` is missing without it, for the log."""
    global _silent_until
    if time.monotonic() < _silent_until:
        return None
    try:
        return do(connection())
    except redis.RedisError as error:
        _silent_until = time.monotonic() + LEAVE_ALONE
        log.warning("redis is left alone", without=what, error=type(error).__name__)
        return None
