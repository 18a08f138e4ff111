"""Puts prepared files where Entity Resolution reads them, all at once and only when they are whole.

Locally files are written into a hidden folder and renamed; in S3 they are multipart uploads, which nobody can see
before they are completed. The manifest goes first and comes last: while there is one, it describes what lies beside it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Protocol

import botocore.exceptions

from onboarding.identity.errors import BadDestination, reason
from onboarding.identity.storage import NO_ANSWER, S3Factory, default_s3, files_below, split_url

MANIFEST = "manifest.json"
ASIDE = ".incoming"
# Names what a run makes visible while it does so: a run that is lost then leaves files that the next may replace.
# Readers of tables pass over names that begin with an underscore.
MARK = "_publishing.json"
PART_SIZE = 16 << 20
_LEFT_ASIDE = re.compile(rf"{re.escape(ASIDE)}/(?:[^/]+/part-\d{{5}}\.parquet|{re.escape(MANIFEST)}|{MARK})")


class Destination(Protocol):
    """A folder for prepared files. Nothing is visible in it before ``publish``."""

    url: str

    def prepare(self) -> None:
        """Makes ready. Raises BadDestination when something else lies there or it cannot be written."""
        ...

    def create(self, path: str) -> IO[bytes]:
        """A file to write, by its path in the folder."""
        ...

    def publish(self, manifest: bytes) -> None:
        """Makes every created and closed file visible, removes those of an earlier run, and writes the manifest."""
        ...

    def abandon(self) -> None:
        """Forgets everything created; touches nothing where preparing was refused."""
        ...


class Measured(io.RawIOBase):
    """Writes through to a file and keeps count and SHA-256 of the bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = 0
        self._digest = sha256()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._file.write(view)
        self._digest.update(view)
        self.size += len(view)
        return len(view)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def sha256(self) -> str:
        """The digest of all bytes so far, in hex."""
        return self._digest.hexdigest()


def destination(url: str, s3: S3Factory = default_s3) -> Destination:
    """The folder at a local path or an ``s3://bucket/prefix``."""
    return S3Folder(url, s3) if url.startswith("s3://") else LocalFolder(url)


def earlier_files(manifest: bytes | None) -> list[str] | None:
    """The files an earlier run's manifest names; None when it is no such manifest."""
    try:
        document = json.loads(manifest or b"")
        return [file["path"] for table in document["tables"] for file in table["files"]]
    except (ValueError, KeyError, TypeError):
        return None


def _replaceable(read: Callable[[str], bytes], there: set[str]) -> list[str] | None:
    """Of the files `there`, those that earlier runs have made; None when something else is among them."""
    named: list[str] = []
    for name in (MANIFEST, MARK):
        files = earlier_files(read(name)) if name in there else []
        if files is None:
            return None
        named += files
    own = dict.fromkeys(named)
    return [path for path in own if path in there] if there - {MANIFEST, MARK} <= set(own) else None


@contextmanager
def writing(url: str) -> Iterator[None]:
    """Says of a failure of the system which destination it was, by the system's words alone."""
    try:
        yield
    except OSError as error:
        raise BadDestination(f"{url} cannot be written: {reason(error)}") from None


def _mark(paths: Iterable[str]) -> bytes:
    """What the mark says: in the shape of a manifest, so that it is read the same way."""
    return json.dumps({"tables": [{"files": [{"path": path} for path in paths]}]}).encode()


class LocalFolder:
    """A folder on this machine."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._root = Path(url)
        self._aside = self._root / ASIDE
        self._earlier: list[str] = []
        self._created: list[str] = []
        self._ours = False

    def prepare(self) -> None:
        with writing(self.url):
            self._root.mkdir(parents=True, exist_ok=True)
            all_there = {file.relative_to(self._root).as_posix() for file in files_below(self._root, hidden=True)}
            there = {path for path in all_there if not _LEFT_ASIDE.fullmatch(path)}
            earlier = _replaceable(lambda name: (self._root / name).read_bytes(), there)
            if earlier is None:
                raise BadDestination(f"{self.url} holds files that are not of an earlier run; choose an empty folder")
            self._earlier = earlier
            self._ours = True
            shutil.rmtree(self._aside, ignore_errors=True)
            self._aside.mkdir()

    def create(self, path: str) -> IO[bytes]:
        target = self._aside / path
        target.parent.mkdir(parents=True, exist_ok=True)
        self._created.append(path)
        return target.open("wb")

    def publish(self, manifest: bytes) -> None:
        with writing(self.url):
            self._publish(manifest)

    def _publish(self, manifest: bytes) -> None:
        (self._aside / MARK).write_bytes(_mark([*self._earlier, *self._created]))
        _flush(self._aside / MARK)
        (self._aside / MARK).replace(self._root / MARK)
        (self._root / MANIFEST).unlink(missing_ok=True)
        for path in self._created:
            _flush(self._aside / path)
            target = self._root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            (self._aside / path).replace(target)
        for path in set(self._earlier) - set(self._created):
            old = self._root / path
            old.unlink(missing_ok=True)
            if old.parent != self._root and not any(old.parent.iterdir()):
                old.parent.rmdir()
        (self._aside / MANIFEST).write_bytes(manifest)
        _flush(self._aside / MANIFEST)
        (self._aside / MANIFEST).replace(self._root / MANIFEST)
        (self._root / MARK).unlink()
        shutil.rmtree(self._aside)

    def abandon(self) -> None:
        if self._ours:
            shutil.rmtree(self._aside, ignore_errors=True)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


class S3Folder:
    """A prefix in S3."""

    def __init__(self, url: str, client: S3Factory) -> None:
        self.url = url.rstrip("/")
        self._client = client
        self._bucket, prefix = split_url(self.url)
        self._prefix = prefix + "/" if prefix else ""
        self._earlier: list[str] = []
        self._uploads: list[Upload] = []

    def prepare(self) -> None:
        try:
            there = set()
            pages = self._client().get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            for page in pages:
                there |= {entry["Key"].removeprefix(self._prefix) for entry in page.get("Contents", [])}
            there.discard("")
            earlier = _replaceable(self._read, there)
            if earlier is None:
                raise BadDestination(f"{self.url} holds objects that are not of an earlier run; choose an empty prefix")
            self._earlier = earlier
            self._abort_what_was_left()
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
            raise BadDestination(f"{self.url} cannot be used: {_reason(error)}", _code(error)) from None

    def _read(self, name: str) -> bytes:
        return self._client().get_object(Bucket=self._bucket, Key=self._prefix + name)["Body"].read()

    def _abort_what_was_left(self) -> None:
        """Uploads of a run that was lost cost money and can't be seen; whoever prepares here is alone."""
        client = self._client()
        pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=self._prefix)
        try:
            left = [upload for page in pages for upload in page.get("Uploads", [])]
        except botocore.exceptions.ClientError as error:
            # Who may not list them can still prepare; the bucket's lifecycle rule ends them.
            if _code(error) == "AccessDenied":
                return
            raise
        for upload in left:
            with contextlib.suppress(client.exceptions.NoSuchUpload):
                client.abort_multipart_upload(Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"])

    def create(self, path: str) -> IO[bytes]:
        upload = Upload(self._client, self._bucket, self._prefix + path, self.url)
        self._uploads.append(upload)
        return upload  # type: ignore[return-value]

    def publish(self, manifest: bytes) -> None:
        try:
            paths = [*self._earlier, *(upload.key.removeprefix(self._prefix) for upload in self._uploads)]
            self._client().put_object(Bucket=self._bucket, Key=self._prefix + MARK, Body=_mark(paths))
            self._client().delete_object(Bucket=self._bucket, Key=self._prefix + MANIFEST)
            for upload in self._uploads:
                upload.complete()
            created = {upload.key for upload in self._uploads}
            for path in self._earlier:
                if self._prefix + path not in created:
                    self._client().delete_object(Bucket=self._bucket, Key=self._prefix + path)
            self._client().put_object(
                Bucket=self._bucket, Key=self._prefix + MANIFEST, Body=manifest, ContentType="application/json"
            )
            self._client().delete_object(Bucket=self._bucket, Key=self._prefix + MARK)
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
            raise BadDestination(f"{self.url} cannot be written: {_reason(error)}", _code(error)) from None

    def abandon(self) -> None:
        for upload in self._uploads:
            upload.abort()


class Upload(io.RawIOBase):
    """An object in the making: a multipart upload, invisible until completed."""

    def __init__(self, client: S3Factory, bucket: str, key: str, url: str) -> None:
        self._client, self._bucket, self.key, self._url = client, bucket, key, url
        self._held = bytearray()
        self._parts: list[Any] = []
        self._finished = False
        self._id = self._call("create_multipart_upload", ContentType="application/vnd.apache.parquet")["UploadId"]

    def _call(self, operation: str, **parameters: Any) -> Any:
        try:
            return getattr(self._client(), operation)(Bucket=self._bucket, Key=self.key, **parameters)
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
            raise BadDestination(f"{self._url} cannot be written: {_reason(error)}", _code(error)) from None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._held += view
        while len(self._held) >= PART_SIZE:
            self._send(bytes(self._held[:PART_SIZE]))
            del self._held[:PART_SIZE]
        return len(view)

    def _send(self, part: bytes) -> None:
        number = len(self._parts) + 1
        answer = self._call("upload_part", UploadId=self._id, PartNumber=number, Body=part)
        self._parts.append({"ETag": answer["ETag"], "PartNumber": number})

    def close(self) -> None:
        if not self.closed and not self._finished and (self._held or not self._parts):
            self._send(bytes(self._held))
            self._held.clear()
        super().close()

    def complete(self) -> None:
        """Makes the object visible."""
        self._call("complete_multipart_upload", UploadId=self._id, MultipartUpload={"Parts": self._parts})
        self._finished = True

    def abort(self) -> None:
        """Drops what was sent, unless it is visible already."""
        if not self._finished:
            self._finished = True
            self._held.clear()
            self._call("abort_multipart_upload", UploadId=self._id)


def _code(error: Exception) -> str:
    if isinstance(error, botocore.exceptions.ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return NO_ANSWER


def _reason(error: Exception) -> str:
    if isinstance(error, botocore.exceptions.ClientError):
        return f"S3 answered {error.response.get('Error', {}).get('Code', '')}"
    return type(error).__name__
