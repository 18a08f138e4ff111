"""What is kept how long: a little every night, never from the audit log, and nothing that a run may still need.

Each period is a setting in days (RETAIN_…, see .env.example); 0 keeps everything for ever.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from onboarding import audit
from onboarding.models import (
    CallRecord,
    Delivery,
    IdentityJob,
    Instance,
    LogLine,
    Notice,
    QueryResult,
    Run,
    StepFailure,
)

# How much of a kind is deleted in one go: a statement that takes long would hold others up.
MOST = 2000
_ENDED_JOBS = (IdentityJob.State.DONE, IdentityJob.State.FAILED, IdentityJob.State.CANCELLED)
_ENDED_DELIVERIES = (Delivery.State.SENT, Delivery.State.FAILED, Delivery.State.UNKNOWN)


def sweep(*, now: datetime, most: int = MOST) -> dict[str, int]:
    """Delete what is kept no longer at `now`, at most `most` rows of each kind; how many of which.

    Any number of clocks may do it at once. Whoever finds as many as `most` of a kind has to come back.
    """
    gone = {
        "sessions": _delete(Session.objects.filter(expire_date__lt=now), most),
        "query results": _delete(QueryResult.objects.filter(ends_at__lt=now), most),
    }
    for kind, days, rows in (
        ("log lines", settings.RETAIN_LOGS_DAYS, _log_lines),
        ("failures", settings.RETAIN_LOGS_DAYS, _failures),
        ("messages", settings.RETAIN_MESSAGES_DAYS, _notices),
        ("deliveries", settings.RETAIN_MESSAGES_DAYS, _deliveries),
        ("identity jobs", settings.RETAIN_JOBS_DAYS, _identity_jobs),
    ):
        if days:
            gone[kind] = _delete(rows(now - timedelta(days=days)), most)
    if settings.RETAIN_DRAFTS_DAYS:
        gone["drafts"] = _drafts(now - timedelta(days=settings.RETAIN_DRAFTS_DAYS), most)
    found = {kind: count for kind, count in gone.items() if count}
    if found:
        audit.record("retention.swept", actor=None, subject="What is kept no longer", details=found, now=now)
    return found


def _delete(rows: QuerySet[Any], most: int) -> int:
    keys = list(rows.order_by("pk").values_list("pk", flat=True)[:most])
    if keys:
        rows.model._default_manager.filter(pk__in=keys).delete()
    return len(keys)


def _log_lines(before: datetime) -> QuerySet[LogLine]:
    return LogLine.objects.filter(at__lt=before, step__run__ended_at__lt=before)


def _failures(before: datetime) -> QuerySet[StepFailure]:
    return StepFailure.objects.filter(at__lt=before, step__run__ended_at__lt=before)


def _notices(before: datetime) -> QuerySet[Notice]:
    unsent = Delivery.objects.filter(notice=OuterRef("pk")).exclude(state__in=_ENDED_DELIVERIES)
    return Notice.objects.filter(~Exists(unsent), made_at__lt=before, next_attempt_at=None)


def _deliveries(before: datetime) -> QuerySet[Delivery]:
    return Delivery.objects.filter(state__in=_ENDED_DELIVERIES, made_at__lt=before, ended_at__lt=before)


def _identity_jobs(before: datetime) -> QuerySet[IdentityJob]:
    """What ended long ago, but for the last of its kind: what it found belongs to the version."""
    later = IdentityJob.objects.filter(version=OuterRef("version"), kind=OuterRef("kind"), pk__gt=OuterRef("pk"))
    return IdentityJob.objects.filter(Exists(later), state__in=_ENDED_JOBS, finished_at__lt=before).exclude(
        version__run__ended_at=None, version__run__isnull=False
    )


def _drafts(before: datetime, most: int) -> int:
    """Onboardings that were cancelled before they made anything at Amazon, with the instances that never were."""
    made = CallRecord.objects.filter(step__run=OuterRef("pk"), outcome__in=["started", "made", "adopted"])
    drafts = Run.objects.filter(
        ~Exists(made), procedure="onboard", ended_at__lt=before, instance__instance_id="", steps__state="cancelled"
    ).distinct()
    count = 0
    for run in drafts.order_by("ended_at").only("pk", "instance_id")[:most]:
        with transaction.atomic():
            Run.objects.filter(pk=run.pk).delete()
            others = Run.objects.filter(instance=OuterRef("pk"))
            Instance.objects.filter(~Exists(others), pk=run.instance_id).delete()
        count += 1
    return count
