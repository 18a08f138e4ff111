"""The step “data-bucket”: what is made, what an existing bucket must be like, and what is refused in which words."""

import json

import pytest
from botocore.exceptions import ClientError
from django.utils import timezone

from onboarding.guide import data_bucket, render
from onboarding.guide.plan import load
from onboarding.guide.procedure import step_of
from onboarding.models import Instance, Membership
from onboarding.services import runs
from tests.join.conftest import PARTNER_1, PRIMARY, aws, connect

pytestmark = pytest.mark.django_db
ORIGIN = "http://testserver"
CLOSED = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}


@pytest.fixture(autouse=True)
def portal_url(settings):
    settings.PORTAL_URL = ORIGIN


def good(s3, name: str = "acme-there") -> None:
    s3.create_bucket(Bucket=name)
    s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=CLOSED)
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "k"}}
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})


def test_a_bucket_is_made_private_encrypted_and_open_to_the_portal_alone(bringing, s3):
    bringing.describe()
    step = bringing.carry_out()
    assert step.state == "done", step.failure
    block = s3.get_public_access_block(Bucket="acme-data")["PublicAccessBlockConfiguration"]
    assert set(block.values()) == {True}
    owned = s3.get_bucket_ownership_controls(Bucket="acme-data")["OwnershipControls"]["Rules"]
    assert owned == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert s3.get_bucket_encryption(Bucket="acme-data")["ServerSideEncryptionConfiguration"]["Rules"]
    assert "Status" not in s3.get_bucket_versioning(Bucket="acme-data")
    (cors,) = s3.get_bucket_cors(Bucket="acme-data")["CORSRules"]
    assert (cors["AllowedOrigins"], cors["AllowedMethods"], cors["ExposeHeaders"]) == ([ORIGIN], ["PUT"], ["ETag"])
    uploads, whole = s3.get_bucket_lifecycle_configuration(Bucket="acme-data")["Rules"]
    assert (uploads["Filter"], uploads["Expiration"]["Days"]) == ({"Prefix": "amc-data/uploads/"}, 7)
    # What a lost worker has left is ended in the whole folder, and nothing else of it is touched.
    assert whole["Filter"] == {"Prefix": "amc-data/"} and "Expiration" not in whole
    assert whole["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 7
    # A second run of the same plan changes nothing: everything is found.
    step.calls.all().delete()
    step.state, step.next_attempt_at = "queued", step.since
    step.save()
    assert bringing.work("data-bucket").state == "done"
    assert set(step.calls.values_list("outcome", flat=True)) == {"adopted", "read"}


def test_an_existing_bucket_is_only_looked_at(bringing, s3):
    good(s3)
    bringing.describe("existing", "acme-there")
    assert bringing.submit("data-bucket") is None
    step = bringing.work("data-bucket")
    assert step.state == "done", step.failure
    assert set(step.calls.values_list("outcome", flat=True)) == {"read"}
    with pytest.raises(ClientError, match="NoSuchCORSConfiguration"):
        s3.get_bucket_cors(Bucket="acme-there")


def test_an_existing_bucket_gets_the_rules_for_uploads_if_it_has_none(bringing, s3):
    good(s3)
    bringing.describe("existing", "acme-there", uploads="add")
    step = bringing.carry_out()
    assert step.state == "done", step.failure
    assert s3.get_bucket_cors(Bucket="acme-there")["CORSRules"][0]["AllowedOrigins"] == [ORIGIN]


def test_rules_of_others_are_not_overwritten_but_may_hold_the_portals(bringing, s3):
    good(s3)
    theirs = {"AllowedOrigins": ["https://shop.example"], "AllowedMethods": ["GET"]}
    s3.put_bucket_cors(Bucket="acme-there", CORSConfiguration={"CORSRules": [theirs]})
    bringing.describe("existing", "acme-there", uploads="add")
    step = bringing.carry_out()
    assert step.state == "failed"
    assert "CORS rules of its own" in step.failure["what"] and ORIGIN in step.failure["todo"]
    assert len(s3.get_bucket_cors(Bucket="acme-there")["CORSRules"]) == 1
    # Their administrator adds exactly what the words say.
    rule = json.loads(step.failure["todo"].partition("answer: ")[2])
    s3.put_bucket_cors(Bucket="acme-there", CORSConfiguration={"CORSRules": [theirs, rule]})
    bringing.answer("data-bucket", "uploads", uploads="there")
    assert bringing.submit("data-bucket") is None
    step = bringing.work("data-bucket")
    assert "has no such lifecycle rule" in step.failure["what"]
    rules = json.loads(step.failure["todo"].partition("again: ")[2])
    s3.put_bucket_lifecycle_configuration(Bucket="acme-there", LifecycleConfiguration={"Rules": rules})
    runs.try_again(person=bringing.analyst, step=step, now=step.since)
    assert bringing.work("data-bucket").state == "done", bringing.step("data-bucket").failure


def _elsewhere(s3, amazon):
    s3.create_bucket(Bucket="acme-bad", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})


def _open(s3, amazon):
    s3.create_bucket(Bucket="acme-bad")
    s3.put_public_access_block(
        Bucket="acme-bad", PublicAccessBlockConfiguration={**CLOSED, "RestrictPublicBuckets": False}
    )


def _plain(s3, amazon):
    s3.create_bucket(Bucket="acme-bad")
    s3.put_public_access_block(Bucket="acme-bad", PublicAccessBlockConfiguration=CLOSED)
    s3.delete_bucket_encryption(Bucket="acme-bad")


def _missing(s3, amazon):
    pass


def _registered(s3, amazon):
    good(s3, "acme-bad")
    aws(amazon.url, PRIMARY, "lakeformation").register_resource(
        ResourceArn="arn:aws:s3:::acme-bad/amc-data", UseServiceLinkedRole=True
    )


@pytest.mark.parametrize(
    ("make", "what", "todo"),
    [
        (_elsewhere, "is in eu-west-1; AMC needs us-east-1.", "Choose a bucket in us-east-1"),
        (_open, "Bucket acme-bad is not closed to the public.", "Block all public access"),
        (_plain, "Bucket acme-bad is not encrypted by default.", "Turn on default encryption"),
        (_missing, f"There is no bucket acme-bad in AWS account {PRIMARY}.", "have the portal make one"),
        (_registered, "Lake Formation manages who reads bucket acme-bad", "Data lake locations"),
    ],
)
def test_what_an_existing_bucket_must_not_be(make, what, todo, bringing, s3, amazon):
    make(s3, amazon)
    # Another bucket's registration is nobody's business here.
    aws(amazon.url, PRIMARY, "lakeformation").register_resource(
        ResourceArn="arn:aws:s3:::acme-badly-named", UseServiceLinkedRole=True
    )
    bringing.describe("existing", "acme-bad")
    bringing.submit("data-bucket")
    step = bringing.work("data-bucket")
    assert step.state == "failed"
    assert what in step.failure["what"] and todo in step.failure["todo"]


def test_the_results_bucket_is_refused_in_the_form_and_with_the_plan(bringing):
    bringing.answer("data-bucket", "where", where="files")
    situation = runs.situation_of(bringing.step("data-bucket").run)
    form = data_bucket.DataBucket({"kind": "new", "name": "acme-results"}, situation=situation)
    assert not form.is_valid() and "Amazon refuses data" in form.errors["name"][0]
    situation.answers = {
        **situation.answers,
        "data-bucket": {"where": {"where": "files"}, "bucket": {"kind": "new", "name": "acme-results"}},
    }
    assert "Amazon refuses data" in step_of("onboard", "data-bucket").objection(situation)


def test_a_bucket_that_receives_the_results_of_another_instance_is_refused(bringing):
    bringing.answer("data-bucket", "where", where="files")
    now, situation = timezone.now(), runs.situation_of(bringing.step("data-bucket").run)
    other = Instance.objects.create(account=bringing.account, instance_id="amcother", name="Other", status_since=now)
    row = Membership.objects.create(
        instance=other, aws_account_id=PRIMARY, membership_id="m", results_bucket="acme-other", seen_at=now
    )
    for kind in (data_bucket.DataBucket, data_bucket.DataBucketThere):
        form = kind({"kind": "existing", "name": "acme-other"}, situation=situation)
        assert "receives the results of Other" in form.errors["name"][0]
    row.left_at = now
    row.save()
    assert kind({"name": "acme-other"}, situation=situation).is_valid()


def test_prepared_data_and_glue_tables_bring_a_bucket_that_is_only_looked_at(bringing, s3):
    good(s3)
    for where in ("prepared", "glue"):
        bringing.answer("data-bucket", "where", where=where)
        bringing.answer("data-bucket", "there", name="acme-there")
        asked = step_of("onboard", "data-bucket").asked(runs.situation_of(bringing.step("data-bucket").run))
        assert [question.slug for question in asked] == ["where", "there"]
    assert bringing.submit("data-bucket") is None
    assert bringing.work("data-bucket").state == "done", bringing.step("data-bucket").failure
    assert data_bucket.data_bucket(runs.situation_of(bringing.run)) == "acme-there"


def test_without_data_the_onboarding_ends_with_the_joined_collaboration(bringing):
    bringing.bring_nothing()
    bringing.run.refresh_from_db()
    assert bringing.run.ended_at is not None
    assert not data_bucket.brings_data(runs.situation_of(bringing.run))


def test_a_partner_may_hold_the_data(bring, amazon):
    bringing = bring(partners=True)
    connect(bringing.account, amazon.url, PARTNER_1)
    bringing.answer("data-bucket", "where", where="files")
    bringing.answer("data-bucket", "account", account="4444-5555-6666")
    bringing.describe()
    step = bringing.carry_out()
    assert step.state == "done", step.failure
    assert {call.account for call in load(step.plan)} == {PARTNER_1}
    buckets = aws(amazon.url, PARTNER_1, "s3").list_buckets()["Buckets"]
    assert [bucket["Name"] for bucket in buckets] == ["acme-data"]


def test_whoever_acts_alone_gets_the_commands_and_the_portal_looks(bring, amazon, s3):
    bringing = bring(who="ourselves")
    bringing.describe()
    step, situation = step_of("onboard", "data-bucket"), runs.situation_of(bringing.run)
    assert step.plan(situation) == []
    names = set(render.contents(step.full_plan(situation), bringing.account, "Data"))
    assert {"run.sh", "put-bucket-cors.json", "put-bucket-lifecycle-configuration.json"} <= names
    connect(bringing.account, amazon.url, PRIMARY)
    plan = step.plan(runs.situation_of(bringing.run))
    assert plan and not any(call.changes for call in plan)
    assert bringing.submit("data-bucket") is None
    failed = bringing.work("data-bucket")
    assert failed.failure["what"] == f"There is no bucket acme-data in AWS account {PRIMARY}."
