"""Where files come from: a local path or ``s3://bucket/key``, read in a stream or by range."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import botocore.exceptions

from onboarding.identity.errors import IdentityError, Unreadable, reason

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

S3Factory = Callable[[], "S3Client"]
READ_ATTEMPTS = 4
NO_ANSWER = "NoAnswer"
"""The ``code`` of errors where S3 answered nothing at all."""


@cache
def default_s3() -> S3Client:
    """The S3 client of boto3's default session in us-east-1, the only region AMC works in. Raises IdentityError."""
    import boto3

    try:
        return boto3.session.Session().client("s3", region_name="us-east-1")
    except ValueError:
        raise IdentityError(
            "the endpoint's address is not valid: correct AWS_ENDPOINT_URL, or endpoint_url in AWS's settings"
        ) from None
    except botocore.exceptions.BotoCoreError as error:
        raise IdentityError(f"the settings for AWS cannot be used: {type(error).__name__}") from None


class Source(Protocol):
    """A file to read."""

    @property
    def name(self) -> str:
        """Its path or URL."""

    @property
    def size(self) -> int:
        """Its bytes."""

    def read(self, start: int, length: int) -> bytes:
        """At most ``length`` bytes from ``start``; fewer at the end of the file. Raises Unreadable."""


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine."""

    name: str
    size: int

    def read(self, start: int, length: int) -> bytes:
        try:
            with Path(self.name).open("rb") as file:
                file.seek(start)
                return file.read(length)
        except OSError as error:
            raise Unreadable(self.name, reason(error)) from error


@dataclass(frozen=True)
class S3Object:
    """An object in S3. Reads pin the version first seen by its ETag, so a file changed meanwhile is an error."""

    name: str
    size: int
    etag: str
    client: S3Factory

    def read(self, start: int, length: int) -> bytes:
        bucket, key = split_url(self.name)
        end = min(start + length, self.size) - 1
        if end < start:
            return b""
        for attempt in range(READ_ATTEMPTS):
            try:
                answer = self.client().get_object(
                    Bucket=bucket, Key=key, Range=f"bytes={start}-{end}", IfMatch=self.etag
                )
                return answer["Body"].read()
            except botocore.exceptions.ClientError as error:
                code = error.response.get("Error", {}).get("Code", "")
                why = "was changed while it was read" if code == "PreconditionFailed" else f"S3 answered {code}"
                raise Unreadable(self.name, why, code=code) from None
            except (botocore.exceptions.HTTPClientError, botocore.exceptions.ResponseStreamingError):
                if attempt == READ_ATTEMPTS - 1:
                    raise Unreadable(self.name, "the connection to S3 broke", code=NO_ANSWER) from None
        raise AssertionError("unreachable")


ABSENT = frozenset({"NoSuchBucket", "NoSuchKey", "404", ""})
"""The codes of Unreadable that mean that there is nothing at a place; empty: an object without content."""


def split_url(url: str) -> tuple[str, str]:
    """Bucket and key of an ``s3://`` URL."""
    parts = urlsplit(url, allow_fragments=False)
    return parts.netloc, url.removeprefix(f"s3://{parts.netloc}").removeprefix("/")


def find(places: Sequence[str], s3: S3Factory = default_s3) -> list[Source]:
    """The files at those places: paths, folders, ``s3://`` objects, or prefixes that end in a slash.

    Names that begin with a dot or underscore and empty files are passed over, as Athena and Glue do. Files of a folder
    come in the order of their names. Raises Unreadable for a place where there is nothing.
    """
    sources: list[Source] = []
    for place in places:
        before = len(sources)
        sources.extend(_in_s3(place, s3) if place.startswith("s3://") else _local(place))
        if len(sources) == before:
            raise Unreadable(place, "nothing to read there")
    return sources


def _local(place: str) -> Iterator[Source]:
    path = Path(place)
    try:
        files = files_below(path) if stat.S_ISDIR(path.stat().st_mode) else [path] if path.is_file() else []
        for file in files:
            if size := file.stat().st_size:
                yield LocalFile(str(file), size)
    except (FileNotFoundError, NotADirectoryError):
        return  # nothing is there
    except OSError as error:
        raise Unreadable(str(error.filename or place), reason(error)) from None


def files_below(folder: Path, hidden: bool = False) -> list[Path]:
    """All files below a folder by name, without the hidden ones if not asked for. Raises OSError for a folder that
    cannot be looked into: what lies there would be missing."""

    def failed(error: OSError) -> None:
        raise error

    files = []
    for above, folders, names in os.walk(folder, onerror=failed):
        folders[:] = [name for name in folders if hidden or not _hidden(name)]
        files += [Path(above, name) for name in names if hidden or not _hidden(name)]
    return sorted(file for file in files if file.is_file())


def _hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def lies_within(place: str, inside: str) -> bool:
    """Whether what lies at ``place``, a folder or prefix, is found by reading ``inside``."""
    if inside.startswith("s3://") != place.startswith("s3://"):
        return False
    if inside.startswith("s3://"):
        (bucket, prefix), (other, key) = split_url(inside), split_url(place.rstrip("/") + "/")
        if bucket != other or not key.startswith(prefix) or (prefix and not prefix.endswith("/")):
            return False
        parts = key.removeprefix(prefix).split("/")
    else:
        folder, target = Path(inside).resolve(), Path(place).resolve()
        if not folder.is_dir() or not target.is_relative_to(folder):
            return False
        parts = list(target.relative_to(folder).parts)
    return not any(_hidden(part) for part in parts)


def _in_s3(place: str, s3: S3Factory) -> Iterator[Source]:
    bucket, prefix = split_url(place)
    try:
        if prefix and not prefix.endswith("/"):
            head = s3().head_object(Bucket=bucket, Key=prefix)
            if head["ContentLength"]:
                yield S3Object(place, head["ContentLength"], head["ETag"], s3)
            return
        for page in s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Contents", []):
                parts = entry["Key"].removeprefix(prefix).split("/")
                if entry["Size"] and not any(_hidden(part) for part in parts):
                    yield S3Object(f"s3://{bucket}/{entry['Key']}", entry["Size"], entry["ETag"], s3)
    except botocore.exceptions.ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        raise Unreadable(place, f"S3 answered {code}", code=code) from None
    except botocore.exceptions.BotoCoreError as error:
        raise Unreadable(place, f"S3 cannot be reached: {type(error).__name__}", code=NO_ANSWER) from None


class SourceReader(io.RawIOBase):
    """A source as a seekable binary file; ``position`` says how far it was read."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.source.size}[whence]
        self.position = max(0, base + offset)
        return self.position

    def read(self, size: int = -1) -> bytes:
        data = self.source.read(self.position, self.source.size - self.position if size < 0 else size)
        self.position += len(data)
        return data

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)
