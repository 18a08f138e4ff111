"""A running AWS front with two accounts, and the things that guide 7 presupposes."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from werkzeug.serving import WSGIRequestHandler, make_server

from simulator.aws import collaborations, service, wire
from simulator.aws.front import AwsFront
from simulator.clock import SimClock
from simulator.store import World

AMC = "900000000001"
PROVIDER = "900000000002"
SUBMITTER = "900000000003"
CUSTOMER = "123456789012"
OTHER = "210987654321"
ER_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "TargetAssumeRolePolicy",
            "Effect": "Allow",
            "Principal": {"Service": ["entityresolution.amazonaws.com"]},
            "Action": "sts:AssumeRole",
        }
    ],
}


class QuietHandler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type, message, *args):
        pass


class Watched:
    """The front, with every answer of Clean Rooms and Entity Resolution held against botocore's service model."""

    def __init__(self, front):
        self.front, self.breaches, self.answers = front, [], 0

    def __call__(self, environ, start_response):
        name = self.front.service_name(environ)
        seen = {}

        def start(status, headers, exc_info=None):
            seen.update(status=int(status.split()[0]), headers=dict(headers))
            return start_response(status, headers)

        body = self.front(environ, start)
        if seen["status"] >= 500:
            self.breaches.append((name, seen["status"], "5xx"))
        if name not in ("cleanrooms", "entityresolution"):
            return body
        body = list(body)
        self._check(name, environ, seen["status"], seen["headers"], b"".join(body))
        return body

    def _check(self, name, environ, status, headers, content):
        self.answers += 1
        if status < 300:
            route, _ = service.match(name, environ["REQUEST_METHOD"], wire.raw_path(environ))
            expected = int(route.model.http.get("responseCode", 200))
            if status != expected:
                self.breaches.append((route.name, status, f"expected {expected}"))
            shape = route.model.output_shape
            if shape is not None and shape.members:
                document = json.loads(content)
                self.breaches += [(route.name, b) for b in service.breaches(shape, document)]
                unknown = set(document) - set(shape.members)
                self.breaches += [(route.name, "unknown member", u) for u in unknown]
            return
        code = headers["x-amzn-ErrorType"]
        model = service.service_model(name)
        if code in model.shape_names:
            shape = model.shape_for(code)
            self.breaches += [(code, b) for b in service.breaches(shape, json.loads(content))]
            if status != shape.metadata["error"]["httpStatusCode"]:
                self.breaches.append((code, status))


def serve(front):
    server = make_server("127.0.0.1", 0, front, threaded=True, request_handler=QuietHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    return server, f"http://127.0.0.1:{server.server_port}"


class Aws:
    """Clients against the front; `account` is the access key id too."""

    def __init__(self, front, url, world, clock):
        self.front, self.url, self.world, self.clock = front, url, world, clock
        self._session, self._clients = boto3.Session(), {}

    def client(self, service, account=CUSTOMER, *, region="us-east-1", credentials=None, **config):
        known = (service, account, region, str(sorted(config.items())))
        if credentials is None and known in self._clients:
            return self._clients[known]
        keys = {"aws_access_key_id": account, "aws_secret_access_key": "secret"}
        if credentials is not None:
            keys = {
                "aws_access_key_id": credentials["AccessKeyId"],
                "aws_secret_access_key": credentials["SecretAccessKey"],
                "aws_session_token": credentials["SessionToken"],
            }
        made = self._session.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            config=Config(retries={"total_max_attempts": 1}, **config),
            **keys,
        )
        if credentials is None:
            self._clients[known] = made
        return made

    def collaboration(self, *, pays=False, customer=CUSTOMER):
        identifier = collaborations.create_collaboration(
            self.world,
            self.clock,
            creator_account=AMC,
            name="AMC amc11111111",
            description="AMC Clean Room collaboration for instance amc11111111",
            members=[
                collaborations.CollaborationMemberSpec(AMC, "AMC service"),
                collaborations.CollaborationMemberSpec(PROVIDER, "Amazon Advertising Data Provider"),
                collaborations.CollaborationMemberSpec(SUBMITTER, "Query Submitter", ("CAN_QUERY",), not pays),
                collaborations.CollaborationMemberSpec(customer, "Advertiser", ("CAN_RECEIVE_RESULTS",), pays),
            ],
        )
        for account in (AMC, PROVIDER, SUBMITTER):
            collaborations.create_service_membership(self.world, self.clock, identifier, account)
        return identifier

    def bucket(self, name, account=CUSTOMER, region="us-east-1"):
        extra = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        self.client("s3", account, region=region).create_bucket(Bucket=name, **extra)
        return name

    def role(self, name, trust, statements, *, path="/service-role/", account=CUSTOMER, old=True, **extra):
        iam = self.client("iam", account)
        arn = iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=json.dumps(trust), **extra)["Role"][
            "Arn"
        ]
        iam.put_role_policy(
            RoleName=name,
            PolicyName="permissions",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": statements}),
        )
        if old:
            self.clock.advance(10)
        return arn

    def results_role(self, bucket="results-bucket", name="amc-cleanrooms-results", account=CUSTOMER, **extra):
        trust = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "cleanrooms.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                    "Condition": {
                        "ForAnyValue:ArnEquals": {
                            "aws:SourceArn": [f"arn:aws:cleanrooms:us-east-1:{account}:membership/*"]
                        }
                    },
                }
            ],
        }
        statements = [
            {
                "Effect": "Allow",
                "Action": ["s3:GetBucketLocation", "s3:ListBucket"],
                "Resource": f"arn:aws:s3:::{bucket}",
            },
            {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/out/*"},
        ]
        return self.role(name, trust, statements, account=account, **extra)

    def membership_request(self, collaboration, bucket="results-bucket", role=None, **changes):
        return {
            "collaborationIdentifier": collaboration,
            "queryLogStatus": "DISABLED",
            "defaultResultConfiguration": {
                "outputConfiguration": {"s3": {"bucket": bucket, "keyPrefix": "out", "resultFormat": "CSV"}},
                "roleArn": role or f"arn:aws:iam::{CUSTOMER}:role/service-role/amc-cleanrooms-results",
            },
            **changes,
        }

    def join(self, collaboration=None):
        collaboration = collaboration or self.collaboration()
        self.bucket("results-bucket")
        self.results_role()
        request = self.membership_request(collaboration)
        return self.client("cleanrooms").create_membership(**request)["membership"]

    def identity_table(self, bucket="data-bucket", columns=("userid", "firstname", "email"), table="identity"):
        s3, glue = self.client("s3"), self.client("glue")
        if self.front.moto.bucket(bucket) is None:
            self.bucket(bucket)
        rows = "\n".join([",".join(columns), *(",".join(f"{c}{n}" for c in columns) for n in range(3))]) + "\n"
        s3.put_object(Bucket=bucket, Key=f"{table}/part.csv", Body=rows.encode())
        if "amc" not in [database["Name"] for database in glue.get_databases()["DatabaseList"]]:
            glue.create_database(DatabaseInput={"Name": "amc"})
        glue.create_table(
            DatabaseName="amc",
            TableInput={
                "Name": table,
                "StorageDescriptor": {
                    "Columns": [{"Name": c, "Type": "string"} for c in columns],
                    "Location": f"s3://{bucket}/{table}/",
                    "InputFormat": "org.apache.hadoop.mapred.TextInputFormat",
                    "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
                    "SerdeInfo": {
                        "SerializationLibrary": "org.apache.hadoop.hive.serde2.OpenCSVSerde",
                        "Parameters": {"separatorChar": ",", "quoteChar": '"'},
                    },
                },
                "Parameters": {"classification": "csv", "skip.header.line.count": "1"},
                "TableType": "EXTERNAL_TABLE",
            },
        )
        return f"arn:aws:glue:us-east-1:{CUSTOMER}:table/amc/{table}"

    def namespace_role(self, bucket="data-bucket", table="identity", name="amc-er-source", **extra):
        base = f"arn:aws:glue:us-east-1:{CUSTOMER}:"
        statements = [
            {
                "Effect": "Allow",
                "Sid": "S3InputPermissions",
                "Action": ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"],
                "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
                "Condition": {"StringEquals": {"s3:ResourceAccount": [CUSTOMER]}},
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
                "Resource": [f"{base}database/amc", f"{base}table/amc/{table}", f"{base}catalog"],
            },
        ]
        return self.role(name, ER_TRUST, statements, **extra)

    def namespace_request(self, name="mynamespace", role=None, table="identity", schema="myschema"):
        return {
            "idNamespaceName": name,
            "description": "Advertiser owner SOURCE Id Namespace",
            "type": "SOURCE",
            "inputSourceConfig": [
                {
                    "inputSourceARN": f"arn:aws:glue:us-east-1:{CUSTOMER}:table/amc/{table}",
                    "schemaName": schema,
                }
            ],
            "idMappingWorkflowProperties": [
                {"idMappingType": "RULE_BASED", "ruleBasedProperties": {"ruleDefinitionTypes": ["TARGET"]}}
            ],
            "roleArn": role or f"arn:aws:iam::{CUSTOMER}:role/service-role/amc-er-source",
        }

    def schema_request(self, name="myschema"):
        return {
            "schemaName": name,
            "mappedInputFields": [
                {"fieldName": "userid", "type": "UNIQUE_ID"},
                {"fieldName": "firstname", "type": "NAME_FIRST", "matchKey": "FirstName", "hashed": False},
                {"fieldName": "email", "type": "EMAIL_ADDRESS", "matchKey": "Email", "hashed": False},
            ],
        }

    def namespace(self):
        self.identity_table()
        self.namespace_role()
        er = self.client("entityresolution")
        er.create_schema_mapping(**self.schema_request())
        return er.create_id_namespace(**self.namespace_request())["idNamespaceArn"]

    def dump(self):
        """Everything in the world's own tables, and what moto has of S3, IAM and Glue."""
        own = {
            name: {key: table[key] for key in table.keys()}  # noqa: SIM118
            for name, table in sorted(self.world._tables.items())
            if len(table)
        }
        moto = self.front.moto
        accounts = moto.accounts()
        found = {
            **{f"s3 {account}": _s3(moto.backend("s3", account, "aws")) for account in accounts},
            **{f"iam {account}": _iam(moto.backend("iam", account, "aws")) for account in accounts},
            **{f"glue {account}": _glue(moto.glue(account, "us-east-1")) for account in accounts},
        }
        return own | {name: content for name, content in found.items() if any(content.values())}


def _s3(backend):
    settings = ("policy", "cors", "rules", "acl", "encryption", "website_configuration", "versioning_status")
    return {
        name: [
            bucket.region_name,
            *(repr(getattr(bucket, setting)) for setting in settings),
            sorted((key.name, key.etag, key.size, str(key.metadata)) for _, key in bucket.keys.items()),
            sorted((upload, sorted(one.parts)) for upload, one in bucket.multiparts.items()),
        ]
        for name, bucket in backend.buckets.items()
    }


def _iam(backend):
    return {
        "roles": {
            role.arn: (
                role.assume_role_policy_document, role.policies, sorted(role.managed_policies), role.tags,
                role.permissions_boundary_arn, role.description, role.max_session_duration,
            )
            for role in backend.roles.values()
        },
        "users": {
            user.arn: (user.policies, sorted(user.managed_policies), [key.access_key_id for key in user.access_keys])
            for user in backend.users.values()
        },
        "groups": sorted(backend.groups),
    }  # fmt: skip


def _glue(backend):
    return {
        "databases": {
            database.name: (database.input, {name: table.as_dict() for name, table in database.tables.items()})
            for database in backend.databases.values()
        },
        "crawlers": {crawler.name: crawler.as_dict() for crawler in backend.crawlers.values()},
    }


@pytest.fixture(scope="session")
def _running():
    world = World()
    # It stands still but for what a test lets pass: a busy machine may take its time.
    now = datetime.now(UTC).replace(microsecond=0)
    clock = SimClock(world, lambda: now)
    front = AwsFront(world, clock, None)
    watched = Watched(front)
    server, url = serve(watched)
    running = Aws(front, url, world, clock)
    running.watched = watched
    yield running
    server.shutdown()
    front.close()


@pytest.fixture
def aws(_running):
    _running.world.reset()
    _running.front.reset()
    _running.front.role_delay_seconds = 2.0
    _running.watched.breaches.clear()
    yield _running
    assert _running.watched.breaches == []


@pytest.fixture
def refused():
    """Calls a client's method that must fail and gives the parsed error."""

    def call(method, /, **parameters):
        with pytest.raises(ClientError) as caught:
            method(**parameters)
        return caught.value.response

    return call


@pytest.fixture
def aws_at():
    """Opens a front on a directory, serves it, and closes it at the end."""
    opened = []

    def open_(directory):
        world = World(directory / "world.sqlite3")
        clock = SimClock(world)
        front = AwsFront(world, clock, directory)
        server, url = serve(front)
        opened.append((server, front, world))
        return Aws(front, url, world, clock)

    yield open_
    for server, front, world in opened:
        server.shutdown()
        front.close()
        world.close()
