"""What the pages of differences read."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from django.core.paginator import Page, Paginator

from onboarding.guide.compare import why_not_accept, why_not_right, words
from onboarding.guide.join import ResultsBucket, ResultsShape
from onboarding.guide.leave import memberships
from onboarding.guide.roles import role_arn, role_name
from onboarding.models import CallRecord, Comparison, Difference, Instance, Membership, Run
from onboarding.selectors.runs import Onboarding

PAGE_SIZE = 50
MOST_ENDED = 20


@dataclass(frozen=True)
class Shown:
    """A difference with what can be done about it; an empty reason means that it can."""

    row: Difference
    title: str
    subject: str
    expected: str
    found: str
    # Documents, as of a policy, are shown whole.
    documents: bool
    why_not_accept: str
    why_not_right: str


def text_of(kind: str, aspect: str, value: Any) -> str:
    """A value of a fact in words; empty for a document."""
    if (kind, aspect) == (Difference.Kind.BUCKET, "public"):
        closed = [name for name, on in (value or {}).items() if on]
        return (
            "Closed" if value and len(closed) == len(value) else "Open" if not closed else f"Only {', '.join(closed)}"
        )
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, list):
        return ", ".join(" ".join(str(one).split("/")).strip() for one in value) or "None"
    if isinstance(value, dict):
        return ""
    return str(value) if value else "Not there" if value is None else "None"


@dataclass(frozen=True)
class Differences:
    """Everything that the page of one instance's differences shows."""

    open: list[Shown]
    ended: list[Shown]
    comparison: Comparison | None
    unread: list[dict[str, str]] = field(default_factory=list)


def shown(row: Difference) -> Shown:
    """A difference as pages show it."""
    return Shown(
        row,
        words(row.kind, row.aspect),
        row.subject.rpartition("/")[2],
        text_of(row.kind, row.aspect, row.expected),
        text_of(row.kind, row.aspect, row.found),
        row.kind == Difference.Kind.ROLE and (isinstance(row.expected, dict) or isinstance(row.found, dict)),
        why_not_accept(row.kind, row.aspect, row.found),
        why_not_right(row.kind, row.subject, row.aspect, row.expected, row.found),
    )


def differences_of(instance: Instance) -> Differences:
    """The differences of an instance, the ended ones newest first (three queries)."""
    rows = Difference.objects.filter(instance=instance).select_related("ended_by")
    ended = rows.exclude(ended_at=None).order_by("-ended_at", "-pk")[:MOST_ENDED]
    comparison = Comparison.objects.filter(instance=instance).first()
    return Differences(
        [shown(row) for row in rows.filter(ended_at=None)],
        [shown(row) for row in ended],
        comparison,
        comparison.unread if comparison else [],
    )


def open_count(instance: Instance) -> int:
    """How many differences an instance has now (one query)."""
    return Difference.objects.open().filter(instance=instance).count()


def open_page(accounts: Collection[int], number: str | int) -> Page[Any]:
    """The open differences of these accounts (by key), which the caller has checked, the newest first. Two queries."""
    rows = Difference.objects.open().filter(instance__account__in=accounts, instance__gone_at=None)
    page: Page[Any] = Paginator(rows.select_related("instance__account").order_by("-since", "pk"), PAGE_SIZE).get_page(
        number
    )
    page.object_list = [shown(row) for row in page.object_list]
    return page


def _asked_role(instance: Instance, row: Membership) -> str:
    return role_arn(row.aws_account_id, role_name("results", instance.instance_id))


def _name(arn: str) -> str:
    return arn.rpartition("/")[2]


@dataclass(frozen=True)
class Otherwise:
    """A setting of a membership that was found, and what the onboarding's answers had asked for."""

    title: str
    answered: str
    found: str


def found_otherwise(onboarding: Onboarding | None) -> list[Otherwise]:
    """Where a membership that the onboarding found is otherwise than was answered; nothing once it was changed."""
    step = onboarding.step("join") if onboarding else None
    if onboarding is None or step is None or step.state != "done":
        return []
    found = CallRecord.objects.filter(step=step, key="membership")
    if found.filter(outcome=CallRecord.Outcome.MADE).exists():
        return []
    changed = Run.objects.filter(instance=onboarding.instance, procedure="membership", steps__key="membership")
    if changed.filter(steps__state="done", ended_at__isnull=False).exists():
        return []
    row = next(iter(memberships(onboarding.instance)), None)
    if row is None or not row.seen_at or row.aws_account_id != onboarding.instance.aws_account_id:
        return []
    answers = step.answers
    shape = answers.get(ResultsShape.slug, {})
    logging = answers.get("logging", {}).get("logging") == "ENABLED"
    pairs = (
        ("Bucket that receives results", answers.get(ResultsBucket.slug, {}).get("name", ""), row.results_bucket),
        ("Folder in the bucket", shape.get("prefix", ""), row.results_prefix),
        ("Role that writes results", _name(_asked_role(onboarding.instance, row)), _name(row.results_role_arn)),
        ("Format of results", shape.get("format", ""), row.results_format),
        ("Query logging", "Kept" if logging else "No log", "Kept" if row.query_logging else "No log"),
    )
    return [Otherwise(title, answered or "None", is_ or "None") for title, answered, is_ in pairs if answered != is_]
