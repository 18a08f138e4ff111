"""Roles handed to a service: may the caller pass it, does it trust the service, may it do what the service needs?"""

from __future__ import annotations

from collections.abc import Iterable

from simulator.aws import policy
from simulator.aws.errors import AccessRefused
from simulator.aws.identity import Call
from simulator.aws.moto_state import MotoState
from simulator.clock import SimClock
from simulator.store import World

CREATED = "aws.roles"


class NotYet(Exception):
    """The role was made so short a time ago that the service doesn't see it yet."""


def remember(world: World, clock: SimClock, arn: str) -> None:
    """Note when a role was made. Only inside `World.change()`."""
    world.table(CREATED).put(arn, {"created": clock.now().timestamp()})


def age(world: World, clock: SimClock, arn: str) -> float:
    """Simulated seconds since the role was made; very long for one made before anybody watched."""
    entry = world.table(CREATED).get(arn)
    return float("inf") if entry is None else clock.now().timestamp() - float(entry["created"])


def check(
    world: World,
    clock: SimClock,
    moto: MotoState,
    role_arn: str,
    service: str,
    needs: Iterable[policy.Request],
    *,
    delay: float = 0.0,
    trust_contexts: Iterable[dict[str, str | list[str]]] = ({},),
) -> None:
    """Can `service` (such as "cleanrooms.amazonaws.com") assume the role and do all of `needs` with it?

    Raises NotYet while the role is younger than `delay` seconds, AccessRefused with the reason otherwise.
    """
    role = moto.role(role_arn)
    if role is None:
        raise AccessRefused(f"The role {role_arn} does not exist or cannot be assumed by {service}.")
    if age(world, clock, role_arn) < delay:
        raise NotYet
    account = role_arn.split(":")[4]
    trusted = any(
        policy.trusts(role.assume_role_policy_document, "Service", [service], context)
        for context in ({"aws:SourceAccount": account, **extra} for extra in trust_contexts)
    )
    if not trusted:
        raise AccessRefused(
            f"The role {role_arn} cannot be assumed by {service}. "
            f"Check that the role's trust policy allows {service} to perform sts:AssumeRole."
        )
    documents = moto.role_documents(role)
    boundary = moto.boundary(account, role.permissions_boundary_arn)
    for need in needs:
        asked = policy.Request(
            need.action,
            need.resource,
            {"aws:PrincipalAccount": account, "aws:PrincipalArn": role_arn, **need.context},
        )
        allowed = policy.decide(documents, asked) == "Allow"
        if boundary is not None:
            allowed = allowed and policy.decide([boundary], asked) == "Allow"
        if not allowed:
            raise AccessRefused(
                f"The role {role_arn} is not authorized to perform: {need.action} on resource: {need.resource}"
            )


def bucket_read_needs(moto: MotoState, location: str) -> list[policy.Request]:
    """What reading the objects under `location` (s3://bucket/prefix) takes."""
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    owner = moto.bucket(bucket)
    context: dict[str, str | list[str]] = {}
    if owner is not None:
        context = {"s3:ResourceAccount": owner.account_id, "aws:ResourceAccount": owner.account_id}
    prefix = prefix.rstrip("/")
    example = f"{prefix}/object" if prefix else "object"
    return [
        policy.Request("s3:GetBucketLocation", f"arn:aws:s3:::{bucket}", context),
        policy.Request("s3:ListBucket", f"arn:aws:s3:::{bucket}", {**context, "s3:prefix": f"{prefix}/"}),
        policy.Request("s3:GetObject", f"arn:aws:s3:::{bucket}/{example}", context),
    ]


def table_read_needs(account: str, region: str, database: str, table: str) -> list[policy.Request]:
    """What reading a Glue table's definition takes."""
    base = f"arn:aws:glue:{region}:{account}"
    return [
        policy.Request(action, resource)
        for action, resources in (
            ("glue:GetDatabase", [f"{base}:catalog", f"{base}:database/{database}"]),
            (
                "glue:GetTable",
                [f"{base}:catalog", f"{base}:database/{database}", f"{base}:table/{database}/{table}"],
            ),
        )
        for resource in resources
    ]


def require_pass(call: Call, role_arn: str, service: str) -> None:
    """The caller must be allowed to hand this role to `service`; a role of another account can't be handed over.

    Raises AwsError AccessDeniedException.
    """
    if role_arn.split(":")[4] != call.account:
        raise AccessRefused("Cross-account pass role is not allowed.")
    call.require("iam:PassRole", role_arn, {"iam:PassedToService": service})
