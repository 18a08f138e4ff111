"""What goes wrong while joining: what a person reads, who mends it, what is left behind, and how it goes on."""

import json

import pytest
from django.utils import timezone

from onboarding.guide.bucket_calls import CLOSED
from onboarding.guide.compare import believed
from onboarding.models import Dataset, Difference, Membership
from onboarding.services import runs
from onboarding.services.errors import Refused
from tests.failures.conftest import settled_for
from tests.join.conftest import PRIMARY, aws

pytestmark = pytest.mark.django_db
BUCKET = "acme-results"
# What the calls before the membership have made when AWS refuses it: nothing but what the approved plan names.
PREPARED = {("bucket", BUCKET), ("role", "amc-cleanrooms-results-…")}


def client(case, service: str):
    return aws(case.amazon.url, PRIMARY, service)


def asked(case, bucket: str = BUCKET, kind: str = "new") -> set:
    """The join is described and approved; what the account held before."""
    before = case.holds()
    case.driver.describe_join(bucket, kind=kind)
    case.driver.submit("join")
    return before


def made(case, before: set) -> set[tuple[str, str]]:
    """What there is that was not there before, without the instance's id."""
    instance = case.driver.run.instance.instance_id or case.driver.step("join").run.instance.instance_id
    return {(kind, name.replace(instance, "…")) for kind, name, _ in case.holds() - before}


def joins_after_all(case, before: set) -> None:
    """Mended, it is tried again and ends with one of each."""
    assert case.again("join").state == "done", case.driver.step("join").failure
    assert len([one for one in case.holds() if one[0] == "membership"]) == 1
    assert Membership.objects.get().status == "ACTIVE"
    assert made(case, before) > PREPARED


def test_a_role_that_is_not_usable_yet(case):
    case.amazon.control("POST", "settings", role_delay=3600)
    before = asked(case)
    step = case.driver.work("join", tries=3)
    assert (step.state, step.waiting_for) == ("waiting", "retry")
    page = case.page("join")
    assert "AWS is still activating the new role" in page and "tries again by itself" in page
    settled_for(step, 121)
    failure = case.failed("join", "tried again and again for 2 minutes", "compare the role's trust policy")
    assert failure["who"] == "Admin"
    # The trust policy is shown as it is required, and that it is so.
    page = case.page("join")
    for statement in ("Trust policy: QuerySubmitter as required", "Trust policy: Membership as required"):
        assert statement in page
    assert made(case, before) == PREPARED
    case.amazon.control("POST", "settings", role_delay=0)
    joins_after_all(case, before)


def test_a_principal_that_is_not_known_yet(case):
    case.amazon.rule(
        "iam:CreateRole", kind="fail", code="MalformedPolicyDocument", reason="Invalid principal in policy"
    )
    before = asked(case)
    assert case.driver.work("join").state == "done", case.driver.step("join").failure
    assert made(case, before) > PREPARED


def test_a_role_that_may_not_be_passed(case):
    asked_before = asked(case)
    iam = client(case, "iam")
    name = case.driver.portal_role.provisioner_role_arn.rpartition("/")[2]

    def may(*denied: str) -> None:
        allow = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        deny = [{"Effect": "Deny", "Action": list(denied), "Resource": "*"}] if denied else []
        document = json.dumps({"Version": "2012-10-17", "Statement": [allow, *deny]})
        iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=document)

    may("iam:PassRole")
    case.driver.work("join")
    failure = case.failed(
        "join",
        "must be called service-role/amc-cleanrooms-…",
        '"Action": "iam:PassRole"',
        f'"arn:aws:iam::{PRIMARY}:role/service-role/amc-cleanrooms-*"',
        '"iam:PassedToService": "cleanrooms.amazonaws.com"',
    )
    assert (failure["what"], failure["who"]) == ("The portal may not hand the role to AWS.", "AWS administrator")
    assert made(case, asked_before) == PREPARED
    may()
    joins_after_all(case, asked_before)


def test_a_role_that_lacks_permissions(case):
    case.amazon.rule("cleanrooms:CreateMembership", kind="error", status=503)
    before = asked(case)
    assert case.driver.work("join", tries=1).waiting_for == "retry"
    # Somebody takes a part of what the role may do away.
    iam, name = client(case, "iam"), f"amc-cleanrooms-results-{case.driver.step('join').run.instance.instance_id}"
    where = {"RoleName": name, "PolicyName": "receive-results"}
    right = iam.get_role_policy(**where)["PolicyDocument"]
    less = {**right, "Statement": [{**right["Statement"][0], "Action": ["s3:ListBucket"]}]}
    iam.put_role_policy(**where, PolicyDocument=json.dumps(less))
    case.driver.work("join")
    failure = case.failed(
        "join",
        "receive-results: FindBucket different",
        "receive-results: WriteResults missing",
        "Trust policy: QuerySubmitter as required",
        '"s3:PutObject"',
    )
    assert failure["what"] == "The role lacks a permission that AMC needs."
    assert failure["who"] == "AWS administrator"
    assert made(case, before) == PREPARED
    iam.put_role_policy(**where, PolicyDocument=json.dumps(right))
    joins_after_all(case, before)


@pytest.mark.parametrize("kind", ["new", "existing"])
def test_a_bucket_in_another_region(case, kind):
    client(case, "s3").create_bucket(
        Bucket="acme-europe", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    before = asked(case, "acme-europe", kind)
    case.driver.work("join")
    failure = case.failed("join", "Bucket acme-europe is in eu-west-1; AMC needs us-east-1.")
    assert failure["who"] == "Analyst"
    assert case.holds() == before


@pytest.mark.parametrize(
    ("look", "code", "words"),
    [
        (
            "GetPublicAccessBlock",
            "NoSuchPublicAccessBlockConfiguration",
            "Bucket acme-open is not closed to the public.",
        ),
        (
            "GetBucketEncryption",
            "ServerSideEncryptionConfigurationNotFoundError",
            "Bucket acme-open is not encrypted by default.",
        ),
    ],
)
def test_an_existing_bucket_that_is_not_private_takes_no_results(case, look, code, words):
    s3 = client(case, "s3")
    s3.create_bucket(Bucket="acme-open")
    s3.put_public_access_block(Bucket="acme-open", PublicAccessBlockConfiguration=CLOSED)
    before = asked(case, "acme-open", "existing")
    case.amazon.rule(f"s3:{look}", times=None, kind="fail", code=code)
    case.driver.work("join")
    case.failed("join", words)
    assert case.holds() == before


def test_a_bucket_with_a_key_of_the_customer(case):
    name, key = "acme-sealed", f"arn:aws:kms:us-east-1:{PRIMARY}:key/0a1b2c3d-0000-4000-8000-000000000000"
    s3, iam = client(case, "s3"), client(case, "iam")
    s3.create_bucket(Bucket=name)
    s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=CLOSED)
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
    before = asked(case, name, "existing")
    case.driver.work("join")
    # Without the key AMC could not write a single result, and nobody would hear of it.
    case.failed("join", f"Bucket {name} is encrypted with aws:kms, not with S3's own key.")
    assert case.holds() == before
    for wrong, words in (
        ("alias/mine", "Give the ARN of a key in us-east-1"),
        (key.replace("us-east-1", "eu-west-1"), "Give the ARN of a key in us-east-1"),
        (key.replace(PRIMARY, "999900001111"), f"The key has to belong to AWS account {PRIMARY}"),
    ):
        with pytest.raises(AssertionError, match=words):
            case.driver.answer("join", "bucket", kind="existing", name=name, key=wrong)
    case.driver.answer("join", "bucket", kind="existing", name=name, key=key)
    case.driver.submit("join")
    assert case.driver.work("join").state == "done", case.driver.step("join").failure
    role = f"amc-cleanrooms-results-{case.driver.step('join').run.instance.instance_id}"
    document = iam.get_role_policy(RoleName=role, PolicyName="receive-results")["PolicyDocument"]
    assert document["Statement"][-1] == {
        "Sid": "UseKey",
        "Effect": "Allow",
        "Action": ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"],
        "Resource": [key],
    }
    row = Membership.objects.get()
    assert row.results_key == key
    fact = (Difference.Kind.ROLE, row.results_role_arn, "policy:receive-results")
    assert believed(row.instance, [row])[fact] == document


@pytest.mark.parametrize("code", ["PermanentRedirect", "AuthorizationHeaderMalformed", "BucketRegionError"])
def test_s3_sends_the_portal_elsewhere(case, code):
    client(case, "s3").create_bucket(Bucket="acme-elsewhere")
    before = asked(case, "acme-elsewhere", "existing")
    case.amazon.rule("s3:GetBucketLocation", times=None, kind="fail", code=code, reason="Somewhere else")
    case.driver.work("join")
    case.failed("join", "Bucket acme-elsewhere is in another region; AMC needs us-east-1.")
    assert case.holds() == before


def test_the_bucket_that_holds_the_data(case):
    step = case.driver.step("join")

    def dataset() -> Dataset:
        return Dataset.objects.create(
            instance=step.run.instance, aws_account_id=PRIMARY, name="people", bucket=BUCKET, made_at=timezone.now()
        )

    # In the form …
    row = dataset()
    with pytest.raises(AssertionError, match="Amazon wants results in another one"):
        case.driver.describe_join(BUCKET)
    # … when it is submitted, as the answer no longer holds …
    row.delete()
    case.driver.describe_join(BUCKET)
    row = dataset()
    with pytest.raises(Refused, match="Which bucket receives the results"):
        case.driver.submit("join")
    # … and by the worker.
    row.delete()
    before = case.holds()
    case.driver.submit("join")
    row = dataset()
    case.driver.work("join")
    failure = case.failed("join", f"The bucket {BUCKET} holds your data (data set “people”).")
    assert failure["who"] == "Analyst"
    assert case.holds() == before
    # Whoever retires the data set can go on.
    Dataset.objects.filter(pk=row.pk).update(retired_at=timezone.now())
    joins_after_all(case, before)


def test_a_quota_that_is_used_up(case):
    case.amazon.control("POST", "quotas", **{"Memberships per account": 0})
    before = asked(case)
    case.driver.work("join")
    failure = case.failed("join", "The quota “Memberships per account” is 0, and all of it is used.")
    assert (failure["what"], failure["who"]) == ("A limit of the AWS account is reached.", "AWS administrator")
    assert made(case, before) == PREPARED
    case.amazon.control("POST", "quotas", **{"Memberships per account": 1})
    joins_after_all(case, before)


def test_nothing_is_sent_before_the_invitation_can_be_accepted(joining):
    joining.amazon.control("POST", "pace", collaboration_pending=3600)
    joining.answer("requirements", "eligibility", agreement="on", campaigns="on", advertisers="on")
    joining.answer("requirements", "aws", aws_account="on", aws_services="on", two_buckets="on")
    joining.submit("requirements")
    joining.work("amc-access")
    joining.answer("create-instance", "name", name="Join me")
    joining.answer("create-instance", "advertiser", name="Acme")
    joining.answer("create-instance", "aws-account", account_id=PRIMARY)
    joining.answer("create-instance", "parties", multi="no")
    joining.submit("create-instance")
    assert joining.work("create-instance").state == "done"
    assert joining.work("collaboration", tries=3).state == "waiting"
    assert {joining.step(key).state for key in ("invitation", "join", "join-partners")} == {"blocked"}
    joining.describe_join("acme-early")
    with pytest.raises(Refused, match="can't start yet"):
        runs.submit(person=joining.analyst, step=joining.step("join"), now=timezone.now())
    asked = {one["operation"].partition(":")[0] for one in joining.amazon.control("GET", "exchanges")}
    assert not asked & {"cleanrooms", "s3", "iam"}
