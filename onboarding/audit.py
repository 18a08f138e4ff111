"""Writes and verifies the audit log.

Every entry carries the SHA-256 of its own content and of the entry before it. Whoever changes or removes an entry
breaks the chain from there on; `verify` finds the place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone

from onboarding.models import AmcAccount, AuditEntry, AuditHead, Person, locked

PORTAL = "The portal"
_through: ContextVar[dict[str, Any] | None] = ContextVar("through", default=None)


@contextmanager
def acting_through(token: dict[str, Any] | None) -> Iterator[None]:
    """Entries written inside name the API token that the act came through: its id and its name, never the token."""
    before = _through.set(token)
    try:
        yield
    finally:
        _through.reset(before)


def _named(details: dict[str, Any], actor: Person | None) -> dict[str, Any]:
    token = _through.get()
    return {**details, "token": token} if actor and token else details


def record(
    act: str,
    *,
    actor: Person | None,
    subject: str,
    account: AmcAccount | None = None,
    subject_ref: str = "",
    details: dict[str, Any] | None = None,
    now: datetime | None = None,
) -> AuditEntry:
    """Append one entry, inside the transaction of the act that it tells of.

    `act` is a word with a dot (`request.approved`), `subject` what it was done to, in words, `subject_ref` where to
    find that (`run:…`), `details` what was before and after; never a secret or a personal value. `actor` None is
    the portal. What a person does through the API has the token's id and name in `details.token`.

    It locks the end of the chain until the transaction ends: whatever else the act locks, it locks before.
    """
    with transaction.atomic(savepoint=False):
        head = locked(AuditHead).filter(pk=1).first()
        if head is None:
            head, _ = locked(AuditHead).get_or_create(pk=1)
        entry = AuditEntry(
            number=head.number + 1,
            at=now or timezone.now(),
            actor=actor,
            actor_name=str(actor) if actor else PORTAL,
            act=act,
            account=account,
            subject=subject[:200],
            subject_ref=subject_ref,
            request_id=str(structlog.contextvars.get_contextvars().get("request_id", "")),
            details=json.loads(json.dumps(_named(details or {}, actor))),
            previous=head.hash,
        )
        entry.hash = _hash(entry)
        entry.save(force_insert=True)
        AuditHead.objects.filter(pk=1).update(number=entry.number, hash=entry.hash)
    return entry


def _hash(entry: AuditEntry) -> str:
    content = [
        entry.number,
        # Whole microseconds, as every database keeps them.
        entry.at.isoformat(timespec="microseconds"),
        entry.actor_id,
        entry.actor_name,
        entry.act,
        entry.account_id,
        entry.subject,
        entry.subject_ref,
        entry.request_id,
        entry.details,
        entry.previous,
    ]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Verdict:
    """The result of a check of the chain: how many entries are whole, and what is wrong with the first that is not."""

    entries: int
    problem: str = ""

    @property
    def whole(self) -> bool:
        return not self.problem


START = "0" * 64
CHUNK = 2000


def walk(number: int, last: str, *, until: int | None = None) -> tuple[Verdict, str]:
    """Check the entries after `number`, whose hash is `last`, up to `until` (None: all); and the hash of the last one.

    A long chain is checked in parts: each begins with what the one before gave.
    """
    rows = AuditEntry.objects.filter(number__gt=number)
    if until is not None:
        rows = rows.filter(number__lte=until)
    for entry in rows.order_by("number").iterator(chunk_size=CHUNK):
        if entry.number != number + 1:
            return Verdict(number, f"entry {number + 1} is missing"), last
        if entry.previous != last:
            return Verdict(number, f"entry {entry.number} does not follow entry {number}"), last
        if entry.hash != _hash(entry):
            return Verdict(number, f"entry {entry.number} was changed"), last
        last, number = entry.hash, entry.number
    if until is not None and number < until:
        return Verdict(number, f"entry {number + 1} is missing"), last
    return Verdict(number), last


def ends_at(verdict: Verdict, last: str, end: tuple[int, str]) -> Verdict:
    """The verdict, or what is wrong if a walk that found nothing did not come to `end`: a number and its hash."""
    if verdict.whole and end != (verdict.entries, last):
        return Verdict(verdict.entries, f"entry {verdict.entries} is not the one that was written last")
    return verdict


def head() -> tuple[int, str]:
    """The number and the hash of the last entry that was written."""
    row = AuditHead.objects.filter(pk=1).first()
    return (row.number, row.hash) if row else (0, START)


def verify(end: tuple[int, str] | None = None) -> Verdict:
    """Walk the chain from its beginning to the head that it has now (or `end`, if the caller has just read it).

    Entries written meanwhile are left for next time.
    """
    end = end or head()
    if AuditEntry.objects.filter(number__gt=end[0]).exists() and head() == end:
        return Verdict(end[0], f"entry {end[0] + 1} was added by other means")
    return ends_at(*walk(0, START, until=end[0]), end)


def as_document(entry: AuditEntry) -> dict[str, Any]:
    """The entry as it is exported and shipped: everything that its hash covers, and the hash itself."""
    return {
        "number": entry.number,
        "at": entry.at.isoformat(timespec="microseconds"),
        "actor": entry.actor_id,
        "actor_name": entry.actor_name,
        "act": entry.act,
        "account": entry.account_id,
        "subject": entry.subject,
        "subject_ref": entry.subject_ref,
        "request_id": entry.request_id,
        "details": entry.details,
        "previous": entry.previous,
        "hash": entry.hash,
    }
