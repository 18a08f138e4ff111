"""The downloaded archives of changes, putting right and taking over, run with the real AWS command line: twice."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone

from onboarding.models import AwsConnection, Difference, Membership
from onboarding.services import checks, runs
from tests.archives.conftest import Shell
from tests.archives.resources import settings_of
from tests.drift.conftest import by_the_template
from tests.join.conftest import PRIMARY
from tests.lifecycle.test_membership import described
from tests.simulated import browser

pytestmark = pytest.mark.django_db


@pytest.fixture
def shell(amazon, tmp_path) -> Shell:
    return Shell(amazon.url, tmp_path, amazon.token("admin")["access_token"])


def everything(life) -> dict:
    """What is in the AWS account, without what no two tries can have in common."""
    found = settings_of(life.amazon.url, PRIMARY)
    for role in found["roles"].values():
        # Only the portal's own roles need the boundary of its template; the run's tag is the run's.
        role["boundary"] = role["tags"] = None
    return json.loads(json.dumps(found, default=str, sort_keys=True))


def unpacked(life, shell, key: str):
    answer = browser(life.analyst).get(f"/runs/{life.run.pk}/steps/{key}/commands/")
    assert answer.status_code == 200
    return shell.unpack(answer.content, f"{life.run.pk}-{key}")


def twice(life, shell, key: str) -> str:
    """Run the archive of a step two times; what the second run said. It finds everything and changes nothing."""
    folder = unpacked(life, shell, key)
    status, said = shell.run(folder, PRIMARY, amc=True)
    assert status == 0, said
    before = everything(life)
    seen = len(life.amazon.control("GET", "exchanges"))
    status, said = shell.run(folder, PRIMARY, amc=True)
    assert status == 0, said
    assert everything(life) == before
    made = [one["operation"] for one in life.amazon.control("GET", "exchanges")[seen:]]
    assert not [one for one in made if one.partition(":")[2].startswith(("Create", "Update", "Delete"))], made
    return said


def asked(life, who: str) -> None:
    life.begin("membership")
    life.answer("membership-now", "who", who=who)
    life.ask("membership-now")
    assert life.work("membership-now").state == "done", life.step("membership-now").failure
    described(life, bucket=("new", "acme-new"), shape=("PARQUET", "results"))


def test_a_membership_is_changed_alone_as_by_the_worker(drifting, shell):
    life, before = drifting.life, everything(drifting.life)
    asked(life, "portal")
    life.submit("membership")
    assert life.work("membership").state == "done", life.step("membership").failure
    worker = everything(life)
    assert worker != before

    # Back to where it was, by hand.
    iam, name = drifting.client("iam"), {"RoleName": drifting.role}
    policy = before["roles"][drifting.role]["policies"]["receive-results"]
    iam.put_role_policy(**name, PolicyName="receive-results", PolicyDocument=json.dumps(policy))
    iam.delete_role_permissions_boundary(**name)
    drifting.point_to("acme-old", keyPrefix="amc", resultFormat="CSV")
    drifting.client("s3").delete_bucket(Bucket="acme-new")
    assert everything(life) == before

    # The reader role is enough to look.
    AwsConnection.objects.update(provisioner_role_arn=f"arn:aws:iam::{PRIMARY}:role/nobody")
    asked(life, "ourselves")
    assert life.ask("membership") is None
    step = life.work("membership", tries=2)
    assert (step.state, step.waiting_text) == ("waiting", "Amazon says acme-old")
    drifting.row.refresh_from_db()
    assert drifting.row.results_bucket == "acme-old"
    assert "is so already" in twice(life, shell, "membership")
    assert everything(life) == worker
    checks.check_now(person=life.analyst, step=step, now=timezone.now())
    assert life.work("membership").state == "done", life.step("membership").failure
    drifting.row.refresh_from_db()
    assert (drifting.row.results_bucket, drifting.row.results_format) == ("acme-new", "PARQUET")


def spoil(drifting) -> list[Difference]:
    """Somebody changes the membership, the bucket and the role."""
    drifting.point_to("acme-old", resultFormat="PARQUET")
    drifting.client("s3").delete_public_access_block(Bucket="acme-old")
    iam, name = drifting.client("iam"), {"RoleName": drifting.role}
    trust = iam.get_role(**name)["Role"]["AssumeRolePolicyDocument"]
    trust["Statement"] = trust["Statement"][:1]
    iam.update_assume_role_policy(**name, PolicyDocument=json.dumps(trust))
    iam.delete_role_policy(**name, PolicyName="receive-results")
    return drifting.compare()


def picked(life, rows, who: str) -> None:
    life.begin("put-right")
    life.answer("put-right", "which", which=[str(row.pk) for row in rows])
    life.answer("put-right", "who", who=who)


def test_differences_are_put_right_alone_as_by_the_worker(drifting, shell):
    life = drifting.life
    assert drifting.compare() == []
    before = everything(life)
    rows = spoil(drifting)
    assert [row.aspect for row in rows] == ["public", "format", "policy:receive-results", "trust"]
    picked(life, rows, "portal")
    life.submit("put-right")
    assert life.work("put-right").state == "done", life.step("put-right").failure
    assert everything(life) == before
    assert drifting.compare() == []

    picked(life, spoil(drifting), "ourselves")
    life.ask("put-right")
    step = life.work("put-right")
    assert (step.state, step.failure["code"]) == ("failed", "NotFound")
    page = browser(life.analyst).get(f"/runs/{life.run.pk}/steps/put-right/progress/").content.decode()
    assert "I have done this: check" in page and "Try again</button>" not in page
    twice(life, shell, "put-right")
    assert everything(life) == before
    runs.try_again(person=life.analyst, step=life.step("put-right"), now=timezone.now())
    assert life.work("put-right").state == "done", life.step("put-right").failure
    assert not Difference.objects.open().exists()
    assert drifting.compare() == []


def test_taking_over_as_commands_only_reads(life, settled, shell):
    by_the_template(life)
    Membership.objects.all().delete()
    life.begin("adopt")
    assert life.work("adopt").state == "done", life.step("adopt").failure
    assert life.work("adopt-memberships").state == "done"
    before = everything(life)
    for key in ("adopt", "adopt-memberships"):
        twice(life, shell, key)
    assert everything(life) == before
