"""Uploads: begun, gone on with, joined, cancelled, expired; the test plays the browser against the local Amazon."""

import base64
import hashlib
from datetime import timedelta

import httpx
import pytest
from django.utils import timezone

from onboarding.clients.failures import RemoteFailure
from onboarding.models import AuditEntry, Dataset, DatasetVersion, SourceFile
from onboarding.services import uploads
from onboarding.services.errors import NotAllowed, Refused

pytestmark = pytest.mark.django_db
MIB = 1 << 20
BODY = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(11 * MIB // 32))
PRINT = hashlib.sha256(b"the file").hexdigest()


@pytest.fixture
def version(bringing, s3, monkeypatch) -> DatasetVersion:
    monkeypatch.setattr(uploads, "PART_BYTES", 5 * MIB)
    s3.create_bucket(Bucket="acme-data")
    now = timezone.now()
    dataset = Dataset.objects.create(
        instance=bringing.run.instance,
        aws_account_id="111122223333",
        name="customers",
        bucket="acme-data",
        prefix="amc-data",
        made_at=now,
    )
    return DatasetVersion.objects.create(dataset=dataset, number=1, run=bringing.run, origin="upload", made_at=now)


class Browser:
    """Puts parts as a browser does: checksum first, then the address, then the bytes."""

    def __init__(self, person, version, body: bytes = BODY) -> None:
        self.person, self.version, self.body = person, version, body

    def begin(self, fingerprint: str = PRINT, name: str = "Customers März.csv"):
        return uploads.begin(
            person=self.person,
            version=self.version,
            name=name,
            size=len(self.body),
            fingerprint=fingerprint,
            now=timezone.now(),
        )

    def part(self, file, number: int) -> tuple[str, str, bytes]:
        piece = self.body[(number - 1) * file.part_size : number * file.part_size]
        checksum = base64.b64encode(hashlib.sha256(piece).digest()).decode()
        url = uploads.addresses(person=self.person, file=file, checksums={number: checksum})[number]
        return url, checksum, piece

    def put(self, file, number: int) -> httpx.Response:
        url, checksum, piece = self.part(file, number)
        return httpx.put(url, content=piece, headers={"x-amz-checksum-sha256": checksum}, timeout=30)

    def complete(self, file) -> list[int]:
        return uploads.complete(person=self.person, file=file, now=timezone.now())


@pytest.fixture
def browser(bringing, version) -> Browser:
    return Browser(bringing.analyst, version)


def test_parts_grow_so_that_ten_thousand_are_enough():
    assert uploads.part_size(1) == 16 * MIB
    for size in (50 << 30, 160 << 30, 1 << 40, uploads.MOST_BYTES):
        part = uploads.part_size(size)
        assert -(-size // part) <= 10_000 and part % MIB == 0 and part <= 5 << 30


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a.csv", "a.csv"),
        ("C:\\Users\\Mia\\März 1.csv", "M-rz-1.csv"),
        ("../../etc/passwd", "passwd"),
        ("._hidden", "hidden"),
        ("…", "file"),
    ],
)
def test_a_name_becomes_a_key_that_readers_find(name, safe):
    assert uploads.safe_name(name) == safe


def test_a_file_arrives_byte_by_byte_and_goes_on_after_a_break(browser, s3):
    standing = browser.begin()
    file = standing.file
    assert (standing.parts, standing.there) == (3, [])
    assert file.key == f"amc-data/uploads/{browser.version.pk}/Customers-M-rz.csv"
    assert browser.put(file, 3).status_code == 200
    assert browser.put(file, 1).status_code == 200
    assert browser.complete(file) == [2]
    # Another day, another tab: the same file is known, and S3 says what is there.
    again = browser.begin()
    assert (again.file.pk, again.there) == (file.pk, [1, 3])
    assert browser.put(again.file, 2).status_code == 200
    assert browser.complete(again.file) == []
    assert s3.get_object(Bucket="acme-data", Key=file.key)["Body"].read() == BODY
    file.refresh_from_db()
    assert (file.state, bool(file.etag)) == ("there", True)
    # Asked again, nothing happens twice; and the file needs no second upload.
    assert browser.complete(file) == []
    assert browser.begin().there == [1, 2, 3]
    acts = list(AuditEntry.objects.filter(act__startswith="upload.").values_list("act", flat=True))
    assert sorted(acts) == ["upload.begun", "upload.completed"]


def test_an_answer_that_was_lost_is_found_in_the_bucket(browser):
    file = browser.begin().file
    for number in (1, 2, 3):
        browser.put(file, number)
    before = SourceFile.objects.get(pk=file.pk)
    assert browser.complete(file) == []
    # The portal died between S3's doing it and its own writing it down.
    SourceFile.objects.filter(pk=file.pk).update(state="uploading", there_at=None, etag="")
    before = SourceFile.objects.select_related("version__dataset__instance__account").get(pk=file.pk)
    assert browser.complete(before) == []
    assert SourceFile.objects.get(pk=file.pk).state == "there"


def test_an_address_is_good_for_the_bytes_and_the_object_it_was_signed_for(browser, version):
    file = browser.begin().file
    url, checksum, piece = browser.part(file, 1)
    wrong = bytes(len(piece))
    changed = httpx.put(url, content=wrong, headers={"x-amz-checksum-sha256": checksum}, timeout=30)
    assert changed.status_code == 400 and "BadDigest" in changed.text
    other = base64.b64encode(hashlib.sha256(wrong).digest()).decode()
    assert httpx.put(url, content=wrong, headers={"x-amz-checksum-sha256": other}, timeout=30).status_code == 403
    elsewhere = url.replace(f"uploads/{version.pk}/", "uploads/0/")
    assert httpx.put(elsewhere, content=piece, headers={"x-amz-checksum-sha256": checksum}).status_code == 403
    assert httpx.put(url.replace("partNumber=1", "partNumber=2"), content=piece).status_code == 403
    assert browser.begin().there == []


def test_the_same_name_twice_is_two_objects(browser):
    first, second = browser.begin().file, browser.begin(fingerprint="b" * 64).file
    assert first.key.endswith("/Customers-M-rz.csv") and second.key.endswith("/Customers-M-rz-2.csv")


def test_what_s3_dropped_begins_anew(browser, s3):
    file = browser.begin().file
    browser.put(file, 1)
    s3.abort_multipart_upload(Bucket="acme-data", Key=file.key, UploadId=file.upload_id)
    again = browser.begin()
    assert (again.file.pk, again.there) == (file.pk, []) and again.file.upload_id != file.upload_id


def test_cancelled_and_removed_leaves_nothing(browser, s3, bringing):
    file = browser.begin().file
    browser.put(file, 1)
    uploads.remove(person=bringing.analyst, file=file, now=timezone.now())
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="acme-data")
    with pytest.raises(Refused, match="not under way"):
        browser.part(SourceFile.objects.get(pk=file.pk), 1)
    done = browser.begin().file
    assert done.pk != file.pk
    for number in (1, 2, 3):
        browser.put(done, number)
    browser.complete(done)
    uploads.remove(person=bringing.analyst, file=done, now=timezone.now())
    assert "Contents" not in s3.list_objects_v2(Bucket="acme-data")


def test_the_clock_removes_what_expired(browser, s3, monkeypatch):
    put: list[int] = []
    monkeypatch.setattr(uploads.queue, "put_job", lambda job, pk: put.append(pk) or True)
    unfinished, done = browser.begin().file, browser.begin(fingerprint="c" * 64).file
    browser.put(unfinished, 1)
    for number in (1, 2, 3):
        browser.put(done, number)
    browser.complete(done)
    now = timezone.now()
    assert uploads.put_expired(now=now) == 0
    late = now + timedelta(days=8)
    assert uploads.put_expired(now=late) == 2 and uploads.put_expired(now=late) == 0
    for pk in put:
        uploads.expire(pk, now=late)
    assert set(SourceFile.objects.values_list("state", flat=True)) == {"gone"}
    assert "Contents" not in s3.list_objects_v2(Bucket="acme-data")
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="acme-data")
    assert AuditEntry.objects.filter(act="upload.expired", actor=None).count() == 2


def test_who_may_not_and_what_is_refused(browser, bringing, version):
    with pytest.raises(NotAllowed):
        Browser(bringing.approver, version).begin()
    for fingerprint, size in (("x", 5), (PRINT, 0), (PRINT, uploads.MOST_BYTES + 1)):
        with pytest.raises(Refused):
            uploads.begin(
                person=bringing.analyst,
                version=version,
                name="a",
                size=size,
                fingerprint=fingerprint,
                now=timezone.now(),
            )
    file = browser.begin().file
    for checksums in ({}, {4: "A" * 43 + "="}, {1: "no"}, dict.fromkeys(range(1, 40), "A" * 43 + "=")):
        with pytest.raises(Refused):
            uploads.addresses(person=bringing.analyst, file=file, checksums=checksums)
    version.state = "ready"
    version.save()
    with pytest.raises(Refused, match="no more files"):
        Browser(bringing.analyst, version).begin()


def test_without_a_connection_the_words_say_who_helps(browser, bringing):
    bringing.account.aws_connections.update(state="broken")
    with pytest.raises(RemoteFailure) as caught:
        browser.begin()
    assert caught.value.who == "Admin"
