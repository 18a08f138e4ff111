"""What people do alone is looked at, and the scripts stop where they have to."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone

from onboarding.engine.situations import situation_of
from onboarding.guide.plan import load, resolve
from onboarding.guide.procedure import step_of
from onboarding.models import AuditEntry, Membership, Step
from onboarding.services import checks
from onboarding.services.errors import Refused
from onboarding.services.runs import try_again
from tests.join.conftest import aws
from tests.join.conftest import connect as connect_aws

pytestmark = pytest.mark.django_db


def test_what_was_made_is_looked_at_where_the_portal_may(people_alone, amazon):
    alone = people_alone
    connection = connect_aws(alone.account, amazon.url, alone.primary)
    connection.reader_role_arn, connection.provisioner_role_arn = connection.provisioner_role_arn, ""
    connection.save()
    alone.describe_instance(multi=False)
    alone.until_join("alone-looked-at")
    alone.submit("join")
    calls = {call.key: call for call in load(alone.step("join").plan)}
    assert not any(call.changes for call in calls.values())
    # Somebody joins by hand, without a bucket or a role.
    client = aws(amazon.url, alone.primary, "cleanrooms")
    invited = client.list_collaborations()["collaborationList"][0]["id"]
    client.create_membership(collaborationIdentifier=invited, queryLogStatus="DISABLED")
    step = alone.work("join")
    assert (step.state, step.failure["what"]) == (
        "failed",
        f"There is no bucket alone-looked-at in AWS account {alone.primary}.",
    )
    with pytest.raises(Refused, match="Try again"):
        checks.check_now(person=alone.analyst, step=step, now=timezone.now())
    # The rest is made as the plan has it, but for one thing.
    whole = {call.key: call for call in step_of("onboard", "join").full_plan(situation_of(step.run))}
    made = {"join": {"membership": {"membership": client.list_memberships()["membershipSummaries"][0]}}}
    for key, service, act in (
        ("bucket", "s3", "create_bucket"),
        ("private", "s3", "put_public_access_block"),
        ("encrypted", "s3", "put_bucket_encryption"),
        ("role", "iam", "create_role"),
        ("role-policy", "iam", "put_role_policy"),
        ("tighten", "iam", "update_assume_role_policy"),
    ):
        params = {
            name: json.dumps(value) if name.endswith("PolicyDocument") else value
            for name, value in resolve(whole[key].params, made).items()
        }
        if key == "role-policy":
            params["PolicyDocument"] = params["PolicyDocument"].replace("alone-looked-at", "another")
        getattr(aws(amazon.url, alone.primary, service), act)(**params)
    try_again(person=alone.analyst, step=step, now=timezone.now())
    step = alone.work("join")
    assert (step.state, step.failure["code"]) == ("failed", "Different")
    assert "another" in step.failure["why"]
    right = {**whole["role-policy"].params}
    right["PolicyDocument"] = json.dumps(right["PolicyDocument"])
    aws(amazon.url, alone.primary, "iam").put_role_policy(**right)
    try_again(person=alone.analyst, step=step, now=timezone.now())
    assert alone.work("join").state == "done", alone.step("join").failure
    assert Membership.objects.get().status == "ACTIVE"


def test_the_button_is_not_believed(people_alone, amazon, client):
    alone = people_alone
    alone.describe_instance(multi=False)
    alone.until_join("alone-button")
    alone.submit("join")
    assert alone.work("join", tries=1).state == "waiting"
    base = f"/instances/{alone.run.instance_id}/steps/join/"
    client.force_login(alone.analyst)
    page = client.get(f"{base}progress/").content.decode()
    assert "I have done this: check" in page and f'action="{base}check"' in page
    Step.objects.filter(run=alone.run, key="join").update(next_attempt_at=timezone.now() + timezone.timedelta(days=1))
    assert client.post(f"{base}check").status_code == 302
    step = alone.step("join")
    assert (step.state, step.next_attempt_at <= timezone.now()) == ("waiting", True)
    assert AuditEntry.objects.filter(act="step.checked", actor=alone.analyst).count() == 1
    assert alone.work("join", tries=1).state == "waiting"
    client.force_login(alone.approver)
    assert "I have done this: check" not in client.get(f"{base}progress/").content.decode()
    assert client.post(f"{base}check").status_code == 403
    rooms = aws(amazon.url, alone.primary, "cleanrooms")
    invited = rooms.list_collaborations()["collaborationList"][0]["id"]
    rooms.create_membership(collaborationIdentifier=invited, queryLogStatus="DISABLED")
    checks.check_now(person=alone.analyst, step=alone.step("join"), now=timezone.now())
    assert alone.work("join", tries=1).state == "done"
    with pytest.raises(Refused, match="completed already"):
        checks.check_now(person=alone.analyst, step=alone.step("join"), now=timezone.now())


def test_the_script_stops_when_nobody_agreed_to_pay(people_alone, cold_shell, shell, amazon):
    alone = people_alone
    amazon.control("POST", "settings", customer_pays=True)
    try:
        alone.describe_instance(multi=False)
        alone.until_join("alone-pays")
        status, said = cold_shell.run(shell.unpack(alone.archive("join"), "no"), alone.primary)
        assert (status, alone.membership(alone.primary)) == (1, [])
        assert "makes this account pay for queries, and nobody accepted that" in said
        assert aws(amazon.url, alone.primary, "s3").list_buckets()["Buckets"] == []
        alone.answer("join", "payment-terms", may="yes")
        # A role that was made just now is not known everywhere yet.
        amazon.rule(
            "cleanrooms:CreateMembership", kind="fail", code="ValidationException", reason="IAM_SYNCHRONIZATION_DELAY"
        )
        status, said = shell.run(shell.unpack(alone.archive("join"), "yes"), alone.primary)
        assert (status, "not yet" in said) == (0, True), said
        rooms = aws(amazon.url, alone.primary, "cleanrooms")
        made = rooms.get_membership(membershipIdentifier=alone.membership(alone.primary)[0]["id"])["membership"]
        assert made["paymentConfiguration"]["queryCompute"]["isResponsible"] is True
    finally:
        amazon.control("POST", "settings", customer_pays=False)
