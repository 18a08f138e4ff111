"""The audit log as an admin reads it: found, paged, and what an act changed side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from difflib import SequenceMatcher
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import Q, QuerySet

from onboarding.models import AmcAccount, AuditCheck, AuditCursor, AuditEntry, Person, RoleName
from onboarding.numbers import of_key

PAGE_SIZE = 50
THE_PORTAL = "portal"
# What an entry may be about: the word before the colon of its reference.
OBJECTS = {
    "run": "Run",
    "request": "Request",
    "instance": "Instance",
    "mapping_table": "Mapping table",
    "account": "AMC account",
    "amc": "Amazon login",
    "aws": "AWS account",
    "person": "Person",
    "token": "API token",
    "invitation": "Invited user",
    "channel": "Channel",
}
MOST_LINES = 400


@dataclass(frozen=True)
class AuditQuery:
    """What is looked for; empty means any. `object` is a kind (`run`) or one object (`run:…`); days are whole, UTC."""

    q: str = ""
    act: str = ""
    actor: str = ""
    object: str = ""
    account: str = ""
    since: date | None = None
    until: date | None = None


def entries_for(person: Person) -> QuerySet[AuditEntry]:
    """The entries of the accounts that the person administers; every entry for a superuser."""
    if person.is_superuser:
        return AuditEntry.objects.all()
    return AuditEntry.objects.filter(account__in=AmcAccount.objects.with_role(person, RoleName.ADMIN))


def matching(person: Person, *, q: str = "", act: str = "") -> QuerySet[AuditEntry]:
    """The entries that the person may read with these words and of this act (empty: any), in no order."""
    rows = entries_for(person)
    if act:
        rows = rows.filter(act=act)
    words = q.strip()
    if words:
        rows = rows.filter(
            Q(subject__icontains=words) | Q(actor_name__icontains=words) | Q(subject_ref__icontains=words)
        )
    return rows


def found(person: Person, query: AuditQuery, *, account: AmcAccount | None = None) -> QuerySet[AuditEntry]:
    """The entries that fit and that the person may read; only those of `account`, if one is in view."""
    rows = matching(person, q=query.q, act=query.act)
    rows = of_key(rows, "account", query.account) if account is None else rows.filter(account=account)
    rows = rows.filter(actor=None) if query.actor == THE_PORTAL else of_key(rows, "actor", query.actor)
    if ":" in query.object:
        rows = rows.filter(subject_ref=query.object)
    elif query.object:
        rows = rows.filter(subject_ref__startswith=f"{query.object}:")
    if query.since:
        rows = rows.filter(at__gte=_midnight(query.since))
    if query.until and query.until < date.max:
        rows = rows.filter(at__lt=_midnight(query.until + timedelta(days=1)))
    return rows


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def audit_page(person: Person, query: AuditQuery, *, number: str | int, account: AmcAccount | None) -> Page[AuditEntry]:
    """One page of entries, the newest first (two queries)."""
    rows = found(person, query, account=account)
    return Paginator(rows.select_related("account").order_by("-number"), PAGE_SIZE).get_page(number)


def every(person: Person, query: AuditQuery, *, account: AmcAccount | None) -> Iterator[AuditEntry]:
    """Every entry that fits, in order, read bit by bit."""
    rows = found(person, query, account=account).select_related("account").order_by("number")
    return rows.iterator(chunk_size=1000)


def acts_for(person: Person) -> list[str]:
    """The acts that occur among the entries the person may read."""
    return list(entries_for(person).order_by("act").values_list("act", flat=True).distinct())


def last_check() -> AuditCheck | None:
    """The latest check of the whole chain: under way, or how it ended."""
    return AuditCheck.objects.select_related("asked_by").order_by("-pk").first()


def shipped_to(target: str) -> AuditCursor | None:
    """How far the log was shipped to the target."""
    return AuditCursor.objects.filter(target=target).first() if target else None


# --- what an act changed


@dataclass(frozen=True)
class Line:
    """One line of two documents side by side; `kind` is same, changed, gone or new."""

    kind: str
    before: str
    after: str


@dataclass(frozen=True)
class Change:
    """One thing that an act changed. `lines` is set for documents; else `before` and `after` are short texts."""

    what: str
    before: str = ""
    after: str = ""
    lines: tuple[Line, ...] = ()


def changes(details: dict[str, Any]) -> list[Change]:
    """What an entry's `before` and `after` say, field by field; fields that stayed the same are left out."""
    if "before" not in details and "after" not in details:
        return []
    before, after = details.get("before"), details.get("after")
    if isinstance(before, dict | None) and isinstance(after, dict | None) and _flat(before) and _flat(after):
        old, new = before or {}, after or {}
        names = [*old, *(name for name in new if name not in old)]
        return [
            _change(name.replace("_", " "), old.get(name), new.get(name))
            for name in names
            if old.get(name) != new.get(name)
        ]
    what = str(details.get("subject") or "")
    return [_change(what, before, after)] if before != after else []


def changed_names(details: dict[str, Any]) -> str:
    """The names of what changed, for one line of a list."""
    return ", ".join(change.what for change in changes(details) if change.what)


def rest(details: dict[str, Any]) -> dict[str, Any]:
    """What an entry says besides before and after."""
    return {name: value for name, value in details.items() if name not in ("before", "after")}


def _flat(value: dict[str, Any] | None) -> bool:
    # A policy document is compared as a whole: its Version and Statement are no fields.
    return value is None or "Statement" not in value


def _document(value: Any) -> Any:
    """A document that is kept as text, as JSON; anything else as it is."""
    if isinstance(value, str) and value[:1] in "{[" and value:
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _change(what: str, before: Any, after: Any) -> Change:
    old, new = _document(before), _document(after)
    if _long(old) or _long(new):
        return Change(what, lines=tuple(side_by_side(_indented(old), _indented(new))))
    return Change(what, _short(old), _short(new))


def _long(value: Any) -> bool:
    if isinstance(value, list):
        return any(isinstance(item, dict | list) for item in value)
    return isinstance(value, dict) or (isinstance(value, str) and "\n" in value)


def _short(value: Any) -> str:
    if value is None or value in ("", []):
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)


def _indented(value: Any) -> list[str]:
    if value is None:
        return []
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return text.split("\n")


def side_by_side(before: list[str], after: list[str]) -> Iterator[Line]:
    """The lines of two documents, those that belong together beside each other; MOST_LINES at most."""
    made = 0
    for tag, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        old, new = before[a:b], after[c:d]
        for index in range(max(len(old), len(new))):
            if made == MOST_LINES:
                return
            made += 1
            left = old[index] if index < len(old) else ""
            right = new[index] if index < len(new) else ""
            if tag == "equal":
                yield Line("same", left, right)
            elif index >= len(old):
                yield Line("new", "", right)
            elif index >= len(new):
                yield Line("gone", left, "")
            else:
                yield Line("changed", left, right)
