"""Adding and removing advertisers: ten a request, one request at a time, and what a rejection looks like."""

import pytest
from django.utils import timezone

from onboarding.models import InstanceAdvertiser
from onboarding.services import lifecycle, runs
from onboarding.services.errors import NotAllowed, Refused
from tests.engine.conftest import person
from tests.pages.conftest import text_of
from tests.simulated import browser

pytestmark = pytest.mark.django_db


def asked(life, dsp: str = "", sponsored: str = "", remove: list[str] | None = None, marketplace: str = ""):
    """A run as far as its approval."""
    life.begin("advertisers")
    assert life.work("advertisers-now").state == "done"
    life.answer("advertisers", "add", dsp=dsp, sponsored=sponsored, marketplace=marketplace)
    if remove is not None:
        life.answer("advertisers", "remove", remove=remove)
    return life.submit("advertisers")


def updates(life) -> list[dict]:
    return life.amazon.exchanges("amc:createAdvertiserUpdate")


def test_both_kinds_are_added_and_known(life):
    life.made()
    request = asked(life, dsp="101\n102", sponsored="ENTITYONE\nENTITYTWO A1F83G8C2ARO7P", marketplace="ATVPDKIKX0DER")
    assert request.title == "Add 4 advertisers"
    step = life.work("advertisers")
    assert step.state == "done", step.failure
    assert sorted(life.advertisers()) == ["101", "102", "ENTITYONE", "ENTITYTWO"]
    rows = InstanceAdvertiser.objects.values_list("type", "advertiser_id", "marketplace_id")
    assert set(rows) == {
        ("DISPLAY", "101", ""),
        ("DISPLAY", "102", ""),
        ("SPONSORED_ADS", "ENTITYONE", "ATVPDKIKX0DER"),
        ("SPONSORED_ADS", "ENTITYTWO", "A1F83G8C2ARO7P"),
    }
    life.instance.refresh_from_db()
    assert life.instance.status == "imported"
    page = text_of(browser(life.analyst).get(f"/instances/{life.instance.pk}/runs/"))
    assert (
        "It has 4 now." in page and "ENTITYTWO Sponsored Ads A1F83G8C2ARO7P" in page and "101 Amazon DSP None" in page
    )


def test_a_long_list_goes_ten_at_a_time(life):
    life.made()
    wanted = [str(number) for number in range(1000, 1025)]
    asked(life, dsp=", ".join(wanted))
    assert life.work("advertisers").state == "done", life.step("advertisers").failure
    assert sorted(life.advertisers()) == wanted
    sizes = [
        len(life.amc("GET", f"/advertisers/updates/{number}").json()["advertiserUpdate"]["advertisersToAdd"])
        for number in range(3)
    ]
    assert sizes == [10, 10, 5]
    assert len(updates(life)) == 3


def test_removing_goes_first_and_what_is_there_is_left_out(life):
    life.made()
    asked(life, dsp="1 2 3")
    assert life.work("advertisers").state == "done"
    request = asked(life, dsp="3 4", remove=["DISPLAY/1/"])
    assert request.title == "Add 1 and remove 1 advertisers"
    assert life.work("advertisers").state == "done"
    assert sorted(life.advertisers()) == ["2", "3", "4"]


def test_the_same_change_a_second_time_is_another_change(life):
    life.made()
    for _ in range(2):
        asked(life, dsp="77")
        assert life.work("advertisers").state == "done"
        assert life.advertisers() == ["77"]
        asked(life, remove=["DISPLAY/77/"])
        assert life.work("advertisers").state == "done"
        assert life.advertisers() == []
    assert len(updates(life)) == 4


def test_another_change_under_way_is_waited_for(life):
    life.made()
    life.amazon.control("POST", "pace", advertiser_updating=3600)
    assert (
        life.amc("POST", "/advertisers/updates", advertisersToAdd=[{"id": "5", "type": "DISPLAY"}]).status_code == 200
    )
    life.amazon.control("POST", "pace", preset="fast")
    asked(life, dsp="6")
    step = life.work("advertisers", tries=3)
    assert (step.state, step.waiting_for, step.waiting_text) == ("waiting", "amazon", "Amazon says PENDING")
    assert len(updates(life)) == 1
    life.amazon.control("POST", "clock", advance=3601)
    assert life.work("advertisers").state == "done", life.step("advertisers").failure
    assert sorted(life.advertisers()) == ["5", "6"]


def test_a_rejection_says_why_and_what_opens_the_way(life):
    life.made()
    asked(life, dsp="1 2 3 4 5 6 7 8 9 10 9991")
    step = life.work("advertisers")
    assert step.state == "failed"
    assert step.failure["what"] == "Amazon rejected the change of advertisers."
    assert "no access to one of the advertisers" in step.failure["why"]
    assert "90 days" in step.failure["todo"] and "3 days" in step.failure["todo"]
    # The first ten are in; only the request that was rejected is made again.
    assert len(life.advertisers()) == 10
    runs.try_again(person=life.analyst, step=step, now=timezone.now())
    assert life.work("advertisers").state == "failed"
    assert len(updates(life)) == 3
    # Without the foreign one there is nothing left to ask for.
    life.answer("advertisers", "add", dsp="1 2 3 4 5 6 7 8 9 10 11")
    life.answer("advertisers", "remove", remove=[])
    request = life.submit("advertisers")
    assert request.title == "Add 1 advertiser"
    assert life.work("advertisers").state == "done", life.step("advertisers").failure
    assert len(life.advertisers()) == 11


def test_a_rejection_without_a_reason_is_explained_all_the_same(life):
    life.made()
    life.amazon.rule("amc:createAdvertiserUpdate", kind="fail", reason="")
    asked(life, dsp="1")
    step = life.work("advertisers")
    assert step.failure["why"] == "Amazon reports status REJECTED."


@pytest.mark.parametrize("kind", ["cut_after", "cut_before", "error", "throttle"])
def test_trouble_at_a_request_makes_one_change(life, kind):
    life.made()
    values = {"status": 500} if kind == "error" else {"retry_after": 0} if kind == "throttle" else {}
    life.amazon.rule("amc:createAdvertiserUpdate", kind=kind, **values)
    asked(life, dsp="1 2 3")
    assert life.work("advertisers").state == "done", life.step("advertisers").failure
    assert sorted(life.advertisers()) == ["1", "2", "3"]
    assert len(life.amc("GET", "/advertisers/updates").json()["advertiserUpdates"]) == 1


def test_what_the_questions_refuse(life):
    life.made()
    life.begin("advertisers")
    life.work("advertisers-now")
    for values, field in (
        ({"dsp": ""}, "dsp"),
        ({"dsp": "12a"}, "dsp"),
        ({"sponsored": "1234"}, "sponsored"),
        ({"sponsored": "ENTITY1 not-a-marketplace"}, "sponsored"),
        ({"sponsored": "ENTITY1", "marketplace": ""}, "marketplace"),
        ({"dsp": " ".join(str(number) for number in range(2001))}, "__all__"),
    ):
        assert field in life.form("advertisers", "add", **values).errors, values
    assert life.form("advertisers", "add", dsp=" ".join(str(number) for number in range(2000))).is_valid()


def test_who_may_start_and_when(life):
    instance = life.made()
    with pytest.raises(NotAllowed):
        lifecycle.start(person=life.approver, instance=instance, procedure="advertisers", now=timezone.now())
    life.begin("advertisers")
    with pytest.raises(Refused, match="under way"):
        life.begin("advertisers")
    outsider = person(life.account, "Olga")
    with pytest.raises(NotAllowed):
        lifecycle.start(person=outsider, instance=instance, procedure="leave", now=timezone.now())
