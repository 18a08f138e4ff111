"""AssumeRole, and what a session may do."""

import json
import re

import pytest

CUSTOMER = "123456789012"
PORTAL = "555555555555"
OTHER = "210987654321"
EXTERNAL = "an-external-id-of-the-portal"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{PORTAL}:root"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": EXTERNAL}},
        }
    ],
}


def code_of(error):
    return error["Error"]["Code"]


def allow(*actions, resource="*", **more):
    return {"Effect": "Allow", "Action": list(actions), "Resource": resource, **more}


@pytest.fixture
def assume(aws):
    def call(arn, account=PORTAL, **parameters):
        given = {"RoleArn": arn, "RoleSessionName": "run-1", "ExternalId": EXTERNAL, **parameters}
        return aws.client("sts", account).assume_role(**{k: v for k, v in given.items() if v is not None})[
            "Credentials"
        ]

    return call


class TestAssuming:
    def test_with_and_without_the_external_id(self, aws, assume, refused):
        arn = aws.role("portal", TRUST, [allow("s3:ListAllMyBuckets")], path="/")
        session = aws.client("sts", credentials=assume(arn)).get_caller_identity()
        assert session["Account"] == CUSTOMER
        assert session["Arn"] == f"arn:aws:sts::{CUSTOMER}:assumed-role/portal/run-1"
        for external in (None, "another"):
            error = refused(assume, arn=arn, ExternalId=external)
            assert code_of(error) == "AccessDenied"
            assert error["ResponseMetadata"]["HTTPStatusCode"] == 403

    def test_roles_that_are_not_there_and_callers_not_trusted(self, aws, assume, refused):
        arn = aws.role("portal", TRUST, [allow("*")], path="/")
        assert code_of(refused(assume, arn=f"arn:aws:iam::{CUSTOMER}:role/none")) == "AccessDenied"
        assert code_of(refused(assume, arn=arn, account=OTHER)) == "AccessDenied"
        assert code_of(refused(assume, arn=arn, account=CUSTOMER)) == "AccessDenied"

    @pytest.mark.parametrize(
        "parameters",
        [{"DurationSeconds": 3601}, {"DurationSeconds": 43201}, {"RoleSessionName": "a b"}],
    )
    def test_what_is_malformed(self, aws, assume, refused, parameters):
        arn = aws.role("portal", TRUST, [allow("*")], path="/")
        assert code_of(refused(assume, arn=arn, **parameters)) == "ValidationError"

    def test_longer_sessions_by_the_roles_maximum(self, aws, assume):
        arn = aws.role("portal", TRUST, [allow("*")], path="/", MaxSessionDuration=7200)
        assume(arn, DurationSeconds=7200)

    def test_sessions_end(self, aws, assume, refused):
        arn = aws.role("portal", TRUST, [allow("*")], path="/")
        credentials = assume(arn, DurationSeconds=900)
        rooms = aws.client("cleanrooms", credentials=credentials)
        assert rooms.list_memberships()["membershipSummaries"] == []
        forged = aws.client("cleanrooms", credentials={**credentials, "SessionToken": "forged"})
        assert code_of(refused(forged.list_memberships)) == "UnrecognizedClientException"
        aws.clock.advance(901)
        assert code_of(refused(rooms.list_memberships)) == "ExpiredTokenException"
        for service, method in (("sts", "get_caller_identity"), ("iam", "list_roles"), ("s3", "list_buckets")):
            client = aws.client(service, credentials=credentials)
            assert code_of(refused(getattr(client, method))) == "ExpiredToken"

    def test_a_trust_policy_that_is_taken_back(self, aws, assume, refused):
        arn = aws.role("portal", TRUST, [allow("*")], path="/")
        assume(arn)
        nobody = {**TRUST, "Statement": [{**TRUST["Statement"][0], "Effect": "Deny"}]}
        aws.client("iam").update_assume_role_policy(RoleName="portal", PolicyDocument=json.dumps(nobody))
        assert code_of(refused(assume, arn=arn)) == "AccessDenied"


class TestPermissions:
    @pytest.fixture
    def session(self, aws, assume):
        """Clients of a session whose role may do only what the statements say."""

        def make(*statements, **extra):
            credentials = assume(aws.role("portal", TRUST, list(statements), path="/", **extra))
            return lambda service: aws.client(service, credentials=credentials)

        return make

    def test_nothing_is_allowed_by_itself(self, aws, session, refused):
        client = session(allow("sts:GetCallerIdentity"))
        for service, method, parameters in (
            ("cleanrooms", "list_collaborations", {}),
            ("entityresolution", "list_schema_mappings", {}),
            ("glue", "get_databases", {}),
            ("athena", "list_work_groups", {}),
            ("iam", "list_roles", {}),
            ("s3", "list_buckets", {}),
            ("lakeformation", "get_data_lake_settings", {}),
        ):
            error = refused(getattr(client(service), method), **parameters)
            assert code_of(error) in ("AccessDenied", "AccessDeniedException")
            action = f"{service}:{re.sub('_', '', method)}"
            assert "is not authorized to perform" in error["Error"]["Message"]
            if service != "s3":
                assert action.lower() in error["Error"]["Message"].lower()

    def test_joining_takes_passrole(self, aws, session, refused):
        collaboration = aws.collaboration()
        aws.bucket("results-bucket")
        role = aws.results_role()
        request = aws.membership_request(collaboration)
        client = session(allow("cleanrooms:CreateMembership"))
        before = aws.dump()
        error = refused(client("cleanrooms").create_membership, **request)
        assert code_of(error) == "AccessDeniedException"
        assert f"is not authorized to perform: iam:PassRole on resource: {role}" in error["Error"]["Message"]
        assert aws.dump() == before
        passing = [
            allow(
                "iam:PassRole",
                resource=f"arn:aws:iam::{CUSTOMER}:role/service-role/*cleanrooms*",
                Condition={"StringEquals": {"iam:PassedToService": "cleanrooms.amazonaws.com"}},
            ),
            allow("cleanrooms:CreateMembership"),
        ]
        document = {"Version": "2012-10-17", "Statement": passing}
        aws.client("iam").put_role_policy(
            RoleName="portal", PolicyName="permissions", PolicyDocument=json.dumps(document)
        )
        assert client("cleanrooms").create_membership(**request)["membership"]["status"] == "ACTIVE"

    def test_a_role_may_be_passed_to_its_own_service_only(self, aws, session, refused):
        aws.identity_table()
        aws.namespace_role()
        aws.client("entityresolution").create_schema_mapping(**aws.schema_request())
        client = session(
            allow("entityresolution:*"),
            allow(
                "iam:PassRole",
                Condition={"StringEquals": {"iam:PassedToService": "cleanrooms.amazonaws.com"}},
            ),
        )
        error = refused(client("entityresolution").create_id_namespace, **aws.namespace_request())
        assert "iam:PassRole" in error["Error"]["Message"]

    def test_roles_by_name_and_boundary(self, aws, session, refused):
        boundary = f"arn:aws:iam::{CUSTOMER}:policy/limit"
        client = session(
            allow(
                "iam:CreateRole",
                resource=f"arn:aws:iam::{CUSTOMER}:role/service-role/amc-cleanrooms-*",
                Condition={"StringEquals": {"iam:PermissionsBoundary": boundary}},
            )
        )
        document = json.dumps({"Version": "2012-10-17", "Statement": [allow("s3:*")]})
        aws.client("iam").create_policy(PolicyName="limit", PolicyDocument=document)
        make = client("iam").create_role
        good = {
            "RoleName": "amc-cleanrooms-results",
            "Path": "/service-role/",
            "AssumeRolePolicyDocument": json.dumps(TRUST),
            "PermissionsBoundary": boundary,
        }
        for wrong in ({"RoleName": "other"}, {"Path": "/"}, {"PermissionsBoundary": boundary + "x"}):
            assert code_of(refused(make, **{**good, **wrong})) == "AccessDenied"
        assert make(**good)["Role"]["Arn"].endswith("role/service-role/amc-cleanrooms-results")

    def test_a_boundary_has_to_exist(self, aws, refused):
        arn = f"arn:aws:iam::{CUSTOMER}:policy/limit"
        iam = aws.client("iam")
        document = json.dumps(TRUST)
        error = refused(iam.create_role, RoleName="r", AssumeRolePolicyDocument=document, PermissionsBoundary=arn)
        assert code_of(error) == "NoSuchEntity"
        iam.create_role(RoleName="r", AssumeRolePolicyDocument=document)
        error = refused(iam.put_role_permissions_boundary, RoleName="r", PermissionsBoundary=arn)
        assert code_of(error) == "NoSuchEntity"

    def test_a_boundary_limits_a_session(self, aws, assume, refused):
        document = json.dumps({"Version": "2012-10-17", "Statement": [allow("glue:GetDatabases")]})
        arn = aws.client("iam").create_policy(PolicyName="limit", PolicyDocument=document)["Policy"]["Arn"]
        credentials = assume(aws.role("portal", TRUST, [allow("*")], path="/", PermissionsBoundary=arn))
        assert aws.client("glue", credentials=credentials).get_databases()["DatabaseList"] == []
        error = refused(aws.client("s3", credentials=credentials).list_buckets)
        assert code_of(error) == "AccessDenied"

    def test_files_by_prefix(self, aws, session, refused):
        aws.bucket("data-bucket")
        s3 = session(allow("s3:PutObject", "s3:GetObject", resource="arn:aws:s3:::data-bucket/in/*"))("s3")
        s3.put_object(Bucket="data-bucket", Key="in/file", Body=b"x")
        assert s3.get_object(Bucket="data-bucket", Key="in/file")["Body"].read() == b"x"
        assert code_of(refused(s3.put_object, Bucket="data-bucket", Key="out/file", Body=b"x")) == "AccessDenied"
        assert code_of(refused(s3.delete_object, Bucket="data-bucket", Key="in/file")) == "AccessDenied"
        assert code_of(refused(s3.list_objects_v2, Bucket="data-bucket")) == "AccessDenied"

    def test_glue_takes_catalog_database_and_table(self, aws, session, refused):
        aws.identity_table()
        base = f"arn:aws:glue:us-east-1:{CUSTOMER}:"
        client = session(allow("glue:GetTable", resource=[f"{base}catalog", f"{base}database/amc"]))
        error = refused(client("glue").get_table, DatabaseName="amc", Name="identity")
        assert f"{base}table/amc/identity" in error["Error"]["Message"]

    def test_simulating_the_policies_of_a_role(self, aws):
        arn = aws.role("probe", TRUST, [allow("s3:Get*", resource="arn:aws:s3:::data-bucket/*")], path="/")
        results = aws.client("iam").simulate_principal_policy(
            PolicySourceArn=arn,
            ActionNames=["s3:GetObject", "s3:PutObject"],
            ResourceArns=["arn:aws:s3:::data-bucket/key"],
        )["EvaluationResults"]
        assert [r["EvalDecision"] for r in results] == ["allowed", "implicitDeny"]

    def test_users_of_an_account(self, aws, refused):
        iam = aws.client("iam")
        iam.create_user(UserName="reader")
        document = {"Version": "2012-10-17", "Statement": [allow("s3:ListAllMyBuckets")]}
        iam.put_user_policy(UserName="reader", PolicyName="p", PolicyDocument=json.dumps(document))
        key = iam.create_access_key(UserName="reader")["AccessKey"]
        assert aws.client("s3", key["AccessKeyId"]).list_buckets()["Buckets"] == []
        error = refused(aws.client("s3", key["AccessKeyId"]).create_bucket, Bucket="data-bucket")
        assert code_of(error) == "AccessDenied"
