"""How many calls a second Amazon lets an AMC account make: a token bucket for each, that holds two seconds' worth."""

from __future__ import annotations

import math
import threading
import time

HOLDS_SECONDS = 2.0


class Limits:
    """The buckets of all accounts; they live as long as the process, and measure real time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}

    def refuses(self, account: str, rate: float) -> int:
        """Take a call of `account` out of its bucket; 0 if there was one, else the whole seconds to wait for more."""
        if rate <= 0:
            return 0
        now, most = time.monotonic(), max(1.0, rate * HOLDS_SECONDS)
        with self._lock:
            left, at = self._buckets.get(account, (most, now))
            left = min(most, left + (now - at) * rate)
            enough = left >= 1
            self._buckets[account] = (left - 1 if enough else left, now)
        return 0 if enough else max(1, math.ceil((1 - left) / rate))

    def clear(self) -> None:
        """Fill every bucket."""
        with self._lock:
            self._buckets.clear()
