"""An onboarding whose files are prepared in S3, on the local Amazon."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from django.utils import timezone

from onboarding.guide.procedure import PROCEDURES
from onboarding.identity.check import look
from onboarding.identity.prepare import Preparation, prepare
from onboarding.models import CallRecord, Dataset, DatasetVersion, Step
from tests.join.conftest import PRIMARY, Joining, aws, connect, joining, portal_itself  # noqa: F401
from tests.prepared import prepared
from tests.simulated import amazon, connected  # noqa: F401

BUCKET, DATASET = "acme-data", "crm"
SECRETS = ("ann.first@example.com", "bea.second@example.com", "206-555-0100")
HEADER = ["customer_id", "first_name", "last_name", "email", "work_email", "phone", "zip", "country", "tcf"]
ROWS = [
    ["c1", "Ann", "First", SECRETS[0], "ann@work.example", SECRETS[2], "98101", "US", "CPx"],
    ["c2", "Bea", "Second", SECRETS[1], "bea@work.example", "206-555-0101", "98102", "US", "CPy"],
]


def put_files(
    url: str, account: str, folder: Path, *, hashed: bool = True, rows=ROWS, header=HEADER, bucket: str = BUCKET
) -> Preparation:
    """The data bucket with the files, prepared by the identity library for real."""
    s3 = aws(url, account, "s3")
    s3.create_bucket(Bucket=bucket)
    source = folder / "people.csv"
    with source.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    mapping = look([str(source)]).mapping()
    place = f"s3://{bucket}/{DATASET}/v1"
    return prepare(
        [str(source)], mapping, place, country="US", rule_table="amazon-ads-1" if hashed else None, s3=lambda: s3
    )


def output_of(result: Preparation, account: str, version: DatasetVersion) -> dict:
    """What the step of the files keeps of it."""
    return {
        "dataset": DATASET,
        "version": version.number,
        "version_pk": version.pk,
        "aws_account_id": account,
        "bucket": result.destination.split("/")[2],
        "prefix": "",
        "rules": result.rules,
        "country": result.country,
        "rows": result.rows_written,
        "forecast": {},
        "tables": [
            {
                "name": table.name,
                "location": f"{result.destination}/{table.name}/",
                "format": "PARQUET",
                "rows": table.rows,
                "columns": [{"name": one.name, "kind": one.kind.value, "hashed": one.hashed} for one in table.columns],
            }
            for table in result.tables
        ],
    }


class Naming(Joining):
    """A run with prepared files that stands before the role that reads them."""

    output: dict

    def keep(self, output: dict) -> None:
        """Keep the prepared files as the step of the files does."""
        self.output = output
        step = self.step("identity-files")
        Step.objects.filter(pk=step.pk).update(state="done")
        CallRecord.objects.update_or_create(
            step=step,
            key="prepare",
            defaults={"outcome": "made", "output": output, "finished_at": timezone.now(), "started_at": timezone.now()},
        )

    def join_for_real(self, partners: tuple[str, ...] = ()) -> None:
        """Make the instance and join its collaboration, as the steps before do."""
        key = ("joined", type(self), self.account.entity_id, partners)
        prepared(key, self.amazon, [self], lambda: self._join_for_real(partners))

    def _join_for_real(self, partners: tuple[str, ...]) -> None:
        instance = self.run.instance
        instance.instance_id = instance.aws_account_id = ""
        instance.save()
        self.until_invited(partners)
        assert self.work("aws-access").state == "done", self.step("aws-access").failure
        assert self.work("invitation").state == "done", self.step("invitation").failure
        self.describe_join("acme-results")
        self.submit("join")
        assert self.work("join").state == "done", self.step("join").failure
        self.run.refresh_from_db()

    @property
    def names(self) -> tuple[str, str, str]:
        """The names that are proposed: role, schema mapping, ID namespace."""
        instance = self.run.instance
        instance.refresh_from_db()
        known = instance.instance_id
        return f"amc-cleanrooms-source-crm-{known}", f"{known}-crm-v1-identity", f"{known}-crm-v1"

    def change(self, **tables) -> None:
        """Change the first prepared table."""
        self.output["tables"][0].update(tables)
        self.keep(self.output)

    def ready(self, key: str) -> None:
        """Let the run stand before a step: everything before it is done."""
        now = timezone.now()
        keys = [step.key for step in PROCEDURES["onboard"]]
        Step.objects.filter(run=self.run, key__in=keys[: keys.index(key)]).update(state="done")
        Step.objects.filter(run=self.run, key=key).update(state="ready", since=now)

    def do(self, key: str, **answers: dict) -> Step:
        """Answer, submit, approve and carry out one step; questions that are not named keep what is proposed."""
        for slug, values in answers.items():
            self.answer(key, slug.replace("_", "-"), **values)
        self.propose(key)
        self.submit(key)
        return self.work(key)

    def propose(self, key: str) -> None:
        """Answer every open question of a step with what its page proposes."""
        from onboarding.services.runs import open_questions, situation_of

        for _ in range(30):
            step = self.step(key)
            missing = open_questions(step, situation_of(step.run))
            if not missing:
                return
            form = missing[0][0](situation=situation_of(step.run))
            values = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
            self.answer(key, missing[0][0].slug, **values)


@pytest.fixture
def naming(connected, amazon, portal_itself, monkeypatch, settings, tmp_path) -> Naming:  # noqa: F811
    from onboarding.engine import queue
    from tests.engine.conftest import person

    monkeypatch.setattr(queue, "put", lambda ids: True)
    settings.POLL_SCALE = settings.RETRY_SCALE = 0.001
    world = Naming(amazon, connected, person(connected, "Mia", "analyst"), person(connected, "Paul", "approver"))

    def build() -> None:
        instance = world.run.instance
        instance.instance_id, instance.aws_account_id = "amctest1", PRIMARY
        instance.save()
        steps = Step.objects.filter(run=world.run)
        steps.filter(key="create-instance").update(answers={"aws-account": {"account_id": PRIMARY}})
        steps.filter(key="aws-access").update(answers={"who": {"who": "portal"}})
        connect(connected, amazon.url, PRIMARY)
        dataset = Dataset.objects.create(
            instance=instance, aws_account_id=PRIMARY, name=DATASET, bucket=BUCKET, made_at=timezone.now()
        )
        version = DatasetVersion.objects.create(dataset=dataset, number=1, origin="s3", made_at=timezone.now())
        world.keep(output_of(put_files(amazon.url, PRIMARY, tmp_path), PRIMARY, version))

    prepared("naming", amazon, [world], build)
    return world
