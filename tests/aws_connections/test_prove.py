"""Proving a connection: each way in which it can be wrong, and what follows."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from onboarding.clients import aws
from onboarding.clients.failures import Later
from onboarding.models import AuditEntry, AwsConnection, Notice
from onboarding.services import aws_connections as service
from onboarding.services.errors import NotAllowed, Refused
from tests.aws_connections.conftest import CUSTOMER
from tests.aws_roles import PORTAL_PRINCIPAL, aws_admin, make_portal_roles
from tests.simulated import somebody

PROVISIONER, READER = "amc-onboarding-portal-provisioner", "amc-onboarding-portal-reader"
ANYBODY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": PORTAL_PRINCIPAL}, "Action": "sts:AssumeRole"}],
}


def outcome(connection) -> dict[str, bool]:
    return {check.name: check.ok for check in service.checks_of(connection)}


def first_problem(connection) -> service.Check:
    return next(check for check in service.checks_of(connection) if not check.ok)


def prove(connection, **more):
    return service.prove(AwsConnection.objects.get(pk=connection.pk), now=more.pop("now", timezone.now()), **more)


def acts() -> list[str]:
    return list(AuditEntry.objects.order_by("number").values_list("act", flat=True))


def put_policy(amazon, name: str, document: dict, account: str = CUSTOMER) -> None:
    aws_admin(amazon.url, account, "iam").put_role_policy(
        RoleName=name, PolicyName="amc-onboarding", PolicyDocument=json.dumps(document)
    )


def remove_role(amazon, name: str) -> None:
    iam = aws_admin(amazon.url, CUSTOMER, "iam")
    iam.delete_role_policy(RoleName=name, PolicyName="amc-onboarding")
    iam.delete_role(RoleName=name)


def test_the_roles_of_the_template_prove_themselves(with_roles, account_admin):
    row = prove(with_roles, actor=account_admin)
    assert row.state == "working", row.checks
    assert outcome(row) == dict.fromkeys(service.TITLES, True)
    assert acts() == ["aws_connection.working"]
    assert row.checked_at
    assert row.next_check_at > row.checked_at


def test_one_role_is_enough(with_roles):
    AwsConnection.objects.filter(pk=with_roles.pk).update(reader_role_arn="")
    row = prove(with_roles)
    assert row.state == "working"
    assert set(outcome(row)) == {"identity", "external-id", "actions", "region"}


@pytest.mark.parametrize("role", [PROVISIONER, READER])
def test_a_role_that_can_be_assumed_without_the_external_id_is_refused(role, with_roles, amazon, account_admin):
    aws_admin(amazon.url, CUSTOMER, "iam").update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(ANYBODY))
    row = prove(with_roles, actor=account_admin)
    assert row.state == "new"
    assert first_problem(row).name == "external-id"
    assert "The connection is refused" in first_problem(row).detail
    assert role in first_problem(row).detail
    assert acts() == ["aws_connection.refused"]


def test_a_role_that_takes_any_external_id_is_refused(with_roles, amazon):
    any_id = json.loads(json.dumps(ANYBODY))
    any_id["Statement"][0]["Condition"] = {"StringLike": {"sts:ExternalId": "*"}}
    aws_admin(amazon.url, CUSTOMER, "iam").update_assume_role_policy(
        RoleName=PROVISIONER, PolicyDocument=json.dumps(any_id)
    )
    row = prove(with_roles)
    assert row.state == "new"
    assert "with any external id" in first_problem(row).detail


def test_roles_of_another_account_are_refused(connection, amazon):
    made = make_portal_roles(amazon.url, "111122223333", connection.external_id)
    AwsConnection.objects.filter(pk=connection.pk).update(provisioner_role_arn=made[0], reader_role_arn=made[1])
    row = prove(connection)
    assert row.state == "new"
    assert "belongs to AWS account 111122223333, not to 555566667777" in first_problem(row).detail


def test_another_external_id_does_not_get_in(with_roles, amazon):
    make_portal_roles(amazon.url, CUSTOMER, "amc-of-another-connection")
    row = prove(with_roles)
    assert outcome(row)["identity"] is False
    assert "can't assume" in first_problem(row).detail
    assert first_problem(row).todo


@pytest.mark.parametrize(("role", "name"), [(PROVISIONER, "actions"), (READER, "reader-actions")])
def test_a_missing_action_is_named(role, name, with_roles, amazon):
    iam = aws_admin(amazon.url, CUSTOMER, "iam")
    document = iam.get_role_policy(RoleName=role, PolicyName="amc-onboarding")["PolicyDocument"]
    for statement in document["Statement"]:
        statement["Action"] = [one for one in statement["Action"] if one != "cleanrooms:ListMembers"]
    put_policy(amazon, role, document)
    row = prove(with_roles)
    assert row.state == "new"
    assert [check.detail for check in service.checks_of(row) if not check.ok] == [
        "Not allowed: cleanrooms:ListMembers."
    ]
    assert first_problem(row).name == name


def test_a_working_connection_that_lacks_an_action_goes_on(with_roles, amazon):
    """The portal may need more after an update; what it could do before it still can."""
    prove(with_roles)
    iam = aws_admin(amazon.url, CUSTOMER, "iam")
    document = iam.get_role_policy(RoleName=PROVISIONER, PolicyName="amc-onboarding")["PolicyDocument"]
    for statement in document["Statement"]:
        statement["Action"] = [one for one in statement["Action"] if one != "s3:CreateBucket"] or ["s3:ListBucket"]
    put_policy(amazon, PROVISIONER, document)
    row = prove(with_roles)
    assert row.state == "working"
    assert first_problem(row).detail == "Not allowed: s3:CreateBucket."


def test_a_region_that_the_organisation_forbids_is_found_out(with_roles, amazon):
    reason = "User is not authorized with an explicit deny in a service control policy"
    amazon.rule("cleanrooms:ListMemberships", kind="fail", code="AccessDeniedException", reason=reason)
    row = prove(with_roles)
    problem = first_problem(row)
    assert (row.state, problem.name) == ("new", "region")
    assert "refuses the portal in us-east-1" in problem.detail and "organisation forbids" in problem.todo
    assert prove(with_roles).state == "working"


def test_where_iam_may_not_be_asked_harmless_reads_are_tried(with_roles, amazon):
    iam = aws_admin(amazon.url, CUSTOMER, "iam")
    for role in (PROVISIONER, READER):
        document = iam.get_role_policy(RoleName=role, PolicyName="amc-onboarding")["PolicyDocument"]
        kept = [one for one in document["Statement"] if one["Action"] != ["iam:SimulatePrincipalPolicy"]]
        assert len(kept) == len(document["Statement"]) - 1
        put_policy(amazon, role, {**document, "Statement": kept})
    row = prove(with_roles)
    assert row.state == "working"
    assert "harmless reads" in next(check.detail for check in service.checks_of(row) if check.name == "actions")

    little = {"Effect": "Allow", "Action": "s3:GetBucketLocation", "Resource": "*"}
    put_policy(amazon, READER, {"Version": "2012-10-17", "Statement": [little]})
    row = prove(with_roles)
    assert "cleanrooms:ListCollaborations" in first_problem(row).detail


def test_a_deleted_role_breaks_a_working_connection_once_and_mending_it_works(with_roles, amazon, account_admin):
    prove(with_roles)
    remove_role(amazon, PROVISIONER)
    for _ in range(2):
        row = prove(with_roles)
        assert row.state == "broken"
        assert "can't assume" in row.broken_reason
    assert acts() == ["aws_connection.working", "aws_connection.broken"]
    assert list(Notice.objects.values_list("person__name", flat=True)) == ["Ada"]

    make_portal_roles(amazon.url, CUSTOMER, with_roles.external_id)
    row = prove(with_roles)
    assert (row.state, row.broken_reason) == ("working", "")
    assert acts()[-1] == "aws_connection.working"


def test_nothing_changes_when_aws_does_not_answer(with_roles, amazon, settings):
    prove(with_roles)
    before = AwsConnection.objects.values().get(pk=with_roles.pk)
    settings.AWS_ENDPOINT_URL = "http://127.0.0.1:9"
    with pytest.raises(Later):
        prove(with_roles)
    service.check_health(with_roles.pk)
    assert AwsConnection.objects.values().get(pk=with_roles.pk) == before


def test_the_portal_without_an_identity_says_so(with_roles, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", "/nonexistent")
    aws._boto.cache_clear()
    row = prove(with_roles)
    assert "no credentials" in first_problem(row).detail
    assert row.state == "new"


def test_what_was_changed_meanwhile_is_not_settled(with_roles):
    stale = AwsConnection.objects.get(pk=with_roles.pk)
    AwsConnection.objects.filter(pk=with_roles.pk).update(external_id="amc-new")
    with pytest.raises(Refused, match="changed while it was checked"):
        service.prove(stale, now=timezone.now())


def test_new_arns_have_to_be_proved_again(with_roles, account_admin):
    prove(with_roles)
    row = service.set_roles(account_admin, with_roles, with_roles.provisioner_role_arn, "", now=timezone.now())
    assert (row.state, row.checks, row.reader_role_arn) == ("new", [], "")
    same = service.set_roles(account_admin, row, row.provisioner_role_arn, "", now=timezone.now())
    assert same.state == "new"
    assert acts() == ["aws_connection.working", "aws_connection.roles"]


def test_disabled_is_disabled_until_it_is_used_again(with_roles, account_admin):
    prove(with_roles)
    assert service.set_disabled(account_admin, with_roles, True, now=timezone.now())
    assert not service.set_disabled(account_admin, with_roles, True, now=timezone.now())
    with pytest.raises(Refused, match="disabled"):
        prove(with_roles)
    assert service.set_disabled(account_admin, with_roles, False, now=timezone.now())
    assert prove(with_roles).state == "working"
    assert acts()[1:3] == ["aws_connection.disabled", "aws_connection.enabled"]


def test_a_new_external_id_shuts_the_old_one_out(with_roles, account_admin, amazon):
    prove(with_roles)
    old = with_roles.external_id
    row = service.replace(account_admin, with_roles, now=timezone.now())
    assert row.external_id != old
    assert row.state == "new"
    assert prove(with_roles).state == "new"
    make_portal_roles(amazon.url, CUSTOMER, row.external_id)
    assert prove(with_roles).state == "working"


def test_only_admins_of_the_account_may(with_roles, connected):
    analyst = somebody("Ana", connected, "analyst", "approver")
    now = timezone.now()
    for act in (
        lambda: service.add(analyst, connected, "111122223333", "", now=now),
        lambda: service.set_roles(analyst, with_roles, "a", "b", now=now),
        lambda: service.replace(analyst, with_roles, now=now),
        lambda: service.set_disabled(analyst, with_roles, True, now=now),
        lambda: service.prove(with_roles, now=now, actor=analyst),
    ):
        with pytest.raises(NotAllowed):
            act()


def test_the_clock_has_each_due_connection_checked_once(with_roles, monkeypatch):
    put = []
    monkeypatch.setattr(service.queue, "put_job", lambda job, pk: put.append(pk) or True)
    now = timezone.now()
    assert service.put_due_checks(now=now) == 0  # never worked: nothing to watch
    prove(with_roles, now=now)
    assert service.put_due_checks(now=now + timedelta(minutes=59)) == 0
    due = now + timedelta(minutes=61)
    assert service.put_due_checks(now=due) == 1
    assert service.put_due_checks(now=due) == 0  # a second clock
    # The job was lost with the queue: it is put there again.
    assert service.put_due_checks(now=due + timedelta(minutes=11)) == 1
    assert put == [with_roles.pk] * 2


def test_a_health_check_finds_out_and_notices_the_mending(with_roles, amazon):
    prove(with_roles)
    remove_role(amazon, READER)
    service.check_health(with_roles.pk)
    with_roles.refresh_from_db()
    assert with_roles.state == "broken"
    make_portal_roles(amazon.url, CUSTOMER, with_roles.external_id)
    service.check_health(with_roles.pk)
    with_roles.refresh_from_db()
    assert with_roles.state == "working"
