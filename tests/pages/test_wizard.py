"""The questions: every rule of guide 4 at its field, what was typed stays, and everything is kept page by page."""

from __future__ import annotations

import re

import pytest
from django.utils.html import escape

from onboarding.models import AwsConnection, Instance, RequestState, StepState
from tests.pages.conftest import text_of

KEY = "create-instance"


@pytest.fixture
def ready(pages):
    pages.until_ready()
    return pages


@pytest.mark.parametrize(
    ("slug", "field", "typed", "words"),
    [
        ("name", "name", "", "This field is required"),
        ("name", "name", "ab", "at least 3 characters"),
        ("name", "name", "a" * 51, "50 characters at most"),
        ("name", "name", "Acme – US", "English letters, digits, spaces and underscores only"),
        ("name", "name", "Acme/US", "English letters, digits, spaces and underscores only"),
        ("name", "name", "Ácme", "English letters, digits, spaces and underscores only"),
        ("advertiser", "name", " Acme", "begin or end with a space"),
        ("advertiser", "name", "Acme ", "begin or end with a space"),
        ("advertiser", "name", "Acme & Sons", "English letters, digits and spaces only"),
        ("advertiser", "name", "AB", "at least 3 characters"),
        ("advertiser", "name", "a" * 51, "50 characters at most"),
        ("advertiser", "name", "Acme_Sons", "English letters, digits and spaces only"),
        ("aws-account", "account_id", "", "This field is required"),
        ("aws-account", "account_id", "12345678901", "exactly 12 digits"),
        ("aws-account", "account_id", "1234567890123", "exactly 12 digits"),
        ("aws-account", "account_id", "12345678901a", "exactly 12 digits"),
        ("aws-account", "account_id", "１２３４５６７８９０１２", "exactly 12 digits"),
        ("parties", "multi", "", "This field is required"),
        ("parties", "multi", "maybe", "not one of the available choices"),
    ],
)
def test_a_wrong_answer_is_said_at_the_field_and_stays(ready, slug, field, typed, words):
    answer = ready.answer(KEY, slug, **{field: typed})
    assert answer.status_code == 422
    body = answer.content.decode()
    assert words in text_of(answer)
    assert "error-summary" in body and f'href="#id_{field}' in body
    assert "Error:" in body.partition("</title>")[0]
    if slug != "parties" and typed:
        assert f'value="{escape(typed)}"' in body
    assert slug not in ready.step(KEY).answers


@pytest.mark.parametrize(
    ("slug", "values", "kept"),
    [
        ("name", {"name": "my_collaboration_instance"}, {"name": "my_collaboration_instance"}),
        ("name", {"name": "  Acme US  "}, {"name": "Acme US"}),
        ("name", {"name": "abc"}, {"name": "abc"}),
        ("name", {"name": "a" * 50}, {"name": "a" * 50}),
        ("advertiser", {"name": ""}, {"name": ""}),
        ("advertiser", {"name": "Advertiser A"}, {"name": "Advertiser A"}),
        ("advertiser", {"name": "abc"}, {"name": "abc"}),
        ("advertiser", {"name": "a" * 50}, {"name": "a" * 50}),
        ("aws-account", {"account_id": "1234-5678-9012"}, {"account_id": "123456789012"}),
        ("aws-account", {"account_id": " 1234 5678 9012 "}, {"account_id": "123456789012"}),
        ("parties", {"multi": "no"}, {"multi": False}),
        ("parties", {"multi": "yes"}, {"multi": True}),
    ],
)
def test_a_right_answer_is_kept_on_the_server(ready, slug, values, kept):
    assert ready.answer(KEY, slug, **values).status_code == 302
    assert ready.step(KEY).answers[slug] == kept


def test_what_amc_has_already_is_as_it_is(ready):
    """Its own names pass, whatever was allowed when it was made; any other has to be as the specification wants it."""
    said = "Acme & Sons – the whole house, " * 3
    Instance.objects.update(instance_id="amcthere", name="Acme–US", advertiser_name=said)
    assert ready.answer(KEY, "name", name="Acme–US").status_code == 302
    assert ready.answer(KEY, "advertiser", name=said).status_code == 302
    assert ready.answer(KEY, "advertiser", name="Acme & Sons").status_code == 422
    assert ready.answer(KEY, "name", name="Acme–EU").status_code == 422


def test_a_partners_name_is_one_line(ready):
    ready.answer(KEY, "aws-account", account_id="111122223333")
    ready.answer(KEY, "parties", multi="yes")
    one = {"account_1": "222233334444", "name_1": "Source\nData"}
    refused = ready.answer(KEY, "partners", **one)
    assert refused.status_code == 422 and "has to be one line" in text_of(refused)
    assert ready.answer(KEY, "partners", **one | {"name_1": "Müller & Söhne 🙂"}).status_code == 302


def test_the_one_connected_aws_account_is_proposed(ready):
    account = ready.step(KEY).run.instance.account

    def proposed():
        page = ready.client.get(ready.url(KEY, "q/aws-account/")).content.decode()
        return re.findall(r'value="(\d{12})"', page)

    assert proposed() == []
    AwsConnection.objects.create(account=account, aws_account_id="111122223333", state="working")
    assert proposed() == ["111122223333"]
    second = AwsConnection.objects.create(account=account, aws_account_id="444455556666", state="new")
    assert proposed() == ["111122223333"]
    AwsConnection.objects.filter(pk=second.pk).update(state="working")
    assert proposed() == []


def test_each_page_of_the_requirements_asks_its_own(pages):
    def boxes(slug):
        page = pages.client.get(pages.url("requirements", f"q/{slug}/")).content.decode()
        return re.findall(r'type="checkbox" name="(\w+)"', page)

    assert boxes("eligibility") == ["agreement", "campaigns", "advertisers", "sql", "data"]
    assert boxes("aws") == ["legal", "aws_account", "aws_services", "two_buckets"]


PARTNER = {"account_1": "222233334444", "name_1": "Source Data 1"}


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"account_1": ""}, "account_1", "This field is required"),
        ({"name_1": ""}, "name_1", "This field is required"),
        ({"account_1": "22223333"}, "account_1", "exactly 12 digits"),
        ({"account_1": "111122223333"}, "account_1", "This is the account that joins"),
        ({"account_2": "222233334444", "name_2": "Source Data 2"}, "account_2", "Both partners have the same account"),
        ({"account_2": "333344445555"}, "name_2", "Give the second partner a display name"),
        ({"name_2": "Source Data 2"}, "account_2", "AWS account id, or clear its name"),
        ({"account_2": "333344445555", "name_2": "source data 1"}, "name_2", "same display name"),
    ],
)
def test_partners(ready, change, field, words):
    ready.answer(KEY, "aws-account", account_id="111122223333")
    ready.answer(KEY, "parties", multi="yes")
    answer = ready.answer(KEY, "partners", **{**PARTNER, **change})
    assert answer.status_code == 422
    assert words in text_of(answer)
    assert f'href="#id_{field}"' in answer.content.decode()


def test_partners_are_asked_only_when_there_are_some_and_go_when_there_are_none(ready):
    ready.describe()
    assert ready.client.get(ready.url(KEY)).url.endswith("/review/")
    assert ready.answer(KEY, "parties", multi="yes").url.endswith("/q/partners/")
    assert ready.answer(KEY, "partners", **PARTNER).url.endswith("/review/")
    review = text_of(ready.client.get(ready.url(KEY, "review/")))
    assert "2222-3333-4444" in review and "Source Data 1" in review
    ready.answer(KEY, "parties", multi="no")
    assert "partners" not in ready.step(KEY).answers
    assert "Source Data 1" not in text_of(ready.client.get(ready.url(KEY, "review/")))


def test_a_name_that_is_taken_on_this_account_is_refused_on_another_it_is_not(ready, account, other_account):
    from django.utils import timezone

    Instance.objects.create(account=account, name="Taken", instance_id="amc1", status_since=timezone.now())
    Instance.objects.create(account=other_account, name="Elsewhere", instance_id="amc2", status_since=timezone.now())
    assert "already has an instance called" in text_of(ready.answer(KEY, "name", name="taken"))
    assert ready.answer(KEY, "name", name="Elsewhere").status_code == 302


def test_a_blocking_point_is_needed_an_advisory_one_is_not(pages):
    answer = pages.answer("requirements", "eligibility", agreement="on", campaigns="on")
    assert answer.status_code == 422
    assert 'href="#id_advertisers"' in answer.content.decode()
    assert 'href="#id_sql"' not in answer.content.decode()
    assert (
        pages.answer("requirements", "eligibility", agreement="on", campaigns="on", advertisers="on").status_code == 302
    )
    assert pages.step("requirements").answers["eligibility"]["sql"] is False


def test_save_and_come_back_later_keeps_what_is_there(pages):
    answer = pages.answer("requirements", "eligibility", agreement="on", later="1")
    assert answer.url == f"/instances/{pages.pk}/"
    assert "still needs your answer" in text_of(pages.client.get(answer.url))
    again = pages.client.get(pages.url("requirements"))
    assert again.url.endswith("/q/eligibility/")
    page = pages.client.get(again.url).content.decode()
    box = page[page.index('name="agreement"') :]
    assert "checked" in box[: box.index(">")]
    pages.answer("requirements", "eligibility", agreement="on", campaigns="on", advertisers="on", later="1")
    assert "goes on where you left it" in text_of(pages.client.get(f"/instances/{pages.pk}/"))


def test_an_unusable_answer_is_not_kept_even_for_later(ready):
    answer = ready.answer(KEY, "name", name="a/b", later="1")
    assert answer.status_code == 422
    assert "name" not in ready.step(KEY).answers


def test_change_from_the_review_returns_to_the_review(ready):
    ready.describe()
    review = ready.client.get(ready.url(KEY, "review/")).content.decode()
    change = ready.url(KEY, "q/name/") + "?from=review"
    assert change in review
    page = ready.client.get(change).content.decode()
    assert 'name="from" value="review"' in page
    answer = ready.client.post(change, {"name": "Acme CA", "from": "review"})
    assert answer.url == ready.url(KEY, "review/")
    assert "Acme CA" in text_of(ready.client.get(answer.url))


def test_a_change_that_opens_a_question_goes_there_first(ready):
    ready.describe()
    answer = ready.client.post(ready.url(KEY, "q/parties/") + "?from=review", {"multi": "yes", "from": "review"})
    assert answer.url == ready.url(KEY, "q/partners/")


def test_the_review_with_open_questions_leads_to_the_first(ready):
    assert ready.client.get(ready.url(KEY, "review/")).url == ready.url(KEY, "q/name/")
    answer = ready.client.post(ready.url(KEY, "review/"), {"note": ""})
    assert answer.url == ready.url(KEY)
    assert "has no answer yet" in text_of(ready.client.get(answer.url, follow=True))
    assert ready.step(KEY).state == StepState.READY


def test_changing_an_answer_voids_the_open_request(ready):
    ready.describe()
    request = ready.ask()
    page = text_of(ready.client.get(ready.url(KEY, "q/name/")))
    assert "An approver is asked already" in page
    ready.answer(KEY, "name", name="Acme CA")
    request.refresh_from_db()
    assert request.state == RequestState.VOID
    assert ready.step(KEY).state == StepState.READY
    assert "no longer valid" in text_of(ready.client.get(f"/instances/{ready.pk}/"))


def test_a_step_under_way_is_not_changed_any_more(ready):
    ready.describe()
    ready.approve(ready.ask())
    before = ready.step(KEY).answers
    answer = ready.answer(KEY, "name", name="Too late")
    assert answer.url == ready.url(KEY, "progress/")
    assert ready.step(KEY).answers == before
    assert ready.client.get(ready.url(KEY, "review/")).url == ready.url(KEY, "progress/")


def test_submitting_twice_makes_one_request(ready):
    ready.describe()
    ready.ask()
    second = ready.client.post(ready.url(KEY, "review/"), {"note": ""})
    assert second.status_code == 302
    assert "submitted already" in text_of(ready.client.get(second.url, follow=True))
    assert ready.step(KEY).requests.count() == 1


def test_a_blocked_step_says_what_comes_first(pages):
    answer = pages.client.get(pages.url(KEY), follow=True)
    assert "Cannot start yet" in text_of(answer) and "Check access to AMC" in text_of(answer)
    early = pages.answer(KEY, "name", name="Early")
    assert "was not kept: “Create the instance” cannot start yet" in text_of(pages.client.get(early.url))
    assert pages.step(KEY).answers == {}


def test_an_answer_that_comes_too_late_is_not_dropped_without_a_word(ready):
    """Two tabs: in one the requirements were confirmed, in the other a question is still open."""
    late = ready.answer("requirements", "eligibility", agreement="on", campaigns="on", advertisers="on", sql="on")
    assert late.url == ready.url("requirements", "progress/")
    said = text_of(ready.client.get(late.url))
    assert "Your answer was not kept: “Check the requirements” is completed." in said
    assert ready.step("requirements").answers["eligibility"]["sql"] is False
    # Whoever only looks is not told off.
    assert "not kept" not in text_of(ready.client.get(ready.url("requirements", "q/eligibility/"), follow=True))


def test_the_review_of_the_requirements_says_until_when_they_can_be_changed(pages):
    pages.answer("requirements", "eligibility", agreement="on", campaigns="on", advertisers="on")
    pages.answer("requirements", "aws", aws_account="on", aws_services="on", two_buckets="on")
    review = text_of(pages.client.get(pages.url("requirements", "review/")))
    assert "Can be changed until you confirm." in review


def test_the_question_says_where_one_is_and_why(ready):
    text = text_of(ready.client.get(ready.url(KEY, "q/aws-account/")))
    for words in ("Step 3 of 4", "Which AWS account will join the collaboration?", "Why we ask", "us-east-1"):
        assert words in text


def test_the_name_on_the_start_page_follows_the_same_rule(as_, analyst, account):
    client = as_(analyst)
    for name in ("", "ab", "Acme – US", "a" * 51):
        answer = client.post("/instances/new/", {"account": account.pk, "name": name})
        assert answer.status_code == 422, name
        assert 'href="#id_name"' in answer.content.decode()
    assert not Instance.objects.exists()


def test_every_question_has_its_heading(ready):
    ready.answer(KEY, "parties", multi="yes")
    for key, slugs in (("requirements", ()), (KEY, ("name", "advertiser", "aws-account", "parties", "partners"))):
        for slug in slugs:
            page = ready.client.get(ready.url(key, f"q/{slug}/")).content.decode()
            heading = page.partition("<h1")[2].partition("</h1>")[0]
            assert "?" in heading, slug
            assert "? ·" in page.partition("<title>")[2].partition("</title>")[0]
