"""Which IAM action and resource each operation needs, for callers that are not an account's administrator."""

from __future__ import annotations

import re
from typing import Any

from simulator.aws import roles
from simulator.aws.errors import AwsError
from simulator.aws.identity import Call

# Entity Resolution and Clean Rooms operations whose resource is a thing named by a request member.
_CLEANROOMS_RESOURCES = (
    ("configuredTableIdentifier", "configuredtable/{}"),
    ("collaborationIdentifier", "collaboration/{}"),
)


def _cleanrooms(call: Call, operation: str, parameters: dict[str, Any]) -> list[str]:
    base = f"arn:aws:cleanrooms:{call.region}:{call.account}:"
    if "resourceArn" in parameters:
        return [str(parameters["resourceArn"])]
    if operation == "CreateMembership" or operation.startswith(("ListCollaborations", "ListMemberships")):
        # Their resources don't exist yet, or are all of the account's.
        return [base + ("membership/*" if "Membership" in operation else "collaboration/*")]
    membership = parameters.get("membershipIdentifier")
    if membership is not None:
        for member, kind in (
            ("idNamespaceAssociationIdentifier", "membership/{}/idnamespaceassociation/{}"),
            ("idMappingTableIdentifier", "membership/{}/idmappingtable/{}"),
            ("configuredTableAssociationIdentifier", "configuredtableassociation/{}/{}"),
        ):
            if member in parameters:
                return [base + kind.format(membership, parameters[member])]
        return [f"{base}membership/{membership}"]
    for member, kind in _CLEANROOMS_RESOURCES:
        if member in parameters:
            identifier = parameters[member]
            if member == "collaborationIdentifier":
                document = call.world.table("cleanrooms.collaborations").get(identifier)
                if document is not None:
                    return [str(document["arn"])]
            return [base + kind.format(identifier)]
    if operation == "CreateConfiguredTable":
        return [f"{base}configuredtable/*"]
    return ["*"]


def _entityresolution(call: Call, operation: str, parameters: dict[str, Any]) -> list[str]:
    base = f"arn:aws:entityresolution:{call.region}:{call.account}:"
    for member in ("resourceArn", "arn"):
        if member in parameters:
            return [str(parameters[member])]
    if "schemaName" in parameters:
        return [f"{base}schemamapping/{parameters['schemaName']}"]
    if "idNamespaceName" in parameters:
        name = str(parameters["idNamespaceName"])
        return [name if name.startswith("arn:") else f"{base}idnamespace/{name}"]
    return ["*"]


def _iam(call: Call, operation: str, parameters: dict[str, Any]) -> list[str]:
    base = f"arn:aws:iam::{call.account}:"
    if "RoleName" in parameters:
        name = parameters["RoleName"]
        role = call.moto.role_named(call.account, name)
        if role is not None:
            return [str(role.arn)]
        return [f"{base}role{parameters.get('Path') or '/'}{name}"]
    if "PolicySourceArn" in parameters:
        return [str(parameters["PolicySourceArn"])]
    if "PolicyArn" in parameters:
        return [str(parameters["PolicyArn"])]
    if operation == "CreatePolicy":
        return [f"{base}policy{parameters.get('Path') or '/'}{parameters.get('PolicyName', '')}"]
    if "UserName" in parameters:
        return [f"{base}user/{parameters['UserName']}"]
    return ["*"]


def _glue(call: Call, operation: str, parameters: dict[str, Any]) -> list[str]:
    base = f"arn:aws:glue:{call.region}:{call.account}:"
    if "Crawler" in operation:
        return [f"{base}crawler/{parameters.get('Name', '')}"]
    table_input = parameters.get("TableInput") if isinstance(parameters.get("TableInput"), dict) else {}
    database_input = parameters.get("DatabaseInput") if isinstance(parameters.get("DatabaseInput"), dict) else {}
    if operation in ("CreateDatabase", "GetDatabase", "UpdateDatabase", "DeleteDatabase"):
        name = parameters.get("Name") or (database_input or {}).get("Name") or "*"
        return [f"{base}catalog", f"{base}database/{name}"]
    if operation in ("GetDatabases", "SearchTables"):
        return [f"{base}catalog"]
    if "DatabaseName" in parameters:
        database = parameters["DatabaseName"]
        table = parameters.get("TableName") or parameters.get("Name") or (table_input or {}).get("Name") or "*"
        return [f"{base}catalog", f"{base}database/{database}", f"{base}table/{database}/{table}"]
    return ["*"]


def _athena(call: Call, operation: str, parameters: dict[str, Any]) -> list[str]:
    group = parameters.get("WorkGroup") or "primary"
    return [f"arn:aws:athena:{call.region}:{call.account}:workgroup/{group}"]


_UNDER_BOUNDARY = frozenset({"AttachRolePolicy", "DeleteRolePolicy", "DetachRolePolicy", "PutRolePolicy"})
_RESOURCES = {
    "cleanrooms": _cleanrooms,
    "entityresolution": _entityresolution,
    "iam": _iam,
    "glue": _glue,
    "athena": _athena,
}


def check(call: Call, service: str, operation: str, parameters: dict[str, Any]) -> None:
    """Refuse an operation that the caller's policies don't allow.

    Raises AwsError: AccessDeniedException, or AccessDenied where the service words it so.
    """
    if call.caller.documents is None:
        return
    context: dict[str, Any] = {}
    if service == "iam" and "PermissionsBoundary" in parameters:
        context["iam:PermissionsBoundary"] = parameters["PermissionsBoundary"]
    elif service == "iam" and operation in _UNDER_BOUNDARY:
        # What is asked of a role that exists goes by the boundary that it has.
        role = call.moto.role_named(call.account, parameters.get("RoleName", ""))
        if role is not None and role.permissions_boundary_arn:
            context["iam:PermissionsBoundary"] = role.permissions_boundary_arn
    tags = parameters.get("tags") if service in ("cleanrooms", "entityresolution") else None
    if isinstance(tags, dict):
        context.update({f"aws:RequestTag/{key}": value for key, value in tags.items()})
        context["aws:TagKeys"] = list(tags)
    action = f"{service}:{operation}"
    resources = _RESOURCES[service](call, operation, parameters) if service in _RESOURCES else ["*"]
    try:
        for resource in resources:
            call.require(action, resource, context)
        if isinstance(tags, dict) and tags and operation.startswith("Create"):
            # Tagging on creation takes the tagging permission too.
            call.require(f"{service}:TagResource", resources[-1], context)
    except AwsError as refused:
        if service == "iam":
            raise AwsError("AccessDenied", refused.message, status=403) from None
        if service in ("glue", "athena"):
            raise AwsError("AccessDeniedException", refused.message, status=400) from None
        raise


def check_boundary(call: Call, service: str, operation: str, parameters: dict[str, Any]) -> None:
    """Refuse a role under a permissions boundary that does not exist (AwsError NoSuchEntity), as IAM does."""
    arn = parameters.get("PermissionsBoundary") if service == "iam" and "Role" in operation else None
    if arn and not call.moto.has_policy(call.account, arn):
        raise AwsError("NoSuchEntity", f"Scope ARN: {arn} does not exist or is not attachable.", status=404)


_ROLE_ARN = re.compile(rb"<Arn>(arn:aws:iam::\d{12}:role/[^<]+)</Arn>")


def after_iam(call: Call, operation: str, parameters: dict[str, str], content: bytes) -> None:
    """Note when roles come and go, so that services see a new one a moment later only."""
    if operation == "CreateRole":
        found = _ROLE_ARN.search(content)
        if found:
            with call.world.change():
                roles.remember(call.world, call.clock, found[1].decode())
    elif operation == "DeleteRole":
        table = call.world.table(roles.CREATED)
        with call.world.change():
            for arn in table.keys():  # noqa: SIM118  (a Table is no dict)
                if arn.startswith(f"arn:aws:iam::{call.account}:role/") and call.moto.role(arn) is None:
                    table.delete(arn)
