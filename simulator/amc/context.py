"""What every operation of the AMC API works with."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from simulator.amc.errors import ApiError
from simulator.clock import SimClock
from simulator.pace import Pace
from simulator.store import Document, Table, World

if TYPE_CHECKING:
    from simulator.aws.front import AwsFront

PAGE = 100
"""The most that a list answers at once."""


@dataclass
class Amc:
    """The AMC side of a world."""

    world: World
    clock: SimClock
    pace: Pace
    aws: Callable[[], AwsFront]
    """Gives the AWS side; waits for it if it is still being loaded."""

    def table(self, name: str) -> Table:
        """The table `amc.<name>`."""
        return self.world.table(f"amc.{name}")

    @property
    def now(self) -> float:
        """The simulated time in seconds since 1970."""
        return self.clock.now().timestamp()

    def later(self, kind: str, at: float, **details: Any) -> str:
        """Have `kind` happen at the simulated time `at`; inside a change. Returns the key of what is due."""
        key = f"{self.world.next_number('amc.due'):012d}"
        self.table("due").put(key, {"kind": kind, "at": at, **details})
        return key


@dataclass
class Call:
    """One request that has passed authentication: who, where and what."""

    account: Document
    marketplace: str
    person: Document
    path: dict[str, str]
    query: dict[str, str]
    body: dict[str, Any] = field(default_factory=dict)
    fail: Document | None = None
    """Set when the request was told to succeed now and fail later: `code` and `reason`."""

    @property
    def account_id(self) -> str:
        """The AMC account in the header."""
        return str(self.account["id"])

    def may_change(self) -> None:
        """Raise a 403 unless the person is an AMC admin of the account."""
        if self.person["amc"].get(self.account_id) != "admin":
            raise ApiError(403, "Forbidden: only an admin of the AMC account may do this.")


Answer = tuple[int, Document | None]
"""Status and body of an answer."""
Handler = Callable[[Amc, Call], Answer]


def stamp(seconds: float) -> str:
    """A time as the API writes it: UTC, whole seconds, with a Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def short_id(prefix: str, length: int) -> str:
    """A new identifier: `prefix` and `length` lower-case letters and digits."""
    return prefix + "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(length))


def whole_number(text: str, low: int, high: int, name: str, status: int = 400) -> int:
    """`text` as a whole number from `low` to `high`; otherwise an ApiError with `status`."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise ApiError(status, f"{name} must be a whole number from {low} to {high}.")
    return int(text)


def page(
    amc: Amc, keys: Sequence[str], token: object, limit: int, what: str, status: int = 400
) -> tuple[list[str], str | None]:
    """One page of `keys`: at most `limit` after the place that `token` names, and the token for the next page.

    `what` ties a token to its list, so that one of another list is refused with `status`.
    """
    cap = (amc.world.table("settings").get("pages") or {}).get("size", PAGE)
    start = 0
    if token not in (None, ""):
        start = _start(str(token), what, status)
    end = start + min(limit, cap)
    after = base64.urlsafe_b64encode(json.dumps([what, end]).encode()).decode() if end < len(keys) else None
    return list(keys[start:end]), after


def _start(token: str, what: str, status: int) -> int:
    wrong = ApiError(status, "nextToken is not one that this list has given.")
    try:
        named, start = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError, binascii.Error, RecursionError) as error:
        raise wrong from error
    if named != what or not isinstance(start, int) or isinstance(start, bool) or start < 0:
        raise wrong
    return start
