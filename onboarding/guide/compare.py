"""What an instance's comparison reads, what the portal believes, and where the two differ.

A fact is a value under (kind, subject, aspect). Only calls that read are made, with the read-only role.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onboarding.guide.advertisers import Advertiser
from onboarding.guide.bucket_calls import CLOSED, ENCRYPTION
from onboarding.guide.plan import Call
from onboarding.guide.results import POLICY_NAME, REGION
from onboarding.guide.roles import PATH, cleanrooms_trust, results_policy, role_arn, role_name
from onboarding.models import (
    CollaborationMember,
    Difference,
    Expectation,
    IdNamespace,
    Instance,
    InstanceAdvertiser,
    MappingTable,
    Membership,
)

Fact = tuple[str, str, str]
_K = Difference.Kind
# What the portal's reader role has to be allowed for it, beside what the steps read.
READS: tuple[Call, ...] = (
    Call("membership", "Read a membership", "cleanrooms", "GetMembership"),
    Call("role", "Read a role", "iam", "GetRole"),
    Call("policies", "Read which policies a role has", "iam", "ListRolePolicies"),
    Call("policy", "Read what a role may do", "iam", "GetRolePolicy"),
    Call("attached", "Read which policies are attached to a role", "iam", "ListAttachedRolePolicies"),
    Call("region", "Read where a bucket is", "s3", "GetBucketLocation"),
    Call("public", "Read whether a bucket is closed to the public", "s3", "GetPublicAccessBlock"),
    Call("encryption", "Read how a bucket is encrypted", "s3", "GetBucketEncryption"),
    Call("namespace", "Read an ID namespace", "entityresolution", "GetIdNamespace"),
    Call("associations", "Read which ID namespaces are associated", "cleanrooms", "ListIdNamespaceAssociations"),
    Call("lake", "Read which buckets Lake Formation governs", "lakeformation", "ListResources"),
)
SETTINGS = {
    "bucket": "results_bucket",
    "prefix": "results_prefix",
    "format": "results_format",
    "role": "results_role_arn",
}
"""Aspect of a membership → the field of its row."""
POLICY, ATTACHED = "policy:", "attached:"
_WORDS = {
    (_K.COLLABORATION, "status"): "Status of the collaboration",
    (_K.MEMBERSHIP, "status"): "Status of the membership",
    (_K.MEMBERSHIP, "bucket"): "Bucket that receives results",
    (_K.MEMBERSHIP, "prefix"): "Folder in the bucket",
    (_K.MEMBERSHIP, "format"): "Format of results",
    (_K.MEMBERSHIP, "role"): "Role that writes results",
    (_K.MEMBERSHIP, "logging"): "Query logging",
    (_K.ROLE, "trust"): "Who may use the role",
    (_K.BUCKET, "region"): "Region of the bucket",
    (_K.BUCKET, "public"): "Closed to the public",
    (_K.BUCKET, "encryption"): "Encryption of the bucket",
    (_K.BUCKET, "lake-formation"): "Governed by Lake Formation",
    (_K.ADVERTISERS, "advertisers"): "Advertisers of the instance",
    (_K.NAMESPACE, "there"): "The ID namespace is there",
    (_K.NAMESPACE, "role"): "Role that reads the identity data",
    (_K.NAMESPACE, "tables"): "Tables and schema mappings of the ID namespace",
    (_K.NAMESPACE, "association"): "Association with the collaboration",
    (_K.MAPPING, "tables"): "ID mapping tables of the instance",
}


def words(kind: str, aspect: str) -> str:
    """A fact in words."""
    if aspect.startswith(POLICY):
        return f"What the role may do (policy {aspect.removeprefix(POLICY)})"
    if aspect.startswith(ATTACHED):
        return f"Policy attached to the role: {aspect.removeprefix(ATTACHED).rpartition('/')[2]}"
    return _WORDS.get((_K(kind), aspect), aspect)


# --- what an answer says


def of_membership(seen: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in an answer of GetMembership, by aspect."""
    where = seen.get("defaultResultConfiguration") or {}
    results = (where.get("outputConfiguration") or {}).get("s3") or {}
    return {
        "status": seen.get("status") or "",
        "bucket": results.get("bucket") or "",
        "prefix": results.get("keyPrefix") or "",
        "format": results.get("resultFormat") or "",
        "role": where.get("roleArn") or "",
        "logging": seen.get("queryLogStatus") or "DISABLED",
    }


def of_advertisers(listed: list[Mapping[str, Any]]) -> list[str]:
    """The advertisers that AMC lists, as keys in order."""
    return sorted(Advertiser.of_answer(said).key for said in listed)


def of_namespace(seen: Mapping[str, Any] | None) -> dict[str, Any]:
    """What an answer of GetIdNamespace says, by aspect; None for one that is not there."""
    if seen is None:
        return {"there": False}
    tables = [
        _table(*str(one.get("inputSourceARN") or "").split("/")[1:3], schema=str(one.get("schemaName") or ""))
        for one in seen.get("inputSourceConfig") or []
    ]
    return {"there": True, "role": seen.get("roleArn") or "", "tables": tables}


def _table(*names: str, schema: str) -> str:
    return f"{'.'.join(names)} as {schema}"


# --- what the portal believes


def _of_row(row: Membership) -> dict[str, Any]:
    return {
        "status": row.status,
        **{aspect: getattr(row, name) for aspect, name in SETTINGS.items()},
        "logging": "ENABLED" if row.query_logging else "DISABLED",
    }


def _of_namespaces(instance: Instance) -> dict[Fact, Any]:
    facts: dict[Fact, Any] = {}
    for row in IdNamespace.objects.filter(instance=instance, gone_at=None).prefetch_related("tables"):
        facts[_K.NAMESPACE, row.arn, "there"] = True
        # Of one that others made no more is known than its name.
        if row.role_arn:
            facts[_K.NAMESPACE, row.arn, "role"] = row.role_arn
        tables = [_table(one.database, one.glue_table, schema=one.schema_name) for one in row.tables.all()]
        if tables:
            facts[_K.NAMESPACE, row.arn, "tables"] = tables
        if row.association_id:
            facts[_K.NAMESPACE, row.arn, "association"] = row.association_id
    return facts


def is_own(row: Membership) -> bool:
    """Whether results are written by the role that the portal makes."""
    return row.results_role_arn == role_arn(row.aws_account_id, role_name("results", row.instance.instance_id))


def manageable(role: str) -> bool:
    """Whether the portal's provisioner may change a role of this ARN."""
    return f":role{PATH}amc-cleanrooms-" in role


def believed(instance: Instance, memberships: list[Membership]) -> dict[Fact, Any]:
    """Every fact that the portal has an idea of (seven queries). What was accepted comes before its own ideas."""
    facts: dict[Fact, Any] = {}
    if memberships:
        facts[_K.COLLABORATION, "", "status"] = "ACTIVE"
    submitter = CollaborationMember.objects.filter(
        instance=instance, kind=CollaborationMember.Kind.QUERY_SUBMITTER
    ).first()
    for row in memberships:
        facts |= {(_K.MEMBERSHIP, row.membership_id, aspect): value for aspect, value in _of_row(row).items()}
        if row.results_bucket:
            bucket = row.results_bucket
            facts[_K.BUCKET, bucket, "region"] = REGION
            facts[_K.BUCKET, bucket, "public"] = dict(CLOSED)
            facts[_K.BUCKET, bucket, "lake-formation"] = False
        if is_own(row):
            trust = cleanrooms_trust(submitter.membership_id if submitter else "", [row.arn])
            policy = results_policy(row.results_bucket, row.results_prefix, row.aws_account_id, row.results_key)
            facts[_K.ROLE, row.results_role_arn, "trust"] = trust
            facts[_K.ROLE, row.results_role_arn, f"{POLICY}{POLICY_NAME}"] = policy
    facts |= _of_namespaces(instance)
    advertisers = [
        Advertiser(row.type, row.advertiser_id, row.marketplace_id).key
        for row in InstanceAdvertiser.objects.filter(instance=instance)
    ]
    if advertisers:
        facts[_K.ADVERTISERS, "", "advertisers"] = sorted(advertisers)
    tables = MappingTable.objects.filter(instance=instance)
    names = [name for name, deleted in tables.values_list("name", "deleted_at") if deleted is None]
    if names or tables:
        facts[_K.MAPPING, "", "tables"] = sorted(names)
    for kept in Expectation.objects.filter(instance=instance):
        facts[_K(kept.kind), kept.subject, kept.aspect] = kept.value
    return facts


def at_first_sight(fact: Fact, found: Any) -> Any:
    """What is believed of a fact that was never read before, as of something made elsewhere: what it is.

    Only a bucket without any encryption is not believed.
    """
    kind, _, aspect = fact
    return found or ENCRYPTION if (kind, aspect) == (_K.BUCKET, "encryption") else found


# --- what can be done about a difference


def why_not_accept(kind: str, aspect: str, found: Any) -> str:
    """Why a difference can't be accepted as it is, or an empty text if it can."""
    if kind in (_K.COLLABORATION, _K.MAPPING):
        return "Only AMC knows more of it."
    if kind == _K.NAMESPACE and aspect == "tables":
        return "The portal does not know these tables."
    if kind == _K.MEMBERSHIP and aspect == "status" and found not in ("REMOVED", "COLLABORATION_DELETED"):
        return "It passes."
    if kind == _K.MEMBERSHIP and aspect in ("bucket", "role") and not found:
        return "Without it no result arrives."
    if kind == _K.BUCKET and aspect in ("region", "public", "lake-formation"):
        return "AMC can't work with it like this." if aspect != "public" else "Results must not be public."
    if kind == _K.BUCKET and not found:
        return "Results have to be encrypted."
    if kind == _K.ROLE and aspect == "trust" and found is None:
        return "The role is gone."
    return ""


def why_not_right(kind: str, subject: str, aspect: str, expected: Any, found: Any) -> str:
    """Why the portal can't put a difference right itself, or an empty text if it can."""
    if kind == _K.COLLABORATION or (kind == _K.MEMBERSHIP and aspect == "status"):
        return "Who has left can't join again."
    if kind == _K.MAPPING:
        return "See the mapping tables of the instance."
    if kind == _K.NAMESPACE:
        return "A new version of the data set makes what is missing, and associates it."
    if kind == _K.MEMBERSHIP and aspect in ("bucket", "role") and not expected:
        return "A membership can't be left without it."
    if kind == _K.BUCKET and aspect == "region":
        return "A bucket can't be moved: change the membership to another one."
    if kind == _K.BUCKET and aspect == "lake-formation":
        return "Your AWS administrator takes the bucket out of Lake Formation (Administration, Data lake locations)."
    if kind == _K.BUCKET and aspect == "encryption" and expected != ENCRYPTION:
        return "Your AWS administrator chooses the key again, in S3 under Properties."
    if kind == _K.ROLE and not manageable(subject):
        return "The portal may not change this role; its owner can."
    if kind == _K.ROLE and aspect.startswith(ATTACHED):
        return "Your AWS administrator detaches or attaches it in IAM."
    if kind == _K.ROLE and expected is None:
        return "Your AWS administrator deletes it in IAM."
    if kind == _K.ROLE and aspect.startswith(POLICY) and aspect != f"{POLICY}{POLICY_NAME}":
        return "Its owner writes it again in IAM."
    return ""
