"""What a mapping job sees through the namespace's role."""

import json

import pytest

from simulator.aws.reading import AccessRefused, RoleReader, namespace, schema_mapping

CUSTOMER = "123456789012"
TABLE = f"arn:aws:glue:us-east-1:{CUSTOMER}:table/amc/identity"


@pytest.fixture
def role(aws):
    arn = aws.namespace()
    return namespace(aws.world, arn)["roleArn"]


def test_the_files_of_a_table(aws, role):
    s3 = aws.client("s3")
    s3.put_object(Bucket="data-bucket", Key="identity/b.csv", Body=b"second")
    for ignored in ("identity/", "identity/_SUCCESS", "identity2/x.csv", "identity/.hidden"):
        s3.put_object(Bucket="data-bucket", Key=ignored, Body=b"" if ignored.endswith("/") else b"x")
    source = RoleReader(aws.front, role, aws.clock).table(TABLE)
    assert (source.name, source.format, source.delimiter) == ("amc.identity", "csv", ",")
    assert list(source.columns) == ["userid", "firstname", "email"]
    for _ in range(2):
        found = {}
        for key, body in source.files():
            with body:
                found[key] = body.read()
        assert sorted(found) == ["identity/b.csv", "identity/part.csv"]
        assert found["identity/b.csv"] == b"second"
    assert schema_mapping(aws.world, CUSTOMER, "myschema")["mappedInputFields"][0]["type"] == "UNIQUE_ID"


def test_a_location_that_is_a_file_holds_nothing(aws, role):
    glue = aws.client("glue")
    table = glue.get_table(DatabaseName="amc", Name="identity")["Table"]
    table["StorageDescriptor"]["Location"] = "s3://data-bucket/identity/part.csv"
    keep = ("Name", "StorageDescriptor", "Parameters", "TableType")
    glue.update_table(DatabaseName="amc", TableInput={k: table[k] for k in keep})
    assert list(RoleReader(aws.front, role, aws.clock).table(TABLE).files()) == []


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ({"Action": "glue:GetTable", "Resource": "*"}, "glue:GetTable"),
        ({"Action": "s3:ListBucket", "Resource": "*"}, "s3:ListBucket"),
        ({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::data-bucket/identity/part.csv"}, "s3:GetObject"),
    ],
)
def test_permissions_taken_away(aws, role, statement, message):
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", **statement}]}
    aws.client("iam").put_role_policy(RoleName="amc-er-source", PolicyName="no", PolicyDocument=json.dumps(document))
    with pytest.raises(AccessRefused, match=message):
        list(RoleReader(aws.front, role, aws.clock).table(TABLE).files())


def test_what_is_gone(aws, role):
    aws.client("glue").delete_table(DatabaseName="amc", Name="identity")
    with pytest.raises(AccessRefused, match="Entity Not Found"):
        RoleReader(aws.front, role, aws.clock).table(TABLE)
    iam = aws.client("iam")
    iam.delete_role_policy(RoleName="amc-er-source", PolicyName="permissions")
    iam.delete_role(RoleName="amc-er-source")
    with pytest.raises(AccessRefused, match="does not exist"):
        RoleReader(aws.front, role, aws.clock)


def test_inventory(aws, role):
    found = aws.front.inventory()[CUSTOMER]
    kinds = {(entry["service"], entry["kind"], entry["name"]) for entry in found}
    assert {
        ("s3", "bucket", "data-bucket"),
        ("s3", "object", "data-bucket/identity/part.csv"),
        ("iam", "role", "amc-er-source"),
        ("glue", "table", "amc.identity"),
        ("entityresolution", "schema mapping", "myschema"),
        ("entityresolution", "ID namespace", "mynamespace"),
    } <= kinds
