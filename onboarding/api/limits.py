"""How many requests a token and an address may make a minute.

Counted in the cache that all web processes share. While that is away each process counts by itself: there is a limit
even then, and nobody is locked out.
"""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass

import structlog
from django.core.cache import BaseCache, cache
from django.core.cache.backends.locmem import LocMemCache
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)
SECONDS = 60
# How long the shared cache is left alone after it failed, so that not every request waits for it.
LEFT_ALONE_SECONDS = 10.0

_own: BaseCache = LocMemCache("onboarding.api.limits", {"OPTIONS": {"MAX_ENTRIES": 20_000}})
_lock = threading.Lock()
_shared_from = 0.0


@dataclass(frozen=True)
class Standing:
    """Where somebody stands within a limit: of `most` requests in SECONDS, `left` for another `reset` seconds."""

    name: str
    most: int
    left: int
    reset: int
    over: bool

    @property
    def headers(self) -> dict[str, str]:
        """The standing as `RateLimit` headers, and `Retry-After` once it is used up."""
        found = {
            "RateLimit-Policy": f'"{self.name}";q={self.most};w={SECONDS}',
            "RateLimit": f'"{self.name}";r={self.left};t={self.reset}',
        }
        return {**found, "Retry-After": str(self.reset)} if self.over else found


def count(name: str, who: str, most: int) -> Standing:
    """Count one request of `who` against the limit `name`."""
    now = time.time()
    window = int(now // SECONDS)
    # An address is personal: only its hash leaves the process.
    key = f"api:{name}:{hashlib.sha256(who.encode()).hexdigest()[:32]}:{window}"
    number = _add_one(key)
    reset = max(1, round((window + 1) * SECONDS - now))
    return Standing(name, most, max(0, most - number), reset, number > most)


def _add_one(key: str) -> int:
    global _shared_from
    if time.monotonic() >= _shared_from:
        try:
            return _incremented(cache, key)
        except RedisError as error:
            _shared_from = time.monotonic() + LEFT_ALONE_SECONDS
            log.warning("limits are counted in each process", error=type(error).__name__)
    with _lock:
        return _incremented(_own, key)


def _incremented(counter: BaseCache, key: str) -> int:
    if counter.add(key, 1, timeout=2 * SECONDS):
        return 1
    try:
        return int(counter.incr(key))
    except ValueError:  # gone between the two
        counter.set(key, 1, timeout=2 * SECONDS)
        return 1
