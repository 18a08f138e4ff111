"""The policy evaluator by itself."""

import pytest

from simulator.aws.policy import Request, decide, trusts


def statement(effect="Allow", **parts):
    return {"Statement": {"Effect": effect, "Action": "s3:GetObject", "Resource": "*", **parts}}


REQUEST = Request("s3:GetObject", "arn:aws:s3:::bucket/a/b", {"s3:ResourceAccount": "1", "aws:TagKeys": ["a", "b"]})


@pytest.mark.parametrize(
    ("documents", "verdict"),
    [
        ([], "None"),
        (["not json"], "None"),
        ([statement()], "Allow"),
        ([statement(Action=["S3:get*"])], "Allow"),
        ([statement(Action="s3:Put*")], "None"),
        ([statement(), statement("Deny")], "Deny"),
        ([statement("Deny"), statement()], "Deny"),
        ([statement(Resource="arn:aws:s3:::bucket/*")], "Allow"),
        ([statement(Resource="arn:aws:s3:::BUCKET/*")], "None"),
        ([statement(Resource=["arn:aws:s3:::bucket/?/b"])], "Allow"),
        ([{"Statement": [{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}]}], "Allow"),
        ([{"Statement": [{"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}]}], "None"),
        ([{"Statement": [{"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::bucket/*"}]}], "None"),
        ([statement(Condition={"StringEquals": {"s3:ResourceAccount": ["1", "2"]}})], "Allow"),
        ([statement(Condition={"StringEquals": {"S3:RESOURCEACCOUNT": "2"}})], "None"),
        ([statement(Condition={"StringNotEquals": {"s3:ResourceAccount": "2"}})], "Allow"),
        ([statement(Condition={"StringEquals": {"aws:Missing": "x"}})], "None"),
        ([statement(Condition={"StringEqualsIfExists": {"aws:Missing": "x"}})], "Allow"),
        ([statement(Condition={"Null": {"aws:Missing": "true"}})], "Allow"),
        ([statement(Condition={"Null": {"s3:ResourceAccount": "true"}})], "None"),
        ([statement(Condition={"ForAnyValue:StringEquals": {"aws:TagKeys": ["b", "c"]}})], "Allow"),
        ([statement(Condition={"ForAllValues:StringEquals": {"aws:TagKeys": ["b", "c"]}})], "None"),
        ([statement(Condition={"ForAllValues:StringLike": {"aws:TagKeys": "?"}})], "Allow"),
        ([statement(Condition={"NobodyKnowsThis": {"s3:ResourceAccount": "1"}})], "None"),
        ([statement(Condition={"NumericLessThan": {"s3:ResourceAccount": "2"}})], "Allow"),
    ],
)
def test_verdicts(documents, verdict):
    assert decide(documents, REQUEST) == verdict


ARN = "arn:aws:cleanrooms:us-east-1:123456789012:membership/1"


@pytest.mark.parametrize(
    ("block", "context", "in_"),
    [
        ({}, {}, True),
        ({"Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:*:us-east-1:*:membership/*"}}}, {}, False),
        (
            {"Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:*:us-east-1:*:membership/*"}}},
            {"aws:SourceArn": ARN},
            True,
        ),
        (
            {"Condition": {"ForAnyValue:ArnEquals": {"aws:SourceArn": ["arn:aws:x:y:z:w", ARN]}}},
            {"aws:SourceArn": ARN},
            True,
        ),
        ({"Action": "sts:TagSession"}, {}, False),
        ({"Effect": "Deny"}, {}, False),
        ({"Principal": {"Service": "other.amazonaws.com"}}, {}, False),
        ({"Principal": {"AWS": "*"}}, {}, False),
        ({"Principal": "*"}, {}, True),
    ],
)
def test_trust(block, context, in_):
    base = {"Effect": "Allow", "Principal": {"Service": "cleanrooms.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = {"Statement": [{**base, **block}]}
    assert trusts(document, "Service", ["cleanrooms.amazonaws.com"], context) is in_


def test_an_account_number_names_its_root():
    document = {"Statement": {"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "sts:*"}}
    assert trusts(document, "AWS", ["arn:aws:iam::123456789012:root"], {})
    assert not trusts(document, "AWS", ["arn:aws:iam::210987654321:root"], {})
