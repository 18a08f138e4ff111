"""Reading from and publishing to S3: nothing is visible before everything is whole."""

import io
import json
import os

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto import mock_aws

from onboarding.identity import publish
from onboarding.identity.check import check
from onboarding.identity.errors import BadDestination, Cancelled, Unreadable
from onboarding.identity.prepare import prepare
from tests.identity.conftest import HEADER

complete = publish.Upload.complete
PARTY = b",".join(name.encode() for name in HEADER) + b"\n"


@pytest.fixture
def s3(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="people")
        yield client


def put(s3, key, rows):
    body = PARTY + b"".join(",".join(row).encode() + b"\n" for row in rows)
    s3.put_object(Bucket="people", Key=key, Body=body)


def listed(s3, prefix):
    return sorted(entry["Key"] for entry in s3.list_objects_v2(Bucket="people", Prefix=prefix).get("Contents", []))


def test_a_prefix_is_read_and_prepared_into_another(s3, person, mapping):
    put(s3, "in/1.csv", [person("c1"), person("c2")])
    put(s3, "in/_SUCCESS", [person("no")])
    buffer = io.BytesIO()
    pq.write_table(pa.table(dict(zip(HEADER, [[v] for v in person("c3")], strict=True))), buffer)
    s3.put_object(Bucket="people", Key="in/2.parquet", Body=buffer.getvalue())
    report = check(["s3://people/in/"], mapping, country="US", s3=lambda: s3)
    assert (report.rows, report.fine) == (3, True)
    for _ in range(2):
        result = prepare(["s3://people/in/"], mapping, "s3://people/out", country="US", s3=lambda: s3)
        assert listed(s3, "out/") == ["out/identity/part-00000.parquet", "out/manifest.json"]
    body = s3.get_object(Bucket="people", Key="out/identity/part-00000.parquet")["Body"].read()
    assert pq.read_table(io.BytesIO(body)).num_rows == result.rows_written == 3
    assert json.loads(s3.get_object(Bucket="people", Key="out/manifest.json")["Body"].read())["rows_read"] == 3


def test_large_files_go_in_parts(s3, monkeypatch):
    monkeypatch.setattr(publish, "PART_SIZE", 5 << 20)
    folder = publish.destination("s3://people/out", lambda: s3)
    folder.prepare()
    file = folder.create("identity/part-00000.parquet")
    content = os.urandom(12 << 20)
    for start in range(0, len(content), 700_000):
        file.write(content[start : start + 700_000])
    file.close()
    assert listed(s3, "out/") == []
    folder.publish(b"{}")
    answer = s3.get_object(Bucket="people", Key="out/identity/part-00000.parquet")
    assert answer["ETag"].strip('"').endswith("-3")
    assert answer["Body"].read() == content


def test_a_stopped_run_leaves_nothing(s3, person, mapping):
    put(s3, "in/1.csv", [person("c1")])
    at_end = []
    with pytest.raises(Cancelled):
        prepare(
            ["s3://people/in/1.csv"],
            mapping,
            "s3://people/out",
            country="US",
            s3=lambda: s3,
            progress=lambda at: at_end.append(at) if at.stage == "prepare" else None,
            cancelled=lambda: bool(at_end),
        )
    assert listed(s3, "out/") == []
    assert s3.list_multipart_uploads(Bucket="people").get("Uploads", []) == []


def test_what_a_lost_run_left_is_cleared_and_done_again(s3, person, mapping, monkeypatch):
    put(s3, "in/1.csv", [person("c1"), person("c2")])

    def run():
        return prepare(["s3://people/in/1.csv"], mapping, "s3://people/out", country="US", s3=lambda: s3)

    class Killed(BaseException):
        pass

    def killed(*args, **kwargs):
        raise Killed

    # While it writes: what it sent stays behind, unseen.
    with monkeypatch.context() as broken:
        broken.setattr(publish.S3Folder, "publish", killed)
        broken.setattr(publish.S3Folder, "abandon", lambda folder: None)
        with pytest.raises(Killed):
            run()
    assert listed(s3, "out/") == [] and len(s3.list_multipart_uploads(Bucket="people")["Uploads"]) == 1
    # While it publishes: files without a manifest, named by the mark.
    with monkeypatch.context() as broken:
        broken.setattr(publish.Upload, "complete", lambda upload: (complete(upload), killed()))
        broken.setattr(publish.S3Folder, "abandon", lambda folder: None)
        with pytest.raises(Killed):
            run()
    assert listed(s3, "out/") == ["out/_publishing.json", "out/identity/part-00000.parquet"]
    # Something else beside them is still nobody's to replace.
    s3.put_object(Bucket="people", Key="out/other.csv", Body=b"theirs")
    with pytest.raises(BadDestination, match="not of an earlier run"):
        run()
    s3.delete_object(Bucket="people", Key="out/other.csv")
    assert run().rows_written == 2
    assert listed(s3, "out/") == ["out/identity/part-00000.parquet", "out/manifest.json"]
    assert s3.list_multipart_uploads(Bucket="people").get("Uploads", []) == []


def test_foreign_objects_and_missing_ones(s3, person, mapping):
    put(s3, "in/1.csv", [person("c1")])
    with pytest.raises(BadDestination, match="not of an earlier run"):
        prepare(["s3://people/in/1.csv"], mapping, "s3://people/in", country="US", s3=lambda: s3)
    with pytest.raises(Unreadable, match="404"):
        check(["s3://people/in/none.csv"], mapping, s3=lambda: s3)
    with pytest.raises(Unreadable, match="NoSuchBucket"):
        check(["s3://nobody/in/"], mapping, s3=lambda: s3)


def test_a_file_changed_meanwhile_is_an_error(s3, person, mapping):
    put(s3, "in/1.csv", [person("c1")])

    def change(at):
        if at.stage == "keys":
            put(s3, "in/1.csv", [person("other")])

    with pytest.raises(Unreadable, match="changed while it was read"):
        prepare(["s3://people/in/1.csv"], mapping, "s3://people/out", country="US", s3=lambda: s3, progress=change)
    assert listed(s3, "out/") == []


@pytest.mark.parametrize("out", ["s3://people/in", "s3://people/in/", "s3://people/in/out"])
def test_output_that_the_next_run_would_read_is_refused(s3, person, mapping, out):
    put(s3, "in/1.csv", [person("c1")])
    for place in ("s3://people/in/", "s3://people/"):
        with pytest.raises(BadDestination, match="next run would read it"):
            prepare([place], mapping, out, country="US", s3=lambda: s3)
    assert listed(s3, "") == ["in/1.csv"]
    for fine in ("s3://people/in/_out", "s3://people/in2"):
        prepare(["s3://people/in/"], mapping, fine, country="US", s3=lambda: s3)
