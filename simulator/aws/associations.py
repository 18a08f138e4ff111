"""ID namespace associations and ID mapping tables in AWS Clean Rooms (guide 7, step 5)."""

from __future__ import annotations

from typing import Any

from simulator.aws import entityresolution, quotas
from simulator.aws.collaborations import (
    MAPPING_TABLES,
    NAMESPACE_ASSOCIATIONS,
    add_namespace_association,
    visible,
)
from simulator.aws.errors import AwsError, invalid
from simulator.aws.identity import Call
from simulator.aws.memberships import owned, put_tags, results_buckets
from simulator.aws.service import page
from simulator.store import Document

_FIELD = "inputReferenceConfig.inputReferenceArn"


def _missing(identifier: str) -> AwsError:
    # The model knows no resource type of its own for these.
    return AwsError(
        "ResourceNotFoundException",
        f"ID namespace association {identifier} does not exist.",
        resourceId=identifier,
        resourceType="MEMBERSHIP",
    )


def _of_membership(call: Call, parameters: dict[str, Any]) -> Document:
    membership = owned(call, parameters["membershipIdentifier"])
    identifier = parameters["idNamespaceAssociationIdentifier"]
    document = call.world.table(NAMESPACE_ASSOCIATIONS).get(identifier)
    if document is None or document["membershipId"] != membership["id"]:
        raise _missing(identifier)
    return document


def create(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """CreateIdNamespaceAssociation.

    The namespace must be the caller's, in us-east-1, not associated yet, and its data in another bucket than results.
    """
    membership = owned(call, parameters["membershipIdentifier"])
    reference = parameters["inputReferenceConfig"]
    arn = reference["inputReferenceArn"]
    if arn.split(":")[3] != "us-east-1":
        raise invalid(
            f"The ID namespace {arn} is not in the collaboration's region us-east-1.",
            reason="INVALID_CONFIGURATION",
            field=_FIELD,
        )
    if arn.split(":")[4] != call.account:
        raise AwsError(
            "AccessDeniedException",
            f"Account {call.account} is not authorized to associate the ID namespace {arn}.",
            reason="INSUFFICIENT_PERMISSIONS",
        )
    call.require("entityresolution:GetIdNamespace", arn)
    if reference["manageResourcePolicies"]:
        call.require("entityresolution:AddPolicyStatement", arn)
    namespace = entityresolution.namespace(call.world, arn)
    if namespace is None:
        raise invalid(f"The ID namespace {arn} does not exist.", reason="INVALID_CONFIGURATION", field=_FIELD)
    existing = call.world.table(NAMESPACE_ASSOCIATIONS).find(lambda row: row["membershipId"] == membership["id"])
    for other in existing:
        if other["inputReferenceConfig"]["inputReferenceArn"] == arn:
            raise AwsError(
                "ConflictException",
                f"The ID namespace {arn} is already associated to the collaboration.",
                resourceId=other["id"],
                reason="ALREADY_EXISTS",
            )
    quotas.enforce(call, "cleanrooms", "ID namespace associations per membership", len(existing))
    shared = entityresolution.namespace_buckets(call.world, call.moto, arn) & results_buckets(call)
    if shared:
        raise invalid(
            f"The bucket {sorted(shared)[0]} receives query results and can't hold data brought into the "
            "collaboration.",
            reason="INVALID_CONFIGURATION",
            field=_FIELD,
        )
    document = add_namespace_association(
        call.world,
        call.clock,
        membership,
        name=parameters["name"],
        namespace_arn=arn,
        namespace_type=namespace["type"],
        manage_policies=reference["manageResourcePolicies"],
        description=parameters.get("description"),
        mapping=parameters.get("idMappingConfig"),
    )
    document["inputReferenceProperties"]["idMappingWorkflowsSupported"] = namespace.get(
        "idMappingWorkflowProperties", []
    )
    call.world.table(NAMESPACE_ASSOCIATIONS).put(document["id"], document)
    if reference["manageResourcePolicies"]:
        entityresolution.allow_collaboration(call, arn, document)
    put_tags(call, document["arn"], parameters.get("tags"))
    return {"idNamespaceAssociation": document}


def get(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """GetIdNamespaceAssociation."""
    return {"idNamespaceAssociation": _of_membership(call, parameters)}


def list_of_membership(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """ListIdNamespaceAssociations."""
    membership = owned(call, parameters["membershipIdentifier"])
    found = call.world.table(NAMESPACE_ASSOCIATIONS).find(lambda row: row["membershipId"] == membership["id"])
    return page(found, parameters, "idNamespaceAssociationSummaries")


def update(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """UpdateIdNamespaceAssociation: name, description, mapping."""
    document = _of_membership(call, parameters)
    for name in ("name", "description", "idMappingConfig"):
        if name in parameters:
            document[name] = parameters[name]
    document["updateTime"] = call.now()
    call.world.table(NAMESPACE_ASSOCIATIONS).put(document["id"], document)
    return {"idNamespaceAssociation": document}


def delete(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """DeleteIdNamespaceAssociation, refused while an ID mapping table stands on it."""
    document = _of_membership(call, parameters)
    users = call.world.table(MAPPING_TABLES).find(
        lambda row: any(
            source["idNamespaceAssociationId"] == document["id"]
            for source in row["inputReferenceProperties"]["idMappingTableInputSource"]
        )
    )
    if users:
        raise AwsError(
            "ConflictException",
            f"ID namespace association {document['id']} is used by the ID mapping table {users[0]['name']}.",
            resourceId=document["id"],
            reason="SUBRESOURCES_EXIST",
        )
    call.world.table(NAMESPACE_ASSOCIATIONS).delete(document["id"])
    if document["inputReferenceConfig"]["manageResourcePolicies"]:
        entityresolution.forbid_collaboration(call, document["inputReferenceConfig"]["inputReferenceArn"], document)
    return {}


def list_of_collaboration(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """ListCollaborationIdNamespaceAssociations."""
    collaboration = visible(call, parameters["collaborationIdentifier"], active=True)
    found = call.world.table(NAMESPACE_ASSOCIATIONS).find(lambda row: row["collaborationId"] == collaboration["id"])
    return page(found, parameters, "collaborationIdNamespaceAssociationSummaries")


def get_of_collaboration(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """GetCollaborationIdNamespaceAssociation."""
    collaboration = visible(call, parameters["collaborationIdentifier"], active=True)
    identifier = parameters["idNamespaceAssociationIdentifier"]
    document = call.world.table(NAMESPACE_ASSOCIATIONS).get(identifier)
    if document is None or document["collaborationId"] != collaboration["id"]:
        raise _missing(identifier)
    return {"collaborationIdNamespaceAssociation": document}


def list_mapping_tables(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """ListIdMappingTables of the caller's own membership (AMC's belong to AMC's memberships)."""
    membership = owned(call, parameters["membershipIdentifier"])
    found = call.world.table(MAPPING_TABLES).find(lambda row: row["membershipId"] == membership["id"])
    return page(found, parameters, "idMappingTableSummaries")


def get_mapping_table(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """GetIdMappingTable."""
    membership = owned(call, parameters["membershipIdentifier"])
    identifier = parameters["idMappingTableIdentifier"]
    document = call.world.table(MAPPING_TABLES).get(identifier)
    if document is None or document["membershipId"] != membership["id"]:
        raise AwsError(
            "ResourceNotFoundException",
            f"ID mapping table {identifier} does not exist.",
            resourceId=identifier,
            resourceType="MEMBERSHIP",
        )
    return {"idMappingTable": document}


OPERATIONS = {
    "CreateIdNamespaceAssociation": create,
    "GetIdNamespaceAssociation": get,
    "ListIdNamespaceAssociations": list_of_membership,
    "UpdateIdNamespaceAssociation": update,
    "DeleteIdNamespaceAssociation": delete,
    "ListCollaborationIdNamespaceAssociations": list_of_collaboration,
    "GetCollaborationIdNamespaceAssociation": get_of_collaboration,
    "ListIdMappingTables": list_mapping_tables,
    "GetIdMappingTable": get_mapping_table,
}
