"""Addresses to which a browser puts the parts of one upload: signed here, short-lived, good for that object alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError
from django.conf import settings

from onboarding.clients.aws import assume
from onboarding.clients.failures import Fix
from onboarding.models import AwsConnection

if TYPE_CHECKING:
    from botocore.config import Config

URL_SECONDS = 600


def _config() -> Config:
    from botocore.config import Config

    # The regional name of the bucket's host: the global one redirects new buckets, which a browser can't follow.
    return Config(
        region_name=settings.AWS_REGION,
        signature_version="s3v4",
        s3={
            "addressing_style": "path" if settings.AWS_ENDPOINT_URL else "virtual",
            "us_east_1_regional_endpoint": "regional",
        },
    )


def _policy(bucket: str, key: str) -> dict[str, object]:
    statement = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/{key}"}
    return {"Version": "2012-10-17", "Statement": [statement]}


def part_addresses(
    connection: AwsConnection, bucket: str, key: str, upload_id: str, checksums: Mapping[int, str]
) -> dict[int, str]:
    """Part number → address for PUT, for parts whose SHA-256 (base64) is given; S3 refuses any other content.

    The session may put this one object and nothing else. Raises Later, Fix or Reconnect.
    """
    import boto3

    credentials = assume(
        connection, connection.provisioner_role_arn, f"amc-portal-upload-{connection.pk}", policy=_policy(bucket, key)
    )
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=settings.AWS_ENDPOINT_URL or None,
        config=_config(),
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
    )
    try:
        return {
            number: client.generate_presigned_url(
                "upload_part",
                Params={
                    "Bucket": bucket,
                    "Key": key,
                    "UploadId": upload_id,
                    "PartNumber": number,
                    "ChecksumSHA256": checksum,
                },
                ExpiresIn=URL_SECONDS,
            )
            for number, checksum in checksums.items()
        }
    except BotoCoreError as error:
        raise Fix("The upload's address could not be signed.", who="Admin", code=type(error).__name__) from None


def origin_of(bucket: str) -> str:
    """Scheme and host that a browser puts parts of the bucket's objects to, for the Content-Security-Policy."""
    if settings.AWS_ENDPOINT_URL:
        parts = urlsplit(settings.AWS_ENDPOINT_URL)
        return f"{parts.scheme}://{parts.netloc}"
    region = settings.AWS_REGION
    # A certificate covers one name before the region: a bucket with dots is addressed by its path.
    return f"https://s3.{region}.amazonaws.com" if "." in bucket else f"https://{bucket}.s3.{region}.amazonaws.com"
