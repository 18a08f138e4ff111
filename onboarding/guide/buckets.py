"""S3 buckets: their names, and that results never go where data comes from."""

from __future__ import annotations

import re

from django import forms

from onboarding.guide.step import Situation
from onboarding.models import AmcAccount, Dataset, Membership

_BUCKET = re.compile(r"(?!xn--|sthree-|amzn-s3-demo-)(?!.*\.\.)(?!.*-s3alias$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")


def clean_bucket(value: str) -> str:
    """A bucket name by S3's rules. Raises forms.ValidationError for anything else."""
    if not _BUCKET.fullmatch(value) or _ADDRESS.fullmatch(value):
        raise forms.ValidationError(
            "A bucket name has 3 to 63 lower case letters, digits, dots and dashes, and begins and ends with a letter "
            "or digit."
        )
    return value


_KMS_KEY = re.compile(r"arn:aws:kms:us-east-1:(?P<account>\d{12}):key/[\w-]{1,64}")


def clean_key(value: str, aws_account: str) -> str:
    """The ARN of a KMS key of an AWS account, or nothing. Raises forms.ValidationError for anything else."""
    key = value.strip()
    found = _KMS_KEY.fullmatch(key)
    if key and found is None:
        raise forms.ValidationError("Give the ARN of a key in us-east-1, as arn:aws:kms:us-east-1:111122223333:key/….")
    if found and found["account"] != aws_account:
        raise forms.ValidationError(f"The key has to belong to AWS account {aws_account}.")
    return key


def holds_data(account: AmcAccount, aws_account: str, bucket: str) -> str:
    """Why results can't go to a bucket: a data set of the AWS account lies in it. Empty if they can (one query)."""
    held = Dataset.objects.filter(
        instance__account=account, aws_account_id=aws_account, bucket=bucket, retired_at=None
    ).first()
    if held is None:
        return ""
    return f"The bucket {bucket} holds your data (data set “{held.name}”). Amazon wants results in another one."


RESULTS_GO_HERE = (
    "The query results of the collaboration go to this bucket. Amazon refuses data from the bucket that receives "
    "results: choose another one."
)


def results_buckets(situation: Situation) -> set[str]:
    """The buckets that receive the results of the run's own instance: as was asked for, and as Clean Rooms said."""
    rows = Membership.objects.filter(instance=situation.instance, left_at=None)
    known = set(rows.exclude(results_bucket="").values_list("results_bucket", flat=True))
    asked = situation.answer("join", "bucket", "name")
    return known | ({str(asked)} if asked else set())


def receives_results(situation: Situation, aws_account: str, bucket: str) -> str:
    """Why data can't come from a bucket: results go there, of this instance or of another one in the AWS account.

    Empty if they can (two queries).
    """
    if not bucket:
        return ""
    if bucket in results_buckets(situation):
        return RESULTS_GO_HERE
    taken = Membership.objects.filter(
        instance__account=situation.account, aws_account_id=aws_account, results_bucket=bucket, left_at=None
    )
    row = taken.select_related("instance").first()
    if row is None:
        return ""
    return f"The bucket {bucket} receives the results of {row.instance}. Amazon wants data in another one."
