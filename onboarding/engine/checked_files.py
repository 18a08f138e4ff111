"""Whether files are still those that were checked."""

from __future__ import annotations

from collections.abc import Iterable

from onboarding.clients.failures import Fix
from onboarding.guide.identity_work import content_digest
from onboarding.identity.storage import Source, split_url
from onboarding.models import SourceFile


def rows_of(sources: Iterable[Source]) -> list[SourceFile]:
    """The files in S3 as rows that are not saved: place, size in bytes and ETag."""
    rows = []
    for source in sources:
        bucket, key = split_url(source.name)
        etag = str(getattr(source, "etag", "")).strip('"')
        rows.append(SourceFile(bucket=bucket, key=key, size=source.size, etag=etag))
    return rows


def must_be(sources: Iterable[Source], content: str) -> int:
    """How many files there are. Raises Fix unless they have the digest `content`, by places, sizes and ETags."""
    rows = rows_of(sources)
    if content_digest(rows) != content:
        raise Fix(
            "The files are not those that were checked.",
            why="A file was changed, added or removed since the check.",
            who="Analyst",
            todo="Change the answers of this step, so that the files are checked again.",
            code="FilesChanged",
        )
    return len(rows)
