"""The roles may do what the steps call, and nothing else: judged by the evaluator of the local Amazon."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone

from onboarding.guide import aws_templates, permissions
from onboarding.guide.boundary import boundary_arn
from onboarding.guide.permissions import PROVISIONER_NAME, READER_NAME
from onboarding.guide.plan import Call, Look
from onboarding.guide.procedure import PROCEDURES
from onboarding.guide.step import GuideStep, Situation
from onboarding.models import AmcAccount, AmcConnection, AwsConnection, Instance, Person, Run
from simulator.aws import policy
from simulator.aws.s3 import _ACTIONS as S3_ACTIONS
from tests.aws_roles import PORTAL_PRINCIPAL

ACCOUNT = "111122223333"
ACCESS = aws_templates.Access(ACCOUNT, PORTAL_PRINCIPAL, "amc-external-id", deletes=True)
CONTEXT = {
    "aws:RequestedRegion": "us-east-1",
    "s3:ResourceAccount": ACCOUNT,
    "iam:PermissionsBoundary": boundary_arn(ACCOUNT),
}
# Of each service something that the portal has to do with, as the service names it.
RESOURCES = {
    "iam": f"arn:aws:iam::{ACCOUNT}:role/service-role/amc-cleanrooms-results-amc1",
    "s3": "arn:aws:s3:::acme-amc-results",
    "cleanrooms": f"arn:aws:cleanrooms:us-east-1:{ACCOUNT}:membership/m",
    "entityresolution": f"arn:aws:entityresolution:us-east-1:{ACCOUNT}:idnamespace/n",
    "glue": f"arn:aws:glue:us-east-1:{ACCOUNT}:table/amc/identity",
    "athena": f"arn:aws:athena:us-east-1:{ACCOUNT}:workgroup/primary",
    "lakeformation": "*",
}


def allowed(role: str, action: str, resource: str, **context: str) -> bool:
    document = aws_templates.permissions_policy(ACCESS, role)
    return policy.decide([json.dumps(document)], policy.Request(action, resource, CONTEXT | context)) == "Allow"


def action_of(service: str, operation: str) -> str:
    """The action by which the local Amazon judges an operation."""
    return f"{service}:{S3_ACTIONS.get(operation, operation) if service == 's3' else operation}"


def resource_for(service: str, action: str) -> str:
    of_object = service == "s3" and ("Object" in action or action == "s3:AbortMultipartUpload")
    return f"{RESOURCES['s3']}/key" if of_object else RESOURCES[service]


@pytest.fixture(autouse=True)
def forgotten():
    permissions.all_needs.cache_clear()
    permissions._first_answers.cache_clear()
    yield
    permissions.all_needs.cache_clear()
    permissions._first_answers.cache_clear()


@pytest.fixture
def real(db):
    """An account, an instance and a run that are in the database, with both partners connected."""
    connection = AmcConnection.objects.create(label="a@example.com", amazon_id="amzn1.a", refresh_token="r")
    account = AmcAccount.objects.create(entity_id="ENTITY1", marketplace_id="M", name="Acme", connection=connection)
    instance = Instance.objects.create(
        account=account, instance_id="amc1", name="Acme", aws_account_id=ACCOUNT, status_since=timezone.now()
    )
    owner = Person.objects.create_user("amzn1.o", name="Olga")
    run = Run.objects.create(account=account, instance=instance, owner=owner, started_at=timezone.now())
    for number in ("444455556666", "777788889999"):
        AwsConnection.objects.create(account=account, aws_account_id=number, state="working")
    return account, instance, run


def calls_of(step: GuideStep, real) -> list[Call]:
    account, instance, run = real
    found = []
    for made_up in permissions.situations(step):
        answers = {key: dict(value) for key, value in made_up.answers.items()}
        answers.setdefault("create-instance", {})
        answers["create-instance"] |= {
            "parties": {"multi": True},
            "partners": {
                "account_1": "444455556666",
                "name_1": "One",
                "account_2": "777788889999",
                "name_2": "Two",
            },
        }
        found += step.plan(Situation(run=run, account=account, instance=instance, answers=answers))
    return found


STEPS = [(name, step) for name, steps in PROCEDURES.items() for step in steps]


@pytest.mark.parametrize(("procedure", "step"), STEPS, ids=[f"{name}-{step.key}" for name, step in STEPS])
def test_every_call_of_every_step_in_every_variant_is_allowed(procedure, step, real):
    for call in calls_of(step, real):
        # What a policy cannot set free, since it has nothing to sign off, changes nothing indeed.
        assert not (step.reads_only and call.changes)
        if call.service in ("amc", "sts"):
            continue
        operations = [call.operation] if call.look is None or call.effect != "read" else []
        for action, resource in wanted(call.service, operations):
            assert allowed(PROVISIONER_NAME, action, resource), f"{call.key}: {action}"
            if not call.changes:
                assert allowed(READER_NAME, action, resource), f"{call.key}: {action}"
        looks = filter(None, [call.look.operation, call.look.detail] if call.look else [])
        for action, resource in wanted(call.service, looks):
            for role in (PROVISIONER_NAME, READER_NAME):
                assert allowed(role, action, resource), f"{call.key} looks: {role} {action}"


def wanted(service, operations):
    """The actions of operations, each with a resource. Work on identity files is done by the portal, in S3."""
    for operation in operations:
        if service == "identity":
            found = permissions.actions_for(service, operation)
        else:
            found = (action_of(service, operation),)
        for action in found:
            at = action.partition(":")[0]
            yield action, resource_for(at, action)


def test_no_step_makes_a_role_without_the_boundary(db):
    made = [call for _, step in STEPS for call in permissions.calls_of(step) if call.operation == "CreateRole"]
    assert made
    assert {call.params.get("PermissionsBoundary") for call in made} == {boundary_arn(ACCOUNT)}
    free = {"iam:PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/AdministratorAccess"}
    for action in ("iam:CreateRole", "iam:PutRolePolicy"):
        assert allowed(PROVISIONER_NAME, action, RESOURCES["iam"])
        assert not allowed(PROVISIONER_NAME, action, RESOURCES["iam"], **free)


def test_the_walk_meets_every_choice_of_joining(db):
    step = next(step for step in PROCEDURES["onboard"] if step.key == "join")
    seen = [json.dumps(answers.answers["join"]) for answers in permissions.situations(step)]
    for choice in ('"kind": "new"', '"kind": "existing"', '"format": "PARQUET"', '"logging": "ENABLED"'):
        assert any(choice in one for one in seen), choice


def test_what_comes_with_an_operation(db):
    for action in ("iam:TagRole", "cleanrooms:TagResource", "logs:CreateLogDelivery"):
        assert action in {need.action for need in permissions.all_needs()}
    role = RESOURCES["iam"]
    assert allowed(PROVISIONER_NAME, "iam:PassRole", role, **{"iam:PassedToService": "cleanrooms.amazonaws.com"})
    assert not allowed(PROVISIONER_NAME, "iam:PassRole", role, **{"iam:PassedToService": "ec2.amazonaws.com"})


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/admin"),
        ("iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/amc-cleanrooms-results-x"),
        ("iam:PutRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/{PROVISIONER_NAME}"),
        ("iam:UpdateAssumeRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/{PROVISIONER_NAME}"),
        ("iam:AttachRolePolicy", RESOURCES["iam"]),
        ("iam:CreateUser", f"arn:aws:iam::{ACCOUNT}:user/x"),
        ("iam:CreateAccessKey", f"arn:aws:iam::{ACCOUNT}:user/x"),
        ("s3:DeleteBucket", RESOURCES["s3"]),
        ("sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/admin"),
        ("kms:Decrypt", f"arn:aws:kms:us-east-1:{ACCOUNT}:key/k"),
    ],
)
def test_the_provisioner_may_do_nothing_else(action, resource, db):
    assert not allowed(PROVISIONER_NAME, action, resource)


def test_the_reader_changes_nothing(db):
    document = aws_templates.permissions_policy(ACCESS, READER_NAME)
    verbs = {action.partition(":")[2] for statement in document["Statement"] for action in statement["Action"]}
    assert verbs
    assert [verb for verb in verbs if not verb.startswith(("Get", "List", "Describe", "BatchGet", "Simulate"))] == []


def test_other_regions_and_foreign_buckets_are_out_of_reach(db):
    collaboration = "arn:aws:cleanrooms:eu-west-1:444455556666:collaboration/c"
    assert not allowed(
        PROVISIONER_NAME, "cleanrooms:CreateMembership", collaboration, **{"aws:RequestedRegion": "eu-west-1"}
    )
    foreign = {"s3:ResourceAccount": "999900001111"}
    assert not allowed(PROVISIONER_NAME, "s3:PutEncryptionConfiguration", RESOURCES["s3"], **foreign)


def test_deletes_come_only_when_asked_for(db):
    without = aws_templates.Access(ACCOUNT, PORTAL_PRINCIPAL, "x")
    some = aws_templates.permissions_policy(without, PROVISIONER_NAME)
    deletes = {need.action for need in permissions.needs(["delete"])}
    granted = {action for statement in some["Statement"] for action in statement["Action"]}
    assert not deletes & granted
    everything = aws_templates.permissions_policy(ACCESS, PROVISIONER_NAME)
    assert deletes <= {action for statement in everything["Statement"] for action in statement["Action"]}


def test_a_new_call_of_a_step_asks_for_its_action(db, monkeypatch):
    class Publish(GuideStep):
        key = "publish"

        def plan(self, situation):
            look = Look("GetSchema", {"Name": "amc"}, missing=("EntityNotFoundException",))
            return [Call("schema", "Schema amc", "glue", "CreateSchema", effect="create", look=look)]

    before = {need.action for need in permissions.all_needs()}
    assert "glue:CreateSchema" not in before
    monkeypatch.setitem(PROCEDURES, "more", (Publish(),))
    permissions.all_needs.cache_clear()
    permissions._first_answers.cache_clear()
    added = {need.action: need.kind for need in permissions.all_needs() if need.action not in before}
    assert added == {"glue:CreateSchema": "change", "glue:GetSchema": "read"}


def test_a_service_that_nobody_has_thought_of_is_an_error():
    with pytest.raises(permissions.NoScope, match="ec2:RunInstances"):
        permissions.needs_of(Call("x", "X", "ec2", "RunInstances", effect="create"))


def test_roles_must_be_made_under_the_boundary_once_the_calls_say_so():
    params = {"RoleName": "amc-cleanrooms-results-x", "Path": "/service-role/"}
    policies = Call("p", "P", "iam", "PutRolePolicy", effect="update")
    free = Call("r", "R", "iam", "CreateRole", params, effect="create")
    under = Call("r", "R", "iam", "CreateRole", {**params, "PermissionsBoundary": boundary_arn(ACCOUNT)}, "create")

    def conditions(*calls: Call):
        return {need.action: need.scope.conditions for need in permissions.collected(calls)}

    assert conditions(under, policies)["iam:CreateRole"] == conditions(under, policies)["iam:PutRolePolicy"] != ()
    assert conditions(under, free, policies) == {"iam:CreateRole": (), "iam:PutRolePolicy": ()}


def test_the_documents_fit_into_what_iam_takes(db):
    for name in (PROVISIONER_NAME, READER_NAME):
        text = json.dumps(aws_templates.permissions_policy(ACCESS, name), separators=(",", ":"))
        assert len(text) < 10_240  # characters of all inline policies of a role
    assert len(json.dumps(aws_templates.boundary_policy(ACCESS), separators=(",", ":"))) < 6_144
