"""AWS Clean Rooms memberships, and tags on everything in Clean Rooms."""

from __future__ import annotations

import re
import uuid
from typing import Any

from simulator.aws import entityresolution, policy, quotas, roles
from simulator.aws.collaborations import (
    COLLABORATIONS,
    MAPPING_TABLES,
    MEMBERSHIPS,
    NAMESPACE_ASSOCIATIONS,
    REGION,
    TAGS,
    join,
    member_of,
    remove_member,
)
from simulator.aws.errors import AccessRefused, AwsError, invalid
from simulator.aws.identity import Call
from simulator.aws.service import page
from simulator.store import Document

SERVICE = "cleanrooms.amazonaws.com"
TABLE_ASSOCIATIONS = "cleanrooms.tableassociations"


def owned(call: Call, membership_id: str, *, active: bool = True) -> Document:
    """The caller's membership.

    Raises ResourceNotFoundException for an unknown one, AccessDeniedException for another account's,
    ConflictException INVALID_STATE when it has ended (with `active`).
    """
    document = call.world.table(MEMBERSHIPS).get(membership_id)
    if document is None or call.region != REGION:
        raise AwsError(
            "ResourceNotFoundException",
            f"Membership {membership_id} does not exist.",
            resourceId=membership_id,
            resourceType="MEMBERSHIP",
        )
    if document["account"] != call.account:
        raise AwsError(
            "AccessDeniedException",
            f"{call.caller.arn} is not authorized to access membership {membership_id}.",
            reason="INSUFFICIENT_PERMISSIONS",
        )
    if active and document["status"] != "ACTIVE":
        raise AwsError(
            "ConflictException",
            f"Membership {membership_id} is not active.",
            resourceId=membership_id,
            resourceType="MEMBERSHIP",
            reason="INVALID_STATE",
        )
    return document


def check_role(call: Call, role_arn: str, needs: list[policy.Request], trust: list[dict[str, Any]], field: str) -> None:
    """A role given to Clean Rooms: passed by right, known, trusting, allowed what it needs.

    Raises AccessDeniedException, or ValidationException with IAM_SYNCHRONIZATION_DELAY or INVALID_CONFIGURATION.
    """
    try:
        roles.require_pass(call, role_arn, SERVICE)
        roles.check(
            call.world,
            call.clock,
            call.moto,
            role_arn,
            SERVICE,
            needs,
            delay=call.settings.role_delay_seconds,
            trust_contexts=trust,
        )
    except roles.NotYet:
        raise invalid(
            f"The role {role_arn} was created recently and cannot be assumed yet. Try again later.",
            reason="IAM_SYNCHRONIZATION_DELAY",
            field=field,
        ) from None
    except AccessRefused as refused:
        raise invalid(refused.message, reason="INVALID_CONFIGURATION", field=field) from None


def data_buckets(call: Call) -> set[str]:
    """Buckets of the account that hold data brought into any collaboration."""
    found = set()
    for association in call.world.table(NAMESPACE_ASSOCIATIONS).find(lambda row: row["account"] == call.account):
        arn = association["inputReferenceConfig"]["inputReferenceArn"]
        found.update(entityresolution.namespace_buckets(call.world, call.moto, arn))
    for association in call.world.table(TABLE_ASSOCIATIONS).find(lambda row: row["account"] == call.account):
        location = association["location"]
        found.add(location.removeprefix("s3://").split("/")[0])
    return found


def results_buckets(call: Call) -> set[str]:
    """Buckets of the account that receive results of any active membership."""
    found = set()
    for membership in call.world.table(MEMBERSHIPS).find(
        lambda row: row["account"] == call.account and row["status"] == "ACTIVE"
    ):
        output = (membership.get("defaultResultConfiguration") or {}).get("outputConfiguration", {}).get("s3")
        if output:
            found.add(output["bucket"])
    return found


def _check_results(
    call: Call, collaboration: Document, abilities: list[str], configuration: dict[str, Any], membership_arn: str
) -> None:
    where = "defaultResultConfiguration"
    if "CAN_RECEIVE_RESULTS" not in abilities:
        raise invalid(
            "A default result configuration is only allowed for a member who can receive results.",
            reason="INVALID_CONFIGURATION",
            field=where,
        )
    output = configuration["outputConfiguration"]["s3"]
    role_arn = configuration.get("roleArn")
    if role_arn is None:
        raise invalid("A role is required to write results.", reason="INVALID_CONFIGURATION", field=f"{where}.roleArn")
    name = output["bucket"]
    field = f"{where}.outputConfiguration.s3.bucket"
    bucket = call.moto.bucket(name)
    if bucket is None:
        raise invalid(f"NoSuchBucket: the bucket {name} does not exist.", reason="INVALID_CONFIGURATION", field=field)
    if bucket.region_name != REGION:
        raise invalid(
            f"The bucket {name} is in {bucket.region_name}; the collaboration only delivers results to {REGION}.",
            reason="INVALID_CONFIGURATION",
            field=field,
        )
    if name in data_buckets(call):
        raise invalid(
            f"The bucket {name} holds data that is associated to a collaboration and can't receive results.",
            reason="INVALID_CONFIGURATION",
            field=field,
        )
    owner = {"s3:ResourceAccount": bucket.account_id, "aws:ResourceAccount": bucket.account_id}
    prefix = (output.get("keyPrefix") or "").strip("/")
    example = f"{prefix}/result" if prefix else "result"
    needs = [
        policy.Request("s3:GetBucketLocation", f"arn:aws:s3:::{name}", owner),
        policy.Request("s3:ListBucket", f"arn:aws:s3:::{name}", {**owner, "s3:prefix": f"{prefix}/" if prefix else ""}),
        policy.Request("s3:PutObject", f"arn:aws:s3:::{name}/{example}", owner),
    ]
    trust = trust_contexts(call.account, collaboration, membership_arn)
    check_role(call, role_arn, needs, trust, f"{where}.roleArn")


def trust_contexts(account: str, collaboration: Document, membership_arn: str) -> list[dict[str, Any]]:
    """The ways in which Clean Rooms presents itself to a role: as the membership, and as the query submitter."""
    found: list[dict[str, Any]] = [{"aws:SourceArn": membership_arn}]
    for member in collaboration["members"]:
        if member["membershipId"] and "CAN_QUERY" in member["abilities"]:
            identifier = f"arn:aws:cleanrooms:{REGION}:{member['accountId']}:dbuser:query/{member['membershipId']}"
            found.append({"sts:ExternalId": identifier, "aws:SourceArn": member["membershipArn"]})
            found.append({"sts:ExternalId": identifier, "aws:SourceArn": membership_arn})
    return found


def _check_payment(member: Document, given: dict[str, Any] | None) -> dict[str, Any]:
    pays = bool(member["pays"])
    accepted = bool(given["queryCompute"]["isResponsible"]) if given else False
    implied = given is None and "CAN_QUERY" in member["abilities"]
    if pays != accepted and not implied:
        raise invalid(
            "The payment configuration does not match the collaboration: query compute isResponsible must be "
            f"{'true' if pays else 'false'}.",
            reason="INVALID_CONFIGURATION",
            field="paymentConfiguration.queryCompute.isResponsible",
        )
    for name, block in (given or {}).items():
        parts = block.values() if name == "machineLearning" else [block]
        if name != "queryCompute" and any(part.get("isResponsible") for part in parts):
            raise invalid(
                f"The collaboration does not make this member responsible for {name}.",
                reason="INVALID_CONFIGURATION",
                field=f"paymentConfiguration.{name}",
            )
    return {**(given or {}), "queryCompute": {"isResponsible": pays}}


def create_membership(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """CreateMembership (guide 4, "Create membership"): joins once, and after leaving never again."""
    identifier = parameters["collaborationIdentifier"]
    document = call.world.table(COLLABORATIONS).get(identifier)
    if document is None or document["deleted"] or call.region != REGION:
        raise AwsError(
            "ResourceNotFoundException",
            f"Collaboration {identifier} does not exist.",
            resourceId=identifier,
            resourceType="COLLABORATION",
        )
    member = member_of(document, call.account)
    if member is None:
        raise AwsError(
            "AccessDeniedException",
            f"Account {call.account} is not a member of collaboration {identifier}.",
            reason="INSUFFICIENT_PERMISSIONS",
        )
    if member["status"] == "ACTIVE":
        raise AwsError(
            "ConflictException",
            f"Account {call.account} already has a membership in collaboration {identifier}.",
            resourceId=member["membershipId"],
            resourceType="MEMBERSHIP",
            reason="ALREADY_EXISTS",
        )
    if member["status"] != "INVITED":
        raise AwsError(
            "ConflictException",
            f"Account {call.account} left collaboration {identifier} or was removed and cannot join it again.",
            resourceId=identifier,
            resourceType="COLLABORATION",
            reason="INVALID_STATE",
        )
    existing = call.world.table(MEMBERSHIPS).find(
        lambda row: row["account"] == call.account and row["status"] == "ACTIVE"
    )
    quotas.enforce(call, "cleanrooms", "Memberships per account", len(existing))
    if parameters["queryLogStatus"] == "ENABLED" and document["queryLogStatus"] != "ENABLED":
        raise invalid(
            "Query logging is not enabled for the collaboration.",
            reason="INVALID_CONFIGURATION",
            field="queryLogStatus",
        )
    if parameters.get("jobLogStatus") == "ENABLED" or parameters.get("defaultJobResultConfiguration"):
        raise invalid("The collaboration does not support jobs.", reason="INVALID_CONFIGURATION", field="jobLogStatus")
    payment = _check_payment(member, parameters.get("paymentConfiguration"))
    membership_id = str(uuid.uuid4())
    arn = f"arn:aws:cleanrooms:{REGION}:{call.account}:membership/{membership_id}"
    configuration = parameters.get("defaultResultConfiguration")
    if configuration is not None:
        _check_results(call, document, member["abilities"], configuration, arn)
    settings = {
        "queryLogStatus": parameters["queryLogStatus"],
        "defaultResultConfiguration": configuration,
        "paymentConfiguration": payment,
        "isMetricsEnabled": parameters.get("isMetricsEnabled", False),
    }
    membership = join(call.world, call.clock, document, call.account, membership_id, settings)
    put_tags(call, arn, parameters.get("tags"))
    return {"membership": membership}


def get_membership(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """GetMembership; an ended one is shown with status REMOVED."""
    return {"membership": owned(call, parameters["membershipIdentifier"], active=False)}


def list_memberships(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """ListMemberships, newest first."""
    status = parameters.get("status")
    found = [
        row
        for row in reversed(call.world.table(MEMBERSHIPS).values())
        if row["account"] == call.account and call.region == REGION and status in (None, row["status"])
    ]
    return page(found, parameters, "membershipSummaries")


def update_membership(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """UpdateMembership: query logging, the results' destination and role."""
    membership = owned(call, parameters["membershipIdentifier"])
    document = call.world.table(COLLABORATIONS)[membership["collaborationId"]]
    member = member_of(document, call.account)
    assert member is not None
    if parameters.get("queryLogStatus") == "ENABLED" and document["queryLogStatus"] != "ENABLED":
        raise invalid(
            "Query logging is not enabled for the collaboration.",
            reason="INVALID_CONFIGURATION",
            field="queryLogStatus",
        )
    if parameters.get("jobLogStatus") == "ENABLED" or parameters.get("defaultJobResultConfiguration"):
        raise invalid("The collaboration does not support jobs.", reason="INVALID_CONFIGURATION", field="jobLogStatus")
    if parameters.get("membershipPaymentConfiguration"):
        given = parameters["membershipPaymentConfiguration"]
        _check_payment(member, {"queryCompute": {"isResponsible": member["pays"]}, **given})
    configuration = parameters.get("defaultResultConfiguration")
    if configuration is not None:
        _check_results(call, document, member["abilities"], configuration, membership["arn"])
        membership["defaultResultConfiguration"] = configuration
    if "queryLogStatus" in parameters:
        membership["queryLogStatus"] = parameters["queryLogStatus"]
    membership["updateTime"] = call.now()
    call.world.table(MEMBERSHIPS).put(membership["id"], membership)
    return {"membership": membership}


def delete_membership(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """DeleteMembership: leaving for good, once nothing hangs on it.

    Raises ConflictException SUBRESOURCES_EXIST otherwise.
    """
    membership = owned(call, parameters["membershipIdentifier"])
    for table in (NAMESPACE_ASSOCIATIONS, TABLE_ASSOCIATIONS, MAPPING_TABLES):
        left = call.world.table(table).find(lambda row: row["membershipId"] == membership["id"])
        if left:
            raise AwsError(
                "ConflictException",
                f"Membership {membership['id']} still has {len(left)} associated resources.",
                resourceId=membership["id"],
                resourceType="MEMBERSHIP",
                reason="SUBRESOURCES_EXIST",
            )
    remove_member(call.world, call.clock, membership["collaborationId"], call.account, "LEFT")
    return {}


# Tags


def put_tags(call: Call, arn: str, tags: dict[str, str] | None) -> None:
    """Set the tags that a create request brought."""
    if tags:
        call.world.table(TAGS).put(arn, tags)


_ARN = re.compile(r"arn:aws:(cleanrooms|entityresolution):([a-z0-9-]+):(\d{12}):(.+)")


def _taggable(call: Call, arn: str) -> str:
    found = _ARN.fullmatch(arn)
    if found is None:
        raise invalid(
            f"{arn} is not a resource of this service.", reason="FIELD_VALIDATION_FAILED", field="resourceArn"
        )
    if found[3] != call.account:
        raise AwsError(
            "AccessDeniedException", f"{call.caller.arn} is not authorized to access {arn}.",
            reason="INSUFFICIENT_PERMISSIONS",
        )  # fmt: skip
    tables = (MEMBERSHIPS, NAMESPACE_ASSOCIATIONS, MAPPING_TABLES, TABLE_ASSOCIATIONS, "cleanrooms.configuredtables")
    if not any(call.world.table(table).find(lambda row: row.get("arn") == arn) for table in tables):
        raise AwsError("ResourceNotFoundException", f"{arn} does not exist.", resourceId=arn, resourceType="MEMBERSHIP")
    return arn


def list_tags(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """ListTagsForResource."""
    return {"tags": call.world.table(TAGS).get(_taggable(call, parameters["resourceArn"])) or {}}


def tag_resource(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """TagResource: at most 200 tags, as the model has it."""
    arn = _taggable(call, parameters["resourceArn"])
    tags = {**(call.world.table(TAGS).get(arn) or {}), **parameters["tags"]}
    if len(tags) > 200:
        raise invalid("A resource can have at most 200 tags.", reason="FIELD_VALIDATION_FAILED", field="tags")
    call.world.table(TAGS).put(arn, tags)
    return {}


def untag_resource(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """UntagResource."""
    arn = _taggable(call, parameters["resourceArn"])
    tags = call.world.table(TAGS).get(arn) or {}
    call.world.table(TAGS).put(arn, {key: tags[key] for key in tags if key not in parameters["tagKeys"]})
    return {}


OPERATIONS = {
    "CreateMembership": create_membership,
    "GetMembership": get_membership,
    "ListMemberships": list_memberships,
    "UpdateMembership": update_membership,
    "DeleteMembership": delete_membership,
    "ListTagsForResource": list_tags,
    "TagResource": tag_resource,
    "UntagResource": untag_resource,
}
