"""Requests: what an approver reads, decides and says, and what nobody can do."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from onboarding.models import AccountPolicy, Decision, Request, RequestState, StepState
from tests.engine.conftest import person
from tests.pages.conftest import text_of

KEY = "create-instance"


@pytest.fixture
def asked(pages):
    return pages.until_asked(note="For the autumn campaign")


def test_the_page_shows_what_will_be_made_and_binds_to_it(asked, pages):
    page = pages.approver_client.get(f"/requests/{asked.pk}/")
    text = text_of(page)
    for words in (
        "Mia Analyst asked",
        "For the autumn campaign",
        "Will be made AMC instance “Acme US”",
        "AWS account 1111-2222-3333",
        "Backed by AWS Clean Rooms Yes",
        "us-east-1",
        "can be deleted later, with all that is in it",
        "0 of 1 approval given",
        "Approve: Create instance “Acme US”",
    ):
        assert words in text, words
    assert page.content.decode().count(f'name="digest" value="{asked.digest}"') == 2


def test_approving_puts_the_step_on_the_queue_once(asked, pages, queued):
    assert pages.approve(asked).url == f"/requests/{asked.pk}/"
    again = pages.approve(asked)
    assert "This request is approved." in text_of(pages.approver_client.get(again.url))
    assert Decision.objects.count() == 1
    assert pages.step(KEY).state == StepState.QUEUED
    assert queued.count(pages.step(KEY).pk) <= 1


def test_another_digest_is_refused(asked, pages):
    answer = pages.approver_client.post(f"/requests/{asked.pk}/approve", {"digest": "0" * 64})
    assert "changed after you read it" in text_of(pages.approver_client.get(answer.url))
    assert not Decision.objects.exists()


def test_an_approver_who_read_before_the_answers_changed_is_told(asked, pages):
    pages.answer(KEY, "name", name="Acme CA")
    answer = pages.approve(asked)
    assert "no longer valid" in text_of(pages.approver_client.get(answer.url))
    assert not Decision.objects.exists()


def test_nobody_approves_their_own(pages, account, analyst, as_):
    from onboarding.models import Role

    Role.objects.create(person=analyst, account=account, name="approver")
    request = pages.until_asked()
    page = text_of(pages.client.get(f"/requests/{request.pk}/"))
    assert "Nobody approves a request of their own." in page and "Approve:" not in page
    answer = pages.client.post(f"/requests/{request.pk}/approve", {"digest": request.digest})
    assert "Nobody approves a request of their own." in text_of(pages.client.get(answer.url))
    assert not Decision.objects.exists()


def test_sending_back_needs_a_reason_and_tells_the_analyst(asked, pages):
    url = f"/requests/{asked.pk}/send-back"
    refused = pages.approver_client.post(url, {"digest": asked.digest, "comment": "  "})
    assert refused.status_code == 422
    assert "Say what has to change" in text_of(refused) and 'href="#send-back-comment"' in refused.content.decode()
    pages.approver_client.post(url, {"digest": asked.digest, "comment": "Use the other AWS account"})
    asked.refresh_from_db()
    assert asked.state == RequestState.SENT_BACK
    assert "Sent back" in text_of(pages.client.get(f"/instances/{pages.pk}/"))
    progress = text_of(pages.client.get(pages.url(KEY, "progress/")))
    assert "sent it back" in progress and "Use the other AWS account" in progress
    assert "Use the other AWS account" in text_of(pages.client.get(f"/requests/{asked.pk}/"))


def test_the_next_version_shows_what_changed(asked, pages):
    pages.approver_client.post(
        f"/requests/{asked.pk}/send-back", {"digest": asked.digest, "comment": "Another account"}
    )
    pages.answer(KEY, "aws-account", account_id="999988887777")
    pages.answer(KEY, "advertiser", name="")
    second = pages.ask()
    text = text_of(pages.approver_client.get(f"/requests/{second.pk}/"))
    assert "What changed since the last version" in text
    assert "AWS account 111122223333 999988887777" in text
    assert "Advertiser Acme Removed" in text


def test_two_must_sign(pages, account, as_):
    AccountPolicy.objects.create(account=account, approvers_needed=2)
    request = pages.until_asked()
    second = person(account, "Petra Second", "approver")
    pages.approve(request)
    request.refresh_from_db()
    assert request.state == RequestState.OPEN
    text = text_of(as_(second).get(f"/requests/{request.pk}/"))
    assert "1 of 2 approvals given. 1 still needed" in text and "Petra Second can approve" in text
    assert "You have decided this already" in text_of(pages.approver_client.get(f"/requests/{request.pk}/"))
    as_(second).post(f"/requests/{request.pk}/approve", {"digest": request.digest})
    assert pages.step(KEY).state == StepState.QUEUED


def test_the_review_says_when_nobody_can_approve(account, analyst, amazon, queued, as_):
    from onboarding.services import runs
    from tests.pages.conftest import Pages

    run = runs.run_start(person=analyst, account=account, name="Acme US", now=timezone.now())
    lonely = Pages(as_(analyst), as_(analyst), run.instance_id)
    lonely.until_ready()
    lonely.describe()
    assert "Nobody can approve this yet" in text_of(lonely.client.get(lonely.url(KEY, "review/")))
    request = lonely.ask()
    assert "Too few approvers" in text_of(lonely.client.get(f"/requests/{request.pk}/"))


def test_without_an_approval_the_button_starts_at_once(pages, account):
    AccountPolicy.objects.create(account=account, steps_without_approval=[KEY])
    pages.until_ready()
    pages.describe()
    review = text_of(pages.client.get(pages.url(KEY, "review/")))
    assert "Ask for approval" not in review and "this step needs no approval" in review
    pages.client.post(pages.url(KEY, "review/"), {"note": ""})
    assert pages.step(KEY).state == StepState.QUEUED
    assert not Request.objects.exists()


def test_withdrawing(asked, pages, admin, as_):
    answer = pages.client.post(f"/requests/{asked.pk}/withdraw")
    assert answer.url == pages.url(KEY)
    assert "was withdrawn" in text_of(pages.client.get(answer.url, follow=True))
    second = pages.client.post(f"/requests/{asked.pk}/withdraw")
    assert "This request is withdrawn." in text_of(pages.client.get(second.url))
    again = pages.ask()
    as_(admin).post(f"/requests/{again.pk}/withdraw")
    again.refresh_from_db()
    assert again.state == RequestState.WITHDRAWN


def test_comments_decide_nothing(asked, pages):
    assert pages.client.post(f"/requests/{asked.pk}/comment", {"text": " "}).status_code == 422
    answer = pages.client.post(f"/requests/{asked.pk}/comment", {"text": "It is urgent"})
    assert answer.url == f"/requests/{asked.pk}/#history"
    assert "It is urgent" in text_of(pages.approver_client.get(f"/requests/{asked.pk}/"))
    asked.refresh_from_db()
    assert asked.state == RequestState.OPEN


def test_the_inbox_has_three_lists_and_marks_what_waits_long(asked, pages):
    Request.objects.update(asked_at=timezone.now() - timedelta(days=3))
    inbox = text_of(pages.approver_client.get("/requests/"))
    assert "Create instance “Acme US”" in inbox and "Waits long" in inbox and "3 days ago" in inbox
    assert "Nothing waits for your approval" in text_of(pages.client.get("/requests/?show=waiting"))
    assert "Create instance “Acme US”" in text_of(pages.client.get("/requests/"))
    pages.approve(asked)
    assert "Nothing waits for your approval" in text_of(pages.approver_client.get("/requests/"))
    assert "Approved" in text_of(pages.approver_client.get("/requests/?show=all"))


def test_an_expired_request_is_not_approved(asked, pages):
    Request.objects.update(expires_at=timezone.now() - timedelta(minutes=1))
    answer = pages.approve(asked)
    assert "has expired" in text_of(pages.approver_client.get(answer.url))
    assert not Decision.objects.exists()
