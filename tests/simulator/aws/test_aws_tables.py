"""Event data: configured tables, their rules and associations, and the schemas that members see."""

import pytest

CUSTOMER = "123456789012"
CUSTOM = {
    "v1": {
        "custom": {
            "allowedAnalyses": ["ANY_QUERY"],
            "allowedAnalysisProviders": ["657425294073", "813176346477"],
            "additionalAnalyses": "ALLOWED",
        }
    }
}


@pytest.fixture
def events(aws):
    """A membership, a table of events, its reader role and a configured table."""
    membership = aws.join()
    aws.identity_table("event-bucket", ("customer_user_id", "amount"), "events")
    base = f"arn:aws:glue:us-east-1:{CUSTOMER}:"
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "cleanrooms.amazonaws.com"},
                "Action": "sts:AssumeRole",
                "Condition": {
                    "StringLike": {"sts:ExternalId": f"arn:aws:*:us-east-1:*:dbuser:*/{submitter(aws, membership)}*"}
                },
            }
        ],
    }
    statements = [
        {
            "Effect": "Allow",
            "Action": ["glue:GetDatabase", "glue:GetTable"],
            "Resource": [f"{base}catalog", f"{base}database/amc", f"{base}table/amc/events"],
        },
        {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "arn:aws:s3:::event-bucket/*"},
        {
            "Effect": "Allow",
            "Action": ["s3:GetBucketLocation", "s3:ListBucket"],
            "Resource": "arn:aws:s3:::event-bucket",
        },
    ]
    role = aws.role("amc-cleanrooms-read", trust, statements)
    rooms = aws.client("cleanrooms")
    configured = rooms.create_configured_table(
        name="events",
        tableReference={"glue": {"tableName": "events", "databaseName": "amc"}},
        allowedColumns=["customer_user_id", "amount"],
        analysisMethod="DIRECT_QUERY",
        tags={"run": "1"},
    )["configuredTable"]
    return rooms, membership, role, configured


def submitter(aws, membership):
    members = aws.client("cleanrooms").list_members(collaborationIdentifier=membership["collaborationId"])
    return next(m["membershipId"] for m in members["memberSummaries"] if m["displayName"] == "Query Submitter")


def status(rooms, membership):
    found = rooms.batch_get_schema(collaborationIdentifier=membership["collaborationId"], names=["events", "none"])
    assert [e["name"] for e in found["errors"]] == ["none"]
    (detail,) = found["schemas"][0]["schemaStatusDetails"]
    return detail["status"], [r["code"] for r in detail.get("reasons", [])]


def test_a_table_becomes_ready_and_goes_again(aws, events, refused):
    rooms, membership, role, configured = events
    table, inside = configured["id"], {"membershipIdentifier": membership["id"]}
    assert rooms.list_configured_tables()["configuredTableSummaries"][0]["id"] == table
    made = rooms.create_configured_table_association(
        name="events", configuredTableIdentifier=table, roleArn=role, **inside
    )["configuredTableAssociation"]
    assert status(rooms, membership) == ("NOT_READY", ["ANALYSIS_RULE_MISSING"])
    rooms.create_configured_table_analysis_rule(
        configuredTableIdentifier=table, analysisRuleType="CUSTOM", analysisRulePolicy=CUSTOM
    )
    assert status(rooms, membership) == ("NOT_READY", ["COLLABORATION_ANALYSIS_RULE_NOT_CONFIGURED"])
    one = {"configuredTableAssociationIdentifier": made["id"], **inside}
    rule = {"analysisRuleType": "CUSTOM", **one}
    nobody = {"v1": {"custom": {"allowedResultReceivers": ["999999999999"]}}}
    error = refused(rooms.create_configured_table_association_analysis_rule, analysisRulePolicy=nobody, **rule)
    assert error["reason"] == "INVALID_CONFIGURATION"
    receivers = {"v1": {"custom": {"allowedResultReceivers": [CUSTOMER]}}}
    rooms.create_configured_table_association_analysis_rule(analysisRulePolicy=receivers, **rule)
    assert status(rooms, membership) == ("READY", [])
    collaboration = {"collaborationIdentifier": membership["collaborationId"]}
    wanted = [{"name": "events", "type": "CUSTOM"}, {"name": "none", "type": "LIST"}]
    found = rooms.batch_get_schema_analysis_rule(schemaAnalysisRuleRequests=wanted, **collaboration)
    assert found["analysisRules"][0]["consolidatedPolicy"]["v1"]["custom"]["allowedResultReceivers"] == [CUSTOMER]
    assert len(found["errors"]) == 1
    rooms.get_schema_analysis_rule(name="events", type="CUSTOM", **collaboration)
    rooms.get_configured_table_association_analysis_rule(**rule)
    rooms.get_configured_table_analysis_rule(configuredTableIdentifier=table, analysisRuleType="CUSTOM")
    assert rooms.get_configured_table_association(**one)["configuredTableAssociation"]["analysisRuleTypes"] == [
        "CUSTOM"
    ]

    assert refused(rooms.delete_configured_table, configuredTableIdentifier=table)["reason"] == "SUBRESOURCES_EXIST"
    assert refused(rooms.delete_configured_table_association, **one)["reason"] == "SUBRESOURCES_EXIST"
    assert refused(rooms.delete_membership, **inside)["reason"] == "SUBRESOURCES_EXIST"
    rooms.delete_configured_table_association_analysis_rule(**rule)
    rooms.delete_configured_table_association(**one)
    rooms.delete_configured_table_analysis_rule(configuredTableIdentifier=table, analysisRuleType="CUSTOM")
    rooms.delete_configured_table(configuredTableIdentifier=table)
    rooms.delete_membership(**inside)


def test_what_does_not_fit(aws, events, refused):
    rooms, membership, role, configured = events
    table = configured["id"]
    base = {"name": "t", "tableReference": {"glue": {"tableName": "events", "databaseName": "amc"}}}
    make = rooms.create_configured_table
    assert refused(make, allowedColumns=["nope"], analysisMethod="DIRECT_QUERY", **base)["fieldList"][0]["name"] == (
        "allowedColumns"
    )
    base["tableReference"]["glue"]["tableName"] = "none"
    assert refused(make, allowedColumns=["a"], analysisMethod="DIRECT_QUERY", **base)["reason"] == (
        "INVALID_CONFIGURATION"
    )
    wrong_kind = {"configuredTableIdentifier": table, "analysisRuleType": "LIST", "analysisRulePolicy": CUSTOM}
    assert refused(rooms.create_configured_table_analysis_rule, **wrong_kind)["reason"] == "FIELD_VALIDATION_FAILED"
    no_providers = {"v1": {"custom": {"allowedAnalyses": ["ANY_QUERY"]}}}
    rule = {"configuredTableIdentifier": table, "analysisRuleType": "CUSTOM"}
    error = refused(rooms.create_configured_table_analysis_rule, analysisRulePolicy=no_providers, **rule)
    assert error["reason"] == "FIELD_VALIDATION_FAILED"
    rooms.create_configured_table_analysis_rule(analysisRulePolicy=CUSTOM, **rule)
    again = refused(rooms.create_configured_table_analysis_rule, analysisRulePolicy=CUSTOM, **rule)
    assert again["reason"] == "ALREADY_EXISTS"
    associate = {
        "membershipIdentifier": membership["id"],
        "configuredTableIdentifier": table,
        "name": "events",
    }
    results = f"arn:aws:iam::{CUSTOMER}:role/service-role/amc-cleanrooms-results"
    error = refused(rooms.create_configured_table_association, roleArn=results, **associate)
    assert "is not authorized to perform" in error["Error"]["Message"]
    rooms.create_configured_table_association(roleArn=role, **associate)
    again = refused(rooms.create_configured_table_association, roleArn=role, **{**associate, "name": "other"})
    assert (again["reason"], again["resourceType"]) == ("ALREADY_EXISTS", "CONFIGURED_TABLE_ASSOCIATION")


def test_events_in_the_results_bucket(aws, events, refused):
    rooms, membership, role, _ = events
    aws.identity_table("results-bucket", ("customer_user_id",), "misplaced")
    configured = rooms.create_configured_table(
        name="misplaced",
        tableReference={"glue": {"tableName": "misplaced", "databaseName": "amc"}},
        allowedColumns=["customer_user_id"],
        analysisMethod="DIRECT_QUERY",
    )["configuredTable"]
    error = refused(
        rooms.create_configured_table_association,
        membershipIdentifier=membership["id"],
        configuredTableIdentifier=configured["id"],
        name="misplaced",
        roleArn=role,
    )
    assert "results-bucket" in error["Error"]["Message"]
