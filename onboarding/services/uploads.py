"""Files from a computer: the browser puts them into the customer's bucket, part by part; no byte passes the portal.

An upload is a row (`SourceFile`) and a multipart upload at S3. What S3 has is the truth about the parts: after a lost
connection, a closed laptop or another browser, the same file picked again goes on with the parts that are missing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from onboarding import audit
from onboarding.clients import presigned
from onboarding.clients.aws import AwsClient
from onboarding.clients.failures import Fix, RemoteFailure
from onboarding.engine import aws_health, queue
from onboarding.engine.authority import MAY_ASK
from onboarding.guide.data_bucket import uploads_folder
from onboarding.models import DatasetVersion, Person, SourceFile, locked
from onboarding.services.access import authorize
from onboarding.services.errors import Refused

log = structlog.get_logger(__name__)
JOB = "onboarding.services.uploads.expire"

MIB = 1 << 20
# S3's limits: parts of 5 MiB to 5 GiB, 10,000 of them at most. Sixteen is few requests, and little lost with one.
PART_BYTES = 16 * MIB
MOST_PARTS = 10_000
MOST_BYTES = 5 << 40
MOST_FILES = 200
MOST_ADDRESSES = 32
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_CHECKSUM = re.compile(r"[A-Za-z0-9+/]{43}=")
_State = SourceFile.State


@dataclass(frozen=True)
class Standing:
    """How far an upload is: its row, the number of its parts, and the numbers of those that S3 has."""

    file: SourceFile
    parts: int
    there: list[int]


def part_size(size: int) -> int:
    """The size of a part, in bytes, of a file of `size` bytes: grows in whole MiB so that 10,000 parts are enough."""
    return max(PART_BYTES, math.ceil(math.ceil(size / MOST_PARTS) / MIB) * MIB)


def parts_of(file: SourceFile) -> int:
    """How many parts a file has; an empty one has one."""
    return max(1, math.ceil(file.size / file.part_size))


def safe_name(name: str) -> str:
    """A file's name as the last part of a key: no folders, nothing that a reader of the bucket would pass over."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name.replace("\\", "/").rpartition("/")[2]).strip("-").lstrip("._")
    return plain[-150:] or "file"


def _require(person: Person, version: DatasetVersion) -> None:
    account = version.dataset.instance.account
    authorize(person, account, *MAY_ASK)
    if version.state not in (DatasetVersion.State.CHOOSING, DatasetVersion.State.CHECKED):
        raise Refused("This version takes no more files. Begin a new version.")


def _client(version: DatasetVersion, *, reading: bool = False) -> AwsClient:
    dataset = version.dataset
    connection = aws_health.working(dataset.instance.account, dataset.aws_account_id)
    return AwsClient(connection, "s3", session_name=f"upload-{version.pk}", reading=reading)


def begin(
    *, person: Person, version: DatasetVersion, name: str, size: int, fingerprint: str, now: datetime
) -> Standing:
    """Begin the upload of a file, or go on with one: the same file is known by its fingerprint (64 hex digits).

    Raises NotAllowed, Refused for a file that can't be taken, and Later, Fix or Reconnect.
    """
    _require(person, version)
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise Refused("The browser sent no fingerprint of the file.")
    if not 0 < size <= MOST_BYTES:
        raise Refused("The file is empty." if size <= 0 else "The file is larger than S3 takes (5 TiB).")
    known = version.files.filter(fingerprint=fingerprint, size=size).exclude(state=_State.GONE).first()
    if known is None:
        known = _row(person, version, name, size, fingerprint, now)
    if known.state == _State.THERE:
        return Standing(known, parts_of(known), list(range(1, parts_of(known) + 1)))
    if not known.upload_id:
        _open(version, known)
    known.version = version
    try:
        return Standing(known, parts_of(known), sorted(_parts(version, known)))
    except Fix as refusal:
        if refusal.code != "NoSuchUpload":
            raise
    # S3 has dropped it, such as by the bucket's lifecycle rule: it begins anew, under the same key.
    SourceFile.objects.filter(pk=known.pk, upload_id=known.upload_id).update(upload_id="")
    known.upload_id = ""
    _open(version, known)
    return Standing(known, parts_of(known), [])


def _row(person: Person, version: DatasetVersion, name: str, size: int, fingerprint: str, now: datetime) -> SourceFile:
    folder = f"{uploads_folder(version.dataset.prefix)}{version.pk}/"
    with transaction.atomic():
        rows = SourceFile.objects.filter(version=locked(DatasetVersion).get(pk=version.pk))
        if rows.exclude(state=_State.GONE).count() >= MOST_FILES:
            raise Refused(f"A version takes {MOST_FILES} files at most.")
        taken = set(rows.values_list("key", flat=True))
        plain = safe_name(name)
        number, key = 1, folder + plain
        while key in taken:
            number += 1
            stem, dot, end = plain.partition(".")
            key = f"{folder}{stem}-{number}{dot}{end}"
        try:
            made = SourceFile.objects.create(
                version=version,
                bucket=version.dataset.bucket,
                key=key,
                size=size,
                state=_State.UPLOADING,
                part_size=part_size(size),
                fingerprint=fingerprint,
                begun_at=now,
                expires_at=now + timedelta(days=settings.UPLOAD_DAYS),
            )
        except IntegrityError:
            raise Refused("The same file was begun just now. Try again.") from None
        _record("upload.begun", person, made, now)
    return made


def _open(version: DatasetVersion, file: SourceFile) -> None:
    """Have S3 begin the multipart upload; of two that do so at once, one gives way."""
    client = _client(version)
    where = {"Bucket": file.bucket, "Key": file.key}
    made = client.call("CreateMultipartUpload", {**where, "ChecksumAlgorithm": "SHA256"})["UploadId"]
    if SourceFile.objects.filter(pk=file.pk, upload_id="").update(upload_id=made):
        file.upload_id = made
        return
    client.call("AbortMultipartUpload", {**where, "UploadId": made})
    file.refresh_from_db(fields=["upload_id", "state"])


def _where(file: SourceFile) -> dict[str, Any]:
    return {"Bucket": file.bucket, "Key": file.key, "UploadId": file.upload_id}


def _parts(version: DatasetVersion, file: SourceFile) -> dict[int, dict[str, Any]]:
    """The parts that S3 has, in full and with a checksum."""
    count, found = parts_of(file), {}
    for part in _client(version, reading=True).pages("ListParts", _where(file), "Parts"):
        number = int(part["PartNumber"])
        full = file.part_size if number < count else file.size - file.part_size * (count - 1)
        if number <= count and int(part["Size"]) == full and part.get("ChecksumSHA256"):
            found[number] = part
    return found


def addresses(*, person: Person, file: SourceFile, checksums: Mapping[int, str]) -> dict[int, str]:
    """Part number → address to put it to, for parts whose SHA-256 (base64) is given.

    Raises NotAllowed, Refused, and Later, Fix or Reconnect.
    """
    _require(person, file.version)
    if file.state != _State.UPLOADING or not file.upload_id:
        raise Refused("This upload is not under way.")
    count = parts_of(file)
    if not 0 < len(checksums) <= MOST_ADDRESSES or not all(
        1 <= number <= count and _CHECKSUM.fullmatch(checksum) for number, checksum in checksums.items()
    ):
        raise Refused("The browser asked for parts that this file does not have.")
    dataset = file.version.dataset
    connection = aws_health.working(dataset.instance.account, dataset.aws_account_id)
    return presigned.part_addresses(connection, file.bucket, file.key, file.upload_id, checksums)


def complete(*, person: Person, file: SourceFile, now: datetime) -> list[int]:
    """Have S3 join the parts. Returns the numbers of parts that are still missing: then nothing was joined.

    Asked again after the answer was lost, it looks whether the object is there. Raises NotAllowed, Refused, and Later,
    Fix or Reconnect.
    """
    version = file.version
    _require(person, version)
    if file.state == _State.THERE:
        return []
    if file.state != _State.UPLOADING or not file.upload_id:
        raise Refused("This upload is not under way.")
    try:
        parts = _parts(version, file)
        missing = [number for number in range(1, parts_of(file) + 1) if number not in parts]
        if missing:
            return missing
        joined = [
            {"PartNumber": number, "ETag": parts[number]["ETag"], "ChecksumSHA256": parts[number]["ChecksumSHA256"]}
            for number in sorted(parts)
        ]
        answer = _client(version).call(
            "CompleteMultipartUpload", {**_where(file), "MultipartUpload": {"Parts": joined}}
        )
        etag = str(answer.get("ETag") or "")
    except Fix as refusal:
        if refusal.code != "NoSuchUpload":
            raise
        etag = _joined_already(version, file)
    with transaction.atomic():
        changed = SourceFile.objects.filter(pk=file.pk, state=_State.UPLOADING).update(
            state=_State.THERE,
            etag=etag.strip('"'),
            there_at=now,
            expires_at=now + timedelta(days=settings.UPLOAD_DAYS),
        )
        if changed:
            _record("upload.completed", person, file, now)
    file.refresh_from_db()
    return []


def _joined_already(version: DatasetVersion, file: SourceFile) -> str:
    client = _client(version, reading=True)
    for one in client.call("ListObjectsV2", {"Bucket": file.bucket, "Prefix": file.key}).get("Contents") or []:
        if one["Key"] == file.key and int(one["Size"]) == file.size:
            return str(one["ETag"])
    raise Refused("S3 no longer has this upload. Choose the file again: it begins anew.")


def remove(*, person: Person, file: SourceFile, now: datetime) -> None:
    """Cancel an upload, or delete an uploaded file. Raises NotAllowed, Refused, and Later, Fix or Reconnect."""
    _require(person, file.version)
    if not file.fingerprint:
        raise Refused("This file was not uploaded here; the portal does not delete it.")
    if file.state == _State.GONE:
        return
    _take_away(file)
    _gone(file, person, "upload.removed", now)


def _take_away(file: SourceFile) -> None:
    client = _client(file.version)
    if file.upload_id and file.state == _State.UPLOADING:
        try:
            client.call("AbortMultipartUpload", _where(file))
        except Fix as refusal:
            if refusal.code != "NoSuchUpload":
                raise
    client.call("DeleteObject", {"Bucket": file.bucket, "Key": file.key})


def _gone(file: SourceFile, person: Person | None, act: str, now: datetime) -> None:
    with transaction.atomic():
        if SourceFile.objects.filter(pk=file.pk).exclude(state=_State.GONE).update(state=_State.GONE):
            _record(act, person, file, now)


def _record(act: str, person: Person | None, file: SourceFile, now: datetime) -> None:
    dataset = file.version.dataset
    audit.record(
        act,
        actor=person,
        account=dataset.instance.account,
        subject=f"{file} of data set {dataset}",
        subject_ref=f"run:{file.version.run_id}" if file.version.run_id else "",
        details={"bucket": file.bucket, "version": file.version_id, "bytes": file.size},
        now=now,
    )


# --- what expires


def put_expired(*, now: datetime, most: int = 50) -> int:
    """Have workers remove the uploads whose time is over; how many. Any number of clocks may ask."""
    due = SourceFile.objects.exclude(fingerprint="").exclude(state=_State.GONE).filter(expires_at__lte=now)
    put = 0
    for pk, planned in list(due.order_by("expires_at").values_list("pk", "expires_at")[:most]):
        # Tried again in an hour if it does not work now.
        mine = SourceFile.objects.filter(pk=pk, expires_at=planned).update(expires_at=now + timedelta(hours=1))
        put += bool(mine) and queue.put_job(JOB, pk)
    return put


def expire(pk: int, *, now: datetime | None = None) -> None:
    """Remove one upload whose time is over, as a worker does."""
    rows = SourceFile.objects.select_related("version__dataset__instance__account")
    file = rows.filter(pk=pk).exclude(state=_State.GONE).first()
    if file is None:
        return
    if file.version.state == DatasetVersion.State.PREPARING:
        return
    try:
        _take_away(file)
    except RemoteFailure as failure:
        log.info("upload not removed", file=pk, code=failure.code)
        return
    _gone(file, None, "upload.expired", now or timezone.now())
