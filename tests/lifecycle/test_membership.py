"""Editing a membership: asked with what is there, refused by field, done in an order that never closes the way."""

import json

import pytest
from django.utils import timezone

from onboarding.engine import executor
from onboarding.guide.boundary import boundary_arn
from onboarding.models import AwsConnection, Dataset, Run
from onboarding.services import checks, lifecycle, runs
from onboarding.services.errors import Refused
from tests.join.conftest import PRIMARY, aws
from tests.lifecycle.conftest import Killed
from tests.pages.conftest import text_of
from tests.simulated import browser

pytestmark = pytest.mark.django_db
ROLE = "amc-cleanrooms-results-{}"


def seen(life, row) -> dict:
    client = aws(life.amazon.url, PRIMARY, "cleanrooms")
    return client.get_membership(membershipIdentifier=row.membership_id)["membership"]


def read(life, who: str = "portal") -> None:
    life.begin("membership")
    life.answer("membership-now", "who", who=who)
    life.ask("membership-now")
    assert life.work("membership-now").state == "done", life.step("membership-now").failure


def described(life, bucket=("keep", ""), shape=("CSV", "amc"), role=("portal", ""), logging="DISABLED") -> None:
    life.answer("membership", "bucket", kind=bucket[0], name=bucket[1])
    life.answer("membership", "shape", format=shape[0], prefix=shape[1])
    life.answer("membership", "role", kind=role[0], arn=role[1])
    life.answer("membership", "logging", logging=logging)


def test_the_bucket_moves_and_the_role_follows(life, settled):
    read(life)
    # What is there stands in the questions.
    settled.refresh_from_db()
    assert (settled.results_bucket, settled.results_prefix, settled.receives_results) == ("acme-old", "amc", True)
    assert life.form("membership", "shape").initial == {"format": "CSV", "prefix": "amc"}
    assert life.form("membership", "role").initial == {"kind": "portal"}
    described(life, bucket=("new", "acme-new"), shape=("PARQUET", "results"))
    request = life.submit("membership")
    keys = [call["key"] for call in request.plan]
    assert keys == ["bucket", "private", "encrypted", "boundary", "role-policy", "update", "role-policy-after"]
    step = life.work("membership")
    assert step.state == "done", step.failure
    results = seen(life, settled)["defaultResultConfiguration"]["outputConfiguration"]["s3"]
    assert results == {"bucket": "acme-new", "keyPrefix": "results", "resultFormat": "PARQUET"}
    settled.refresh_from_db()
    assert (settled.results_bucket, settled.results_prefix, settled.results_format) == (
        "acme-new",
        "results",
        "PARQUET",
    )
    iam, name = aws(life.amazon.url, PRIMARY, "iam"), ROLE.format(life.instance.instance_id)
    document = json.dumps(iam.get_role_policy(RoleName=name, PolicyName="receive-results")["PolicyDocument"])
    assert "acme-new/results/*" in document and "acme-old" not in document
    bound = iam.get_role(RoleName=name)["Role"]["PermissionsBoundary"]["PermissionsBoundaryArn"]
    assert bound == boundary_arn(PRIMARY)
    life.run.refresh_from_db()
    assert life.run.ended_at is not None


def test_a_worker_lost_at_any_call_makes_each_once(life, settled, killed_before_writing):
    def made() -> list[int]:
        operations = ("s3:CreateBucket", "iam:PutRolePolicy", "cleanrooms:UpdateMembership")
        return [sum(one["status"] == 200 for one in life.amazon.exchanges(name)) for name in operations]

    read(life)
    described(life, bucket=("new", "acme-crash"))
    request = life.submit("membership")
    before = made()
    keys = [call["key"] for call in request.plan if call["effect"] in ("create", "update")]
    for key in keys:
        killed_before_writing(key)
    for _ in keys:
        with pytest.raises(Killed):
            executor.work(life.step("membership").pk)
        life.run.steps.filter(key="membership").update(lease_until=timezone.now() - timezone.timedelta(seconds=1))
    executor.work(life.step("membership").pk)
    assert life.work("membership").state == "done", life.step("membership").failure
    assert [after - there for after, there in zip(made(), before, strict=True)] == [1, 2, 1]


def test_only_the_format_is_one_call(life, settled):
    read(life)
    described(life, shape=("PARQUET", "amc"))
    request = life.submit("membership")
    assert [call["key"] for call in request.plan] == ["update"]
    assert life.work("membership").state == "done", life.step("membership").failure
    # Somebody had done the same meanwhile: it is so already.
    read(life)
    described(life, shape=("CSV", "amc"))
    life.submit("membership")
    where = seen(life, settled)["defaultResultConfiguration"]
    where["outputConfiguration"]["s3"]["resultFormat"] = "CSV"
    aws(life.amazon.url, PRIMARY, "cleanrooms").update_membership(
        membershipIdentifier=settled.membership_id, defaultResultConfiguration=where
    )
    assert life.work("membership").state == "done"
    assert life.step("membership").calls.get(key="update").outcome == "adopted"


def test_an_answer_that_cannot_be_is_refused_at_its_field(life, settled):
    Dataset.objects.create(
        instance=life.instance, aws_account_id=PRIMARY, name="crm", bucket="acme-data", made_at=timezone.now()
    )
    read(life)
    for slug, values, field, words in (
        ("bucket", {"kind": "existing", "name": "acme-data"}, "name", "holds your data"),
        ("bucket", {"kind": "new", "name": "No"}, "name", "3 to 63"),
        ("bucket", {"kind": "new", "name": "acme-old"}, "name", "already"),
        ("shape", {"format": "CSV", "prefix": "a//b"}, "prefix", "single slashes"),
        ("shape", {"format": "XML", "prefix": ""}, "format", ""),
        ("role", {"kind": "other", "arn": "x"}, "arn", "ARN of a role"),
        ("role", {"kind": "other", "arn": "arn:aws:iam::999900001111:role/service-role/r"}, "arn", "belong"),
        ("role", {"kind": "other", "arn": f"arn:aws:iam::{PRIMARY}:role/mine"}, "arn", "only hand over"),
        ("logging", {"logging": "MAYBE"}, "logging", ""),
    ):
        form = life.form("membership", slug, **values)
        assert not form.is_valid() and list(form.errors) == [field], values
        assert words in str(form.errors[field])
    described(life)
    with pytest.raises(Refused, match="Nothing would change"):
        life.ask("membership")


def test_a_bucket_that_holds_data_by_now_is_refused_by_plan_and_worker(life, settled):
    read(life)
    described(life, bucket=("new", "acme-taken"))
    request = life.ask("membership")
    life.approve(request)
    held = Dataset.objects.create(
        instance=life.instance, aws_account_id=PRIMARY, name="crm", bucket="acme-taken", made_at=timezone.now()
    )
    step = life.work("membership")
    assert (step.state, step.failure["code"]) == ("failed", "Objection")
    assert "holds your data" in step.failure["what"]
    assert "acme-taken" not in [one["Name"] for one in aws(life.amazon.url, PRIMARY, "s3").list_buckets()["Buckets"]]
    with pytest.raises(Refused, match="no answer"):
        life.ask("membership")
    held.retired_at = timezone.now()
    held.save()
    runs.try_again(person=life.analyst, step=step, now=timezone.now())
    assert life.work("membership").state == "done", life.step("membership").failure


def test_another_account_of_the_agency_may_hold_a_bucket_of_that_name(life, settled):
    Dataset.objects.create(
        instance=life.instance, aws_account_id="444455556666", name="crm", bucket="acme-fine", made_at=timezone.now()
    )
    read(life)
    assert life.form("membership", "bucket", kind="new", name="acme-fine").is_valid()


def test_whoever_acts_alone_changes_it_and_the_portal_looks(life, settled):
    # The portal may look only.
    AwsConnection.objects.update(reader_role_arn=AwsConnection.objects.get().provisioner_role_arn)
    read(life, who="ourselves")
    described(life, shape=("PARQUET", "amc"))
    assert life.ask("membership") is None
    step = life.work("membership", tries=2)
    assert (step.state, step.waiting_for, step.waiting_text) == ("waiting", "amazon", "Amazon says CSV")
    page = text_of(browser(life.analyst).get(f"/runs/{life.run.pk}/steps/membership/progress/"))
    assert "I have done this: check" in page and "Nobody looks" not in page
    where = seen(life, settled)["defaultResultConfiguration"]
    where["outputConfiguration"]["s3"]["resultFormat"] = "PARQUET"
    aws(life.amazon.url, PRIMARY, "cleanrooms").update_membership(
        membershipIdentifier=settled.membership_id, defaultResultConfiguration=where
    )
    checks.check_now(person=life.analyst, step=step, now=timezone.now())
    assert life.work("membership").state == "done", life.step("membership").failure
    settled.refresh_from_db()
    assert settled.results_format == "PARQUET"


def test_without_a_connection_the_page_says_that_nobody_looks(life, settled):
    AwsConnection.objects.all().delete()
    settled.results_bucket, settled.results_format, settled.receives_results = "acme-old", "CSV", True
    settled.save()
    read(life, who="ourselves")
    described(life, shape=("PARQUET", ""))
    here = f"/runs/{life.run.pk}/steps/membership"
    assert "goes on showing what it last read" in text_of(browser(life.analyst).get(f"{here}/review/"))
    assert life.ask("membership") is None
    assert life.work("membership").state == "done"
    assert "Nobody looks" in text_of(browser(life.analyst).get(f"{here}/progress/"))
    settled.refresh_from_db()
    assert settled.results_format == "CSV"


def test_by_the_pages(life, settled):
    analyst = browser(life.analyst)
    page = analyst.get(f"/instances/{life.instance.pk}/members/")
    assert "Your membership" in text_of(page) and 'id="change-membership"' in page.content.decode()
    answer = analyst.post(f"/instances/{life.instance.pk}/runs/start", {"procedure": "membership"})
    life.run = Run.objects.get(pk=answer["Location"].split("/")[2])
    here = f"/runs/{life.run.pk}/steps"
    analyst.post(f"{here}/membership-now/q/who/", {"who": "portal"})
    assert "GetMembership" in text_of(analyst.get(f"{here}/membership-now/review/"))
    analyst.post(f"{here}/membership-now/review/", {"note": ""})
    assert life.work("membership-now").state == "done"
    question = analyst.get(f"{here}/membership/q/bucket/").content.decode()
    assert "Leave it as it is: acme-old" in question
    wrong = analyst.post(f"{here}/membership/q/bucket/", {"kind": "new", "name": "NO"})
    assert wrong.status_code == 422 and "3 to 63" in text_of(wrong)
    for slug, values in (
        ("bucket", {"kind": "keep", "name": ""}),
        ("shape", {"format": "PARQUET", "prefix": "amc"}),
        ("role", {"kind": "portal", "arn": ""}),
        ("logging", {"logging": "DISABLED"}),
    ):
        assert analyst.post(f"{here}/membership/q/{slug}/", values).status_code == 302
    review = text_of(analyst.get(f"{here}/membership/review/"))
    assert "UpdateMembership" in review and "as PARQUET" in review and "changed back" in review
    assert "under way" in text_of(analyst.get(f"/instances/{life.instance.pk}/members/"))


def test_without_a_membership_it_is_not_offered(life):
    life.made()
    assert "no membership" in lifecycle.why_not("membership", life.instance)
