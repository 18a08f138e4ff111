"""Where results go: the calls that make the bucket and the role, and that bring them into shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onboarding.guide.boundary import BOUNDARY_NAME, boundary_arn
from onboarding.guide.bucket_calls import Bucket
from onboarding.guide.plan import Call, Look
from onboarding.guide.roles import PATH, trust_but_for_memberships

REGION = "us-east-1"
POLICY_NAME = "receive-results"


def bucket_calls(account: str, name: str, *, existing: bool, key: str = "") -> list[Call]:
    """The bucket for results: made, closed to the public and encrypted; or looked at whether it is all that.

    `key`: the ARN of the customer's KMS key with which an existing one is encrypted.
    """
    bucket, make = Bucket(account, name), not existing
    sealed = bucket.encrypted_with(key) if existing else bucket.encrypted(make=True)
    return [bucket.place(make=make), bucket.closed(make=make), sealed]


def role_made(
    account: str, name: str, trust: dict[str, Any], *, title_of: str, tags: list[dict[str, str]], bounded: bool
) -> Call:
    """Makes the role with which AMC writes the results of the instance `title_of`, under the boundary if `bounded`."""
    params: dict[str, Any] = {
        "RoleName": name,
        "Path": PATH,
        "AssumeRolePolicyDocument": trust,
        "Description": f"AMC writes the results of {title_of} with this role",
        "Tags": tags,
    }
    if bounded:
        params["PermissionsBoundary"] = boundary_arn(account)
    return Call(
        key="role",
        title=f"IAM role {PATH}{name}",
        service="iam",
        operation="CreateRole",
        params=params,
        effect="create",
        account=account,
        look=Look(
            operation="GetRole",
            params={"RoleName": name},
            missing=("NoSuchEntity",),
            same={"Role.Path": PATH, **trust_but_for_memberships("Role.AssumeRolePolicyDocument", trust)},
        ),
        undo="Can be deleted in IAM once the collaboration was left.",
    )


def role_bounded(account: str, name: str) -> Call:
    """Puts a role under the portal's permissions boundary, without which the portal may not change it."""
    return Call(
        key="boundary",
        title=f"Role {name} stands under {BOUNDARY_NAME}",
        service="iam",
        operation="PutRolePermissionsBoundary",
        params={"RoleName": name, "PermissionsBoundary": boundary_arn(account)},
        effect="update",
        account=account,
        look=Look(
            operation="GetRole",
            params={"RoleName": name},
            missing=("NoSuchEntity",),
            same={"Role.PermissionsBoundary.PermissionsBoundaryArn": boundary_arn(account)},
        ),
    )


def role_policy(
    account: str, name: str, document: Mapping[str, Any], *, where: str, key: str = "role-policy", title: str = ""
) -> Call:
    """Writes what the role may do."""
    return Call(
        key=key,
        title=title or f"What the role may do: write to {where}",
        service="iam",
        operation="PutRolePolicy",
        params={"RoleName": name, "PolicyName": POLICY_NAME, "PolicyDocument": document},
        effect="update",
        account=account,
        look=Look(
            operation="GetRolePolicy",
            params={"RoleName": name, "PolicyName": POLICY_NAME},
            missing=("NoSuchEntity",),
            same={"PolicyDocument": document},
        ),
    )


def role_trust(account: str, name: str, document: Mapping[str, Any], *, key: str = "trust") -> Call:
    """Writes who may use the role: the one membership."""
    return Call(
        key=key,
        title="Let only this membership use the role",
        service="iam",
        operation="UpdateAssumeRolePolicy",
        params={"RoleName": name, "PolicyDocument": document},
        effect="update",
        account=account,
        look=Look(
            operation="GetRole",
            params={"RoleName": name},
            missing=("NoSuchEntity",),
            same={"Role.AssumeRolePolicyDocument": document},
        ),
    )
