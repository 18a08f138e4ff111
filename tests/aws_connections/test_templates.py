"""CloudFormation, `aws` commands and Terraform make the same; the commands are run by the real command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from django.core.management import CommandError, call_command
from django.utils import timezone

from onboarding.guide import aws_templates
from onboarding.guide.aws_templates import PROVISIONER_NAME, READER_NAME
from onboarding.services import aws_connections as service
from tests.aws_connections.conftest import CUSTOMER
from tests.aws_roles import PORTAL_PRINCIPAL, aws_admin, run_script

ACCESS = aws_templates.Access(CUSTOMER, PORTAL_PRINCIPAL, "amc-external-id")


def run_commands(access: aws_templates.Access, amazon, folder: Path, signed_in: str = CUSTOMER):
    return run_script(aws_templates.commands(access), amazon.url, signed_in, folder)


def in_account(amazon, account: str = CUSTOMER) -> dict[str, dict]:
    """What the account has: each role with trust and permissions, and the boundary."""
    iam = aws_admin(amazon.url, account, "iam")
    found = {}
    for role in iam.list_roles()["Roles"]:
        name = role["RoleName"]
        found[name] = {
            "trust": role["AssumeRolePolicyDocument"],
            "description": role["Description"],
            "policies": {
                policy: iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
                for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]
            },
        }
    for policy in iam.list_policies(Scope="Local")["Policies"]:
        version = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"])
        found[policy["PolicyName"]] = version["PolicyVersion"]["Document"]
    return found


def in_template(access: aws_templates.Access) -> dict[str, dict]:
    """The same as the CloudFormation template says it."""
    found = {}
    for resource in yaml.safe_load(aws_templates.cloudformation(access))["Resources"].values():
        properties = resource["Properties"]
        if resource["Type"] == "AWS::IAM::ManagedPolicy":
            found[properties["ManagedPolicyName"]] = properties["PolicyDocument"]
        else:
            found[properties["RoleName"]] = {
                "trust": properties["AssumeRolePolicyDocument"],
                "description": properties["Description"],
                "policies": {one["PolicyName"]: one["PolicyDocument"] for one in properties["Policies"]},
            }
    return found


def test_the_commands_make_what_the_template_says_and_the_portal_proves_it(connection, amazon, tmp_path):
    access = service.access_of(connection)
    done = run_commands(access, amazon, tmp_path)
    assert done.returncode == 0, done.stderr
    assert in_account(amazon) == in_template(access)
    arns = re.findall(r"^Role: (\S+)$", done.stdout, re.MULTILINE)
    assert arns == [access.role_arn(PROVISIONER_NAME), access.role_arn(READER_NAME)]

    connection.provisioner_role_arn, connection.reader_role_arn = arns
    connection.save()
    assert service.prove(connection, now=timezone.now()).state == "working"

    # A new external id: the same script brings the roles up to date, as often as one likes.
    changed = aws_templates.Access(CUSTOMER, PORTAL_PRINCIPAL, "amc-another", deletes=True)
    for _ in range(2):
        again = run_commands(changed, amazon, tmp_path)
        assert again.returncode == 0, again.stderr
    assert in_account(amazon) == in_template(changed)


def test_the_commands_stop_in_the_wrong_account(connection, amazon, tmp_path):
    done = run_commands(service.access_of(connection), amazon, tmp_path, signed_in="111122223333")
    assert done.returncode == 1
    assert "Nothing was made" in done.stderr
    assert in_account(amazon, "111122223333") == {}


def test_the_template_makes_nothing_in_another_account(db):
    template = yaml.safe_load(aws_templates.cloudformation(ACCESS))
    assert template["Conditions"] == {"RightAccount": {"Fn::Equals": [{"Ref": "AWS::AccountId"}, CUSTOMER]}}
    parts = [*template["Resources"].values(), *template["Outputs"].values()]
    assert {part["Condition"] for part in parts} == {"RightAccount"}


def test_terraform_holds_the_same_documents(db):
    text = aws_templates.terraform(ACCESS)
    documents = [json.loads(one) for one in re.findall(r"<<JSON\n(.*?)\nJSON\n", text, re.DOTALL)]
    expected = [aws_templates.boundary_policy(ACCESS)]
    for name in (PROVISIONER_NAME, READER_NAME):
        expected += [aws_templates.trust_policy(ACCESS), aws_templates.permissions_policy(ACCESS, name)]
    assert documents == expected
    assert "${" not in text
    assert re.findall(r'^resource "(\w+)" "(\w+)" \{$', text, re.MULTILINE) == [
        ("aws_iam_policy", "boundary"),
        ("aws_iam_role", "provisioner"),
        ("aws_iam_role_policy", "provisioner"),
        ("aws_iam_role", "reader"),
        ("aws_iam_role_policy", "reader"),
    ]


@pytest.mark.parametrize("make", [aws_templates.cloudformation, aws_templates.commands, aws_templates.terraform])
def test_each_requires_the_external_id_and_trusts_the_portal_alone(make, db):
    text = make(ACCESS)
    assert "sts:ExternalId" in text
    assert "amc-external-id" in text
    assert text.count(PORTAL_PRINCIPAL) == (1 if make is aws_templates.commands else 2)


def test_the_template_from_the_command_line(connection, capsys, settings):
    call_command("awstemplate", CUSTOMER)
    assert capsys.readouterr().out == aws_templates.commands(service.access_of(connection))
    call_command("awstemplate", CUSTOMER, "--account", connection.account.entity_id, "--form", "cloudformation")
    assert capsys.readouterr().out == aws_templates.cloudformation(service.access_of(connection))
    with pytest.raises(CommandError, match="not added"):
        call_command("awstemplate", "111122223333")
    settings.PORTAL_AWS_PRINCIPAL = ""
    with pytest.raises(CommandError, match="PORTAL_AWS_PRINCIPAL"):
        call_command("awstemplate", CUSTOMER)
