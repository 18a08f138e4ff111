"""The role that reads the identity data: as the guide has it, or one that exists and is compared with the guide."""

import json

import pytest
from django import forms

from onboarding.engine.situations import situation_of
from onboarding.guide.roles import source_policy, source_trust
from onboarding.guide.source_role import MakeSourceRole, SourceRole, TableNames
from tests.join.conftest import PRIMARY, aws
from tests.namespaces.conftest import BUCKET

pytestmark = pytest.mark.django_db
ROLE = "amc-cleanrooms-source-crm-amctest1"
TABLES = [("amc_crm", "crm_v1_identity")]
EXISTING = {"tables": {}, "role": {"kind": "existing", "name": "amc-cleanrooms-mine"}}


def make_role(url: str, *, trust=None, policy=None, path="/service-role/", attached=False) -> None:
    iam = aws(url, PRIMARY, "iam")
    document = json.dumps(trust or source_trust())
    iam.create_role(RoleName="amc-cleanrooms-mine", Path=path, AssumeRolePolicyDocument=document)
    permissions = json.dumps(policy or source_policy(PRIMARY, [BUCKET], TABLES))
    if attached:
        arn = iam.create_policy(PolicyName="by-hand", PolicyDocument=permissions)["Policy"]["Arn"]
        iam.attach_role_policy(RoleName="amc-cleanrooms-mine", PolicyArn=arn)
    else:
        iam.put_role_policy(RoleName="amc-cleanrooms-mine", PolicyName="mine", PolicyDocument=permissions)


def without(policy: dict, *actions: str) -> dict:
    changed = json.loads(json.dumps(policy))
    for statement in changed["Statement"]:
        statement["Action"] = [one for one in statement["Action"] if one not in actions]
    return changed


def test_it_has_the_published_trust_and_permissions(naming, amazon):
    naming.ready("source-role")
    step = naming.do("source-role")
    assert step.state == "done", step.failure
    iam = aws(amazon.url, PRIMARY, "iam")
    role = iam.get_role(RoleName=ROLE)["Role"]
    assert role["Path"] == "/service-role/"
    assert role["AssumeRolePolicyDocument"] == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "TargetAssumeRolePolicy",
                "Effect": "Allow",
                "Principal": {"Service": ["entityresolution.amazonaws.com"]},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    assert iam.list_role_policies(RoleName=ROLE)["PolicyNames"] == ["source-crm-v1"]
    glue = f"arn:aws:glue:us-east-1:{PRIMARY}"
    assert iam.get_role_policy(RoleName=ROLE, PolicyName="source-crm-v1")["PolicyDocument"] == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Sid": "S3InputPermissions",
                "Action": ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"],
                "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
                "Condition": {"StringEquals": {"s3:ResourceAccount": [PRIMARY]}},
            },
            {
                "Effect": "Allow",
                "Sid": "GluePermissions",
                "Action": [
                    "glue:GetDatabase",
                    "glue:GetTable",
                    "glue:GetPartition",
                    "glue:GetPartitions",
                    "glue:GetSchema",
                    "glue:GetSchemaVersion",
                    "glue:BatchGetPartition",
                ],
                "Resource": [f"{glue}:database/amc_crm", f"{glue}:table/amc_crm/crm_v1_identity", f"{glue}:catalog"],
            },
        ],
    }


@pytest.mark.parametrize("attached", [False, True])
def test_one_that_exists_is_used_as_it_is(naming, amazon, attached):
    # Another order, single values and another name of a statement mean the same.
    trust = {**source_trust(), "Statement": [{**source_trust()["Statement"][0], "Sid": "Mine"}]}
    trust["Statement"][0]["Principal"] = {"Service": "entityresolution.amazonaws.com"}
    make_role(amazon.url, trust=trust, attached=attached)
    naming.ready("source-role")
    step = naming.do("source-role", **EXISTING)
    assert step.state == "done", step.failure
    assert {record.outcome for record in step.calls.all()} == {"read"}
    _, permissions = MakeSourceRole().exhibits(situation_of(step.run))
    assert [line.verdict for line in permissions.lines] == (
        ["Missing", "Missing", "There besides"] if attached else ["The same", "The same"]
    )


def test_another_trust_policy_is_shown_statement_by_statement(naming, amazon):
    make_role(amazon.url, trust=json.loads(json.dumps(source_trust()).replace("entityresolution", "cleanrooms")))
    naming.ready("source-role")
    step = naming.do("source-role", **EXISTING)
    assert (step.state, step.failure["code"]) == ("failed", "Different")
    from onboarding.guide.differences import comparisons

    (shown,) = comparisons(step.failure["details"]["differences"])
    assert (shown.title, [line.verdict for line in shown.lines]) == ("Trust policy", ["Different"])
    assert "cleanrooms" in shown.lines[0].found and "entityresolution" in shown.lines[0].wanted


def test_a_missing_permission_is_named_with_what_it_is_about(naming, amazon):
    whole = source_policy(PRIMARY, [BUCKET], TABLES)
    make_role(amazon.url, policy=without(whole, "s3:ListBucket", "glue:GetPartitions"))
    naming.ready("source-role")
    step = naming.do("source-role", **EXISTING)
    assert step.state == "failed"
    assert step.failure["what"] == "The role may not do all that S3InputPermissions says."
    assert step.failure["details"]["differences"] == [
        {"path": f"s3:ListBucket on arn:aws:s3:::{BUCKET}", "is": "implicitDeny", "wanted": "allowed"}
    ]
    # The policies were read before, so that the page has them statement by statement.
    _, permissions = MakeSourceRole().exhibits(situation_of(step.run))
    assert [line.verdict for line in permissions.lines] == ["Different", "Different"]
    aws(amazon.url, PRIMARY, "iam").put_role_policy(
        RoleName="amc-cleanrooms-mine", PolicyName="mine", PolicyDocument=json.dumps(whole)
    )
    from django.utils import timezone

    from onboarding.services import runs

    runs.try_again(person=naming.analyst, step=step, now=timezone.now())
    assert naming.work("source-role").state == "done"


def test_a_role_elsewhere_than_under_the_path_is_refused(naming, amazon):
    make_role(amazon.url, path="/")
    naming.ready("source-role")
    assert "has to lie under /service-role/" in naming.do("source-role", **EXISTING).failure["what"]


def test_one_that_is_not_there_is_said(naming):
    naming.ready("source-role")
    step = naming.do("source-role", **EXISTING)
    assert (step.state, step.failure["what"]) == ("failed", "It is not there.")


def test_a_role_of_the_same_name_with_another_trust_stops_with_the_difference(naming, amazon):
    iam = aws(amazon.url, PRIMARY, "iam")
    other = json.dumps(source_trust()).replace("entityresolution", "glue")
    iam.create_role(RoleName=ROLE, Path="/service-role/", AssumeRolePolicyDocument=other)
    naming.ready("source-role")
    step = naming.do("source-role")
    assert (step.state, step.failure["code"]) == ("failed", "Different")
    assert step.failure["details"]["differences"][0]["path"] == "Role.AssumeRolePolicyDocument"
    assert iam.list_role_policies(RoleName=ROLE)["PolicyNames"] == []


@pytest.mark.parametrize(
    ("question", "values", "words"),
    [
        (TableNames, {"database": "Amc"}, "lower case letters"),
        (TableNames, {"tables": "a-b"}, "lower case letters"),
        (TableNames, {"tables": "a\nb"}, "There is 1 prepared table"),
        (SourceRole, {"kind": "new", "name": "reader"}, "must begin with amc-cleanrooms-"),
        (SourceRole, {"kind": "new", "name": "amc-cleanrooms-ü"}, "letters, digits and"),
    ],
)
def test_wrong_answers(naming, question, values, words):
    form: forms.Form = question(values, situation=situation_of(naming.run))
    assert not form.is_valid()
    assert words in str(form.errors)
