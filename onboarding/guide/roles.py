"""The service roles and policies of the guide, as documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

CLEANROOMS = "cleanrooms.amazonaws.com"
# AWS's own managed policies let people pass only role/service-role/*cleanrooms*.
PATH = "/service-role/"


def role_name(purpose: str, instance_id: str) -> str:
    """`amc-cleanrooms-<purpose>-<instance>`, 64 characters at most."""
    return f"amc-cleanrooms-{purpose}-{instance_id}"[:64]


def role_arn(account: str, name: str) -> str:
    """The ARN of a role of ours."""
    return f"arn:aws:iam::{account}:role{PATH}{name}"


def cleanrooms_trust(query_submitter: str, memberships: Sequence[Any]) -> dict[str, Any]:
    """The trust policy of a role that Clean Rooms assumes.

    `query_submitter` is the membership id of AMC's query submitter, `memberships` the ARNs (or patterns, or references
    to them) of the memberships that the role serves.
    """
    exact = not any(isinstance(arn, str) and "*" in arn for arn in memberships)
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "QuerySubmitter",
                "Effect": "Allow",
                "Principal": {"Service": CLEANROOMS},
                "Action": "sts:AssumeRole",
                "Condition": {"StringLike": {"sts:ExternalId": f"arn:aws:*:us-east-1:*:dbuser:*/{query_submitter}*"}},
            },
            {
                "Sid": "Membership",
                "Effect": "Allow",
                "Principal": {"Service": CLEANROOMS},
                "Action": "sts:AssumeRole",
                "Condition": {
                    "ForAnyValue:ArnEquals" if exact else "ForAnyValue:ArnLike": {"aws:SourceArn": list(memberships)}
                },
            },
        ],
    }


def trust_but_for_memberships(path: str, trust: dict[str, Any]) -> dict[str, Any]:
    """What of a trust policy at `path` is the same before and after it is narrowed to one membership.

    A role of ours that is found has either form, as the next call narrows it.
    """
    submitter, membership = trust["Statement"]
    fixed = {name: value for name, value in membership.items() if name != "Condition"}
    return {
        f"{path}.Statement.0": submitter,
        **{f"{path}.Statement.1.{name}": value for name, value in fixed.items()},
    }


def results_policy(bucket: str, prefix: str, account: str, key: str = "") -> dict[str, Any]:
    """What the role that receives results may do: find the bucket, write under the prefix, and use the bucket's key.

    `key` is the ARN of the KMS key that the bucket is encrypted with, if it is one of the customer's.
    """
    owner = {"StringEquals": {"s3:ResourceAccount": account}}
    below = f"{prefix}/*" if prefix else "*"
    use = {
        "Sid": "UseKey",
        "Effect": "Allow",
        "Action": ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"],
        "Resource": [key],
    }
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "FindBucket",
                "Effect": "Allow",
                "Action": ["s3:GetBucketLocation", "s3:ListBucket"],
                "Resource": [f"arn:aws:s3:::{bucket}"],
                "Condition": owner,
            },
            {
                "Sid": "WriteResults",
                "Effect": "Allow",
                "Action": ["s3:PutObject"],
                "Resource": [f"arn:aws:s3:::{bucket}/{below}"],
                "Condition": owner,
            },
            *([use] if key else []),
        ],
    }


ENTITY_RESOLUTION = "entityresolution.amazonaws.com"


def source_trust() -> dict[str, Any]:
    """The trust policy of the SOURCE ID namespace role, as guide 7 has it (step 2)."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "TargetAssumeRolePolicy",
                "Effect": "Allow",
                "Principal": {"Service": [ENTITY_RESOLUTION]},
                "Action": "sts:AssumeRole",
            }
        ],
    }


def source_policy(account: str, buckets: Sequence[str], tables: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The permissions of the SOURCE ID namespace role, as guide 7 has them (step 3).

    `buckets` hold the data, `tables` are database and table of each Glue table that Entity Resolution reads.
    """
    glue = f"arn:aws:glue:us-east-1:{account}"
    databases = dict.fromkeys(database for database, _ in tables)
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Sid": "S3InputPermissions",
                "Action": ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"],
                "Resource": [
                    arn for bucket in buckets for arn in (f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*")
                ],
                "Condition": {"StringEquals": {"s3:ResourceAccount": [account]}},
            },
            {
                "Effect": "Allow",
                "Sid": "GluePermissions",
                "Action": [
                    "glue:GetDatabase",
                    "glue:GetTable",
                    "glue:GetPartition",
                    "glue:GetPartitions",
                    "glue:GetSchema",
                    "glue:GetSchemaVersion",
                    "glue:BatchGetPartition",
                ],
                "Resource": [
                    *(f"{glue}:database/{database}" for database in databases),
                    *(f"{glue}:table/{database}/{table}" for database, table in tables),
                    f"{glue}:catalog",
                ],
            },
        ],
    }


CRAWLER = "glue.amazonaws.com"


def crawler_trust() -> dict[str, Any]:
    """The trust policy of the role with which a Glue crawler reads the files."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Crawler",
                "Effect": "Allow",
                "Principal": {"Service": [CRAWLER]},
                "Action": "sts:AssumeRole",
            }
        ],
    }


def crawler_policy(account: str, bucket: str, database: str) -> dict[str, Any]:
    """What a crawler may do: read the bucket, write the tables of one database, and keep its log."""
    glue = f"arn:aws:glue:us-east-1:{account}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "ReadFiles",
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"],
                "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
                "Condition": {"StringEquals": {"s3:ResourceAccount": [account]}},
            },
            {
                "Sid": "WriteTables",
                "Effect": "Allow",
                "Action": [
                    "glue:GetDatabase",
                    "glue:GetTable",
                    "glue:GetTables",
                    "glue:CreateTable",
                    "glue:UpdateTable",
                    "glue:GetPartitions",
                    "glue:BatchGetPartition",
                    "glue:BatchCreatePartition",
                ],
                "Resource": [f"{glue}:catalog", f"{glue}:database/{database}", f"{glue}:table/{database}/*"],
            },
            {
                "Sid": "KeepLog",
                "Effect": "Allow",
                "Action": ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
                "Resource": [f"arn:aws:logs:us-east-1:{account}:*:/aws-glue/*"],
            },
        ],
    }
