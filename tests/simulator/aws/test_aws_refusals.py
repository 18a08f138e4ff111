"""What is refused, with the modelled error, and changes nothing."""

import json
import urllib.error
import urllib.request

import pytest

CUSTOMER = "123456789012"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def unchanged(aws, refused):
    """A refusal after which the world is as before."""

    def call(method, /, **parameters):
        before = aws.dump()
        error = refused(method, **parameters)
        assert aws.dump() == before
        return error

    return call


def raw(aws, method, path, body=None, service="cleanrooms", region="us-east-1", account=CUSTOMER):
    """Status, error type and document of a plain HTTP request."""
    headers = {
        "Authorization": f"AWS4-HMAC-SHA256 Credential={account}/20260101/{region}/{service}/aws4_request, "
        "SignedHeaders=host, Signature=0",
        "Content-Type": "application/json",
    }
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(aws.url + path, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, None, json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        return error.code, error.headers["x-amzn-ErrorType"], json.loads(error.read())


def code_of(error):
    return error["Error"]["Code"]


class TestMembership:
    def test_unknown_collaboration(self, aws, unchanged):
        error = unchanged(aws.client("cleanrooms").create_membership, **aws.membership_request(UNKNOWN))
        assert (code_of(error), error["resourceType"]) == ("ResourceNotFoundException", "COLLABORATION")

    def test_not_invited(self, aws, unchanged):
        request = aws.membership_request(aws.collaboration())
        error = unchanged(aws.client("cleanrooms", "210987654321").create_membership, **request)
        assert (code_of(error), error["reason"]) == ("AccessDeniedException", "INSUFFICIENT_PERMISSIONS")

    def test_other_region_knows_nothing(self, aws, unchanged):
        collaboration = aws.collaboration()
        elsewhere = aws.client("cleanrooms", region="eu-west-1")
        assert elsewhere.list_collaborations()["collaborationList"] == []
        error = unchanged(elsewhere.create_membership, **aws.membership_request(collaboration))
        assert code_of(error) == "ResourceNotFoundException"
        nowhere = aws.client("cleanrooms", region="eu-south-2")
        assert code_of(unchanged(nowhere.list_collaborations)) == "UnrecognizedClientException"

    def test_bucket_does_not_exist(self, aws, unchanged):
        aws.results_role()
        error = unchanged(aws.client("cleanrooms").create_membership, **aws.membership_request(aws.collaboration()))
        assert code_of(error) == "ValidationException"
        assert "NoSuchBucket" in error["Error"]["Message"]
        assert error["fieldList"][0]["name"] == "defaultResultConfiguration.outputConfiguration.s3.bucket"

    def test_bucket_in_another_region(self, aws, unchanged):
        aws.bucket("results-bucket", region="eu-west-1")
        aws.results_role()
        error = unchanged(aws.client("cleanrooms").create_membership, **aws.membership_request(aws.collaboration()))
        assert "eu-west-1" in error["Error"]["Message"]

    def test_missing_role(self, aws, unchanged):
        aws.bucket("results-bucket")
        error = unchanged(aws.client("cleanrooms").create_membership, **aws.membership_request(aws.collaboration()))
        assert (code_of(error), error["reason"]) == ("ValidationException", "INVALID_CONFIGURATION")

    def test_role_is_too_new_then_works(self, aws, unchanged):
        aws.bucket("results-bucket")
        aws.results_role(old=False)
        request = aws.membership_request(aws.collaboration())
        error = unchanged(aws.client("cleanrooms").create_membership, **request)
        assert (code_of(error), error["reason"]) == ("ValidationException", "IAM_SYNCHRONIZATION_DELAY")
        aws.clock.advance(2)
        assert aws.client("cleanrooms").create_membership(**request)["membership"]["status"] == "ACTIVE"

    def test_changing_the_trust_does_not_make_a_role_new(self, aws):
        aws.bucket("results-bucket")
        aws.results_role()
        iam = aws.client("iam")
        document = iam.get_role(RoleName="amc-cleanrooms-results")["Role"]["AssumeRolePolicyDocument"]
        iam.update_assume_role_policy(RoleName="amc-cleanrooms-results", PolicyDocument=json.dumps(document))
        aws.client("cleanrooms").create_membership(**aws.membership_request(aws.collaboration()))

    @pytest.mark.parametrize("principal", ["entityresolution.amazonaws.com", "s3.amazonaws.com"])
    def test_role_trusts_somebody_else(self, aws, unchanged, principal):
        aws.bucket("results-bucket")
        trust = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Principal": {"Service": principal}, "Action": "sts:AssumeRole"}],
        }
        aws.role("amc-cleanrooms-results", trust, [{"Effect": "Allow", "Action": "*", "Resource": "*"}])
        error = unchanged(aws.client("cleanrooms").create_membership, **aws.membership_request(aws.collaboration()))
        assert "cannot be assumed by cleanrooms.amazonaws.com" in error["Error"]["Message"]

    def test_role_may_not_write_there(self, aws, unchanged):
        aws.bucket("results-bucket")
        aws.results_role("another-bucket")
        error = unchanged(aws.client("cleanrooms").create_membership, **aws.membership_request(aws.collaboration()))
        assert "is not authorized to perform: s3:GetBucketLocation" in error["Error"]["Message"]

    @pytest.mark.parametrize(("pays", "says"), [(True, False), (False, True), (True, None)])
    def test_payment_must_match(self, aws, unchanged, pays, says):
        aws.bucket("results-bucket")
        aws.results_role()
        given = {} if says is None else {"paymentConfiguration": {"queryCompute": {"isResponsible": says}}}
        request = aws.membership_request(aws.collaboration(pays=pays), **given)
        error = unchanged(aws.client("cleanrooms").create_membership, **request)
        assert (code_of(error), error["reason"]) == ("ValidationException", "INVALID_CONFIGURATION")

    def test_payer_who_accepts_joins(self, aws):
        aws.bucket("results-bucket")
        aws.results_role()
        given = {"paymentConfiguration": {"queryCompute": {"isResponsible": True}}}
        request = aws.membership_request(aws.collaboration(pays=True), **given)
        made = aws.client("cleanrooms").create_membership(**request)["membership"]
        assert made["paymentConfiguration"] == given["paymentConfiguration"]

    def test_results_into_the_data_bucket(self, aws, unchanged):
        membership = aws.join()
        arn = aws.namespace()
        aws.client("cleanrooms").create_id_namespace_association(
            membershipIdentifier=membership["id"],
            name="identity",
            inputReferenceConfig={"inputReferenceArn": arn, "manageResourcePolicies": True},
        )
        role = aws.results_role("data-bucket", "amc-cleanrooms-wrong")
        request = aws.membership_request(aws.collaboration(), "data-bucket", role)
        error = unchanged(aws.client("cleanrooms").create_membership, **request)
        assert "data-bucket" in error["Error"]["Message"]

    def test_unknown_and_foreign_membership(self, aws, unchanged):
        membership = aws.join()
        error = unchanged(aws.client("cleanrooms").get_membership, membershipIdentifier=UNKNOWN)
        assert (code_of(error), error["resourceType"]) == ("ResourceNotFoundException", "MEMBERSHIP")
        other = aws.client("cleanrooms", "210987654321")
        error = unchanged(other.get_membership, membershipIdentifier=membership["id"])
        assert code_of(error) == "AccessDeniedException"

    def test_quota(self, aws, unchanged):
        with aws.world.change():
            aws.world.table("aws.quotas").put("Memberships per account", {"value": 0})
        error = unchanged(aws.client("cleanrooms").create_membership, **aws.membership_request(aws.collaboration()))
        assert code_of(error) == "ServiceQuotaExceededException"
        assert (error["quotaName"], error["quotaValue"]) == ("Memberships per account", 0)
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 402


class TestSchemaMapping:
    def test_26_columns(self, aws, unchanged):
        fields = [{"fieldName": "userid", "type": "UNIQUE_ID"}]
        fields += [{"fieldName": f"c{n}", "type": "STRING", "matchKey": "MAID"} for n in range(25)]
        er = aws.client("entityresolution")
        error = unchanged(er.create_schema_mapping, schemaName="s", mappedInputFields=fields)
        assert code_of(error) == "ExceedsLimitException"
        assert error["quotaValue"] == 25
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 402
        er.create_schema_mapping(schemaName="s", mappedInputFields=fields[:-1])

    @pytest.mark.parametrize(
        "fields",
        [
            [{"fieldName": "a", "type": "EMAIL_ADDRESS"}, {"fieldName": "b", "type": "PHONE"}],
            [{"fieldName": "a", "type": "UNIQUE_ID"}, {"fieldName": "b", "type": "UNIQUE_ID"}],
            [{"fieldName": "a", "type": "UNIQUE_ID"}, {"fieldName": "a", "type": "PHONE"}],
            [{"fieldName": "a", "type": "UNIQUE_ID"}, {"fieldName": "MatchID", "type": "STRING"}],
        ],
    )
    def test_fields_that_do_not_fit(self, aws, unchanged, fields):
        er = aws.client("entityresolution")
        error = unchanged(er.create_schema_mapping, schemaName="s", mappedInputFields=fields)
        assert code_of(error) == "ValidationException"

    def test_name_is_taken(self, aws, unchanged):
        er = aws.client("entityresolution")
        er.create_schema_mapping(**aws.schema_request())
        error = unchanged(er.create_schema_mapping, **aws.schema_request())
        assert code_of(error) == "ConflictException"
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 400

    def test_bad_name(self, aws, unchanged):
        request = {**aws.schema_request(), "schemaName": "has spaces"}
        error = unchanged(aws.client("entityresolution").create_schema_mapping, **request)
        assert "regular expression pattern" in error["Error"]["Message"]


class TestIdNamespace:
    @pytest.fixture
    def ready(self, aws):
        aws.identity_table()
        aws.namespace_role()
        aws.client("entityresolution").create_schema_mapping(**aws.schema_request())
        return aws.client("entityresolution")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"table": "nowhere"}, "does not exist"),
            ({"schema": "nosuch"}, "schema mapping nosuch does not exist"),
            ({"role": f"arn:aws:iam::{CUSTOMER}:role/service-role/nobody"}, "does not exist or cannot be assumed"),
        ],
    )
    def test_what_is_missing(self, aws, ready, unchanged, changes, message):
        error = unchanged(ready.create_id_namespace, **aws.namespace_request(**changes))
        assert code_of(error) == "ValidationException"
        assert message in error["Error"]["Message"]

    def test_role_of_another_account(self, aws, ready, unchanged):
        request = aws.namespace_request(role="arn:aws:iam::210987654321:role/service-role/theirs")
        assert code_of(unchanged(ready.create_id_namespace, **request)) == "AccessDeniedException"

    def test_columns_that_the_table_lacks(self, aws, ready, unchanged):
        aws.identity_table(columns=("userid", "email"), table="short")
        aws.namespace_role(table="short", name="amc-er-short")
        role = f"arn:aws:iam::{CUSTOMER}:role/service-role/amc-er-short"
        error = unchanged(ready.create_id_namespace, **aws.namespace_request(table="short", role=role))
        assert "firstname" in error["Error"]["Message"]

    def test_table_in_another_region(self, aws, ready, unchanged):
        request = aws.namespace_request()
        request["inputSourceConfig"][0]["inputSourceARN"] = f"arn:aws:glue:eu-west-1:{CUSTOMER}:table/amc/identity"
        assert "same region" in unchanged(ready.create_id_namespace, **request)["Error"]["Message"]

    def test_21_tables(self, aws, ready, unchanged):
        request = aws.namespace_request()
        request["inputSourceConfig"] *= 21
        assert code_of(unchanged(ready.create_id_namespace, **request)) == "ValidationException"

    @pytest.mark.parametrize(
        "action", ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation", "glue:GetTable", "glue:GetDatabase"]
    )
    def test_role_lacks_one_permission(self, aws, ready, unchanged, action):
        iam = aws.client("iam")
        denied = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": action, "Resource": "*"}]}
        iam.put_role_policy(RoleName="amc-er-source", PolicyName="not", PolicyDocument=json.dumps(denied))
        error = unchanged(ready.create_id_namespace, **aws.namespace_request())
        assert f"is not authorized to perform: {action}" in error["Error"]["Message"]

    def test_bucket_of_another_account_by_condition(self, aws, ready, unchanged):
        iam = aws.client("iam")
        policy = iam.get_role_policy(RoleName="amc-er-source", PolicyName="permissions")["PolicyDocument"]
        policy["Statement"][0]["Condition"]["StringEquals"]["s3:ResourceAccount"] = ["210987654321"]
        iam.put_role_policy(RoleName="amc-er-source", PolicyName="permissions", PolicyDocument=json.dumps(policy))
        assert code_of(unchanged(ready.create_id_namespace, **aws.namespace_request())) == "ValidationException"

    def test_new_role(self, aws, unchanged):
        aws.identity_table()
        er = aws.client("entityresolution")
        er.create_schema_mapping(**aws.schema_request())
        aws.namespace_role(old=False)
        error = unchanged(er.create_id_namespace, **aws.namespace_request())
        assert "cannot be assumed by entityresolution.amazonaws.com yet" in error["Error"]["Message"]
        aws.clock.advance(3)
        er.create_id_namespace(**aws.namespace_request())

    def test_rules_of_the_target_are_not_the_sources(self, aws, ready, unchanged):
        request = aws.namespace_request()
        rules = request["idMappingWorkflowProperties"][0]["ruleBasedProperties"]
        rules["rules"] = [{"ruleName": "r", "matchingKeys": ["Email"]}]
        assert code_of(unchanged(ready.create_id_namespace, **request)) == "ValidationException"

    def test_a_source_needs_its_parts(self, aws, ready, unchanged):
        for left_out in ("inputSourceConfig", "idMappingWorkflowProperties", "roleArn"):
            request = aws.namespace_request()
            del request[left_out]
            assert left_out in unchanged(ready.create_id_namespace, **request)["Error"]["Message"]


class TestAssociation:
    def associate(self, aws, membership, arn, **changes):
        return {
            "membershipIdentifier": membership,
            "name": "identity",
            "inputReferenceConfig": {"inputReferenceArn": arn, "manageResourcePolicies": True},
            **changes,
        }

    def test_unknown_membership(self, aws, unchanged):
        arn = aws.namespace()
        error = unchanged(aws.client("cleanrooms").create_id_namespace_association, **self.associate(aws, UNKNOWN, arn))
        assert (code_of(error), error["resourceId"]) == ("ResourceNotFoundException", UNKNOWN)

    def test_unknown_foreign_and_distant_namespaces(self, aws, unchanged):
        membership = aws.join()["id"]
        make = aws.client("cleanrooms").create_id_namespace_association
        base = "arn:aws:entityresolution"
        for arn, code in (
            (f"{base}:us-east-1:{CUSTOMER}:idnamespace/none", "ValidationException"),
            (f"{base}:us-east-1:210987654321:idnamespace/theirs", "AccessDeniedException"),
            (f"{base}:eu-west-1:{CUSTOMER}:idnamespace/mine", "ValidationException"),
        ):
            assert code_of(unchanged(make, **self.associate(aws, membership, arn))) == code

    def test_twice(self, aws, unchanged):
        membership, arn = aws.join()["id"], aws.namespace()
        make = aws.client("cleanrooms").create_id_namespace_association
        first = make(**self.associate(aws, membership, arn))["idNamespaceAssociation"]
        error = unchanged(make, **self.associate(aws, membership, arn, name="again"))
        assert (error["reason"], error["resourceId"]) == ("ALREADY_EXISTS", first["id"])

    def test_data_in_the_results_bucket(self, aws, unchanged):
        membership = aws.join()["id"]
        aws.identity_table("results-bucket", table="wrong")
        role = aws.namespace_role("results-bucket", "wrong", "amc-er-wrong")
        er = aws.client("entityresolution")
        er.create_schema_mapping(**aws.schema_request())
        arn = er.create_id_namespace(**aws.namespace_request(role=role, table="wrong"))["idNamespaceArn"]
        error = unchanged(
            aws.client("cleanrooms").create_id_namespace_association, **self.associate(aws, membership, arn)
        )
        assert (code_of(error), error["reason"]) == ("ValidationException", "INVALID_CONFIGURATION")
        assert "results-bucket" in error["Error"]["Message"]


class TestWire:
    """What botocore itself would never send."""

    @pytest.mark.parametrize(
        ("method", "path", "body", "status", "code"),
        [
            ("POST", "/memberships", b"{", 400, "SerializationException"),
            ("POST", "/memberships", b"[]", 400, "SerializationException"),
            ("POST", "/memberships", b"[" * 5000, 400, "SerializationException"),
            ("POST", "/memberships", {}, 400, "ValidationException"),
            ("POST", "/memberships", {"collaborationIdentifier": 1, "queryLogStatus": "ENABLED"}, 400,
             "SerializationException"),
            ("GET", "/collaborations?maxResults=0", None, 400, "ValidationException"),
            ("GET", "/collaborations?maxResults=101", None, 400, "ValidationException"),
            ("GET", "/collaborations?maxResults=x", None, 400, "SerializationException"),
            ("GET", "/collaborations?memberStatus=LEFT", None, 400, "ValidationException"),
            ("GET", "/collaborations/not-an-id", None, 400, "ValidationException"),
            ("GET", "/nothing/here", None, 404, "UnknownOperationException"),
            ("PUT", "/memberships", {}, 404, "UnknownOperationException"),
            ("POST", f"/memberships/{UNKNOWN}/protectedQueries", {"type": "SQL", "sqlParameters": {}}, 403,
             "AccessDeniedException"),
        ],
    )  # fmt: skip
    def test_cleanrooms(self, aws, method, path, body, status, code):
        before = aws.dump()
        got = raw(aws, method, path, body)
        assert got[:2] == (status, code)
        assert got[2]["message"]
        assert aws.dump() == before

    def test_lengths_enums_and_unions(self, aws):
        membership = {"collaborationIdentifier": UNKNOWN, "queryLogStatus": "MAYBE"}
        _, _, document = raw(aws, "POST", "/memberships", membership)
        assert document["reason"] == "FIELD_VALIDATION_FAILED"
        assert [f["name"] for f in document["fieldList"]] == ["queryLogStatus"]
        for union in ({}, {"s4": {}}, {"s3": {"bucket": "abc", "resultFormat": "CSV"}, "s4": {}}):
            body = {
                "collaborationIdentifier": UNKNOWN,
                "queryLogStatus": "ENABLED",
                "defaultResultConfiguration": {"outputConfiguration": union},
            }
            status, code, document = raw(aws, "POST", "/memberships", body)
            assert (status, code) == (400, "ValidationException")
            assert "exactly one of" in document["message"]

    def test_booleans_written_as_strings(self, aws):
        body = aws.schema_request()
        body["mappedInputFields"][1]["hashed"] = "false"
        status, code, _ = raw(aws, "POST", "/schemas", body, service="entityresolution")
        assert (status, code) == (400, "SerializationException")

    def test_too_few_fields(self, aws):
        body = {"schemaName": "s", "mappedInputFields": [{"fieldName": "a", "type": "UNIQUE_ID"}]}
        status, code, document = raw(aws, "POST", "/schemas", body, service="entityresolution")
        assert (status, code) == (400, "ValidationException")
        assert "greater than or equal to 2" in document["message"]

    def test_credentials_nobody_has(self, aws):
        status, code, _ = raw(aws, "GET", "/collaborations", account="AKIAIOSFODNN7EXAMPLE")
        assert (status, code) == (403, "UnrecognizedClientException")

    def test_a_service_the_simulator_has_not(self, aws):
        assert raw(aws, "GET", "/", service="ec2")[0] == 404
