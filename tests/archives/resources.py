"""Everything that an onboarding makes in an AWS account, to be compared with another account."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from tests.join.conftest import aws

TIMES = ("createdAt", "updatedAt", "createTime", "updateTime", "ResponseMetadata")


def settings_of(url: str, account: str) -> dict:
    """Roles, buckets and memberships, with all that is set of each."""
    iam, s3, rooms = (aws(url, account, service) for service in ("iam", "s3", "cleanrooms"))
    roles = {}
    for role in iam.list_roles(PathPrefix="/service-role/")["Roles"]:
        name = role["RoleName"]
        policies = iam.list_role_policies(RoleName=name)["PolicyNames"]
        roles[name] = {
            "path": role["Path"],
            "description": role.get("Description"),
            "trust": role["AssumeRolePolicyDocument"],
            "policies": {one: iam.get_role_policy(RoleName=name, PolicyName=one)["PolicyDocument"] for one in policies},
            "attached": iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"],
            "tags": iam.list_role_tags(RoleName=name)["Tags"],
            "boundary": iam.get_role(RoleName=name)["Role"].get("PermissionsBoundary"),
        }
    buckets = {}
    for bucket in s3.list_buckets()["Buckets"]:
        name = bucket["Name"]
        buckets[name] = {
            "region": s3.get_bucket_location(Bucket=name)["LocationConstraint"],
            "closed": s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"],
            "encrypted": s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"],
        }
        with pytest.raises(ClientError):
            s3.get_bucket_policy(Bucket=name)
    memberships = []
    for one in rooms.list_memberships()["membershipSummaries"]:
        membership = rooms.get_membership(membershipIdentifier=one["id"])["membership"]
        tags = rooms.list_tags_for_resource(resourceArn=one["arn"])["tags"]
        memberships.append({**membership, "tags": tags, "createTime": None, "updateTime": None})
    return {"roles": roles, "buckets": buckets, "memberships": memberships}


def identity_of(url: str, account: str, bucket: str) -> dict:
    """The data bucket, the catalogue, and what Entity Resolution and the collaboration have of it."""
    s3, glue, resolution, rooms = (
        aws(url, account, service) for service in ("s3", "glue", "entityresolution", "cleanrooms")
    )
    tables = [
        {name: table[name] for name in ("Name", "DatabaseName", "StorageDescriptor", "Parameters")}
        for database in glue.get_databases()["DatabaseList"]
        for table in glue.get_tables(DatabaseName=database["Name"])["TableList"]
    ]
    (membership,) = rooms.list_memberships()["membershipSummaries"]
    where = {"membershipIdentifier": membership["id"]}
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    found = {
        "objects": sorted(one["Key"] for one in listed if "/uploads/athena/" not in one["Key"]),
        "cors": s3.get_bucket_cors(Bucket=bucket)["CORSRules"],
        "lifecycle": s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"],
        "owned": s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"],
        "tables": tables,
        "schemas": [
            resolution.get_schema_mapping(schemaName=one["schemaName"])
            for one in resolution.list_schema_mappings()["schemaList"]
        ],
        "namespaces": [
            resolution.get_id_namespace(idNamespaceName=one["idNamespaceName"])
            for one in resolution.list_id_namespaces()["idNamespaceSummaries"]
        ],
        "associations": [
            rooms.get_id_namespace_association(idNamespaceAssociationIdentifier=one["id"], **where)[
                "idNamespaceAssociation"
            ]
            for one in rooms.list_id_namespace_associations(**where)["idNamespaceAssociationSummaries"]
        ],
        "mapping tables": [
            rooms.get_id_mapping_table(idMappingTableIdentifier=one["id"], **where)["idMappingTable"]
            for one in rooms.list_id_mapping_tables(**where)["idMappingTableSummaries"]
        ],
    }
    return _without_times(found)


def names_of(amazon, account: str) -> list[dict]:
    """Every resource of the account by kind and name, as the local Amazon lists it.

    But for the portal's own access, and for the answers of Amazon Athena, which have names of their own.
    """
    world = amazon.control("GET", "world")
    found = next(one["resources"] for one in world["aws"] if one["id"] == account)
    mine = ("amc-onboarding-portal-", "portal-")
    return [
        {name: value for name, value in one.items() if name != "arn"}
        for one in found
        if not (one["kind"] in ("role", "policy") and one["name"].startswith(mine))
        and "/uploads/athena/" not in one["name"]
    ]


def normal(found: object, world) -> object:
    """Without what has to differ between two accounts: ids that Amazon gave, and names that hold them."""
    instance = world.run.instance
    instance.refresh_from_db()
    text = json.dumps(found, default=str, sort_keys=True)
    known = {
        instance.instance_id: "INSTANCE",
        instance.collaboration_id: "COLLABORATION",
        str(world.run.pk): "RUN",
        world.primary: "PRIMARY",
        world.partner: "PARTNER",
        world.step("join").answers["bucket"]["name"]: "BUCKET",
        world.bucket: "DATA",
    }
    for member in instance.members.exclude(membership_id=""):
        known[member.membership_id] = f"{member.kind}{member.display_name}"
    for account in (world.primary, world.partner):
        for one in world.membership(account):
            known[one["id"]] = f"MEMBERSHIP of {known[account]}"
            known[one["collaborationCreatorAccountId"]] = "CREATOR"
    rooms = aws(world.amazon.url, world.primary, "cleanrooms")
    where = {"membershipIdentifier": world.membership(world.primary)[0]["id"]}
    for one in rooms.list_id_namespace_associations(**where)["idNamespaceAssociationSummaries"]:
        known[one["id"]] = "ASSOCIATION"
    for one in rooms.list_id_mapping_tables(**where)["idMappingTableSummaries"]:
        known[one["id"]] = "MAPPING TABLE"
    for value, word in known.items():
        assert value
        text = text.replace(value, word)
    return json.loads(text)


def _without_times(value):
    if isinstance(value, dict):
        return {name: _without_times(item) for name, item in value.items() if name not in TIMES}
    return [_without_times(item) for item in value] if isinstance(value, list) else value
