"""Taking over: an instance that was joined elsewhere is recognised, read and believed, and nothing is made."""

import json

import pytest

from onboarding.guide.plan import EFFECTS_THAT_CHANGE
from onboarding.models import AwsConnection, Comparison, Difference, Expectation, Membership
from onboarding.services import drift
from tests.drift.conftest import Drifting, by_the_template
from tests.pages.conftest import text_of
from tests.simulated import browser

pytestmark = pytest.mark.django_db


def taken(life) -> None:
    life.begin("adopt")
    for key in ("adopt", "adopt-memberships"):
        assert life.work(key).state == "done", life.step(key).failure


def test_a_joined_instance_is_taken_over(life, settled):
    by_the_template(life)
    Membership.objects.all().delete()
    seen = len(life.amazon.control("GET", "exchanges"))
    analyst = browser(life.analyst)
    page = analyst.get(f"/instances/{life.instance.pk}/")
    assert f"Take over {life.instance}" in text_of(page)
    taken(life)
    row = Membership.objects.get()
    assert (row.membership_id, row.results_bucket, row.results_prefix) == (settled.membership_id, "acme-old", "amc")
    assert row.results_role_arn.endswith(life.instance.instance_id) and row.status == "ACTIVE"
    life.instance.refresh_from_db()
    assert (life.instance.status, life.instance.collaboration_status) == ("done", "ACTIVE")
    # The role and the bucket follow by the first comparison, which the clock has done at once.
    assert Comparison.objects.get().next_at <= row.seen_at
    drifting = Drifting(life, row)
    assert drifting.compare() == []
    assert not any(call["effect"] in EFFECTS_THAT_CHANGE for step in life.run.steps.all() for call in step.plan)
    made = [one for one in life.amazon.control("GET", "exchanges")[seen:] if "Create" in one["operation"]]
    assert made == []
    assert "acme-old" in text_of(analyst.get(f"/instances/{life.instance.pk}/members/"))


def test_a_role_and_a_bucket_of_somebody_elses_making_are_believed_as_they_are(life, settled):
    by_the_template(life)
    drifting = Drifting(life, settled)
    iam = drifting.client("iam")
    ours = iam.get_role(RoleName=drifting.role)["Role"]
    name = "amc-cleanrooms-theirs"
    iam.create_role(
        RoleName=name, Path="/service-role/", AssumeRolePolicyDocument=json.dumps(ours["AssumeRolePolicyDocument"])
    )
    document = iam.get_role_policy(RoleName=drifting.role, PolicyName="receive-results")["PolicyDocument"]
    iam.put_role_policy(RoleName=name, PolicyName="theirs", PolicyDocument=json.dumps(document))
    where = drifting.membership()["defaultResultConfiguration"]
    where["roleArn"] = where["roleArn"].replace(drifting.role, name)
    drifting.client("cleanrooms").update_membership(
        membershipIdentifier=settled.membership_id, defaultResultConfiguration=where
    )
    Membership.objects.all().delete()
    taken(life)
    assert drifting.compare() == []
    assert set(Expectation.objects.values_list("aspect", flat=True)) == {"trust", "policy:theirs", "encryption"}
    # From then on what comes to it is a difference.
    iam.put_role_policy(RoleName=name, PolicyName="more", PolicyDocument=json.dumps(document))
    assert drifting.aspects() == [("role", "policy:more")]
    drift.accept(person=life.analyst, difference=Difference.objects.open().get(), now=drifting.at)
    assert drifting.compare() == []


def test_without_access_what_amc_says_is_taken_over(life, settled):
    AwsConnection.objects.all().delete()
    Membership.objects.all().delete()
    taken(life)
    row = Membership.objects.get()
    assert (row.membership_id, row.results_bucket) == (settled.membership_id, "")


def test_what_nobody_has_joined_cannot_be_taken_over(life):
    life.made()
    life.begin("adopt")
    step = life.work("adopt")
    assert step.state == "failed"
    assert "nobody has joined it yet" in step.failure["what"]
