"""Files that the customer prepares alone, with the command: by the manifest in the bucket, or the one they bring."""

from __future__ import annotations

import io
import json
import os
import shlex

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from onboarding.guide.identity_files import own_command
from onboarding.guide.prepared import prepared
from onboarding.identity.command import main
from onboarding.identity.mapping import parse
from onboarding.identity.prepare import prepare
from onboarding.models import IdentityJob
from onboarding.services import runs
from tests.datasets.conftest import BUCKET, COLUMNS, as_csv, people
from tests.join.conftest import PRIMARY
from tests.pages.conftest import text_of
from tests.simulated import browser

BELOW = "amc/customers/v1/"


@pytest.fixture
def run_command(files, tmp_path, monkeypatch):
    """Run the command that the portal shows, where the customer's files are: in a folder of their own machine."""

    def run(rows: int = 30, **changed: str) -> int:
        (tmp_path / "people.csv").write_bytes(as_csv(people(rows)))
        text = own_command(runs.situation_of(files.run))
        for question, value in (("FILES:?", str(tmp_path / "people.csv")), ("COUNTRY:?", "US")):
            before, _, after = text.partition(f'"${{{question}')
            text = f"{before}{shlex.quote(value)}{after.partition(chr(34))[2]}"
        words = shlex.split(text.replace("\\\n", " "))
        assert words[:3] == ["python", "-m", "onboarding.identity"]
        words = [changed.get(word, word) for word in words[3:]]
        with monkeypatch.context() as own:
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                own.delenv(name)
            own.setenv("AWS_ENDPOINT_URL", files.amazon.url)
            own.setenv("AWS_ACCESS_KEY_ID", PRIMARY)
            own.setenv("AWS_SECRET_ACCESS_KEY", "any")
            own.setenv("AWS_DEFAULT_REGION", "us-east-1")
            return main(words)

    return run


def manifest_of(files) -> dict:
    return json.loads(files.s3.get_object(Bucket=BUCKET, Key=f"{BELOW}manifest.json")["Body"].read())


def name_it(files, **origin: str) -> None:
    files.answer(files.KEY, "dataset", name="customers")
    if origin:
        files.answer(files.KEY, "source", **origin)


def again(files):
    runs.try_again(person=files.analyst, step=files.step(files.KEY), now=timezone.now())
    return files.work(files.KEY)


def test_the_portal_reads_the_manifest_in_the_bucket(files, run_command):
    files.before()
    name_it(files, origin="own")
    assert files.asked() == ["dataset", "source"]
    # It only looks, so nobody has to approve.
    assert files.submit(files.KEY) is None
    step = files.work(files.KEY)
    assert (step.state, step.failure["code"]) == ("failed", "NotFound")
    progress = text_of(browser(files.analyst).get(f"/instances/{files.run.instance_id}/steps/{files.KEY}/progress/"))
    assert "Do it yourself" in progress and "I have done this: check" in progress
    assert run_command() == 0
    key = f"{BELOW}customers/part-00000.parquet"
    body = files.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    for wrong in (body[:-1], b""):
        files.put(key, wrong)
        step = again(files)
        assert (step.failure["code"], key in step.failure["why"]) == ("Different", True)
    files.put(key, body)
    files.put(f"{BELOW}_publishing.json", b"{}")
    assert "publishing" in again(files).failure["why"]
    files.s3.delete_object(Bucket=BUCKET, Key=f"{BELOW}_publishing.json")
    files.put(f"{BELOW}customers/stranger.parquet", body)
    assert "stranger" in again(files).failure["why"]
    files.s3.delete_object(Bucket=BUCKET, Key=f"{BELOW}customers/stranger.parquet")
    # A manifest that fits itself but not the files is seen by their footers.
    written = json.dumps(manifest_of(files))
    for old, new, said in (
        ('"firstname"', '"givenname"', "columns"),
        ("30", "29", "holds 30 rows, and the manifest says 29"),
    ):
        files.put(f"{BELOW}manifest.json", written.replace(old, new).encode())
        step = again(files)
        assert (step.failure["code"], said in step.failure["why"]) == ("Different", True), step.failure
    files.put(f"{BELOW}manifest.json", written.encode())
    numbers = io.BytesIO()
    pq.write_table(pa.table({name: [1] * 30 for name in pq.read_table(io.BytesIO(body)).column_names}), numbers)
    content = json.loads(written)
    content["tables"][0]["files"][0]["bytes"] = len(numbers.getvalue())
    files.put(f"{BELOW}manifest.json", json.dumps(content).encode())
    files.put(key, numbers.getvalue())
    assert "holds no strings" in again(files).failure["why"]
    files.put(key, b"x" * len(numbers.getvalue()))
    assert "is no Parquet file" in again(files).failure["why"]
    files.put(f"{BELOW}manifest.json", written.encode())
    files.put(key, body)
    step = again(files)
    assert step.state == "done", step.failure
    alone = files.output()
    version = files.version
    assert (version.state, version.rule_table, version.country, version.origin) == (
        "ready",
        "amazon-ads-1",
        "US",
        "own",
    )
    assert not IdentityJob.objects.exists()

    # The same file prepared by the portal hands the same on to the next steps.
    data = prepared(runs.situation_of(files.run))
    assert (data.rows, data.tables[0].location) == (30, f"s3://{BUCKET}/{BELOW}customers/")
    assert [column.name for column in data.tables[0].columns][:3] == ["customer_id", "firstname", "lastname"]
    assert all(column["hashed"] for column in alone["tables"][0]["columns"][1:])
    page = text_of(browser(files.analyst).get(f"/datasets/{version.dataset_id}/versions/1/"))
    assert "Prepared with the command" in page and "Rows written" in page


def test_a_manifest_that_is_broken_in_the_bucket_is_said(files, run_command):
    files.before()
    name_it(files, origin="own")
    run_command(**{"customers": "identity"})
    files.submit(files.KEY)
    step = files.work(files.KEY)
    assert "--table customers" in step.failure["why"]
    content = manifest_of(files) | {"rules": "house-rules"}
    files.put(f"{BELOW}manifest.json", json.dumps(content).encode())
    assert "rule table house-rules" in again(files).failure["why"]


def test_who_keeps_access_brings_the_manifest(files, run_command):
    files.before(who="ourselves", connected=False)
    client = browser(files.analyst)
    base = f"/instances/{files.run.instance_id}/steps/{files.KEY}/q/"
    assert client.post(f"{base}dataset/", {"name": "customers"})["Location"].endswith("q/manifest/")
    page = client.get(f"{base}manifest/")
    assert 'enctype="multipart/form-data"' in page.content.decode()
    assert "python -m onboarding.identity prepare" in text_of(page)
    assert run_command() == 0
    written = manifest_of(files)

    def bring(content: bytes):
        return client.post(f"{base}manifest/", {"manifest": SimpleUploadedFile("manifest.json", content)})

    assert "Choose the file manifest.json" in text_of(client.post(f"{base}manifest/", {}))
    for content, said in (
        (b"", "choose the file manifest.json"),
        (b"PAR1\xff\xfe", "choose"),
        (as_csv(people(2)), "is not JSON"),
        (json.dumps(written | {"rows_written": 99}).encode(), "do not fit together"),
        (json.dumps(written | {"manifest": 7}).encode(), "format 7"),
    ):
        answer = bring(content)
        assert (answer.status_code, said in text_of(answer)) == (422, True), (said, text_of(answer)[:2000])
    assert bring(json.dumps(written).encode())["Location"].endswith("review/")
    assert "30 rows in 1 table, hashed by amazon-ads-1" in text_of(client.get(f"{base}manifest/"))
    # What was brought stays when the page is left without another file.
    assert client.post(f"{base}manifest/", {}).status_code == 302
    # Nobody looked, so the portal says so; and it is as good as one that the portal prepared.
    assert "takes the manifest’s word" in text_of(client.get(base.removesuffix("q/") + "review/")).replace("'", "’")
    assert files.submit(files.KEY) is None
    step = files.work(files.KEY)
    assert step.state == "done", step.failure
    assert prepared(runs.situation_of(files.run)).rows == 30
    assert files.version.state == "ready" and files.version.columns["email"] == "email"


def test_files_that_were_checked_are_prepared_with_the_same_answers(files, tmp_path):
    """Whoever acts alone but lets the portal read: it checks the files and later what was made of them."""
    files.before(who="ourselves")
    files.put("in/people.csv", as_csv(people(12)))
    files.choose(f"s3://{BUCKET}/in/people.csv")
    files.answer(files.KEY, "report", read="on")
    files.answer(files.KEY, "hashing", rules="amazon-ads-1")
    assert files.submit(files.KEY) is None
    step = files.work(files.KEY)
    assert step.failure["code"] == "NotFound"

    def made(**more: str | None) -> None:
        prepare(
            [f"s3://{BUCKET}/in/people.csv"],
            parse(COLUMNS.replace(", ", ",")),
            f"s3://{BUCKET}/{BELOW.rstrip('/')}",
            country="US",
            table="customers",
            s3=lambda: files.s3,
            **more,
        )

    made(rule_table="entity-resolution-1")
    assert "how values are written" in again(files).failure["why"]
    made()
    step = again(files)
    assert step.state == "done", step.failure
    assert not IdentityJob.objects.filter(kind="prepare").exists()
    assert files.output()["forecast"]["matchable"] == 12
