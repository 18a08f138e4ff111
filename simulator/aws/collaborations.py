"""AWS Clean Rooms collaborations: their members, and what the AMC side of the simulator does to them.

AMC's own accounts own the collaborations; a customer's account is invited and joins by CreateMembership.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from simulator.aws.errors import AwsError
from simulator.aws.service import epoch, page
from simulator.clock import SimClock
from simulator.store import Document, World

if TYPE_CHECKING:
    from simulator.aws.identity import Call

COLLABORATIONS = "cleanrooms.collaborations"
MEMBERSHIPS = "cleanrooms.memberships"
NAMESPACE_ASSOCIATIONS = "cleanrooms.idnamespaceassociations"
MAPPING_TABLES = "cleanrooms.idmappingtables"
TAGS = "aws.tags"
REGION = "us-east-1"


@dataclass(frozen=True)
class CollaborationMemberSpec:
    """A member to invite. `abilities` are Clean Rooms' names, such as CAN_QUERY and CAN_RECEIVE_RESULTS; `pays`: for
    the compute of queries."""

    account_id: str
    display_name: str
    abilities: tuple[str, ...] = ()
    pays: bool = False


def create_collaboration(
    world: World,
    clock: SimClock,
    *,
    creator_account: str,
    name: str,
    description: str,
    members: Iterable[CollaborationMemberSpec],
    query_log_status: str = "ENABLED",
) -> str:
    """Make a collaboration with `members` invited and return its id.

    The creator must be among the members; like everybody it joins by `create_service_membership`. Raises ValueError
    when it is not, or when an account is named twice.
    """
    specs = list(members)
    accounts = [spec.account_id for spec in specs]
    if creator_account not in accounts or len(set(accounts)) != len(accounts):
        raise ValueError("the creator must be a member, and each account a member once")
    identifier = str(uuid.uuid4())
    now = epoch(clock.now())
    creator = next(spec for spec in specs if spec.account_id == creator_account)
    document = {
        "id": identifier,
        "arn": f"arn:aws:cleanrooms:{REGION}:{creator_account}:collaboration/{identifier}",
        "name": name,
        "description": description,
        "creatorAccountId": creator_account,
        "creatorDisplayName": creator.display_name,
        "createTime": now,
        "updateTime": now,
        "queryLogStatus": query_log_status,
        "analyticsEngine": "SPARK",
        "deleted": False,
        "members": [
            {
                "accountId": spec.account_id,
                "displayName": spec.display_name,
                "abilities": list(spec.abilities),
                "pays": spec.pays,
                "status": "INVITED",
                "membershipId": None,
                "membershipArn": None,
                "joined": None,
                "createTime": now,
                "updateTime": now,
            }
            for spec in specs
        ],
    }
    with world.change():
        world.table(COLLABORATIONS).put(identifier, document)
    return identifier


def collaboration(world: World, collaboration_id: str) -> Document:
    """The collaboration's document. Raises KeyError when there is none."""
    return world.table(COLLABORATIONS)[collaboration_id]


def member_of(document: Document, account: str) -> Document | None:
    """The entry of `account` among the collaboration's members."""
    return next((member for member in document["members"] if member["accountId"] == account), None)


def join(
    world: World, clock: SimClock, document: Document, account: str, membership_id: str, settings: dict[str, Any]
) -> Document:
    """Turn an invitation into a membership. Only inside `World.change()`."""
    now = epoch(clock.now())
    member = member_of(document, account)
    assert member is not None
    arn = f"arn:aws:cleanrooms:{REGION}:{account}:membership/{membership_id}"
    membership = {
        "id": membership_id,
        "arn": arn,
        "account": account,
        "collaborationArn": document["arn"],
        "collaborationId": document["id"],
        "collaborationCreatorAccountId": document["creatorAccountId"],
        "collaborationCreatorDisplayName": document["creatorDisplayName"],
        "collaborationName": document["name"],
        "createTime": now,
        "updateTime": now,
        "status": "ACTIVE",
        "memberAbilities": member["abilities"],
        **settings,
    }
    member.update(status="ACTIVE", membershipId=membership_id, membershipArn=arn, joined=now, updateTime=now)
    world.table(MEMBERSHIPS).put(membership_id, membership)
    world.table(COLLABORATIONS).put(document["id"], document)
    return membership


def create_service_membership(world: World, clock: SimClock, collaboration_id: str, account: str) -> str:
    """Have one of Amazon's own accounts accept its invitation; returns the membership's id.

    Raises KeyError for an unknown collaboration, ValueError unless the account is invited.
    """
    with world.change():
        document = collaboration(world, collaboration_id)
        member = member_of(document, account)
        if member is None or member["status"] != "INVITED":
            raise ValueError(f"{account} is not invited to {collaboration_id}")
        settings = {
            "queryLogStatus": "DISABLED",
            "paymentConfiguration": {"queryCompute": {"isResponsible": member["pays"]}},
        }
        return str(join(world, clock, document, account, str(uuid.uuid4()), settings)["id"])


def _iso(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


def members(world: World, collaboration_id: str) -> list[Document]:
    """All members: accountId, displayName, abilities, pays, status (INVITED, ACTIVE, LEFT, REMOVED), membershipId or
    None, joinedAt (ISO 8601) or None. Raises KeyError for an unknown collaboration."""
    return [
        {
            "accountId": member["accountId"],
            "displayName": member["displayName"],
            "abilities": member["abilities"],
            "pays": member["pays"],
            "status": member["status"],
            "membershipId": member["membershipId"],
            "joinedAt": _iso(member["joined"]),
        }
        for member in collaboration(world, collaboration_id)["members"]
    ]


def id_namespace_associations(world: World, collaboration_id: str) -> list[Document]:
    """ID namespaces associated to the collaboration: id, name, creatorAccountId, idNamespaceArn, idNamespaceType
    (SOURCE, TARGET), createTime and updateTime (ISO 8601)."""
    return [
        {
            "id": found["id"],
            "name": found["name"],
            "description": found.get("description"),
            "creatorAccountId": found["account"],
            "idNamespaceArn": found["inputReferenceConfig"]["inputReferenceArn"],
            "idNamespaceType": found["inputReferenceProperties"]["idNamespaceType"],
            "createTime": _iso(found["createTime"]),
            "updateTime": _iso(found["updateTime"]),
        }
        for found in world.table(NAMESPACE_ASSOCIATIONS).find(lambda row: row["collaborationId"] == collaboration_id)
    ]


def add_namespace_association(
    world: World,
    clock: SimClock,
    membership: Document,
    *,
    name: str,
    namespace_arn: str,
    namespace_type: str,
    manage_policies: bool,
    description: str | None = None,
    mapping: dict[str, Any] | None = None,
) -> Document:
    """Associate an ID namespace through `membership`. Only inside `World.change()`."""
    identifier = str(uuid.uuid4())
    now = epoch(clock.now())
    document = {
        "id": identifier,
        "arn": f"{membership['arn']}/idnamespaceassociation/{identifier}",
        "account": membership["account"],
        "membershipId": membership["id"],
        "membershipArn": membership["arn"],
        "collaborationId": membership["collaborationId"],
        "collaborationArn": membership["collaborationArn"],
        "creatorAccountId": membership["account"],
        "name": name,
        "description": description,
        "createTime": now,
        "updateTime": now,
        "inputReferenceConfig": {"inputReferenceArn": namespace_arn, "manageResourcePolicies": manage_policies},
        "inputReferenceProperties": {"idNamespaceType": namespace_type, "idMappingWorkflowsSupported": []},
        "idMappingConfig": mapping or {"allowUseAsDimensionColumn": False},
    }
    world.table(NAMESPACE_ASSOCIATIONS).put(identifier, document)
    return document


def record_id_mapping_table(
    world: World,
    clock: SimClock,
    collaboration_id: str,
    *,
    owner_account: str,
    name: str,
    source_association_id: str,
    description: str | None = None,
    table_id: str | None = None,
    workflow_arn: str | None = None,
) -> Document:
    """Have an ID mapping table that AMC makes appear in Clean Rooms; returns it (id, arn, inputReferenceConfig…).

    It belongs to the membership of `owner_account` (one of AMC's), which also brings the TARGET namespace. Raises
    KeyError for an unknown collaboration or association, ValueError when the owner has no membership.
    """
    with world.change():
        document = collaboration(world, collaboration_id)
        owner = member_of(document, owner_account)
        if owner is None or owner["status"] != "ACTIVE":
            raise ValueError(f"{owner_account} is not an active member of {collaboration_id}")
        source = world.table(NAMESPACE_ASSOCIATIONS)[source_association_id]
        membership = world.table(MEMBERSHIPS)[owner["membershipId"]]
        targets = world.table(NAMESPACE_ASSOCIATIONS).find(
            lambda row: (
                row["collaborationId"] == collaboration_id
                and row["inputReferenceProperties"]["idNamespaceType"] == "TARGET"
            )
        )
        target = (
            targets[0]
            if targets
            else add_namespace_association(
                world,
                clock,
                membership,
                name="amazon-identity",
                namespace_arn=f"arn:aws:entityresolution:{REGION}:{owner_account}:idnamespace/amazon-identity",
                namespace_type="TARGET",
                manage_policies=True,
            )
        )
        identifier = table_id or str(uuid.uuid4())
        now = epoch(clock.now())
        table = {
            "id": identifier,
            "arn": f"{membership['arn']}/idmappingtable/{identifier}",
            "account": owner_account,
            "membershipId": membership["id"],
            "membershipArn": membership["arn"],
            "collaborationId": collaboration_id,
            "collaborationArn": document["arn"],
            "name": name,
            "description": description,
            "createTime": now,
            "updateTime": now,
            "populated": False,
            "inputReferenceConfig": {
                "inputReferenceArn": workflow_arn
                or f"arn:aws:entityresolution:{REGION}:{owner_account}:idmappingworkflow/{identifier}",
                "manageResourcePolicies": True,
            },
            "inputReferenceProperties": {
                "idMappingTableInputSource": [
                    {"idNamespaceAssociationId": source["id"], "type": "SOURCE"},
                    {"idNamespaceAssociationId": target["id"], "type": "TARGET"},
                ]
            },
        }
        world.table(MAPPING_TABLES).put(identifier, table)
        return table


def mark_id_mapping_table_populated(world: World, clock: SimClock, table_id: str) -> None:
    """Note that a mapping job has filled the table: its schema becomes READY. Raises KeyError for an unknown one."""
    with world.change():
        table = world.table(MAPPING_TABLES)[table_id]
        table.update(populated=True, updateTime=epoch(clock.now()))
        world.table(MAPPING_TABLES).put(table_id, table)


def delete_id_mapping_table(world: World, table_id: str) -> None:
    """Have an ID mapping table disappear from Clean Rooms (nothing happens when it isn't there)."""
    with world.change():
        world.table(MAPPING_TABLES).delete(table_id)


def remove_member(world: World, clock: SimClock, collaboration_id: str, account: str, status: str = "REMOVED") -> None:
    """End a member's part in the collaboration for good; `status` is REMOVED (by the creator) or LEFT."""
    with world.change():
        document = collaboration(world, collaboration_id)
        member = member_of(document, account)
        if member is None:
            raise KeyError(account)
        now = epoch(clock.now())
        member.update(status=status, updateTime=now)
        world.table(COLLABORATIONS).put(collaboration_id, document)
        if member["membershipId"] is not None:
            membership = world.table(MEMBERSHIPS)[member["membershipId"]]
            membership.update(status="REMOVED", updateTime=now)
            world.table(MEMBERSHIPS).put(membership["id"], membership)


def delete_collaboration(world: World, clock: SimClock, collaboration_id: str) -> None:
    """End the collaboration for everybody. Raises KeyError for an unknown one."""
    with world.change():
        document = collaboration(world, collaboration_id)
        now = epoch(clock.now())
        document.update(deleted=True, updateTime=now)
        world.table(COLLABORATIONS).put(collaboration_id, document)
        for membership in world.table(MEMBERSHIPS).find(lambda row: row["collaborationId"] == collaboration_id):
            if membership["status"] == "ACTIVE":
                membership.update(status="COLLABORATION_DELETED", updateTime=now)
                world.table(MEMBERSHIPS).put(membership["id"], membership)


# What customers ask of Clean Rooms


def visible(call: Call, collaboration_id: str, *, active: bool = False) -> Document:
    """The collaboration, if the caller is invited to it or in it (`active`: in it).

    Raises ResourceNotFoundException or AccessDeniedException.
    """
    document = call.world.table(COLLABORATIONS).get(collaboration_id)
    if document is None or document["deleted"] or call.region != REGION:
        raise AwsError(
            "ResourceNotFoundException",
            f"Collaboration {collaboration_id} does not exist.",
            resourceId=collaboration_id,
            resourceType="COLLABORATION",
        )
    member = member_of(document, call.account)
    allowed = ("ACTIVE",) if active else ("ACTIVE", "INVITED")
    if member is None or member["status"] not in allowed:
        raise AwsError(
            "AccessDeniedException",
            f"{call.caller.arn} is not authorized to access collaboration {collaboration_id}.",
            reason="INSUFFICIENT_PERMISSIONS",
        )
    return document


def _for_caller(document: Document, account: str) -> Document:
    member = member_of(document, account) or {}
    return {
        **document,
        "memberStatus": member.get("status"),
        "membershipId": member.get("membershipId"),
        "membershipArn": member.get("membershipArn"),
    }


def get_collaboration(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """GetCollaboration."""
    document = visible(call, parameters["collaborationIdentifier"])
    return {"collaboration": _for_caller(document, call.account)}


def list_collaborations(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """ListCollaborations: those that the caller is invited to or in, newest first."""
    wanted = parameters.get("memberStatus")
    found = []
    if call.region == REGION:
        for document in reversed(call.world.table(COLLABORATIONS).values()):
            member = member_of(document, call.account)
            if document["deleted"] or member is None or member["status"] not in ("INVITED", "ACTIVE"):
                continue
            if wanted is None or member["status"] == wanted:
                found.append(_for_caller(document, call.account))
    return page(found, parameters, "collaborationList")


def list_members(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """ListMembers."""
    document = visible(call, parameters["collaborationIdentifier"])
    found = [
        {**member, "paymentConfiguration": {"queryCompute": {"isResponsible": member["pays"]}}}
        for member in document["members"]
    ]
    return page(found, parameters, "memberSummaries")


def _creators(call: Call, collaboration_id: str) -> Document:
    document = visible(call, collaboration_id)
    if document["creatorAccountId"] != call.account:
        raise AwsError(
            "AccessDeniedException",
            "Only the creator of the collaboration can perform this action.",
            reason="INSUFFICIENT_PERMISSIONS",
        )
    return document


def delete_member(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """DeleteMember, for the creator's account."""
    document = _creators(call, parameters["collaborationIdentifier"])
    account = parameters["accountId"]
    if member_of(document, account) is None:
        raise AwsError(
            "ResourceNotFoundException", f"{account} is not a member.", resourceId=account, resourceType="MEMBERSHIP"
        )
    if account == call.account:
        raise AwsError("ValidationException", "The creator cannot be removed.", reason="INVALID_CONFIGURATION")
    remove_member(call.world, call.clock, document["id"], account)
    return {}


def delete_collaboration_operation(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """DeleteCollaboration, for the creator's account."""
    document = _creators(call, parameters["collaborationIdentifier"])
    delete_collaboration(call.world, call.clock, document["id"])
    return {}


OPERATIONS = {
    "GetCollaboration": get_collaboration,
    "ListCollaborations": list_collaborations,
    "ListMembers": list_members,
    "DeleteMember": delete_member,
    "DeleteCollaboration": delete_collaboration_operation,
}
