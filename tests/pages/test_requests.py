"""Requests: what an approver reads, decides and says, and what nobody can do."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from onboarding.guide import plan as plans
from onboarding.models import (
    AccountPolicy,
    CollaborationMember,
    Decision,
    Instance,
    Request,
    RequestState,
    Step,
    StepState,
)
from onboarding.services import requests as services
from onboarding.services import runs
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


LONG = "The account is ours of last year.\nUse the new one, 9999-8888-7777. " + "Ask Petra if it is not known. " * 20


def send_back(pages, request, comment: str = LONG) -> None:
    pages.approver_client.post(f"/requests/{request.pk}/send-back", {"digest": request.digest, "comment": comment})


def test_what_an_approver_wants_changed_stands_where_the_analyst_works(asked, pages):
    send_back(pages, asked)
    title = "Create the instance"
    short = "Needs a change, says Paul Approver: “The account is ours of last year. Use the new one, 9999-8888-7777."
    home = pages.client.get("/")
    assert f"Acme US: {title} {short}" in text_of(home) and "…”" in text_of(home)
    assert f'href="{pages.url(KEY)}">Fix<' in home.content.decode()
    row = f"Waiting for an answer {title}: needs a change, says Paul Approver"
    assert row in text_of(home) and row in text_of(pages.client.get("/instances/"))
    tasks = text_of(pages.client.get(f"/instances/{pages.pk}/"))
    assert short in tasks and "Sent back" in tasks
    assert pages.client.get(pages.url(KEY)).url == pages.url(KEY, "review/")
    for rest in ("review/", "q/aws-account/"):
        page = pages.client.get(pages.url(KEY, rest))
        assert "Paul Approver sent it back" in text_of(page), rest
        # Here it stands whole.
        assert " ".join(LONG.split()) in text_of(page), rest
        assert f'href="/requests/{asked.pk}/"' in page.content.decode(), rest


def test_nothing_is_said_of_a_change_once_it_was_asked_again(asked, pages, analyst):
    send_back(pages, asked)
    pages.answer(KEY, "aws-account", account_id="999988887777")
    assert "needs a change" in text_of(pages.client.get("/instances/"))
    second = pages.ask()
    services.withdraw(person=analyst, request=second, now=timezone.now())
    for url in ("/", "/instances/", f"/instances/{pages.pk}/", pages.url(KEY, "review/"), pages.url(KEY, "q/name/")):
        text = text_of(pages.client.get(url))
        assert "eeds a change" not in text and "sent it back" not in text and "Sent back" not in text, url


def test_after_an_expiry_the_analyst_reads_that_it_has_to_be_asked_again(asked, pages):
    services.expire_due(now=asked.expires_at)
    home = pages.client.get("/")
    assert "Expired, ask again: nobody decided in time." in text_of(home)
    assert f'href="{pages.url(KEY)}">Ask again<' in home.content.decode()
    assert "expired, ask again" in text_of(pages.client.get("/instances/"))
    assert "Expired, ask again" in text_of(pages.client.get(f"/instances/{pages.pk}/"))
    for rest in ("review/", "q/aws-account/"):
        page = pages.client.get(pages.url(KEY, rest))
        assert "The request expired" in text_of(page) and f'href="/requests/{asked.pk}/"' in page.content.decode()


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


def test_what_exists_is_shown_as_it_is_and_what_is_different_before_it_is_asked_for(pages, analyst, amazon):
    """An instance that AMC has already, of one account and one advertiser, with a partner as far as it was read."""
    row = Instance.objects.get()
    runs.run_cancel(person=analyst, run=row.runs.get(), now=timezone.now())
    Instance.objects.update(
        instance_id="amcthere", creation_status="COMPLETED", aws_account_id="111122223333", advertiser_name="Acme"
    )
    row.refresh_from_db()
    runs.run_adopt(person=analyst, instance=row, now=timezone.now())
    pages.until_ready()
    pages.describe()
    review = text_of(pages.client.get(pages.url(KEY, "review/")))
    exists = review[review.index("What will happen") : review.index("Where, and can it be undone")]
    for words in ("Exists, used", "AMC instance id amcthere", "if not none, the onboarding stops"):
        assert words in exists, exists
    asked = pages.ask()
    page = text_of(pages.approver_client.get(f"/requests/{asked.pk}/"))
    assert "AMC instance id amcthere" in page and "should it not be there any more" in page
    assert "this will not be done" not in page

    pages.answer(KEY, "aws-account", account_id="444455556666")
    pages.answer(KEY, "advertiser", name="Another")
    review = text_of(pages.client.get(pages.url(KEY, "review/")))
    assert "AWS account: 111122223333, not 444455556666; Advertiser: Acme, not Another" in review
    exists = review[review.index("What will happen") : review.index("The call, should it")]
    assert "4444-5555-6666" not in exists and "Another" not in exists
    pages.client.post(pages.url(KEY, "review/"), {"note": ""})
    assert not Request.objects.filter(state="open").exists()


def test_what_turns_out_different_after_it_was_asked_for_is_said_to_the_approver(pages, analyst, amazon):
    row = Instance.objects.get()
    runs.run_cancel(person=analyst, run=row.runs.get(), now=timezone.now())
    Instance.objects.update(instance_id="amcthere", creation_status="COMPLETED", aws_account_id="111122223333")
    row.refresh_from_db()
    runs.run_adopt(person=analyst, instance=row, now=timezone.now())
    asked = pages.until_asked()
    CollaborationMember.objects.create(
        instance=row, kind="partner", account_id="222233334444", status="INVITED", seen_at=timezone.now()
    )
    page = text_of(pages.approver_client.get(f"/requests/{asked.pk}/"))
    assert "this will not be done" in page and "Partners: 222233334444, not none" in page
    pages.approve(asked)
    assert pages.work(KEY).failure["code"] == "Objection"
    # What was read of it is answered already by the next onboarding.
    row.refresh_from_db()
    runs.run_cancel(person=analyst, run=row.runs.latest("started_at"), now=timezone.now())
    runs.run_adopt(person=analyst, instance=row, now=timezone.now())
    answers = pages.step(KEY).answers
    assert answers["parties"] == {"multi": True} and answers["partners"]["account_1"] == "222233334444"


def test_the_call_is_shown_with_the_token_that_it_is_sent_with(pages, amazon):
    asked = pages.until_asked()
    call = next(one for one in plans.load(asked.plan) if one.key == "instance")
    token = plans.token(asked.step.run_id, KEY, call, 0)
    shown = f'"idempotencyToken": "{token}"'
    for page in (
        pages.client.get(pages.url(KEY, "review/")),
        pages.approver_client.get(f"/requests/{asked.pk}/"),
    ):
        # In the plan, and in what its curl sends.
        assert text_of(page).count(shown) == 2
        assert "Idempotency token" not in text_of(page)
    assert shown in text_of(pages.client.get(f"/instances/{pages.pk}/commands/"))
    pages.approve(asked)
    pages.work(KEY)
    assert dict(amazon.sent)["createInstance"]["idempotencyToken"] == token
    # What Amazon has failed to make is asked for anew, with another one.
    Step.objects.filter(pk=asked.step_id).update(generation=1)
    assert shown not in text_of(pages.client.get(pages.url(KEY, "review/")))
