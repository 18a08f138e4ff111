"""From nothing to READY with the downloaded archives alone: the real `aws` and `curl`, ending where the worker ends."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from django.utils import timezone

from onboarding.engine import queue
from onboarding.guide.boundary import BOUNDARY_NAME
from onboarding.guide.identity_fields import AS_GUESSED
from onboarding.models import AwsConnection, IdNamespace, MappingTable
from onboarding.services import checks
from onboarding.services.runs import try_again
from tests.archives.conftest import PEOPLES, WORKERS, World
from tests.archives.resources import identity_of, names_of, normal, settings_of
from tests.aws_roles import make_portal_roles
from tests.datasets.conftest import Files, as_csv
from tests.join.conftest import aws
from tests.join.conftest import connect as connect_aws
from tests.namespaces.conftest import HEADER, ROWS, SECRETS, Naming

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.django_db
GUIDE_NAMES = {
    "source-role": {"create-role.json", "put-role-policy.json"},
    "catalogue": {"create-database.json", "create-table.json", "start-query-execution.json"},
    "schema-mapping": {"create-schema-mapping.json"},
    "id-namespace": {"create-source-id-namespace.json", "create-source-id-namespace-association.json"},
}
NOT_DONE = ("NotFound", "NotPrepared")
READS = ("get", "list", "head", "batchget", "describe", "assumerole", "lwa", "token", "amcplink")


def until(true, seconds: float = 60) -> None:
    """Wait for something outside this process."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


class Chain(World, Naming, Files):
    """An onboarding of one of the two AMC accounts, from nothing to READY."""

    def describe_bucket(self, name: str) -> None:
        self.bucket = name
        self.answer("data-bucket", "where", where="files")
        self.answer("data-bucket", "account", account=self.primary)
        self.answer("data-bucket", "bucket", kind="new", name=name)
        self.answer("data-bucket", "folder", prefix="amc-data")

    def describe_files(self) -> None:
        """Put people into the bucket, and answer everything up to the hashing."""
        s3, key = aws(self.amazon.url, self.primary, "s3"), "amc-data/in/people.csv"
        s3.put_object(Bucket=self.bucket, Key=key, Body=as_csv(ROWS, HEADER))
        self.choose(f"s3://{self.bucket}/{key}", name="crm", columns=AS_GUESSED)
        self.answer("identity-files", "report", read="on")
        self.answer("identity-files", "hashing", rules="amazon-ads-1")

    def done(self, key: str, tries: int = 60) -> None:
        step = self.work(key, tries=tries)
        assert step.state == "done", (key, step.failure, step.waiting_text)

    def found(self) -> list[object]:
        """What both accounts have, to be compared."""
        return [
            normal(names_of(self.amazon, self.primary), self),
            normal(names_of(self.amazon, self.partner), self),
            normal(identity_of(self.amazon.url, self.primary, self.bucket), self),
        ]


class People:
    """The administrators of the two accounts, who carry out one archive after the other."""

    def __init__(self, world: Chain, shell) -> None:
        self.world, self.shell, self.amazon = world, shell, world.amazon

    def connect_reader(self) -> None:
        """The portal may look in the account that joins, and may not change anything in it."""
        world = self.world
        row = AwsConnection(account=world.account, aws_account_id=world.primary, state="working")
        row.save()
        _, row.reader_role_arn = make_portal_roles(world.amazon.url, world.primary, row.external_id)
        row.save()

    def changes(self) -> list[str]:
        """The calls that have changed something at Amazon."""
        return [
            one["operation"]
            for one in self.amazon.control("GET", "exchanges")
            if 200 <= (one["status"] or 0) < 300
            and not one["operation"].partition(":")[2].lower().startswith(READS)
            # Athena is asked once more, which only reads.
            and one["operation"] not in ("lwa:token", "athena:StartQueryExecution")
        ]

    def carry_out(self, key: str, account: str = "", **more) -> Path:
        """Run the archive of a step twice; the second run finds everything and changes nothing."""
        folder = self.shell.unpack(self.world.archive(key), key)
        assert GUIDE_NAMES.get(key, set()) <= {one.name for one in folder.glob("*.json")}
        status, said = self.shell.run(folder, account, amc=True, **more)
        assert status == 0, (key, said)
        before = self.changes()
        status, said = self.shell.run(folder, account, amc=True, **more)
        assert (status, self.changes()) == (0, before), (key, said)
        kept = "".join(one.read_text() for one in (folder / "answers").iterdir())
        assert not any(secret in kept for secret in SECRETS) and '"c1"' not in kept
        return folder

    def check(self, key: str) -> None:
        """“I have done this: check” sees what is really there."""
        world = self.world
        step = world.step(key)
        if step.state == "failed":
            try_again(person=world.analyst, step=step, now=timezone.now())
        else:
            checks.check_now(person=world.analyst, step=step, now=timezone.now())
        world.done(key)

    def step(self, key: str) -> None:
        """One step of the AWS account: not believed before it is done, and seen when it is."""
        world = self.world
        world.propose(key)
        assert world.submit(key) is None, f"{key} has to be approved though the portal changes nothing"
        step = world.work(key, tries=3)
        if step.state != "waiting":
            assert (step.state, step.failure["code"] in NOT_DONE) == ("failed", True), (key, step.failure)
        self.carry_out(key, world.primary)
        self.check(key)


@pytest.mark.timeout(560)
def test_people_end_where_the_worker_ends(worlds, shell, amazon, monkeypatch):
    monkeypatch.setattr(queue, "put_identity", lambda ids: True)
    alone = Chain(amazon, PEOPLES, "ourselves")
    people = People(alone, shell)
    alone.describe_instance(multi=True)
    people.carry_out("create-instance")
    alone.until_join("alone-results")
    assert len(amazon.exchanges("amc:createInstance")) == 1
    people.connect_reader()

    alone.submit("join")
    assert alone.work("join", tries=3).waiting_for == "amazon"
    folder = shell.unpack(alone.archive("join"), "join")
    # Killed after Amazon made the membership and before the script knew.
    amazon.rule("cleanrooms:CreateMembership", kind="hold_after")
    process = shell.start(folder, alone.primary)
    until(lambda: amazon.control("GET", "holds"))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "answers" / "membership.json").exists()
    assert len(alone.membership(alone.primary)) == 1
    status, said = shell.run(folder, alone.primary)
    assert (status, said.count("found, and used as it is"), said.count("is so already")) == (0, 3, 3), said
    assert "AMC_TOKEN is not set" in said
    people.carry_out("join", alone.primary)
    people.check("join")

    # The portal may not look in the partner's account: it goes by what AMC says.
    alone.submit("join-partners")
    assert alone.work("join-partners", tries=2).waiting_for == "amazon"
    people.carry_out("join-partners", alone.partner)
    people.check("join-partners")

    alone.describe_bucket("alone-data")
    people.step("data-bucket")
    alone.describe_files()
    for key in ("identity-files", "source-role", "catalogue", "schema-mapping", "id-namespace"):
        people.step(key)
    assert IdNamespace.objects.get(run=alone.run).association_id
    alone.done("mapping-look")
    alone.propose("mapping-table")
    people.carry_out("mapping-table", alone.primary)
    alone.submit("mapping-table")
    alone.done("mapping-table")
    assert len(amazon.exchanges("amc:createCollaborationIdMappingTable")) == 1
    alone.done("ready")
    people.carry_out("ready", alone.primary)

    worker = Chain(amazon, WORKERS, "portal")
    for account in (worker.primary, worker.partner):
        connect_aws(worker.account, amazon.url, account)
    worker.describe_instance(multi=True)
    worker.until_join("worker-results")
    for key in ("join", "join-partners"):
        worker.submit(key)
        worker.done(key)
    worker.describe_bucket("worker-data")
    worker.submit("data-bucket")
    worker.done("data-bucket")
    worker.describe_files()
    worker.submit("identity-files")
    worker.work("identity-files", tries=3)
    worker.jobs()
    worker.done("identity-files")
    for key in ("source-role", "catalogue", "schema-mapping", "id-namespace", "mapping-look", "mapping-table"):
        if key != "mapping-look":
            worker.propose(key)
            worker.submit(key)
        worker.done(key)
    worker.done("ready")

    for account, counts in (("primary", [2, 2, 1]), ("partner", [0, 0, 1])):
        mine = settings_of(amazon.url, getattr(alone, account))
        theirs = settings_of(amazon.url, getattr(worker, account))
        assert [len(mine[kind]) for kind in ("roles", "buckets", "memberships")] == counts
        # The one difference: the portal's template makes the policy that its roles are made under.
        boundaries = {name: role.pop("boundary") for found in (mine, theirs) for name, role in found["roles"].items()}
        limits = [one and one["PermissionsBoundaryArn"].rpartition("/")[2] for one in boundaries.values()]
        assert limits == [None, None, BOUNDARY_NAME, BOUNDARY_NAME][: 2 * counts[0]]
        assert normal(mine, alone) == normal(theirs, worker)
    assert alone.found() == worker.found()
    assert [table.queryable for table in MappingTable.objects.all()] == [True, True]
