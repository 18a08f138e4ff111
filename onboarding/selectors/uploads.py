"""What the page of uploads shows."""

from __future__ import annotations

from onboarding.models import DatasetVersion, Run, SourceFile


def version_of(run: Run) -> DatasetVersion | None:
    """The version that a run brings, with its data set (one query)."""
    return DatasetVersion.objects.filter(run=run).select_related("dataset").order_by("-dataset_id").first()


def uploaded(version: DatasetVersion | None) -> list[SourceFile]:
    """The files of a version that come from a computer and are not gone (one query)."""
    if version is None:
        return []
    return list(version.files.exclude(fingerprint="").exclude(state=SourceFile.State.GONE).order_by("begun_at"))
