"""The guide's commands, run by the real AWS command line."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

CUSTOMER = "123456789012"
UNKNOWN = "00000000-0000-4000-8000-000000000000"
COLUMNS = (
    "userid", "firstname", "lastname", "email", "phone", "address", "city", "state", "zip", "country", "maid",
    "liverampid", "experianid", "merkleid",
)  # fmt: skip
TYPES = [
    ("NAME_FIRST", "FirstName"), ("NAME_LAST", "LastName"), ("EMAIL_ADDRESS", "Email"), ("PHONE", "Phone"),
    ("ADDRESS", "Address"), ("ADDRESS_CITY", "City"), ("ADDRESS_STATE", "State"), ("ADDRESS_POSTALCODE", "Postal"),
    ("ADDRESS_COUNTRY", "Country"), ("STRING", "MAID"), ("STRING", "LRP"), ("STRING", "EXP"), ("STRING", "MKL"),
]  # fmt: skip
SCHEMA = {
    "schemaName": "advertiser-schema",
    "mappedInputFields": [
        {"fieldName": "userid", "type": "UNIQUE_ID"},
        *(
            {"fieldName": column, "type": kind, "matchKey": key, "hashed": False}
            for column, (kind, key) in zip(COLUMNS[1:], TYPES, strict=True)
        ),
    ],
}
NAMESPACE = {
    "idNamespaceName": "advertiser",
    "description": "Advertiser owner SOURCE Id Namespace",
    "type": "SOURCE",
    "inputSourceConfig": [
        {
            "inputSourceARN": f"arn:aws:glue:us-east-1:{CUSTOMER}:table/amc/identity",
            "schemaName": "advertiser-schema",
        }
    ],
    "idMappingWorkflowProperties": [
        {"idMappingType": "RULE_BASED", "ruleBasedProperties": {"ruleDefinitionTypes": ["TARGET"]}}
    ],
    "roleArn": f"arn:aws:iam::{CUSTOMER}:role/service-role/amc-er-source",
}
ASSOCIATION = {
    "name": "advertiser",
    "description": "Identity data of the advertiser",
    "inputReferenceConfig": {
        "inputReferenceArn": f"arn:aws:entityresolution:us-east-1:{CUSTOMER}:idnamespace/advertiser",
        "manageResourcePolicies": True,
    },
}
MAKE_SCHEMA = "aws entityresolution create-schema-mapping --region us-east-1 --cli-input-json file://{payload}"
MAKE_NAMESPACE = "aws entityresolution create-id-namespace  --region us-east-1 --cli-input-json file://{payload}"
ASSOCIATE = (
    "aws cleanrooms create-id-namespace-association --region us-east-1 --membership-identifier {membership} "
    "--cli-input-json file://{payload}"
)
JOIN = "aws cleanrooms create-membership --region us-east-1 --cli-input-json file://{payload}"


@pytest.fixture
def shell(aws, tmp_path):
    """Runs a command of the guide with a payload file; gives the answer's document, or the error's text."""

    def run(command, payload=None, **placeholders):
        path = tmp_path / "payload.json"
        path.write_text(json.dumps(payload))
        words = shlex.split(command.format(payload=path, **placeholders))
        done = subprocess.run(
            [Path(sys.executable).parent / "aws", *words[1:]],
            capture_output=True,
            text=True,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "AWS_ENDPOINT_URL": aws.url,
                "AWS_ACCESS_KEY_ID": CUSTOMER,
                "AWS_SECRET_ACCESS_KEY": "any",
                "AWS_MAX_ATTEMPTS": "1",
            },
        )
        return json.loads(done.stdout) if done.returncode == 0 else done.stderr

    return run


def test_the_whole_way(aws, shell):
    collaboration = aws.collaboration()
    aws.bucket("results-bucket")
    aws.results_role()
    membership = shell(JOIN, aws.membership_request(collaboration))["membership"]
    assert membership["status"] == "ACTIVE"
    aws.identity_table(columns=COLUMNS)
    aws.namespace_role()
    schema = shell(MAKE_SCHEMA, SCHEMA)
    assert schema["schemaArn"] == f"arn:aws:entityresolution:us-east-1:{CUSTOMER}:schemamapping/advertiser-schema"
    namespace = shell(MAKE_NAMESPACE, NAMESPACE)
    assert namespace["idNamespaceArn"] == ASSOCIATION["inputReferenceConfig"]["inputReferenceArn"]
    made = shell(ASSOCIATE, ASSOCIATION, membership=membership["id"])["idNamespaceAssociation"]
    assert made["membershipId"] == membership["id"]

    wrong = json.loads(json.dumps(NAMESPACE))
    assert "An error occurred (ConflictException)" in shell(MAKE_NAMESPACE, wrong)
    wrong["idNamespaceName"] = "bad name"
    assert "An error occurred (ValidationException)" in shell(MAKE_NAMESPACE, wrong)
    wrong["idNamespaceName"] = "second"
    elsewhere = MAKE_NAMESPACE.replace("us-east-1", "us-west-2")
    assert "must be in the same region" in shell(elsewhere, wrong)
    wrong["roleArn"] = f"arn:aws:iam::{CUSTOMER}:role/nobody"
    assert "does not exist or cannot be assumed" in shell(MAKE_NAMESPACE, wrong)
    missing = shell(ASSOCIATE, ASSOCIATION, membership=UNKNOWN)
    assert "An error occurred (ResourceNotFoundException)" in missing


def test_results_among_the_data(aws, shell):
    membership = aws.join()
    shell_association = dict(ASSOCIATION)
    shell_association["inputReferenceConfig"] = {
        "inputReferenceArn": aws.namespace(),
        "manageResourcePolicies": True,
    }
    shell(ASSOCIATE, shell_association, membership=membership["id"])
    role = aws.results_role("data-bucket", "amc-cleanrooms-wrong")
    answer = shell(JOIN, aws.membership_request(aws.collaboration(), "data-bucket", role))
    assert "An error occurred (ValidationException)" in answer
    assert "data-bucket" in answer


def test_26_columns_and_strings_for_booleans(aws, shell):
    fields = [{"fieldName": "userid", "type": "UNIQUE_ID"}]
    fields += [{"fieldName": f"column{n}", "type": "STRING", "matchKey": "MAID"} for n in range(25)]
    answer = shell(MAKE_SCHEMA, {"schemaName": "wide", "mappedInputFields": fields})
    assert "An error occurred (ExceedsLimitException)" in answer
    # The guide's sample has them so; the command line itself refuses it.
    fields[1]["hashed"] = "false"
    assert "Parameter validation failed" in shell(MAKE_SCHEMA, {"schemaName": "s", "mappedInputFields": fields[:3]})


def test_files_by_the_command_line(aws, shell, tmp_path):
    aws.bucket("data-bucket")
    (tmp_path / "big").write_bytes(os.urandom(9 << 20))
    done = shell(f"aws s3api put-object --region us-east-1 --bucket data-bucket --key k --body {tmp_path / 'big'}")
    assert done["ETag"] == aws.client("s3").head_object(Bucket="data-bucket", Key="k")["ETag"]
    assert "NoSuchBucket" in shell("aws s3api get-bucket-location --region us-east-1 --bucket nobody-has-this")
