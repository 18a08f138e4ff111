"""The portal's two roles in an AWS account of the local Amazon, as its template makes them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import boto3

from onboarding.guide import aws_templates
from onboarding.guide.boundary import BOUNDARY_NAME
from onboarding.guide.permissions import PROVISIONER_NAME, READER_NAME
from tests.warm_aws import warm_aws

PORTAL_ACCOUNT = "999988887777"
PORTAL_PRINCIPAL = f"arn:aws:iam::{PORTAL_ACCOUNT}:root"


def aws_admin(simulator_url: str, aws_account_id: str, service: str):
    """A boto3 client that acts as the administrator of an account."""
    return boto3.client(
        service,
        endpoint_url=simulator_url,
        region_name="us-east-1",
        aws_access_key_id=aws_account_id,
        aws_secret_access_key="any",
    )


def make_portal_roles(
    simulator_url: str, aws_account_id: str, external_id: str, *, deletes: bool = True, trust: dict | None = None
) -> tuple[str, str]:
    """Make the boundary policy and both roles, or bring them up to date; the ARNs of provisioner and reader.

    Needs the database (what the steps call is read off their plans); where there is none, `run_script` runs what
    `manage.py awstemplate` prints.
    """
    access = aws_templates.Access(aws_account_id, PORTAL_PRINCIPAL, external_id, deletes)
    iam = aws_admin(simulator_url, aws_account_id, "iam")
    boundary = json.dumps(aws_templates.boundary_policy(access))
    try:
        iam.create_policy(PolicyName=BOUNDARY_NAME, PolicyDocument=boundary)
    except iam.exceptions.EntityAlreadyExistsException:
        iam.create_policy_version(PolicyArn=access.boundary_arn, PolicyDocument=boundary, SetAsDefault=True)
    document = json.dumps(trust or aws_templates.trust_policy(access))
    for name in (PROVISIONER_NAME, READER_NAME):
        try:
            iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)
        except iam.exceptions.EntityAlreadyExistsException:
            iam.update_assume_role_policy(RoleName=name, PolicyDocument=document)
        iam.put_role_policy(
            RoleName=name,
            PolicyName=aws_templates.POLICY_NAME,
            PolicyDocument=json.dumps(aws_templates.permissions_policy(access, name)),
        )
    return access.role_arn(PROVISIONER_NAME), access.role_arn(READER_NAME)


def run_script(text: str, simulator_url: str, signed_in: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the downloaded `aws` commands with the real command line, as an administrator of `signed_in` would."""
    (folder / "make.sh").write_text(text)
    environment = {
        "PATH": f"{warm_aws()}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "AWS_ENDPOINT_URL": simulator_url,
        "AWS_ACCESS_KEY_ID": signed_in,
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    command = ["sh", "make.sh"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
