"""What goes wrong with advertisers, leaving, deleting and inviting: what a person reads, and what is left behind."""

import pytest
from django.utils import timezone

from onboarding.models import Membership, Run, UserInvitation
from onboarding.services import lifecycle
from onboarding.services.errors import Refused
from tests.engine.conftest import person
from tests.join.conftest import PRIMARY, aws
from tests.lifecycle.conftest import Hung
from tests.pages.conftest import text_of
from tests.simulated import browser

pytestmark = pytest.mark.django_db


def changes(life) -> list[dict]:
    """The changes of advertisers that AMC has, oldest first."""
    return life.amc("GET", "/advertisers/updates").json()["advertiserUpdates"][::-1]


def advertisers_asked(life, **values) -> None:
    life.begin("advertisers")
    assert life.work("advertisers-now").state == "done"
    life.answer("advertisers", "add", **values)
    life.submit("advertisers")


def leaving_asked(life) -> None:
    life.begin("leave")
    life.answer("leave-look", "who", who="portal")
    life.ask("leave-look")
    assert life.work("leave-look").state == "done", life.step("leave-look").failure
    life.answer("leave", "confirm", understood="on", typed=life.instance.name)
    life.submit("leave")


# --- advertisers


def test_another_change_that_is_under_way_is_waited_for(later, life):
    life.made()
    life.amazon.control("POST", "pace", advertiser_updating=3600)
    life.amc("POST", "/advertisers/updates", advertisersToAdd=[{"id": "5", "type": "DISPLAY"}])
    life.amazon.control("POST", "pace", preset="fast")
    advertisers_asked(life, dsp="6")
    step = life.work("advertisers", tries=3)
    assert (step.state, step.waiting_for) == ("waiting", "amazon")
    page = later.page("advertisers")
    assert "Wait until no other change of the advertisers is under way: Amazon says PENDING" in page
    assert "usually up to 2 business days" in page
    assert len(changes(life)) == 1
    life.amazon.control("POST", "clock", advance=3601)
    assert life.work("advertisers").state == "done", life.step("advertisers").failure
    assert [one["status"] for one in changes(life)] == ["COMPLETED", "COMPLETED"]


def test_a_change_that_came_in_between_is_said_to_be_in_the_way(later, life):
    life.made()
    life.amazon.rule("amc:createAdvertiserUpdate", kind="error", status=400)
    advertisers_asked(life, dsp="6")
    life.work("advertisers")
    failure = later.failed("advertisers", "an earlier change of this instance's advertisers is still under way")
    assert failure["who"] == "Analyst"
    assert changes(life) == []
    assert later.again("advertisers").state == "done"
    assert life.advertisers() == ["6"]


@pytest.mark.parametrize(
    ("reason", "dsp"),
    [
        ("The AMC account has no access to one of the advertisers.", "9991"),
        ("One of the advertisers belongs to another brand.", "6"),
    ],
)
def test_a_rejection_explains_both_routes(later, life, reason, dsp):
    life.made()
    if dsp == "6":
        life.amazon.rule("amc:createAdvertiserUpdate", kind="fail", reason=reason)
    advertisers_asked(life, dsp=dsp)
    life.work("advertisers")
    failure = later.failed("advertisers", f"Amazon says: {reason}", "Direct:", "Partner:", "90 days", "3 days")
    assert failure["what"] == "Amazon rejected the change of advertisers."
    assert life.advertisers() == []
    assert [one["status"] for one in changes(life)] == ["REJECTED"]


# --- Login with Amazon


def test_a_login_that_was_taken_back_pauses_every_run_and_goes_on_when_renewed(later, life):
    life.made()
    advertisers_asked(life, dsp="6")
    life.amazon.revoke("admin")
    life.account.connection.refresh_from_db()
    step = life.work("advertisers", tries=2)
    assert (step.state, step.waiting_for) == ("waiting", f"amc:{life.account.connection_id}")
    page = later.page("advertisers")
    for words in (
        "Paused: an admin has to renew the connection, then it goes on by itself",
        "no longer works",
        "Who can fix it Admin",
        "Open Connections and choose Reconnect.",
    ):
        assert words in page, page
    asked = len(life.amazon.exchanges("lwa:token"))
    life.work("advertisers", tries=2)
    assert len(life.amazon.exchanges("lwa:token")) == asked
    assert changes(life) == []


# --- leaving


def test_what_came_in_between_keeps_the_membership(later, life):
    hung = Hung(life)
    leaving_asked(life)
    hung.associate("late")
    life.work("leave")
    failure = later.failed("leave", "AWS Clean Rooms deletes a membership only when it is empty.")
    assert failure["what"] == "It can't be deleted yet: other things in it still exist."
    assert failure["details"]["reason"] == "SUBRESOURCES_EXIST"
    kinds = [(kind, name) for kind, name, _ in later.holds()]
    assert ("ID namespace association", "late") in kinds and ("ID namespace association", "people") not in kinds
    assert Membership.objects.get().left_at is None


def test_a_portal_that_may_not_delete_says_so_and_has_deleted_nothing(later, life):
    Hung(life)
    leaving_asked(life)
    before = later.holds()
    life.amazon.rule("cleanrooms:Delete*", times=None, kind="fail", code="AccessDeniedException", reason="no")
    life.amazon.rule("amc:deleteCollaborationIdMappingTable", times=None, kind="error", status=403)
    life.work("leave")
    later.failed("leave", "Ask an administrator of the AMC account")
    assert later.holds() == before
    life.amazon.control("DELETE", "rules")
    life.amazon.rule("cleanrooms:Delete*", times=None, kind="fail", code="AccessDeniedException", reason="no")
    later.again("leave")
    failure = later.failed("leave", f"AWS account {PRIMARY} does not let the portal do this.")
    assert failure["who"] == "AWS administrator"
    # The ID mapping table, which AMC deletes, is gone; in the AWS account everything is still there.
    deleted = [one["status"] for one in life.amazon.exchanges("amc:deleteCollaborationIdMappingTable")]
    assert len(deleted) == 2 and deleted[0] == 403 and deleted[1] in (200, 204)
    assert later.holds() == before
    life.amazon.control("DELETE", "rules")
    assert later.again("leave").state == "done", life.step("leave").failure
    assert [status for kind, _, status in later.holds() if kind == "membership"] == ["REMOVED"]


def test_whoever_has_left_stays_out(later, life):
    life.joined()
    leaving_asked(life)
    assert life.work("leave").state == "done"
    with pytest.raises(Refused, match="left already"):
        lifecycle.start(person=life.analyst, instance=life.instance, procedure="leave", now=timezone.now())
    rooms = aws(life.amazon.url, PRIMARY, "cleanrooms")
    with pytest.raises(rooms.exceptions.ClientError):
        rooms.create_membership(collaborationIdentifier=life.instance.collaboration_id, queryLogStatus="DISABLED")


# --- deleting


def test_an_instance_that_amc_does_not_delete(later, life):
    life.made()
    life.begin("delete-instance")
    life.work("delete-look")
    life.answer("delete-instance", "confirm", understood="on", typed="Acme")
    life.submit("delete-instance")
    life.amazon.rule("amc:deleteInstance", kind="error", status=409)
    life.work("delete-instance")
    failure = later.failed("delete-instance", "an earlier change is still under way")
    assert failure["kind"] == "fix"
    assert life.amc("GET").status_code == 200
    life.instance.refresh_from_db()
    assert life.instance.gone_at is None
    assert later.again("delete-instance").state == "done", life.step("delete-instance").failure
    assert life.amc("GET").status_code == 404


def test_an_instance_that_amc_could_not_make_is_not_deleted(later, life):
    life.made(creation_status="FAILED")
    page = f"/instances/{life.instance.pk}/runs/"
    assert "AMC has not finished creating this instance." in text_of(browser(life.analyst).get(page))
    with pytest.raises(Refused):
        life.begin("delete-instance")
    assert not Run.objects.exists()


# --- inviting


def test_a_login_that_may_not_invite(later, life):
    ada = person(life.account, "Ada", "admin")
    life.amazon.rule("amc:*", kind="error", status=403)
    client, page = browser(ada), f"/accounts/{life.account.pk}/users/"
    client.post(page, {"name": "Vera", "email": "vera@example.com", "role": "viewer"})
    row = UserInvitation.objects.get()
    assert (row.state, row.amazon_id) == ("refused", "")
    shown = text_of(client.get(page))
    assert "Ask an administrator of the AMC account to make that login an admin there" in shown
    # Nothing was sent: the same person can be invited once it is mended.
    life.amazon.control("DELETE", "rules")
    assert client.post(f"/users/{row.pk}/resend").status_code == 302
    row.refresh_from_db()
    assert (row.state, row.problem) == ("invited", "")
