"""How often one address may try to sign in."""

from __future__ import annotations

import functools
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


class Limit:
    """At most `most` tries in `seconds` for one key; remembers the `keys` last used.

    Counted in each web process by itself: what it protects is Amazon's token endpoint and this process, and it needs
    nothing that could be away.
    """

    def __init__(self, most: int, seconds: float, keys: int = 10_000) -> None:
        self.most = most
        self.seconds = seconds
        self._keys = keys
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, key: str, now: float) -> float:
        """Count a try at `now` (seconds): 0 if it may go on, else after how many seconds to come back."""
        with self._lock:
            tries = self._tries.setdefault(key, deque())
            self._tries.move_to_end(key)
            while len(self._tries) > self._keys:
                self._tries.popitem(last=False)
            while tries and tries[0] <= now - self.seconds:
                tries.popleft()
            if len(tries) >= self.most:
                return max(tries[0] + self.seconds - now, 0.001)
            tries.append(now)
            return 0

    def clear(self) -> None:
        """Forget every try."""
        with self._lock:
            self._tries.clear()


BY_ADDRESS = Limit(most=120, seconds=60)
BY_SESSION = Limit(most=20, seconds=60)


def client_address(request: HttpRequest) -> str:
    """Where the request comes from; behind a proxy, what the nearest one says."""
    if getattr(settings, "SECURE_PROXY_SSL_HEADER", None):
        forwarded = request.headers.get("X-Forwarded-For", "").split(",")[-1].strip()
        if forwarded:
            return forwarded
    return str(request.META.get("REMOTE_ADDR", ""))


def limited(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Answer 429 with `Retry-After` to whoever tries too often, by address and by session."""

    @functools.wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        now = time.monotonic()
        wait = BY_ADDRESS.wait(client_address(request), now)
        if not wait and request.session.session_key:
            wait = BY_SESSION.wait(request.session.session_key, now)
        if not wait:
            return view(request, *args, **kwargs)
        problem = {
            "what": "Too many tries to sign in",
            "why": "Somebody at your address has tried many times within a minute.",
            "todo": "Wait a minute, then sign in again.",
        }
        response = render(request, "signin/problem.html", {"problem": problem}, status=429)
        response["Retry-After"] = str(int(wait) + 1)
        return response

    return wrapped
