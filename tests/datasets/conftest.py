"""A run that stands before its identity files, on the local Amazon, with files in its S3."""

from __future__ import annotations

import csv
import io
import json

import pytest
from django.utils import timezone

from onboarding.engine import identity_jobs, queue
from onboarding.models import DatasetVersion, IdentityJob, Instance, Step, StepState
from onboarding.services import runs
from tests.engine.conftest import person
from tests.join.conftest import PRIMARY, Joining, aws, connect, portal_itself
from tests.prepared import prepared
from tests.simulated import amazon, connected

__all__ = ["amazon", "connected", "portal_itself"]
BUCKET = "acme-data"
PUT, PUT_IDENTITY = queue.put, queue.put_identity
HEADER = ["customer_id", "first_name", "last_name", "email", "phone", "address", "city", "state", "zip", "country"]
COLUMNS = (
    "customer_id=key, first_name=first_name, last_name=last_name, email=email, phone=phone, address=address, "
    "city=city, state=state, zip=zip, country=country"
)


def people(rows: int, **same: str) -> list[list[str]]:
    """Rows of a file, all good unless said otherwise."""
    good = {
        "first_name": "Ann",
        "last_name": "Lee",
        "phone": "(206) 555-0100",
        "address": "1 Main Street",
        "city": "Seattle",
        "state": "WA",
        "zip": "98101",
        "country": "US",
    }
    return [
        [{"customer_id": f"c{n}", "email": f"c{n}@example.com", **good, **same}[name] for name in HEADER]
        for n in range(rows)
    ]


def as_csv(rows: list[list[str]], header: list[str] | None = HEADER) -> bytes:
    """A CSV file of these rows."""
    text = io.StringIO()
    writer = csv.writer(text)
    if header:
        writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


class Files(Joining):
    """A run whose steps before the data bucket are done, driven by hand."""

    KEY = "identity-files"

    def before(self, where: str = "files", who: str = "portal", connected: bool = True, **facts) -> None:
        """Everything up to the data bucket, as if it had been done; `who` acts in AWS from then on."""
        said = json.dumps([where, who, connected, facts], default=str, sort_keys=True)
        key = ("before", type(self), self.account.entity_id, said)
        prepared(key, self.amazon, [self], lambda: self._before(where, who, connected, facts))
        self.s3 = aws(self.amazon.url, PRIMARY, "s3")

    def _before(self, where: str, who: str, connected: bool, facts: dict) -> None:
        if connected:
            connect(self.account, self.amazon.url, PRIMARY)
        Instance.objects.filter(pk=self.run.instance_id).update(
            instance_id="amcfiles", aws_account_id=PRIMARY, creation_status="COMPLETED", **facts
        )
        answers = {
            "create-instance": {"name": {"name": "Join me"}, "aws-account": {"account_id": PRIMARY}},
            "aws-access": {"who": {"who": "portal" if connected else who}},
        }
        for step in self.run.steps.order_by("position"):
            if step.key == "data-bucket":
                Step.objects.filter(pk=step.pk).update(state=StepState.READY)
                break
            Step.objects.filter(pk=step.pk).update(state=StepState.DONE, answers=answers.get(step.key, {}))
        s3 = aws(self.amazon.url, PRIMARY, "s3")
        self.answer("data-bucket", "where", where=where)
        if where == "files":
            self.answer("data-bucket", "bucket", kind="new", name=BUCKET)
            self.answer("data-bucket", "folder", prefix="amc")
        else:
            s3.create_bucket(Bucket=BUCKET)
            closed = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
            s3.put_public_access_block(Bucket=BUCKET, PublicAccessBlockConfiguration=dict.fromkeys(closed, True))
            rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
            s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration={"Rules": [rule]})
            self.answer("data-bucket", "there", name=BUCKET)
        self.submit("data-bucket")
        if not connected:
            s3.create_bucket(Bucket=BUCKET)
        step = self.work("data-bucket")
        assert step.state == "done", step.failure
        Step.objects.filter(run=self.run, key="aws-access").update(answers={"who": {"who": who}})

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    def jobs(self) -> None:
        """Carry out everything that is due, as a worker would."""
        for job in IdentityJob.objects.filter(identity_jobs.due(timezone.now())):
            identity_jobs.work(job.pk, beside=False)

    def choose(self, *places: str, name: str = "customers", columns: str = COLUMNS, country: str = "US") -> None:
        """Everything up to the report."""
        self.answer(self.KEY, "dataset", name=name)
        if "source" in self.asked():
            self.answer(self.KEY, "source", origin="s3")
        self.answer(self.KEY, "places", places="\n".join(places))
        self.describe(columns, country)

    def describe(self, columns: str = "guessed", country: str = "US") -> None:
        """Say what the files hold, once they were looked at, and have them checked."""
        self.jobs()
        self.answer(self.KEY, "columns", columns=columns)
        self.answer(self.KEY, "country", country=country)
        self.jobs()

    def use_as_they_are(self) -> Step:
        """Describe files that need no preparing, read the report, and go on: nobody has to sign that."""
        self.describe()
        self.answer(self.KEY, "report", read="on")
        assert self.submit(self.KEY) is None
        step = self.work(self.KEY)
        assert step.state == "done", step.failure
        return step

    def asked(self) -> list[str]:
        step = self.step(self.KEY)
        return [one.slug for one in runs.step_of(self.run.procedure, self.KEY).asked(runs.situation_of(step.run))]

    def prepare(self, rules: str = "amazon-ads-1") -> Step:
        """Read the report, sign off, prepare."""
        self.answer(self.KEY, "report", read="on")
        self.answer(self.KEY, "hashing", rules=rules)
        self.submit(self.KEY)
        self.work(self.KEY, tries=3)
        self.jobs()
        return self.work(self.KEY)

    @property
    def version(self) -> DatasetVersion:
        return DatasetVersion.objects.select_related("dataset").get(run=self.run)

    def output(self) -> dict:
        return runs.situation_of(self.run).outputs[self.KEY]["prepare"]

    def listed(self, prefix: str = "") -> list[str]:
        answer = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for entry in answer.get("Contents", [])]


class Carried:
    """Stands for Redis: keeps what the portal puts on its queues, as RQ would get it."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, tuple, dict]] = []
        self.connection = self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def pipeline(self):
        return self

    def execute(self) -> None:
        """Nothing is sent."""

    def enqueue_call(self, func: str, args: tuple = (), **options) -> None:
        self.jobs.append((func, args, {name: one for name, one in options.items() if name != "pipeline"}))


@pytest.fixture
def files(connected, amazon, portal_itself, monkeypatch, settings) -> Files:
    monkeypatch.setattr(queue, "put", lambda ids: True)
    monkeypatch.setattr(queue, "put_identity", lambda ids: True)
    settings.POLL_SCALE = settings.RETRY_SCALE = 0.001
    return Files(amazon, connected, person(connected, "Mia", "analyst"), person(connected, "Paul", "approver"))
