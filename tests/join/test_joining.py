"""Joining the collaboration: what is made in AWS, what is found, and what each failure looks like."""

import json

import pytest
from django.utils import timezone

from onboarding.clients.aws import forget_sessions
from onboarding.guide.render import commands
from onboarding.models import AuditEntry, Dataset, Membership, Request
from onboarding.selectors.requests import asked_calls, plan_rows
from onboarding.services import runs
from onboarding.services.errors import Refused
from tests.join.conftest import PARTNER_1, PARTNER_2, PRIMARY, aws, connect
from tests.pages.conftest import text_of
from tests.simulated import browser


def memberships(amazon, account: str) -> list[dict]:
    return aws(amazon.url, account, "cleanrooms").list_memberships()["membershipSummaries"]


def ready_to_join(joining, **kwargs):
    connect(joining.account, joining.amazon.url, PRIMARY)
    joining.until_invited(**kwargs)
    assert joining.work("aws-access").state == "done", joining.step("aws-access").failure
    assert joining.work("invitation").state == "done", joining.step("invitation").failure


@pytest.mark.django_db
def test_the_portal_joins_with_a_new_bucket(joining, amazon):
    ready_to_join(joining)
    joining.describe_join("acme-results")
    # What AWS Clean Rooms shows is there for review, to the approver, and afterwards.
    here = f"/instances/{joining.run.instance_id}/steps"
    analyst, approver = browser(joining.analyst), browser(joining.approver)
    review = text_of(analyst.get(f"{here}/join/review/"))
    request = joining.submit("join")
    asked = text_of(approver.get(f"/requests/{request.pk}/"))
    for page in (review, asked, text_of(analyst.get(f"{here}/invitation/progress/"))):
        for words in (
            "As AWS Clean Rooms shows it to your account.",
            "Advertiser (you) 1111-2222-3333 Receives results Pays nothing Invited",
            "Query Submitter 6574-2529-4073 Runs queries Pays for queries Active",
            "Who pays Query Submitter",
        ):
            assert words in page, (words, page)
    assert request.title == f"Join collaboration “{joining.step('join').run.instance.collaboration_name}”"
    step = joining.work("join")
    assert step.state == "done", step.failure
    assert joining.step("join-partners").state == "done"
    mine = memberships(amazon, PRIMARY)
    assert [one["status"] for one in mine] == ["ACTIVE"]
    row = Membership.objects.get()
    assert (row.membership_id, row.results_bucket, row.results_format) == (mine[0]["id"], "acme-results", "CSV")
    iam = aws(amazon.url, PRIMARY, "iam")
    role = iam.get_role(RoleName=row.results_role_arn.rpartition("/")[2])["Role"]
    assert role["Path"] == "/service-role/"
    assert row.arn in json.dumps(role["AssumeRolePolicyDocument"])
    assert "membership/*" not in json.dumps(role["AssumeRolePolicyDocument"])
    s3 = aws(amazon.url, PRIMARY, "s3")
    assert s3.get_public_access_block(Bucket="acme-results")["PublicAccessBlockConfiguration"]["BlockPublicAcls"]
    instance = step.run.instance
    instance.refresh_from_db()
    assert instance.collaboration_status == "ACTIVE"
    # The worker asks Clean Rooms where results go by then, before it makes anything for the data.
    joining.answer("data-bucket", "where", where="files")
    joining.answer("data-bucket", "bucket", kind="new", name="acme-data")
    joining.answer("data-bucket", "folder", prefix="amc-data")
    joining.submit("data-bucket")
    s3.create_bucket(Bucket="acme-data")
    allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam.put_role_policy(RoleName=role["RoleName"], PolicyName="too", PolicyDocument=json.dumps(allowed))
    results = {"outputConfiguration": {"s3": {"resultFormat": "CSV", "bucket": "acme-data"}}, "roleArn": role["Arn"]}
    aws(amazon.url, PRIMARY, "cleanrooms").update_membership(
        membershipIdentifier=mine[0]["id"], defaultResultConfiguration=results
    )
    step = joining.work("data-bucket")
    assert step.state == "failed" and "Amazon refuses data" in step.failure["what"]
    joining.bring_nothing()
    step.run.refresh_from_db()
    assert step.run.ended_at is not None


def without_its_id(joining) -> str:
    """AMC has not told the collaboration's id yet; the id."""
    instance = joining.step("join").run.instance
    known = instance.collaboration_id
    instance.collaboration_id = ""
    instance.save()
    return known


@pytest.mark.django_db
def test_a_collaboration_without_an_id_is_found_by_its_name_and_who_made_it(joining, amazon):
    connect(joining.account, amazon.url, PRIMARY)
    joining.until_invited()
    known = without_its_id(joining)
    for key in ("aws-access", "invitation"):
        assert joining.work(key).state == "done", joining.step(key).failure
    look = joining.step("invitation").plan[0]["look"]["where"]
    instance = joining.step("join").run.instance
    assert look == {"name": f"AMC {instance.instance_id}", "creatorAccountId": "305214887761"}
    assert instance.collaboration_id == known
    joining.describe_join("acme-unnamed")
    joining.submit("join")
    assert joining.work("join").state == "done", joining.step("join").failure
    assert [one["collaborationId"] for one in memberships(amazon, PRIMARY)] == [known]


@pytest.mark.django_db
def test_partners_join_too(joining, amazon):
    connect(joining.account, amazon.url, PARTNER_1)
    ready_to_join(joining, partners=(PARTNER_1, PARTNER_2))
    joining.describe_join("acme-results-p")
    joining.submit("join")
    assert joining.work("join").state == "done", joining.step("join").failure
    joining.submit("join-partners")
    step = joining.work("join-partners", tries=5)
    # The first one is connected and has joined; the second joins by itself.
    assert (step.state, step.waiting_for) == ("waiting", "amazon")
    assert len(memberships(amazon, PARTNER_1)) == 1
    invited = aws(amazon.url, PARTNER_2, "cleanrooms").list_collaborations()["collaborationList"][0]
    aws(amazon.url, PARTNER_2, "cleanrooms").create_membership(
        collaborationIdentifier=invited["id"], queryLogStatus="DISABLED"
    )
    assert joining.work("join-partners").state == "done"


@pytest.mark.django_db
def test_without_a_connection_it_waits_and_goes_on_once_connected(joining, amazon):
    from onboarding.engine import resume

    joining.until_invited()
    step = joining.work("aws-access")
    assert (step.state, step.waiting_for) == ("waiting", f"aws:{PRIMARY}")
    connect(joining.account, amazon.url, PRIMARY)
    assert resume.connection_restored(f"aws:{PRIMARY}") == 1
    assert joining.work("aws-access").state == "done"


@pytest.mark.django_db
def test_whoever_joins_alone_is_believed_only_when_amazon_says_so(joining, amazon):
    joining.until_invited(who="ourselves")
    assert joining.step("aws-access").state == "done"
    assert joining.work("invitation").state == "done"
    joining.describe_join("acme-alone")
    joining.answer("join", "payment-terms", may="no")
    assert joining.submit("join") is None
    step = joining.work("join", tries=4)
    assert (step.state, step.waiting_for) == ("waiting", "amazon")
    # By the link that AMC gives, or by the commands: the portal sees either.
    page = browser(joining.analyst).get(f"/instances/{joining.run.instance_id}/steps/join/progress/")
    link = joining.step("join").run.instance.acceptance_link
    assert "#/collaborations/" in link and f'href="{link}"' in page.content.decode()
    client = aws(amazon.url, PRIMARY, "cleanrooms")
    invited = client.list_collaborations()["collaborationList"][0]
    client.create_membership(collaborationIdentifier=invited["id"], queryLogStatus="DISABLED")
    assert joining.work("join").state == "done"


@pytest.mark.django_db
def test_a_membership_that_was_made_elsewhere_is_adopted(joining, amazon):
    ready_to_join(joining)
    client = aws(amazon.url, PRIMARY, "cleanrooms")
    invited = client.list_collaborations()["collaborationList"][0]
    made = client.create_membership(collaborationIdentifier=invited["id"], queryLogStatus="DISABLED")["membership"]
    joining.describe_join("acme-adopt")
    joining.submit("join")
    assert joining.work("join").state == "done", joining.step("join").failure
    assert [one["id"] for one in memberships(amazon, PRIMARY)] == [made["id"]]
    assert joining.step("join").calls.get(key="membership").outcome == "adopted"
    # It is believed as it is; where that is otherwise than was answered, the page says so and offers to change it.
    assert Membership.objects.get().results_bucket == ""
    page = text_of(browser(joining.analyst).get(f"/instances/{joining.run.instance_id}/members/"))
    assert "Bucket that receives results: None, answered acme-adopt" in page
    assert f"Role that writes results: None, answered amc-cleanrooms-results-{joining.run.instance.instance_id}" in page
    assert "Change the membership" in page


@pytest.mark.django_db
def test_a_bucket_in_another_region_stops_before_anything_is_made(joining, amazon):
    ready_to_join(joining)
    aws(amazon.url, PRIMARY, "s3").create_bucket(
        Bucket="acme-europe", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    joining.describe_join("acme-europe", kind="existing")
    joining.submit("join")
    step = joining.work("join")
    assert step.state == "failed"
    assert step.failure["what"] == "Bucket acme-europe is in eu-west-1; AMC needs us-east-1."
    assert memberships(amazon, PRIMARY) == []
    assert aws(amazon.url, PRIMARY, "iam").list_roles(PathPrefix="/service-role/")["Roles"] == []


@pytest.mark.django_db
def test_results_never_go_where_data_comes_from(joining, amazon):
    ready_to_join(joining)
    instance = joining.run.instance
    joining.describe_join("acme-both")
    held = Dataset.objects.create(
        instance=instance, aws_account_id=PRIMARY, name="crm", bucket="acme-both", made_at=timezone.now()
    )
    # The form, the plan and the worker refuse it, each by itself.
    with pytest.raises(AssertionError, match="holds your data"):
        joining.answer("join", "bucket", kind="existing", name="acme-both")
    with pytest.raises(Refused):
        runs.submit(person=joining.analyst, step=joining.step("join"), now=timezone.now())
    situation = runs.situation_of(joining.run)
    assert "holds your data" in runs.step_of("onboard", "join").objection(situation)
    Dataset.objects.update(retired_at=timezone.now())
    joining.submit("join")
    held.save()
    step = joining.work("join")
    assert (step.state, step.failure["code"]) == ("failed", "Objection")
    assert memberships(amazon, PRIMARY) == []
    assert aws(amazon.url, PRIMARY, "s3").list_buckets()["Buckets"] == []


@pytest.mark.django_db
def test_a_new_role_settles_and_the_run_says_so(joining, amazon):
    ready_to_join(joining)
    amazon.control("POST", "settings", role_delay=3600)
    joining.describe_join("acme-slow-role")
    joining.submit("join")
    step = joining.work("join", tries=3)
    assert (step.state, step.waiting_for) == ("waiting", "retry")
    assert step.waiting_text == "AWS is still activating the new role."
    step.troubled_since = timezone.now() - timezone.timedelta(seconds=121)
    step.save(update_fields=["troubled_since"])
    step = joining.work("join", tries=1)
    assert step.state == "failed"
    assert "trust policy" in step.failure["todo"]
    amazon.control("POST", "settings", role_delay=0)
    runs.try_again(person=joining.analyst, step=step, now=timezone.now())
    assert joining.work("join").state == "done"
    assert len(memberships(amazon, PRIMARY)) == 1


@pytest.mark.django_db
def test_a_role_that_is_deleted_pauses_the_run(joining, amazon):
    connection = connect(joining.account, amazon.url, PRIMARY)
    joining.until_invited()
    iam = aws(amazon.url, PRIMARY, "iam")
    name = connection.provisioner_role_arn.rpartition("/")[2]
    iam.delete_role_policy(RoleName=name, PolicyName="all")
    iam.delete_role(RoleName=name)
    forget_sessions()
    step = joining.work("aws-access")
    assert (step.state, step.waiting_for) == ("waiting", f"aws:{PRIMARY}")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("actions", "words"),
    [
        (
            ["sts:*", "cleanrooms:*", "iam:CreateRole", "iam:Get*", "iam:Put*", "iam:Tag*", "s3:*"],
            "hand the role to AWS",
        ),
        (["sts:*", "cleanrooms:List*", "cleanrooms:Get*", "s3:*"], "does not let the portal do this"),
    ],
)
def test_a_missing_permission_is_named(joining, amazon, actions, words):
    connection = connect(joining.account, amazon.url, PRIMARY)
    joining.until_invited()
    assert joining.work("aws-access").state == "done"
    assert joining.work("invitation").state == "done"
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
    aws(amazon.url, PRIMARY, "iam").put_role_policy(
        RoleName=connection.provisioner_role_arn.rpartition("/")[2],
        PolicyName="all",
        PolicyDocument=json.dumps(policy),
    )
    joining.describe_join("acme-denied")
    joining.submit("join")
    step = joining.work("join")
    assert step.state == "failed"
    assert words in step.failure["what"], step.failure
    assert step.failure["who"] == "AWS administrator"
    assert memberships(amazon, PRIMARY) == []


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["cut_after", "cut_before", "error", "throttle"])
def test_trouble_while_the_membership_is_made_makes_one(joining, amazon, kind):
    ready_to_join(joining)
    values = {"status": 500} if kind == "error" else {"retry_after": 0} if kind == "throttle" else {}
    amazon.rule("cleanrooms:CreateMembership", kind=kind, **values)
    joining.describe_join(f"acme-{kind.replace('_', '-')}")
    joining.submit("join")
    assert joining.work("join").state == "done", joining.step("join").failure
    assert len(memberships(amazon, PRIMARY)) == 1
    assert Membership.objects.count() == 1


@pytest.mark.django_db
def test_who_pays_is_asked_only_when_it_is_us(joining, amazon):
    amazon.control("POST", "settings", customer_pays=True)
    try:
        ready_to_join(joining)
        joining.describe_join("acme-pays")
        with pytest.raises(runs.Refused):
            joining.submit("join")
        form = runs.question_of(runs.step_of("onboard", "join"), runs.situation_of(joining.run), "payment")
        assert not form({}, situation=runs.situation_of(joining.run)).is_valid()
        joining.answer("join", "payment", consent="on")
        # The yes is kept with the name of who gave it, and the approver reads who pays.
        said = AuditEntry.objects.filter(act="answer.saved").latest("number")
        assert said.actor_name == "Mia" and "Your AWS account pays for queries" in f"{said.subject} {said.details}"
        request = joining.submit("join")
        page = text_of(browser(joining.approver).get(f"/requests/{request.pk}/"))
        assert "Who pays Advertiser (you)" in page and "Pays for queries" in page
        assert joining.work("join").state == "done", joining.step("join").failure
    finally:
        amazon.control("POST", "settings", customer_pays=False)


@pytest.mark.django_db
def test_what_was_shown_for_approval_is_what_went_over_the_wire(joining, amazon):
    joining.until_invited()
    (exchange,) = amazon.exchanges("amc:createInstance")
    asked = Request.objects.get(step__key="create-instance")
    row = next(one for one in plan_rows(asked) if one.key == "instance")
    (payload,) = [one.payload for one in commands(asked_calls(asked), asked.account) if one.key == "instance"]
    assert row.body == json.loads(payload) == exchange["request_body"]
    assert set(row.body) > {"idempotencyToken", "instanceName"}
