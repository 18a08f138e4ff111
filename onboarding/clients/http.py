"""One shared HTTP client for Amazon's JSON services, with a time limit for the whole of a call."""

from __future__ import annotations

import email.utils
import json
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import httpx
from django.conf import settings

from onboarding.clients.failures import Later

MOST_BYTES = 16_000_000
LONGEST_WAIT = 86_400.0
_clients: dict[int, httpx.Client] = {}


@cache
def trusted() -> ssl.SSLContext:
    """Whose certificates are trusted: read once, which takes longer than most calls, and shared with forked workers."""
    return httpx.create_ssl_context()


def shared_client() -> httpx.Client:
    """This process's connections. A forked worker makes its own: two processes on one socket mix up their answers."""
    client = _clients.get(os.getpid())
    if client is None:
        _clients.clear()
        client = _clients.setdefault(
            os.getpid(),
            httpx.Client(verify=trusted(), follow_redirects=False, headers={"User-Agent": "amc-onboarding-portal"}),
        )
    return client


class Deadline:
    """A moment by which a call, with everything that it takes, has to be over."""

    def __init__(self, seconds: float | None = None) -> None:
        self._end = time.monotonic() + (settings.CALL_TIMEOUT if seconds is None else seconds)

    def left(self) -> float:
        """Seconds that are left; 0 once it has passed."""
        return max(0.0, self._end - time.monotonic())


class _Remaining(dict[str, float]):
    """What httpx asks for the time limit of each phase (connect, write, read): whatever is left of the call."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def get(self, key: str, default: Any = None) -> Any:
        # Zero would mean "do not block" to a socket.
        return max(self._deadline.left(), 0.001)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, read to its end. `body` is None if it is not JSON."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: Any = field(repr=False)

    @property
    def request_id(self) -> str:
        """Amazon's id of the request, from the headers or the body; empty if it gave none."""
        for name in ("x-amzn-requestid", "x-amz-request-id", "x-amz-rid"):
            if self.headers.get(name):
                return str(self.headers[name])[:200]
        return str(self.body.get("requestId") or "")[:200] if isinstance(self.body, dict) else ""

    @property
    def retry_after(self) -> float | None:
        """What `Retry-After` asks for, in seconds from now, whether it is a number or a date."""
        return retry_after_seconds(self.headers.get("retry-after", ""))


def retry_after_seconds(value: str, now: datetime | None = None) -> float | None:
    """Seconds to wait for a `Retry-After` header, at most a day; None if it says nothing that can be understood."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (moment.astimezone(UTC) - (now or datetime.now(UTC))).total_seconds()
    if seconds != seconds:
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT)


def send(
    method: str,
    url: str,
    *,
    doing: str,
    deadline: Deadline,
    reads: bool,
    headers: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    content: bytes | None = None,
) -> Answer:
    """Send one request and read the whole answer, whatever its status, before `deadline`.

    `doing` completes "Amazon could not be reached to …". `reads` says that the call changes nothing, so that a lost
    answer leaves nothing open. Raises Later when there is no answer; never quotes the request, which holds secrets.
    """
    client = shared_client()
    try:
        request = client.build_request(
            method,
            url,
            headers=dict(headers or {}),
            data=form,
            content=content,
            extensions={"timeout": _Remaining(deadline)},
        )
        response = client.send(request, stream=True)
        try:
            chunks, size = [], 0
            for chunk in response.iter_bytes():
                chunks.append(chunk)
                size += len(chunk)
                if deadline.left() == 0:
                    raise httpx.ReadTimeout("the answer took too long", request=request)
                if size > MOST_BYTES:
                    raise httpx.DecodingError("the answer is too long", request=request)
        finally:
            response.close()
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise Later(
            f"Amazon could not be reached to {doing}",
            why="No connection could be made.",
            who="Amazon",
            todo="Nothing: the portal tries again by itself.",
            code=type(error).__name__,
        ) from None
    except (httpx.TransportError, httpx.DecodingError) as error:
        slow = isinstance(error, httpx.TimeoutException)
        raise Later(
            f"Amazon did not answer in time when asked to {doing}"
            if slow
            else f"The connection broke while asking Amazon to {doing}",
            why="Nobody can tell yet whether Amazon did it." if not reads else "The answer never came.",
            who="Amazon",
            todo="Nothing: the portal looks what happened and tries again by itself.",
            code=type(error).__name__,
            ambiguous=not reads,
        ) from None
    return Answer(response.status_code, response.headers, _json(b"".join(chunks)))


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def check_available(answer: Answer, *, doing: str, reads: bool) -> None:
    """Raise Later if the answer says "not now": throttled (429) or a server error (5xx)."""
    if answer.status == 429:
        raise Later(
            f"Amazon asks for a pause before it will {doing}",
            why="Too many calls were made in a short time.",
            who="Amazon",
            todo="Nothing: the portal waits as long as Amazon asks and tries again.",
            code="429",
            status=429,
            request_id=answer.request_id,
            retry_after=answer.retry_after,
        )
    if answer.status >= 500:
        raise Later(
            f"Amazon had a problem of its own when asked to {doing}",
            why="A service at Amazon does not work right now.",
            who="Amazon",
            todo="Nothing: the portal tries again by itself.",
            code=str(answer.status),
            status=answer.status,
            request_id=answer.request_id,
            retry_after=answer.retry_after,
            ambiguous=not reads,
        )
