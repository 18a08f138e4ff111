"""The rows behind the step of identity files: which version a run is about, and the work on it that fits the answers.

A change of an answer makes earlier work worth nothing: work is found by the very settings it was asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Max

from onboarding.guide.step import Situation
from onboarding.models import Dataset, DatasetVersion, IdentityJob, Person, SourceFile

_Kind, _State = IdentityJob.Kind, IdentityJob.State
OPEN = (_State.QUEUED, _State.RUNNING)


@dataclass
class Work:
    """The version that a run is about, if there is one yet, with its work, the newest first."""

    version: DatasetVersion | None
    jobs: list[IdentityJob] = field(default_factory=list)

    def latest(self, kind: str, settings: Mapping[str, Any]) -> IdentityJob | None:
        """The newest work of a kind that was asked for with exactly these settings."""
        return next((job for job in self.jobs if job.kind == kind and job.settings == settings), None)


def work_of(situation: Situation) -> Work:
    """The version of the situation's run and its work (two queries, once)."""
    known = situation.memo.get("identity-work")
    if isinstance(known, Work):
        return known
    version = None
    if not situation.run._state.adding:
        version = (
            DatasetVersion.objects.filter(run=situation.run).select_related("dataset").order_by("-dataset_id").first()
        )
    jobs = list(IdentityJob.objects.filter(version=version).order_by("-pk")) if version else []
    work = situation.memo["identity-work"] = Work(version, jobs)
    return work


def forget_work(situation: Situation) -> None:
    """Read the rows again when they are next needed."""
    situation.memo.pop("identity-work", None)


@dataclass(frozen=True)
class Place:
    """Where the data of an instance are kept: an AWS account, a bucket, and a prefix without slashes at its ends."""

    account: str
    bucket: str
    prefix: str


def keep_version(
    situation: Situation, name: str, origin: str, place: Place, person: Person | None, now: datetime
) -> DatasetVersion:
    """The version that the run is about, of the data set called `name`: the one there is, or a new one."""
    dataset, _ = Dataset.objects.get_or_create(
        instance=situation.instance,
        name=name,
        retired_at=None,
        defaults={
            "aws_account_id": place.account,
            "bucket": place.bucket,
            "prefix": place.prefix,
            "made_by": person,
            "made_at": now,
        },
    )
    version = work_of(situation).version
    forget_work(situation)
    if version is None:
        return DatasetVersion.objects.create(
            dataset=dataset, number=_next_number(dataset), run=situation.run, origin=origin, made_by=person, made_at=now
        )
    if version.dataset_id != dataset.pk:
        before = version.dataset
        version.dataset, version.number = dataset, _next_number(dataset)
        version.save(update_fields=["dataset", "number"])
        if not before.versions.exists():
            before.delete()
    if version.origin != origin:
        version.origin = origin
        version.save(update_fields=["origin"])
    return version


def _next_number(dataset: Dataset) -> int:
    return (dataset.versions.aggregate(most=Max("number"))["most"] or 0) + 1


def ask_for(
    version: DatasetVersion, kind: str, settings: Mapping[str, Any], person: Person | None, now: datetime
) -> IdentityJob | None:
    """Ask for work, unless exactly this is under way or done; whatever else of the kind is under way ends.

    Returns the new row, or None when there is nothing to queue.
    """
    replaced = False
    for job in IdentityJob.objects.filter(version=version, kind=kind).order_by("-pk"):
        if job.settings == settings and (job.state in OPEN or (job.state == _State.DONE and not replaced)):
            return None
        if job.state in OPEN:
            end(job, now)
        # A version keeps the result of the last work of a kind alone.
        replaced = replaced or job.state == _State.DONE
    return IdentityJob.objects.create(
        version=version, kind=kind, settings=dict(settings), asked_by=person, asked_at=now, next_attempt_at=now
    )


def end(job: IdentityJob, now: datetime) -> bool:
    """Cancel work; a worker that has it finds the row no longer its own and stops. False if it has ended already."""
    changed = IdentityJob.objects.filter(pk=job.pk, state__in=OPEN).update(
        state=_State.CANCELLED, finished_at=now, lease_owner="", lease_until=None, next_attempt_at=None
    )
    return bool(changed)


def content_digest(files: Iterable[SourceFile]) -> str:
    """What the files held when they were looked at: SHA-256 over their places, sizes and ETags."""
    entries = sorted((file.bucket, file.key, file.size, file.etag) for file in files)
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()
