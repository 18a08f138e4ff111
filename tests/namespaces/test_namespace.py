"""Schema mappings, the ID namespace and its association."""

import json

import pytest
from django.utils import timezone

from onboarding.engine.situations import situation_of
from onboarding.guide.differences import comparisons
from onboarding.guide.id_namespace import MakeIdNamespace
from onboarding.models import IdNamespace, Membership
from onboarding.services import runs
from tests.join.conftest import PRIMARY, aws

pytestmark = pytest.mark.django_db
STEPS = ("source-role", "catalogue", "schema-mapping", "id-namespace")


def through(naming, *steps: str) -> None:
    for key in steps:
        step = naming.do(key)
        assert step.state == "done", (key, step.failure)


@pytest.fixture
def joined(naming, amazon):
    """A real membership in a real collaboration, so that an association can be made."""
    naming.join_for_real()
    return naming


def clients(url: str):
    return aws(url, PRIMARY, "entityresolution"), aws(url, PRIMARY, "cleanrooms")


def test_the_proposal_is_what_the_guide_has(naming, amazon):
    _, schema, _ = naming.names
    naming.ready("source-role")
    through(naming, *STEPS[:3])
    found = clients(amazon.url)[0].get_schema_mapping(schemaName=schema)
    assert found["mappedInputFields"] == [
        {"fieldName": "customer_id", "type": "UNIQUE_ID"},
        {"fieldName": "firstname", "type": "NAME_FIRST", "matchKey": "FirstName", "hashed": True},
        {"fieldName": "lastname", "type": "NAME_LAST", "matchKey": "LastName", "hashed": True},
        {"fieldName": "email", "type": "EMAIL_ADDRESS", "matchKey": "Email", "hashed": True},
        {"fieldName": "phone", "type": "PHONE", "matchKey": "Phone", "hashed": True},
        {"fieldName": "zip", "type": "ADDRESS_POSTALCODE", "matchKey": "Postal", "hashed": True},
        {"fieldName": "country", "type": "ADDRESS_COUNTRY", "matchKey": "Country", "hashed": True},
        {"fieldName": "email_2", "type": "EMAIL_ADDRESS", "matchKey": "Email", "hashed": True},
        {"fieldName": "tcf", "type": "STRING", "hashed": False},
    ]


def test_from_the_role_to_the_association(joined, amazon):
    role, schema, namespace_name = joined.names
    joined.ready("source-role")
    through(joined, *STEPS)
    resolution, rooms = clients(amazon.url)
    namespace = resolution.get_id_namespace(idNamespaceName=namespace_name)
    assert namespace["type"] == "SOURCE"
    assert namespace["idMappingWorkflowProperties"] == [
        {"idMappingType": "RULE_BASED", "ruleBasedProperties": {"ruleDefinitionTypes": ["TARGET"]}}
    ]
    assert namespace["inputSourceConfig"] == [
        {
            "inputSourceARN": f"arn:aws:glue:us-east-1:{PRIMARY}:table/amc_crm/crm_v1_identity",
            "schemaName": schema,
        }
    ]
    assert namespace["roleArn"] == f"arn:aws:iam::{PRIMARY}:role/service-role/{role}"
    membership = Membership.objects.get().membership_id
    (association,) = rooms.list_id_namespace_associations(membershipIdentifier=membership)[
        "idNamespaceAssociationSummaries"
    ]
    assert association["inputReferenceConfig"] == {
        "inputReferenceArn": namespace["idNamespaceArn"],
        "manageResourcePolicies": True,
    }
    row = IdNamespace.objects.get()
    assert (row.arn, row.membership_id, row.association_id) == (
        namespace["idNamespaceArn"],
        membership,
        association["id"],
    )
    table = row.tables.get()
    assert (table.database, table.glue_table, table.schema_name) == ("amc_crm", "crm_v1_identity", schema)
    assert table.schema_arn == resolution.get_schema_mapping(schemaName=schema)["schemaArn"]


@pytest.mark.parametrize(
    ("operation", "kind"),
    [("entityresolution:CreateIdNamespace", kind) for kind in ("cut_after", "cut_before", "error", "throttle")]
    + [("entityresolution:CreateSchemaMapping", kind) for kind in ("cut_after", "error")]
    + [("cleanrooms:CreateIdNamespaceAssociation", kind) for kind in ("cut_after", "error")],
)
def test_trouble_makes_each_once(joined, amazon, operation, kind):
    values = {"status": 500} if kind == "error" else {"retry_after": 0} if kind == "throttle" else {}
    amazon.rule(operation, kind=kind, **values)
    joined.ready("source-role")
    through(joined, *STEPS)
    resolution, _ = clients(amazon.url)
    assert len(resolution.list_schema_mappings()["schemaList"]) == 1
    assert len(resolution.list_id_namespaces()["idNamespaceSummaries"]) == 1
    assert IdNamespace.objects.count() == 1


def test_what_is_equal_is_adopted(joined, amazon):
    joined.ready("source-role")
    through(joined, *STEPS)
    joined.ready("schema-mapping")
    for key in STEPS[2:]:
        joined.step(key).calls.all().delete()
        joined.ready(key)
        step = joined.do(key)
        assert step.state == "done", step.failure
        made = step.calls.filter(key__in=["schema-1", "namespace", "association"])
        assert {one.outcome for one in made} == {"adopted"}
    assert IdNamespace.objects.count() == 1


def test_another_schema_mapping_of_the_name_stops_with_the_difference(naming, amazon):
    _, schema, _ = naming.names
    naming.ready("schema-mapping")
    clients(amazon.url)[0].create_schema_mapping(
        schemaName=schema,
        mappedInputFields=[
            {"fieldName": "customer_id", "type": "UNIQUE_ID"},
            {"fieldName": "firstname", "type": "NAME", "matchKey": "FirstName", "hashed": True},
        ],
    )
    step = naming.do("schema-mapping")
    assert (step.state, step.failure["code"]) == ("failed", "Different")
    (shown,) = comparisons(step.failure["details"]["differences"])
    assert [line.verdict for line in shown.lines] == ["The same", "Different"] + ["Missing"] * 7
    step = naming.do("schema-mapping", table_1={"name": "another"})
    assert step.state == "done", step.failure


def test_another_namespace_of_the_name_stops_with_the_difference(joined, amazon):
    _, _, namespace_name = joined.names
    joined.ready("source-role")
    through(joined, *STEPS[:3])
    clients(amazon.url)[0].create_id_namespace(idNamespaceName=namespace_name, type="TARGET")
    step = joined.do("id-namespace")
    assert (step.state, step.failure["code"]) == ("failed", "Different")
    assert amazon.exchanges("cleanrooms:CreateIdNamespaceAssociation") == []


def test_an_association_without_managed_policies_stops_with_the_difference(joined, amazon):
    joined.ready("source-role")
    through(joined, *STEPS[:3])
    resolution, rooms = clients(amazon.url)
    situation = situation_of(joined.step("id-namespace").run)
    calls = {call.key: call for call in MakeIdNamespace().full_plan(situation)}
    resolution.create_id_namespace(**calls["namespace"].params)
    by_hand = dict(calls["association"].params)
    by_hand["inputReferenceConfig"] = {**by_hand["inputReferenceConfig"], "manageResourcePolicies": False}
    rooms.create_id_namespace_association(**by_hand)
    step = joined.do("id-namespace")
    assert (step.state, step.failure["code"]) == ("failed", "Different")
    assert "manageResourcePolicies is False, wanted True" in step.failure["why"]


def test_a_quota_of_entity_resolution_is_named(joined, amazon):
    joined.ready("source-role")
    through(joined, *STEPS[:3])
    amazon.control("POST", "quotas", **{"ID namespaces per account": 0})
    step = joined.do("id-namespace")
    assert (step.state, step.failure["code"]) == ("failed", "ExceedsLimitException")
    assert step.failure["what"] == "A limit of the AWS account is reached."
    assert step.failure["who"] == "AWS administrator"
    assert "ID namespaces per account" in step.failure["why"]
    assert clients(amazon.url)[0].list_id_namespaces()["idNamespaceSummaries"] == []


def test_a_new_role_settles_and_then_the_trust_policy_is_shown(joined, amazon):
    joined.ready("source-role")
    through(joined, *STEPS[:3])
    amazon.control("POST", "settings", role_delay=3600)
    joined.propose("id-namespace")
    joined.submit("id-namespace")
    step = joined.work("id-namespace", tries=3)
    assert (step.state, step.waiting_for) == ("waiting", "retry")
    assert step.waiting_text == "AWS is still activating the new role."
    step.troubled_since = timezone.now() - timezone.timedelta(seconds=121)
    step.save(update_fields=["troubled_since"])
    step = joined.work("id-namespace", tries=1)
    assert step.state == "failed" and "trust policy" in step.failure["todo"]
    trust, permissions = MakeIdNamespace().exhibits(situation_of(step.run))
    assert "entityresolution.amazonaws.com" in trust.lines[0].found
    assert [line.verdict for line in permissions.lines] == ["The same", "The same"]
    assert clients(amazon.url)[0].list_id_namespaces()["idNamespaceSummaries"] == []
    amazon.control("POST", "settings", role_delay=0)
    runs.try_again(person=joined.analyst, step=step, now=timezone.now())
    assert joined.work("id-namespace").state == "done"


def test_a_trust_policy_that_was_changed_is_shown(joined, amazon):
    role, _, _ = joined.names
    joined.ready("source-role")
    through(joined, *STEPS[:3])
    other = {"Version": "2012-10-17", "Statement": []}
    other["Statement"].append({"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"},
                               "Action": "sts:AssumeRole"})  # fmt: skip
    aws(amazon.url, PRIMARY, "iam").update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(other))
    step = joined.do("id-namespace")
    assert step.failure["what"] == "The role's trust policy is not the one of the guide."
    assert clients(amazon.url)[0].list_id_namespaces()["idNamespaceSummaries"] == []


def test_a_role_that_lost_a_permission_is_shown_statement_by_statement(joined, amazon):
    role, _, _ = joined.names
    joined.ready("source-role")
    through(joined, *STEPS[:3])
    iam = aws(amazon.url, PRIMARY, "iam")
    name = iam.list_role_policies(RoleName=role)["PolicyNames"][0]
    document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    document["Statement"][0]["Action"] = ["s3:GetObject"]
    iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))
    step = joined.do("id-namespace")
    assert step.state == "failed"
    assert step.failure["what"] == "The role lacks a permission that AMC needs."
    _, permissions = MakeIdNamespace().exhibits(situation_of(step.run))
    assert [line.verdict for line in permissions.lines] == ["Different", "The same"]
    assert clients(amazon.url)[0].list_id_namespaces()["idNamespaceSummaries"] == []


def test_passing_the_role_names_the_statement_to_add(joined, amazon):
    joined.ready("source-role")
    through(joined, *STEPS[:3])
    connection = joined.account.aws_connections.get()
    allowed = ["sts:*", "iam:Get*", "iam:List*", "entityresolution:*", "cleanrooms:*"]
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": allowed, "Resource": "*"}]}
    aws(amazon.url, PRIMARY, "iam").put_role_policy(
        RoleName=connection.provisioner_role_arn.rpartition("/")[2],
        PolicyName="all",
        PolicyDocument=json.dumps(policy),
    )
    step = joined.do("id-namespace")
    assert step.failure["what"] == "The portal may not hand the role to AWS."
    assert step.failure["details"]["documents"][0]["body"] == {
        "Sid": "PassRoles",
        "Effect": "Allow",
        "Action": "iam:PassRole",
        "Resource": [f"arn:aws:iam::{PRIMARY}:role/service-role/amc-cleanrooms-*"],
        "Condition": {"StringEquals": {"iam:PassedToService": "entityresolution.amazonaws.com"}},
    }
    assert clients(amazon.url)[0].list_id_namespaces()["idNamespaceSummaries"] == []


@pytest.mark.parametrize(
    ("quota", "key", "left"),
    [
        ("Schema mappings per account", "schema-mapping", "entityresolution:CreateIdNamespace"),
        ("ID namespaces per account", "id-namespace", "cleanrooms:CreateIdNamespaceAssociation"),
        ("ID namespace associations per membership", "id-namespace", ""),
    ],
)
def test_a_quota_is_named_with_its_value(joined, amazon, quota, key, left):
    joined.ready("source-role")
    through(joined, *STEPS[: STEPS.index(key)])
    amazon.control("POST", "quotas", **{quota: 0})
    step = joined.do(key)
    assert step.state == "failed"
    assert step.failure["what"] == "A limit of the AWS account is reached."
    assert step.failure["why"] == f"The quota “{quota}” is 0, and all of it is used."
    assert step.failure["who"] == "AWS administrator"
    assert not left or amazon.exchanges(left) == []
    amazon.control("POST", "quotas", **{quota: 5})
    runs.try_again(person=joined.analyst, step=step, now=timezone.now())
    assert joined.work(key).state == "done"
