"""The ID mapping job over S3, Glue and the namespace's role."""

import numpy as np
import pytest

from simulator.matching.job import run_mapping_job
from simulator.matching.population import people


@pytest.fixture
def customers(aws):
    """A namespace over a table with two people whom Amazon knows and one stranger."""
    arn = aws.namespace()
    known = people("GB")
    first, second, stranger = known.email(np.array([0, 1, known.size])).to_list()
    rows = f"userid,firstname,email\nk1,A,{first.upper()}\nk2,B, {second}\nk3,C,{stranger}\n"
    aws.client("s3").put_object(Bucket="data-bucket", Key="identity/part.csv", Body=rows.encode())
    return arn


def test_counts_what_lies_in_s3(aws, customers):
    outcome = run_mapping_job(aws.world, aws.clock, aws.front, namespace_arn=customers)
    assert outcome.error_details is None
    assert outcome.metrics["inputRecords"] == 3
    assert outcome.metrics["totalMappedSourceRecords"] == outcome.metrics["totalMappedTargetRecords"] == 2


def test_fails_when_the_role_may_no_longer_read(aws, customers):
    iam = aws.client("iam")
    for name in iam.list_role_policies(RoleName="amc-er-source")["PolicyNames"]:
        iam.delete_role_policy(RoleName="amc-er-source", PolicyName=name)
    outcome = run_mapping_job(aws.world, aws.clock, aws.front, namespace_arn=customers)
    assert not outcome.ok
    assert "not authorized to perform" in outcome.error_details


def test_fails_when_headers_and_columns_differ(aws, customers):
    aws.client("s3").put_object(Bucket="data-bucket", Key="identity/z.csv", Body=b"userid,FirstName,email\nk1,A,b\n")
    outcome = run_mapping_job(aws.world, aws.clock, aws.front, namespace_arn=customers)
    assert "lowercase: FirstName" in outcome.error_details


def test_fails_for_a_namespace_or_files_that_are_gone(aws, customers):
    aws.client("s3").delete_object(Bucket="data-bucket", Key="identity/part.csv")
    assert "no files" in run_mapping_job(aws.world, aws.clock, aws.front, namespace_arn=customers).error_details
    gone = run_mapping_job(aws.world, aws.clock, aws.front, namespace_arn=customers + "x")
    assert "does not exist" in gone.error_details
