"""Looking into S3 from the portal: the buckets of an account in us-east-1, and what is in one, page by page.

Only names, sizes and times are read, through the reader role; no content.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings
from django.utils.dateparse import parse_datetime

from onboarding.clients.aws import AwsClient
from onboarding.models import AwsConnection

PAGE_SIZE = 100


@dataclass(frozen=True)
class Folder:
    """A folder: its name, and its prefix with the slash at its end."""

    name: str
    prefix: str
    place: str


@dataclass(frozen=True)
class File:
    """An object: its name in its folder, its key, its size in bytes, and when it was written."""

    name: str
    key: str
    size: int
    written_at: datetime | None
    place: str


@dataclass(frozen=True)
class Listing:
    """One page of a folder. `next_page` is what the next page is asked with; empty on the last."""

    bucket: str
    prefix: str
    folders: list[Folder] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    next_page: str = ""

    @property
    def place(self) -> str:
        """The folder as `s3://bucket/prefix/`."""
        return f"s3://{self.bucket}/{self.prefix}"

    @property
    def above(self) -> list[Folder]:
        """The folders from the bucket down to this one, for the way back."""
        names = [name for name in self.prefix.split("/") if name]
        prefixes = ["/".join(names[: number + 1]) + "/" for number in range(len(names))]
        return [
            Folder(name, prefix, f"s3://{self.bucket}/{prefix}") for name, prefix in zip(names, prefixes, strict=True)
        ]


def buckets(connection: AwsConnection) -> list[str]:
    """The names of the account's buckets in us-east-1. Raises Later, Fix or Reconnect."""
    client = AwsClient(connection, "s3", session_name="browse", reading=True)
    return sorted(bucket["Name"] for bucket in _buckets(client))


def _buckets(client: AwsClient) -> Iterator[dict[str, str]]:
    yield from client.pages("ListBuckets", {"BucketRegion": settings.AWS_REGION, "MaxBuckets": 1000}, "Buckets")


def listing(connection: AwsConnection, bucket: str, prefix: str = "", page: str = "") -> Listing:
    """One page of a folder, which has a slash at its end or is empty. Raises Later, Fix or Reconnect."""
    client = AwsClient(connection, "s3", session_name="browse", reading=True)
    params: dict[str, object] = {"Bucket": bucket, "Prefix": prefix, "Delimiter": "/", "MaxKeys": PAGE_SIZE}
    if page:
        params["ContinuationToken"] = page
    answer = client.call("ListObjectsV2", params)
    before, root = len(prefix), f"s3://{bucket}/"
    folders = [
        Folder(one["Prefix"][before:].rstrip("/"), one["Prefix"], root + one["Prefix"])
        for one in answer.get("CommonPrefixes") or []
    ]
    files = [
        File(one["Key"][before:], one["Key"], int(one["Size"]), parse_datetime(one["LastModified"]), root + one["Key"])
        for one in answer.get("Contents") or []
        # A folder made in the console is an empty object of the folder's own name.
        if one["Key"] != prefix
    ]
    return Listing(bucket, prefix, folders, files, str(answer.get("NextContinuationToken") or ""))
