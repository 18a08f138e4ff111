"""Runs in a connected account: least privilege is enough, and a role that is gone pauses them until it is mended."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone

from onboarding.clients.aws import AwsClient, forget_sessions
from onboarding.clients.failures import Fix
from onboarding.guide.boundary import boundary_arn
from onboarding.models import AuditEntry, AwsConnection, Membership, Notice
from onboarding.services import aws_connections as service
from tests.aws_roles import aws_admin, make_portal_roles
from tests.join.conftest import PARTNER_1, PRIMARY


def connect(joining, aws_account: str = PRIMARY) -> AwsConnection:
    """Connect an AWS account by the template's roles, as an admin does."""
    row = AwsConnection.objects.create(account=joining.account, aws_account_id=aws_account)
    made = make_portal_roles(joining.amazon.url, aws_account, row.external_id, deletes=False)
    row.provisioner_role_arn, row.reader_role_arn = made
    row.save()
    row = service.prove(row, now=timezone.now())
    assert row.state == "working", row.checks
    return row


def delete_roles(joining) -> None:
    iam = aws_admin(joining.amazon.url, PRIMARY, "iam")
    for name in ("amc-onboarding-portal-provisioner", "amc-onboarding-portal-reader"):
        iam.delete_role_policy(RoleName=name, PolicyName="amc-onboarding")
        iam.delete_role(RoleName=name)


@pytest.mark.parametrize("logging", ["DISABLED", "ENABLED"])
def test_the_template_allows_all_that_joining_does(joining, logging):
    connect(joining)
    connect(joining, PARTNER_1)
    joining.until_invited(partners=(PARTNER_1,))
    for key in ("aws-access", "invitation"):
        assert joining.work(key).state == "done", joining.step(key).failure
    joining.describe_join("acme-results-least", logging=logging)
    joining.submit("join")
    assert joining.work("join").state == "done", joining.step("join").failure
    joining.submit("join-partners")
    assert joining.work("join-partners").state == "done", joining.step("join-partners").failure
    assert set(Membership.objects.values_list("aws_account_id", "status")) == {
        (PRIMARY, "ACTIVE"),
        (PARTNER_1, "ACTIVE"),
    }


def test_the_provisioner_makes_no_role_that_could_do_everything(joining):
    client = AwsClient(connect(joining), "iam")
    trust = {"Version": "2012-10-17", "Statement": []}
    role = {"RoleName": "amc-cleanrooms-x", "Path": "/service-role/", "AssumeRolePolicyDocument": trust}
    other = f"arn:aws:iam::{PRIMARY}:policy/other"
    for wrong in ({}, {"PermissionsBoundary": other}):
        with pytest.raises(Fix) as refused:
            client.call("CreateRole", {**role, **wrong})
        assert refused.value.code == "AccessDenied"
    client.call("CreateRole", {**role, "PermissionsBoundary": boundary_arn(PRIMARY)})
    with pytest.raises(Fix):
        client.call("PutRolePermissionsBoundary", {"RoleName": role["RoleName"], "PermissionsBoundary": other})
    # Of a role that somebody made without the boundary it does not widen what it may do either.
    free = aws_admin(joining.amazon.url, PRIMARY, "iam")
    free.create_role(RoleName="amc-cleanrooms-y", Path="/service-role/", AssumeRolePolicyDocument=json.dumps(trust))
    policy = {"RoleName": "amc-cleanrooms-y", "PolicyName": "p", "PolicyDocument": trust}
    with pytest.raises(Fix):
        client.call("PutRolePolicy", policy)
    with pytest.raises(Fix):
        client.call("DeleteRolePermissionsBoundary", {"RoleName": "amc-cleanrooms-x"})


def test_a_boundary_that_was_deleted_is_named(joining):
    connect(joining)
    joining.until_invited()
    for key in ("aws-access", "invitation"):
        assert joining.work(key).state == "done", joining.step(key).failure
    aws_admin(joining.amazon.url, PRIMARY, "iam").delete_policy(PolicyArn=boundary_arn(PRIMARY))
    joining.describe_join("acme-results-unbound")
    joining.submit("join")
    step = joining.work("join")
    assert (step.state, step.failure["who"]) == ("failed", "AWS administrator")
    assert "template" in step.failure["todo"] and "limits" in step.failure["what"]


@pytest.mark.parametrize("session", ["kept", "gone"])
def test_a_deleted_role_pauses_the_run_until_it_is_mended(joining, session, account_admin):
    connection = connect(joining)
    joining.until_invited()
    assert joining.work("aws-access").state == "done"
    delete_roles(joining)
    if session == "gone":
        forget_sessions()

    step = joining.work("invitation")
    assert (step.state, step.waiting_for) == ("waiting", f"aws:{PRIMARY}")
    assert step.failure["kind"] == "reconnect"
    connection.refresh_from_db()
    assert connection.state == "broken"
    assert connection.broken_reason
    assert AuditEntry.objects.filter(act="aws_connection.broken").count() == 1
    assert [notice.person for notice in Notice.objects.filter(event__startswith="broken:aws:")] == [account_admin]
    # Nothing is tried while it is known to be broken, and it is noted once.
    joining.step("invitation")
    assert service.prove(connection, now=timezone.now()).state == "broken"
    assert AuditEntry.objects.filter(act="aws_connection.broken").count() == 1
    assert joining.step("invitation").waiting_for == f"aws:{PRIMARY}"

    make_portal_roles(joining.amazon.url, PRIMARY, connection.external_id)
    assert service.prove(connection, now=timezone.now(), actor=account_admin).state == "working"
    step = joining.step("invitation")
    assert step.waiting_for == "retry"
    assert step.next_attempt_at <= timezone.now()
    assert joining.work("invitation").state == "done", joining.step("invitation").failure


def test_a_disabled_connection_pauses_the_run(joining, account_admin):
    connection = connect(joining)
    joining.until_invited()
    service.set_disabled(account_admin, connection, True, now=timezone.now())
    step = joining.work("aws-access")
    assert (step.state, step.waiting_for) == ("waiting", f"aws:{PRIMARY}")
    service.set_disabled(account_admin, connection, False, now=timezone.now())
    connection.refresh_from_db()
    service.prove(connection, now=timezone.now(), actor=account_admin)
    assert joining.work("aws-access").state == "done"
