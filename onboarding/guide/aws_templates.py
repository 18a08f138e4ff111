"""The portal's two roles in a customer's AWS account: as policy documents, CloudFormation, `aws` commands, Terraform.

All four come from `onboarding.guide.permissions`. The provisioner may do what approved runs do; the reader may only
look. Nobody but the portal's own principal can assume them, and only with the external id of the connection.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onboarding.guide.boundary import BOUNDARY_NAME, boundary_arn
from onboarding.guide.permissions import (
    PROVISIONER_NAME,
    READER_NAME,
    Condition,
    Kind,
    Need,
    needs,
)

SESSION_SECONDS = 3600
POLICY_NAME = "amc-onboarding"
STACK_NAME = "amc-onboarding-portal"
_DESCRIPTIONS = {
    PROVISIONER_NAME: "The AMC onboarding portal carries out what was approved there",
    READER_NAME: "The AMC onboarding portal checks what exists and changes nothing",
}


@dataclass(frozen=True)
class Access:
    """What the roles of one connection depend on.

    `aws_account_id` is the customer's account, `principal` the ARN of the portal's own identity, `external_id` the
    connection's. `deletes` adds what leaving a collaboration takes.
    """

    aws_account_id: str
    principal: str
    external_id: str
    deletes: bool = False

    @property
    def boundary_arn(self) -> str:
        """The policy that limits every role which the portal makes."""
        return boundary_arn(self.aws_account_id)

    def role_arn(self, name: str) -> str:
        """The ARN of one of the portal's roles."""
        return f"arn:aws:iam::{self.aws_account_id}:role/{name}"

    def kinds(self, name: str) -> tuple[Kind, ...]:
        """What the role of this name may do."""
        if name == READER_NAME:
            return ("read",)
        return ("read", "change", "delete") if self.deletes else ("read", "change")


def trust_policy(access: Access) -> dict[str, Any]:
    """Who may assume the roles: the portal alone, and only with the external id."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Portal",
                "Effect": "Allow",
                "Principal": {"AWS": access.principal},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"sts:ExternalId": access.external_id}},
            }
        ],
    }


def permissions_policy(access: Access, name: str) -> dict[str, Any]:
    """What the role of this name may do, grouped by resources and conditions."""
    groups: dict[tuple[tuple[str, ...], tuple[Condition, ...]], list[Need]] = {}
    for need in needs(access.kinds(name)):
        scope = need.scope.filled(access.aws_account_id)
        groups.setdefault((scope.resources, scope.conditions), []).append(need)
    statements: list[dict[str, Any]] = []
    for (resources, conditions), group in groups.items():
        statement: dict[str, Any] = {
            "Effect": "Allow",
            "Action": sorted({need.action for need in group}),
            "Resource": list(resources),
        }
        if conditions:
            statement["Condition"] = _conditions(conditions)
        statements.append(statement)
    return {"Version": "2012-10-17", "Statement": statements}


def _conditions(conditions: Sequence[Condition]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for operator, key, value in conditions:
        found.setdefault(operator, {})[key] = value
    return found


def boundary_policy(access: Access) -> dict[str, Any]:
    """What a role that the portal makes may do at most: read data and write results in buckets of the same account."""
    account = access.aws_account_id
    glue = ("GetDatabase", "GetDatabases", "GetTable", "GetTables", "GetPartition", "GetPartitions")
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "OwnBuckets",
                "Effect": "Allow",
                "Action": ["s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket", "s3:PutObject"],
                "Resource": "*",
                "Condition": {"StringEquals": {"s3:ResourceAccount": account}},
            },
            {
                "Sid": "OwnCatalogue",
                "Effect": "Allow",
                "Action": [
                    *(f"glue:{operation}" for operation in glue),
                    "glue:BatchGetPartition",
                    "glue:GetSchema",
                    "glue:GetSchemaVersion",
                    # What a crawler writes.
                    "glue:CreateTable",
                    "glue:UpdateTable",
                    "glue:BatchCreatePartition",
                ],
                "Resource": f"arn:aws:glue:us-east-1:{account}:*",
            },
            {
                "Sid": "CrawlerLog",
                "Effect": "Allow",
                "Action": ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
                "Resource": f"arn:aws:logs:us-east-1:{account}:*:/aws-glue/*",
            },
            {
                "Sid": "OwnKeys",
                "Effect": "Allow",
                "Action": ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"],
                "Resource": f"arn:aws:kms:us-east-1:{account}:key/*",
            },
        ],
    }


# --- CloudFormation


def cloudformation(access: Access) -> str:
    """A CloudFormation template (YAML). In any other account than the right one it makes nothing."""
    resources: dict[str, Any] = {
        "Boundary": {
            "Type": "AWS::IAM::ManagedPolicy",
            "Condition": "RightAccount",
            "Properties": {
                "ManagedPolicyName": BOUNDARY_NAME,
                "Description": "What roles made by the AMC onboarding portal may do at most",
                "PolicyDocument": boundary_policy(access),
            },
        }
    }
    outputs: dict[str, Any] = {}
    for logical, name in (("Provisioner", PROVISIONER_NAME), ("Reader", READER_NAME)):
        resources[logical] = {
            "Type": "AWS::IAM::Role",
            "Condition": "RightAccount",
            "Properties": {
                "RoleName": name,
                "Description": _DESCRIPTIONS[name],
                "MaxSessionDuration": SESSION_SECONDS,
                "AssumeRolePolicyDocument": trust_policy(access),
                "Policies": [{"PolicyName": POLICY_NAME, "PolicyDocument": permissions_policy(access, name)}],
            },
        }
        outputs[f"{logical}RoleArn"] = {"Condition": "RightAccount", "Value": {"Fn::GetAtt": [logical, "Arn"]}}
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Access of the AMC onboarding portal to AWS account {access.aws_account_id}",
        "Conditions": {"RightAccount": {"Fn::Equals": [{"Ref": "AWS::AccountId"}, access.aws_account_id]}},
        "Resources": resources,
        "Outputs": outputs,
    }
    return "\n".join(_yaml(template)) + "\n"


def _yaml(value: Mapping[str, Any] | Sequence[Any], depth: int = 0) -> Iterator[str]:
    """Mappings, lists and scalars as block YAML; every scalar is written as in JSON, which YAML reads the same."""
    indent = "  " * depth
    entries = (
        [(f"{indent}{key if key.isalnum() else json.dumps(key)}:", item) for key, item in value.items()]
        if isinstance(value, Mapping)
        else [(f"{indent}-", item) for item in value]
    )
    for head, item in entries:
        if isinstance(item, Mapping | list | tuple) and item:
            lines = list(_yaml(item, depth + 1))
            if head.endswith("-"):
                yield f"{head} {lines[0].lstrip()}"
                yield from lines[1:]
            else:
                yield head
                yield from lines
        else:
            yield f"{head} {json.dumps(item)}"


# --- commands

_SCRIPT = """#!/bin/sh
# Access of the AMC onboarding portal to AWS account {account}.
#
# Needs the aws command line, signed in to that account as somebody who may make IAM roles. Makes one policy and two
# roles, or brings them up to date where they exist; it can be run again.
set -eu
export AWS_DEFAULT_REGION="${{AWS_DEFAULT_REGION:-us-east-1}}"

account=$(aws sts get-caller-identity --query Account --output text)
[ "$account" = {account} ] || {{
  echo "You are signed in to AWS account $account; this is for {account}. Nothing was made." >&2
  exit 1
}}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# What a role that the portal makes may do at most
cat > "$folder/boundary.json" <<'JSON'
{boundary}
JSON
if aws iam get-policy --policy-arn {boundary_arn} > "$folder/seen" 2>&1; then
  # A policy keeps five versions; the ones before are not needed.
  for version in $(aws iam list-policy-versions --policy-arn {boundary_arn} \\
    --query 'Versions[?!IsDefaultVersion].VersionId' --output text); do
    aws iam delete-policy-version --policy-arn {boundary_arn} --version-id "$version"
  done
  aws iam create-policy-version --policy-arn {boundary_arn} \\
    --policy-document "file://$folder/boundary.json" --set-as-default > "$folder/seen"
else
  aws iam create-policy --policy-name {boundary_name} \\
    --policy-document "file://$folder/boundary.json" > "$folder/seen"
fi
echo "Policy {boundary_name}: up to date"

# Who may use the roles: the portal alone, with the external id of this connection
cat > "$folder/trust.json" <<'JSON'
{trust}
JSON
"""
_SCRIPT_ROLE = """
# {description}
cat > "$folder/{name}.json" <<'JSON'
{policy}
JSON
if aws iam get-role --role-name {name} > "$folder/seen" 2>&1; then
  aws iam update-assume-role-policy --role-name {name} --policy-document "file://$folder/trust.json"
else
  aws iam create-role --role-name {name} --description "{description}" --max-session-duration {seconds} \\
    --assume-role-policy-document "file://$folder/trust.json" > "$folder/seen"
fi
aws iam put-role-policy --role-name {name} --policy-name {policy_name} \\
  --policy-document "file://$folder/{name}.json"
echo "Role: {arn}"
"""


def commands(access: Access) -> str:
    """A POSIX shell script of `aws` commands that makes the same, stops at the first error and can be run again."""
    text = _SCRIPT.format(
        account=access.aws_account_id,
        boundary=_pretty(boundary_policy(access)),
        boundary_arn=access.boundary_arn,
        boundary_name=BOUNDARY_NAME,
        trust=_pretty(trust_policy(access)),
    )
    for name in (PROVISIONER_NAME, READER_NAME):
        text += _SCRIPT_ROLE.format(
            name=name,
            description=_DESCRIPTIONS[name],
            policy=_pretty(permissions_policy(access, name)),
            policy_name=POLICY_NAME,
            seconds=SESSION_SECONDS,
            arn=access.role_arn(name),
        )
    return text


def _pretty(document: Any) -> str:
    return json.dumps(document, indent=2)


# --- Terraform


def terraform(access: Access) -> str:
    """The same as Terraform resources, for whoever keeps their account that way."""
    parts = [
        f"# Access of the AMC onboarding portal to AWS account {access.aws_account_id}\n",
        _hcl("aws_iam_policy", "boundary", {"name": BOUNDARY_NAME}, {"policy": boundary_policy(access)}),
    ]
    for logical, name in (("provisioner", PROVISIONER_NAME), ("reader", READER_NAME)):
        parts += [
            _hcl(
                "aws_iam_role",
                logical,
                {"name": name, "description": _DESCRIPTIONS[name], "max_session_duration": SESSION_SECONDS},
                {"assume_role_policy": trust_policy(access)},
            ),
            _hcl(
                "aws_iam_role_policy",
                logical,
                {"name": POLICY_NAME},
                {"policy": permissions_policy(access, name)},
                {"role": f"aws_iam_role.{logical}.id"},
            ),
            f'output "{logical}_role_arn" {{\n  value = aws_iam_role.{logical}.arn\n}}\n',
        ]
    return "\n".join(parts)


def _hcl(
    kind: str,
    name: str,
    values: Mapping[str, Any],
    documents: Mapping[str, Any],
    references: Mapping[str, str] | None = None,
) -> str:
    lines = [f'resource "{kind}" "{name}" {{']
    lines += [f"  {key} = {json.dumps(value)}" for key, value in values.items()]
    lines += [f"  {key} = {target}" for key, target in (references or {}).items()]
    # JSON is what HCL's expressions look like, but for the colons; jsonencode takes its own objects only.
    lines += [f"  {key} = <<JSON\n{_pretty(document)}\nJSON" for key, document in documents.items()]
    return "\n".join([*lines, "}"]) + "\n"
