"""Leaving a collaboration and deleting an instance: what is read, asked, signed, deleted, and in which order."""

from datetime import timedelta

import pytest
from django.utils import timezone

from onboarding.engine import executor
from onboarding.models import AccountPolicy, Membership, Run
from onboarding.services import lifecycle, requests, runs
from onboarding.services.errors import NotAllowed, Refused
from tests.engine.conftest import person
from tests.join.conftest import PARTNER_1, PRIMARY, aws
from tests.lifecycle.conftest import Killed
from tests.simulated import browser

pytestmark = pytest.mark.django_db
ORDER = (
    "amc:deleteCollaborationIdMappingTable",
    "cleanrooms:DeleteIdNamespaceAssociation",
    "cleanrooms:DeleteConfiguredTableAssociationAnalysisRule",
    "cleanrooms:DeleteConfiguredTableAssociation",
    "cleanrooms:DeleteMembership",
)


def statuses(life) -> list[str]:
    found = aws(life.amazon.url, PRIMARY, "cleanrooms").list_memberships()["membershipSummaries"]
    return [one["status"] for one in found]


def looked(life, who: str = "portal") -> None:
    life.begin("leave")
    life.answer("leave-look", "who", who=who)
    assert life.ask("leave-look") is None
    assert life.work("leave-look").state == "done", life.step("leave-look").failure


def confirmed(life, key: str) -> None:
    life.answer(key, "confirm", understood="on", typed=life.instance.name)


def deletions(life) -> list[str]:
    return [one["operation"] for one in life.amazon.control("GET", "exchanges") if one["operation"] in ORDER]


def test_an_empty_membership_is_left(life):
    row = life.joined()
    looked(life)
    confirmed(life, "leave")
    request = life.submit("leave")
    assert request.title == f"Leave collaboration “{life.instance.collaboration_name}” with AWS account {PRIMARY}"
    step = life.work("leave")
    assert step.state == "done", step.failure
    assert statuses(life) == ["REMOVED"]
    row.refresh_from_db()
    assert row.status == "REMOVED" and row.left_at is not None
    life.instance.refresh_from_db()
    assert (life.instance.status, life.instance.collaboration_status) == ("left", "DELETED")
    assert "left already" in lifecycle.why_not("leave", life.instance)
    assert "left" in runs.why_not_onboard(life.instance)
    # History stays.
    assert Membership.objects.filter(instance=life.instance).count() == 1


def test_everything_goes_in_the_order_that_aws_wants(life, hung):
    looked(life)
    form = life.form("leave", "confirm")
    losses = " ".join(type(form).losses(form.situation))
    assert "“people”" in losses and "“events”" in losses and "never join" in losses
    confirmed(life, "leave")
    life.submit("leave")
    step = life.work("leave")
    assert step.state == "done", step.failure
    assert deletions(life) == list(ORDER)
    assert statuses(life) == ["REMOVED"]


def test_what_came_after_the_reading_stops_it_before_the_membership_ends(life, hung):
    looked(life)
    confirmed(life, "leave")
    life.submit("leave")
    hung.associate("late")
    step = life.work("leave")
    assert step.state == "failed"
    assert step.failure["what"] == "It can't be deleted yet: other things in it still exist."
    assert statuses(life) == ["ACTIVE"]
    assert Membership.objects.get().left_at is None
    runs.run_cancel(person=life.analyst, run=life.run, now=timezone.now())
    life.instance.refresh_from_db()
    assert life.instance.status == "imported"
    looked(life)
    confirmed(life, "leave")
    life.submit("leave")
    assert life.work("leave").state == "done", life.step("leave").failure
    assert statuses(life) == ["REMOVED"]


def test_looking_again_reads_what_came_since(life, hung):
    looked(life)
    confirmed(life, "leave")
    life.submit("leave")
    hung.associate("late")
    assert life.work("leave").state == "failed"
    analyst = browser(life.analyst)
    first = life.run
    page = analyst.get(f"/runs/{first.pk}/steps/leave/progress/").content.decode()
    assert 'id="look-again"' in page
    answer = analyst.post(f"/runs/{first.pk}/look-again")
    life.run = Run.objects.get(pk=answer["Location"].split("/")[2])
    first.refresh_from_db()
    assert first.ended_at is not None and life.run.pk != first.pk
    assert life.work("leave-look").state == "done", life.step("leave-look").failure
    form = life.form("leave", "confirm")
    assert "“late”" in " ".join(type(form).losses(form.situation))
    # It is another plan: confirmed, and approved anew.
    confirmed(life, "leave")
    life.submit("leave")
    assert life.work("leave").state == "done", life.step("leave").failure
    assert statuses(life) == ["REMOVED"]
    with pytest.raises(Refused, match="no leaving"):
        lifecycle.look_again(person=life.analyst, run=life.run, now=timezone.now())


def test_a_partner_leaves_alone(life):
    mine = life.joined(partners=(PARTNER_1,))
    theirs = Membership.objects.get(aws_account_id=PARTNER_1)
    life.begin("leave")
    life.answer("leave-look", "which", which=theirs.membership_id)
    life.answer("leave-look", "who", who="portal")
    life.ask("leave-look")
    assert life.work("leave-look").state == "done", life.step("leave-look").failure
    confirmed(life, "leave")
    request = life.submit("leave")
    assert PARTNER_1 in request.title
    assert life.work("leave").state == "done", life.step("leave").failure
    left = aws(life.amazon.url, PARTNER_1, "cleanrooms").list_memberships()["membershipSummaries"]
    assert [one["status"] for one in left] == ["REMOVED"]
    assert statuses(life) == ["ACTIVE"]
    for row in (mine, theirs):
        row.refresh_from_db()
    assert (mine.left_at, theirs.status) == (None, "REMOVED") and theirs.left_at is not None
    life.instance.refresh_from_db()
    assert life.instance.status != "left"
    assert lifecycle.why_not("leave", life.instance) == ""


@pytest.mark.parametrize("operation", [*ORDER, "amc:deleteInstance"])
@pytest.mark.parametrize("kind", ["cut_before", "cut_after"])
def test_a_cut_connection_deletes_once(life, hung, operation, kind):
    life.amazon.rule(operation, kind=kind)
    if operation == "amc:deleteInstance":
        life.begin("delete-instance")
        life.work("delete-look")
        confirmed(life, "delete-instance")
        life.submit("delete-instance")
        assert life.work("delete-instance").state == "done", life.step("delete-instance").failure
    else:
        looked(life)
        confirmed(life, "leave")
        life.submit("leave")
        assert life.work("leave").state == "done", life.step("leave").failure
        assert statuses(life) == ["REMOVED"]
    assert life.run.steps.exclude(state="done").count() == 0
    done = [one for one in life.amazon.exchanges(operation) if one.get("status", 0) in (200, 204)]
    assert len(done) <= 1


def test_whoever_leaves_alone_is_believed_only_when_amazon_says_so(life):
    row = life.joined()
    looked(life, who="ourselves")
    confirmed(life, "leave")
    assert life.submit("leave") is None
    step = life.work("leave", tries=3)
    assert (step.state, step.waiting_for) == ("waiting", "amazon")
    aws(life.amazon.url, PRIMARY, "cleanrooms").delete_membership(membershipIdentifier=row.membership_id)
    assert life.work("leave").state == "done"
    row.refresh_from_db()
    assert row.left_at is not None


@pytest.mark.parametrize(("procedure", "key"), [("leave", "leave"), ("delete-instance", "delete-instance")])
def test_the_name_has_to_be_typed(life, procedure, key):
    life.joined()
    if procedure == "leave":
        looked(life)
    else:
        life.begin(procedure)
        assert life.work("delete-look").state == "done"
    with pytest.raises(Refused, match="no answer"):
        life.ask(key)
    for values in ({"typed": "acme", "understood": "on"}, {"typed": "Acme"}, {"typed": "", "understood": "on"}):
        assert not life.form(key, "confirm", **values).is_valid()
    assert life.form(key, "confirm", typed="Acme", understood="on").is_valid()


@pytest.mark.parametrize("procedure", ["leave", "delete-instance"])
def test_a_second_person_has_to_sign_whatever_the_policy_says(life, procedure):
    AccountPolicy.objects.create(
        account=life.account, approvers_needed_to_delete=2, steps_without_approval=["leave", "delete-instance"]
    )
    life.joined()
    if procedure == "leave":
        looked(life)
    else:
        life.begin(procedure)
        life.work("delete-look")
    confirmed(life, procedure)
    request = life.ask(procedure)
    assert request.approvers_needed == 2
    life.approve(request)
    assert life.work(procedure).state == "awaiting_approval"
    with pytest.raises(NotAllowed):
        requests.approve(person=life.analyst, request=request, digest=request.digest, now=timezone.now())
    life.approve(request, who=person(life.account, "Second", "approver"))
    assert life.work(procedure).state == "done", life.step(procedure).failure


@pytest.mark.parametrize("spelling", ["COMPLETED", "SUCCEEDED"])
def test_an_instance_is_deleted(life, spelling):
    row = life.joined()
    life.instance.creation_status = spelling
    life.instance.save()
    run = life.begin("delete-instance")
    assert life.work("delete-look").state == "done", life.step("delete-look").failure
    confirmed(life, "delete-instance")
    assert life.submit("delete-instance").title == "Delete instance “Acme”"
    step = life.work("delete-instance")
    assert step.state == "done", step.failure
    assert life.amc("GET").status_code == 404
    life.instance.refresh_from_db()
    row.refresh_from_db()
    assert life.instance.gone_at is not None and life.instance.status == "deleted"
    assert row.status == "COLLABORATION_DELETED" and row.left_at is not None
    run.refresh_from_db()
    assert run.ended_at is not None
    assert "no longer" in lifecycle.why_not("advertisers", life.instance)


def test_an_instance_that_was_deleted_elsewhere_ends_the_same_way(life):
    life.made()
    life.begin("delete-instance")
    life.work("delete-look")
    confirmed(life, "delete-instance")
    life.submit("delete-instance")
    assert life.amc("DELETE").status_code == 204
    assert life.work("delete-instance").state == "done", life.step("delete-instance").failure
    assert life.step("delete-instance").calls.get(key="instance").outcome == "adopted"


@pytest.mark.parametrize("status", ["REQUESTED", "SUBMITTED", "IN_PROGRESS", "FAILED", ""])
def test_an_instance_that_is_still_being_made_is_not_deleted(life, status):
    life.made(creation_status=status)
    with pytest.raises(Refused, match="not finished creating"):
        life.begin("delete-instance")


def test_amc_says_it_is_not_completed_after_all(life):
    life.amazon.control("POST", "pace", instance_completed=600)
    life.made()
    life.begin("delete-instance")
    step = life.work("delete-look", tries=3)
    assert (step.state, step.waiting_text) == ("waiting", "Amazon says IN_PROGRESS")
    life.amazon.control("POST", "clock", advance=601)
    assert life.work("delete-look").state == "done"


def test_nothing_else_runs_beside_an_end(life):
    life.joined()
    life.begin("advertisers")
    for procedure in ("leave", "delete-instance"):
        with pytest.raises(Refused, match="complete or cancel it first"):
            life.begin(procedure)
    runs.run_cancel(person=life.analyst, run=life.run, now=timezone.now())
    life.begin("leave")
    for procedure in ("advertisers", "delete-instance", "leave"):
        with pytest.raises(Refused, match="under way"):
            life.begin(procedure)


def finish(life, key: str):
    """Work that goes on after a worker was lost: its lease runs out, and another one takes the step."""
    with pytest.raises(Killed):
        life.work(key)
    life.run.steps.filter(key=key).update(lease_until=timezone.now() - timedelta(seconds=1))
    executor.work(life.step(key).pk)
    return life.work(key)


def accepted(life, operation: str) -> int:
    return sum(200 <= one["status"] < 300 for one in life.amazon.exchanges(operation))


def test_a_worker_lost_at_any_deletion_of_leaving_deletes_once(life, hung, killed_before_writing):
    looked(life)
    confirmed(life, "leave")
    life.submit("leave")
    keys = [call["key"] for call in life.step("leave").plan if call["effect"] == "delete"]
    assert len(keys) == len(ORDER)
    for key in keys:
        killed_before_writing(key)
    for key in keys[:-1]:
        with pytest.raises(Killed):
            life.work("leave") if key == keys[0] else executor.work(life.step("leave").pk)
        life.run.steps.filter(key="leave").update(lease_until=timezone.now() - timedelta(seconds=1))
    assert finish_last(life, "leave").state == "done", life.step("leave").failure
    assert [accepted(life, operation) for operation in ORDER] == [1] * len(ORDER)
    assert set(life.step("leave").calls.filter(key__in=keys).values_list("outcome", flat=True)) == {"adopted"}
    assert Membership.objects.get().left_at is not None


def finish_last(life, key: str):
    with pytest.raises(Killed):
        executor.work(life.step(key).pk)
    life.run.steps.filter(key=key).update(lease_until=timezone.now() - timedelta(seconds=1))
    executor.work(life.step(key).pk)
    return life.work(key)


def test_a_worker_lost_at_the_deletion_of_an_instance_deletes_once(life, killed_before_writing):
    life.made()
    life.begin("delete-instance")
    life.work("delete-look")
    confirmed(life, "delete-instance")
    life.submit("delete-instance")
    killed_before_writing("instance")
    assert finish(life, "delete-instance").state == "done", life.step("delete-instance").failure
    assert accepted(life, "amc:deleteInstance") == 1


@pytest.mark.parametrize("key", ["update-1", "update-2"])
def test_a_worker_lost_at_a_change_of_advertisers_makes_it_once(life, killed_before_writing, key):
    life.made()
    life.begin("advertisers")
    life.work("advertisers-now")
    life.answer("advertisers", "add", dsp=" ".join(map(str, range(100, 112))))
    life.submit("advertisers")
    killed_before_writing(key)
    assert finish(life, "advertisers").state == "done", life.step("advertisers").failure
    assert accepted(life, "amc:createAdvertiserUpdate") == 2
    assert len(life.advertisers()) == 12
