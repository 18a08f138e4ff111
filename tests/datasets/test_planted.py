"""Marked values in every column of a file are nowhere in what the portal writes, whatever goes wrong on the way."""

from __future__ import annotations

import logging

import pyarrow as pa
import pytest
from django.utils import timezone

from onboarding.engine import queue
from onboarding.identity import prepare as library
from onboarding.models import IdentityJob
from onboarding.services import identity_files, runs
from tests.datasets.conftest import BUCKET, COLUMNS, HEADER, PUT, PUT_IDENTITY, Carried, as_csv
from tests.pages.conftest import text_of
from tests.simulated import browser, database_bytes

MARK = "zqxjmarker"
FILE = "in/people.csv"


def marked(rows: int) -> list[list[str]]:
    """Rows whose every value is marked; some are of the wrong kind, too long, or break the row."""
    made = []
    for number in range(rows):
        row = [f"{MARK}{number}{name}" for name in HEADER]
        row[3] = f"{MARK}{number}@{MARK}.example" if number % 3 else f"{MARK} no address {number}"
        row[4] = f"+1206555{number:04}" if number % 2 else f"{MARK}-{number}"
        made.append(row)
    made[1][0] = made[2][0]
    made[3][0] = MARK * 8
    made[4].append(f"{MARK} too much")
    return made


def heap(*args: object, **kwargs: object) -> None:
    """A fault behind a fault behind a fault, each of which quotes a value, as Arrow's do."""
    try:
        try:
            pa.array([f"{MARK} in a message"]).cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise KeyError(f"{MARK} as a key") from error
    except KeyError:
        raise RuntimeError(f"{MARK} while another was handled", {MARK: MARK})  # noqa: B904


@pytest.mark.django_db(transaction=True)
def test_planted_values_are_nowhere(files, caplog, capfd, tmp_path, monkeypatch, mailoutbox):
    caplog.set_level(logging.DEBUG)
    files.before()
    carried = Carried()
    monkeypatch.setattr(queue, "named", lambda name: carried)
    monkeypatch.setattr(queue, "put", PUT)
    monkeypatch.setattr(queue, "put_identity", PUT_IDENTITY)
    client = browser(files.analyst)
    base = f"/instances/{files.run.instance_id}/steps/{files.KEY}/"
    pages = []

    def seen(address: str) -> None:
        pages.append(client.get(address).content.decode())

    # A file without a header: its first person stands where the names should be.
    files.put("in/bare.csv", as_csv(marked(9), header=None))
    files.answer(files.KEY, "dataset", name="customers")
    files.answer(files.KEY, "source", origin="s3")
    files.answer(files.KEY, "places", places=f"s3://{BUCKET}/in/bare.csv")
    files.jobs()
    job = IdentityJob.objects.get()
    assert (job.state, job.failure["code"]) == ("failed", "HeaderMissing")
    seen(f"{base}q/columns/")

    files.put(FILE, as_csv(marked(60)))

    # Faults whose messages hold values, one behind the other, wherever values are read.
    def fails(kind: str, place: str) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(f"onboarding.identity.{place}", heap)
            files.jobs()
        failed = IdentityJob.objects.filter(kind=kind).latest("pk")
        assert (failed.state, failed.failure["code"]) == ("failed", "RuntimeError")
        seen(f"{base}q/{'columns' if kind == 'look' else 'report'}/")
        identity_files.again(person=files.analyst, step=files.step(files.KEY), kind=kind, now=timezone.now())
        files.jobs()

    files.answer(files.KEY, "places", places=f"s3://{BUCKET}/{FILE}")
    fails("look", "check.describe")
    with monkeypatch.context() as broken:
        broken.setattr("onboarding.identity.shapes.masked", heap)
        seen(f"{base}samples/")
    assert "made a mistake" in pages[-1]
    files.answer(files.KEY, "columns", columns=COLUMNS)
    files.answer(files.KEY, "country", country="US")
    fails("check", "check._differs")
    files.choose(f"s3://{BUCKET}/{FILE}")
    report = {finding["code"] for finding in files.version.report["findings"]}
    assert {"key-repeated", "key-overlong", "ragged", "field-invalid"} <= report
    for rest in ("q/columns/", "samples/", "q/report/"):
        seen(base + rest)

    files.answer(files.KEY, "report", read="on")
    files.answer(files.KEY, "hashing", rules="amazon-ads-1")
    files.submit(files.KEY)
    files.work(files.KEY, tries=2)
    with monkeypatch.context() as broken:
        broken.setattr(library._Job, "_scan_keys", heap)
        files.jobs()
    failed = IdentityJob.objects.filter(kind="prepare").latest("pk")
    assert (failed.state, failed.failure["code"]) == ("failed", "RuntimeError")
    step = files.work(files.KEY, tries=2)
    assert step.state == "failed"
    seen(f"{base}progress/")
    runs.try_again(person=files.analyst, step=files.step(files.KEY), now=timezone.now())
    files.work(files.KEY, tries=2)
    files.jobs()
    step = files.work(files.KEY)
    assert step.state == "done", step.failure
    dataset = files.version.dataset
    for address in (f"{base}progress/", f"/instances/{files.run.instance_id}/data/"):
        seen(address)
    seen(f"/datasets/{dataset.pk}/versions/1/")
    pages.append(text_of(browser(files.approver).get(f"/requests/{files.step(files.KEY).requests.latest('pk').pk}/")))

    # What is put on Redis: which function, and the number of a row.
    assert {func for func, _, _ in carried.jobs} == {queue.WORK, queue.IDENTITY_WORK}
    assert all(len(args) == 1 and type(args[0]) is int for _, args, _ in carried.jobs)
    pages.append(repr(carried.jobs))
    out, err = capfd.readouterr()
    records = [f"{record.getMessage()} {record.exc_text or ''} {record.__dict__}" for record in caplog.records]
    mails = [f"{mail.subject} {mail.body}" for mail in mailoutbox]
    assert len(records) >= 3 and all(pages)
    for what in (*pages, *records, *mails, out, err):
        assert MARK not in what.lower()
    assert MARK.encode() not in database_bytes(tmp_path).lower()
    # The test would find it: it is in the file itself.
    assert MARK.encode() in files.s3.get_object(Bucket=BUCKET, Key=FILE)["Body"].read()
