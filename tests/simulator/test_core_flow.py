"""The guide from end to end against the simulator as a program, AMC and AWS together, over a restart."""

import json
import time

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from simulator.amc.collaborations import QUERY_SUBMITTER
from simulator.matching.sample import main as sample
from simulator.people import CLIENT_ID, HARBOUR
from simulator.testing import start_simulator

AWS = HARBOUR.aws_accounts[0]
FIELDS = {
    "firstname": ("NAME_FIRST", "FirstName"),
    "lastname": ("NAME_LAST", "LastName"),
    "email": ("EMAIL_ADDRESS", "Email"),
    "phone": ("PHONE", "Phone"),
    "address": ("ADDRESS", "Address"),
    "city": ("ADDRESS_CITY", "City"),
    "state": ("ADDRESS_STATE", "State"),
    "zip": ("ADDRESS_POSTALCODE", "Postal"),
    "country": ("ADDRESS_COUNTRY", "Country"),
    "maid": ("STRING", "MAID"),
}


class World:
    """The running simulator, asked as the admin of Harbour and Pine and as the administrator of its AWS account."""

    def __init__(self, url):
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=120)
        token = self.http.get("/_simulator/token", params={"person": "admin"}).json()["access_token"]
        self.http.headers = {
            "Authorization": f"Bearer {token}",
            "Amazon-Advertising-API-ClientId": CLIENT_ID,
            "Amazon-Advertising-API-AdvertiserId": HARBOUR.id,
            "Amazon-Advertising-API-MarketplaceId": HARBOUR.marketplace,
            "Content-Type": "application/vnd.amcinstances.v1+json",
        }

    def amc(self, method, path, body=None):
        content = None if body is None else json.dumps(body)
        response = self.http.request(method, f"/amc/instances{path}", content=content)
        assert response.status_code < 300, response.text
        return response.json() if response.content else None

    def client(self, service, account=AWS):
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=account,
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def role(self, name, service, statements):
        trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
        iam = self.client("iam")
        document = {"Version": "2012-10-17", "Statement": [trust]}
        made = iam.create_role(RoleName=name, Path="/service-role/", AssumeRolePolicyDocument=json.dumps(document))
        policy = {"Version": "2012-10-17", "Statement": statements}
        iam.put_role_policy(RoleName=name, PolicyName="may", PolicyDocument=json.dumps(policy))
        return made["Role"]["Arn"]

    def close(self):
        self.http.close()


def allow(actions, *resources):
    return {"Effect": "Allow", "Action": actions, "Resource": list(resources)}


def join(world, collaboration):
    world.client("s3").create_bucket(Bucket="flow-results")
    role = world.role(
        "amc-cleanrooms-results",
        "cleanrooms.amazonaws.com",
        [
            allow(["s3:GetBucketLocation", "s3:ListBucket"], "arn:aws:s3:::flow-results"),
            allow("s3:PutObject", "arn:aws:s3:::flow-results/*"),
        ],
    )
    output = {"s3": {"bucket": "flow-results", "keyPrefix": "out", "resultFormat": "CSV"}}
    return world.client("cleanrooms").create_membership(
        collaborationIdentifier=collaboration,
        queryLogStatus="DISABLED",
        defaultResultConfiguration={"outputConfiguration": output, "roleArn": role},
    )["membership"]["id"]


def namespace(world, file):
    """Guide 7, steps 1 to 4: file, catalogue, schema mapping, SOURCE ID namespace. Returns its ARN."""
    columns = file.read_text().splitlines()[0].split(",")
    s3, glue, er = (world.client(service) for service in ("s3", "glue", "entityresolution"))
    s3.create_bucket(Bucket="flow-data")
    s3.upload_file(str(file), "flow-data", "identity/part-0.csv")
    glue.create_database(DatabaseInput={"Name": "amc"})
    table = {
        "Name": "identity",
        "TableType": "EXTERNAL_TABLE",
        "Parameters": {"classification": "csv", "skip.header.line.count": "1"},
        "StorageDescriptor": {
            "Columns": [{"Name": name, "Type": "string"} for name in columns],
            "Location": "s3://flow-data/identity/",
            "InputFormat": "org.apache.hadoop.mapred.TextInputFormat",
            "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
            "SerdeInfo": {"SerializationLibrary": "org.apache.hadoop.hive.serde2.OpenCSVSerde"},
        },
    }
    glue.create_table(DatabaseName="amc", TableInput=table)
    catalogue = f"arn:aws:glue:us-east-1:{AWS}:"
    reading = ["GetDatabase", "GetTable", "GetPartition", "GetPartitions", "GetSchema", "GetSchemaVersion"]
    role = world.role(
        "amc-cleanrooms-source",
        "entityresolution.amazonaws.com",
        [
            allow(
                ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"],
                "arn:aws:s3:::flow-data",
                "arn:aws:s3:::flow-data/*",
            ),
            allow(
                [*(f"glue:{action}" for action in reading), "glue:BatchGetPartition"],
                f"{catalogue}catalog",
                f"{catalogue}database/amc",
                f"{catalogue}table/amc/identity",
            ),
        ],
    )
    fields = [{"fieldName": columns[0], "type": "UNIQUE_ID"}]
    for name in columns[1:]:
        fields.append({"fieldName": name, "type": FIELDS[name][0], "matchKey": FIELDS[name][1], "hashed": False})
    er.create_schema_mapping(schemaName="identity", mappedInputFields=fields)
    rules = {"ruleDefinitionTypes": ["TARGET"]}
    return er.create_id_namespace(
        idNamespaceName="identity",
        type="SOURCE",
        inputSourceConfig=[{"inputSourceARN": f"{catalogue}table/amc/identity", "schemaName": "identity"}],
        idMappingWorkflowProperties=[{"idMappingType": "RULE_BASED", "ruleBasedProperties": rules}],
        roleArn=role,
    )["idNamespaceArn"]


def finished(world, path):
    """The job at `path` once it has ended."""
    until = time.monotonic() + 240
    while time.monotonic() < until:
        job = world.amc("GET", path)["idMappingJob"]
        if job["status"] in ("SUCCEEDED", "FAILED"):
            return job
    raise AssertionError("the job does not end")


def test_from_a_new_instance_to_counted_matches_and_out_again(tmp_path):
    file, truth = tmp_path / "people.csv", tmp_path / "truth.json"
    sample(["--rows", "400", "--country", "US", "--messy", "0.4", "--seed", "4", "--truth", str(truth), str(file)])
    must = json.loads(truth.read_text())["must_match"]["clear"]
    running = start_simulator(tmp_path / "data")
    try:
        world = World(running.url)
        body = {"instanceName": "From end to end", "awsAccountId": AWS, "acrBacked": True}
        instance = world.amc("POST", "", body)["instance"]["instanceId"]
        shown = world.amc("GET", f"/{instance}/collaboration")["collaboration"]
        assert shown["status"] == "PENDING_ACCEPTANCE"
        rooms = world.client("cleanrooms")
        (invited,) = rooms.list_collaborations(memberStatus="INVITED")["collaborationList"]
        assert (invited["id"], invited["name"]) == (shown["id"], f"AMC {instance}")
        assert len(rooms.list_members(collaborationIdentifier=shown["id"])["memberSummaries"]) == 8
        membership = join(world, shown["id"])
        active = world.amc("GET", f"/{instance}/collaboration")["collaboration"]
        assert active["status"] == "ACTIVE" and active["customer"]["membershipId"] == membership
        assert active["querySubmitter"]["accountId"] == QUERY_SUBMITTER
        arn = namespace(world, file)
        world.close()
        assert running.stop() == 0
        running = start_simulator(tmp_path / "data")

        world = World(running.url)
        rooms = world.client("cleanrooms")
        association = rooms.create_id_namespace_association(
            membershipIdentifier=membership,
            name="identity",
            inputReferenceConfig={"inputReferenceArn": arn, "manageResourcePolicies": True},
        )["idNamespaceAssociation"]["id"]
        path = f"/{instance}/collaboration"
        listed = world.amc("POST", f"{path}/idnamespaces/list", {})["collaborationIdNamespaceAssociations"]
        assert [one["idNamespaceArn"] for one in listed] == [arn]
        made = world.amc(
            "POST", f"{path}/idmappingtables", {"idMappingTableName": "people", "sourceIdNamespaceArn": arn}
        )
        table = f"{path}/idmappingtables/{made['idMappingTable']['id']}"
        job = finished(world, f"{table}/jobs/{made['idMappingWorkflowJobId']}")
        assert job["status"] == "SUCCEEDED", job
        metrics = job["metrics"]
        assert (metrics["inputRecords"], metrics["totalMappedSourceRecords"]) == (400, must["customers"])
        assert metrics["totalMappedTargetRecords"] == must["people"]

        with pytest.raises(ClientError) as kept:
            rooms.delete_membership(membershipIdentifier=membership)
        assert kept.value.response["reason"] == "SUBRESOURCES_EXIST"
        world.amc("DELETE", table)
        rooms.delete_id_namespace_association(
            membershipIdentifier=membership, idNamespaceAssociationIdentifier=association
        )
        rooms.delete_membership(membershipIdentifier=membership)
        gone = world.amc("GET", path)["collaboration"]
        assert (gone["status"], gone["customer"]["status"]) == ("DELETED", "LEFT")
        world.amc("DELETE", f"/{instance}")
        kinds = {one["kind"] for one in _account(world)["resources"]}
        assert {"bucket", "role", "table", "schema mapping", "ID namespace"} <= kinds
        captured = world.http.get("/_simulator/exchanges").text
        assert "secret" not in captured and "Signature" not in captured
        world.close()
    finally:
        assert running.stop() == 0


def _account(world):
    found = world.http.get("/_simulator/world").json()["aws"]
    return next(one for one in found if one["id"] == AWS)
