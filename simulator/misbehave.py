"""Rules by which the simulator misbehaves, and the requests that it holds back."""

from __future__ import annotations

import fnmatch
import itertools
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from simulator.store import Document, World

KINDS = {
    "slow": {"seconds"},
    "throttle": {"retry_after"},
    "error": {"status"},
    "cut_before": set(),
    "cut_after": set(),
    "hold_before": set(),
    "hold_after": set(),
    "fail": {"code", "reason"},
}
"""What a rule can do, with the values that it takes."""


class ConnectionCut(ConnectionError):
    """The connection is to be closed without an answer."""


class Rules:
    """The rules of a world; they outlast a restart, with what they have counted."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._table = world.table("misbehave.rules")

    def add(self, wanted: Mapping[str, Any]) -> Document:
        """Set a rule and return it with its id. Raises ValueError when it is not a rule."""
        rule = self._checked(wanted)
        with self._world.change():
            return self._put(rule)

    def replace(self, wanted: list[Mapping[str, Any]]) -> list[Document]:
        """Set these rules instead of all others, between two requests. Raises ValueError when one is not a rule."""
        rules = [self._checked(one) for one in wanted]
        with self._world.change():
            self.clear()
            return [self._put(rule) for rule in rules]

    def _put(self, rule: Document) -> Document:
        rule["id"] = self._world.next_number("misbehave.rule", start=1)
        self._table.put(f"{rule['id']:09d}", rule)
        return rule

    @staticmethod
    def _checked(wanted: Mapping[str, Any]) -> Document:
        unknown = set(wanted) - {"operation", "nth", "times", "account", "action"}
        if unknown:
            raise ValueError(f"a rule has no {', '.join(sorted(unknown))}")
        operation, account = wanted.get("operation"), wanted.get("account")
        if not isinstance(operation, str) or (":" not in operation and operation != "*"):
            raise ValueError('operation must be like "amc:createInstance" or "cleanrooms:*"')
        if account is not None and not isinstance(account, str):
            raise ValueError("account must be an AMC account id or an AWS account id")
        return {
            "operation": operation,
            "nth": _number(wanted.get("nth", 1), "nth", 1),
            "times": None if wanted.get("times", 1) is None else _number(wanted.get("times", 1), "times", 1),
            "account": account,
            "action": _action(wanted.get("action")),
            "seen": 0,
            "fired": 0,
        }

    def all(self) -> list[Document]:
        """Every rule, oldest first."""
        return self._table.values()

    def clear(self) -> None:
        """Forget every rule."""
        with self._world.change():
            for key in self._table.under(""):
                self._table.delete(key)

    def __len__(self) -> int:
        return len(self._table)

    def meet(self, operation: str, account: str | None) -> Document | None:
        """Count a request in every rule that it fits, and return the first rule that now acts on it, if one does."""
        if not len(self._table):
            return None
        acting = None
        with self._world.change():
            for rule in self._table.values():
                if not fnmatch.fnmatchcase(operation, rule["operation"]):
                    continue
                if rule["account"] is not None and rule["account"] != account:
                    continue
                rule["seen"] += 1
                due = rule["seen"] >= rule["nth"] and (rule["times"] is None or rule["fired"] < rule["times"])
                if due and acting is None:
                    rule["fired"] += 1
                    acting = rule
                self._table.put(f"{rule['id']:09d}", rule)
        return acting


class Holds:
    """Requests that wait, before or after their effect, until they are released or their client goes away."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._numbers = itertools.count(1)
        self._held: dict[int, tuple[Document, threading.Event]] = {}
        self._closed = False

    def wait(
        self,
        operation: str,
        account: str | None,
        when: str,
        connection: socket.socket | None,
        over: Callable[[], bool] = lambda: False,
    ) -> None:
        """Hold the calling request until it is released.

        Raises ConnectionCut when its client goes away, when its world is `over`, or when the simulator stops.
        """
        event = threading.Event()
        with self._lock:
            number = next(self._numbers)
            self._held[number] = ({"id": number, "operation": operation, "account": account, "when": when}, event)
            self._lock.notify_all()
        try:
            while not event.wait(0.05):
                if self._closed or over() or (connection is not None and _gone(connection)):
                    raise ConnectionCut
        finally:
            with self._lock:
                del self._held[number]

    def slow(self, seconds: float, over: Callable[[], bool] = lambda: False) -> None:
        """Hold the calling request for so long, whether its client stays or not.

        Raises ConnectionCut when its world is `over` or the simulator stops.
        """
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._closed or over():
                raise ConnectionCut
            time.sleep(min(left, 0.05))

    def all(self, wait: float = 0) -> list[Document]:
        """What is held: id, operation, account and whether "before" or "after" the effect.

        Where nothing is, something may become so for up to `wait` seconds.
        """
        with self._lock:
            if not self._held and wait:
                self._lock.wait(wait)
            return [description for description, _ in self._held.values()]

    def release(self, number: int) -> bool:
        """Let a request go on; False if there is none with this id."""
        with self._lock:
            if number not in self._held:
                return False
            self._held[number][1].set()
            return True

    def close(self) -> None:
        """End every held request, and hold none any more."""
        self._closed = True


def _gone(connection: socket.socket) -> bool:
    try:
        readable, _, _ = select.select([connection], [], [], 0)
        return bool(readable) and connection.recv(1, socket.MSG_PEEK) == b""
    except (OSError, ValueError):
        return True


def _number(value: object, name: str, low: float) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value < 10**9:
        raise ValueError(f"{name} must be a whole number, {low} or more")
    return value


def _action(action: object) -> Document:
    if not isinstance(action, dict) or action.get("kind") not in KINDS:
        raise ValueError(f"action.kind must be one of {', '.join(KINDS)}")
    values = KINDS[action["kind"]]
    unknown = set(action) - values - {"kind"}
    if unknown:
        raise ValueError(f"the action {action['kind']} takes no {', '.join(sorted(unknown))}")
    if "seconds" in values:
        seconds = action.get("seconds")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= 3600:
            raise ValueError("seconds must be from 0 to 3600")
    if "status" in values and not 400 <= _number(action.get("status", 500), "status", 400) <= 599:
        raise ValueError("status must be from 400 to 599")
    if "retry_after" in values:
        _number(action.get("retry_after", 1), "retry_after", 0)
    defaults: Document = {"throttle": {"retry_after": 1}, "error": {"status": 500}}.get(action["kind"], {})
    if action["kind"] == "fail":
        defaults = {"code": "INTERNAL_ERROR", "reason": "Something went wrong on Amazon's side."}
        if not all(isinstance(action.get(name, ""), str) for name in ("code", "reason")):
            raise ValueError("code and reason must be text")
    return {**defaults, **action}
