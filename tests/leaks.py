"""What must stand in no database, no log and no cache: tokens, secrets, marked values of identity files."""

from __future__ import annotations

import json
import logging
import re
import sqlite3
from pathlib import Path

import redis
from django.core import signing

from scripts.stack import Stack

FORBIDDEN = re.compile(
    r"""Atz[ar](\||%7C)[\w-]{6,}       # tokens of Login with Amazon
    | \bAN[0-9a-f]{18}\b               # its codes
    | amcp_[\w-]{20,}                  # personal tokens of the API
    | whsec_[\w+/=-]{20,}              # secrets that sign webhooks
    | (?i:bearer\s+[\w.~+/|-]{12,})    # whatever was sent as one
    | X-Amz-(Signature|Security-Token)=
    | BEGIN[ ][A-Z ]*PRIVATE[ ]KEY
    | (?i:zqxjmarker|zyxwvu)           # what tests put into identity files
    """,
    re.VERBOSE,
)
# These belong to the local Amazon, which is no part of the portal.
NOT_OURS = ("simulator", "moto", "werkzeug", "cheroot")


def first_leak(text: str, secrets: tuple[str, ...] = ()) -> str:
    """The first thing in the text that must not be there, with a little of what stands around it; empty if none is."""
    found = FORBIDDEN.search(text)
    places = [found.start()] if found else []
    places += [text.index(secret) for secret in secrets if secret and secret in text]
    return text[max(0, min(places) - 80) : min(places) + 80] if places else ""


class Watch(logging.Handler):
    """Reads every line that is logged, as it would be written."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith(NOT_OURS):
            leak = first_leak(self.format(record))
            if leak:
                self.found.append(f"{record.name}: {leak}")


def _sessions(database: sqlite3.Connection, key: str) -> str:
    rows = database.execute("SELECT session_data FROM django_session").fetchall()
    salt = "django.contrib.sessions.SessionStore"
    return json.dumps([signing.loads(row, key=key, salt=salt) for (row,) in rows])


def of_stack(stack: Stack) -> dict[str, str]:
    """Everything that a stack has written so far, by where: its database, sessions, logs and Redis."""
    copy = Path(stack.folder) / "look.sqlite3"
    copy.unlink(missing_ok=True)
    database = sqlite3.connect(Path(stack.folder) / "portal.sqlite3", timeout=30)
    try:
        database.execute("VACUUM INTO ?", [str(copy)])
        found = {"sessions": _sessions(database, stack.settings["SECRET_KEY"])}
    finally:
        database.close()
    found["database"] = copy.read_bytes().decode("utf-8", "replace")
    for log in (Path(stack.folder) / "log").glob("*.log"):
        if log.stem != "simulator":
            found[log.name] = log.read_text("utf-8", "replace")
    with redis.Redis.from_url(stack.redis_url) as client:
        found["redis"] = "\n".join(f"{key!r} {client.dump(key)!r}" for key in client.scan_iter())
    return found


def check_stack(stack: Stack) -> None:
    """Fails if a stack has written anything down that must not be."""
    secrets = tuple(stack.settings[name] for name in ("SECRET_KEY", "FIELD_KEYS", "LOGIN_CLIENT_SECRET"))
    written = of_stack(stack)
    assert "person.signed_in" in written["database"] and len(written) > 4
    leaks = {where: leak for where, text in written.items() if (leak := first_leak(text, secrets))}
    assert leaks == {}
