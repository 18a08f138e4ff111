"""The run page: stages, live log, what is wrong, and how often it looks again."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from onboarding.clients.failures import Fix, Later, Reconnect
from onboarding.models import RequestState, Run, Step, StepState
from tests.pages.conftest import text_of

KEY = "create-instance"


@pytest.fixture
def approved(pages):
    pages.approve(pages.until_asked())
    return pages


def progress(pages, **headers):
    return pages.client.get(pages.url(KEY, "progress/"), headers=headers)


def delay(response) -> float | None:
    found = re.search(r'id="run"[^>]*data-poll="([\d.]+)"', response.content.decode())
    return float(found[1]) if found else None


def test_it_shows_who_asked_who_approved_and_what_was_made(approved, amazon):
    amazon.status = "IN_PROGRESS"
    approved.work(KEY)
    text = text_of(progress(approved))
    for words in (
        "Asked for approval Done By Mia Analyst",
        "Approval Given By Paul Approver",
        "AMC instance “Acme US” Made",
        "Amazon says IN_PROGRESS",
        "Still to come",
    ):
        assert words in text, words
    amazon.status = "COMPLETED"
    approved.work(KEY)
    assert approved.step(KEY).state == StepState.WAITING  # not due yet
    Step.objects.update(next_attempt_at=timezone.now())
    approved.work(KEY)
    final = progress(approved)
    assert "Create the instance: completed" in text_of(final)
    assert delay(final) is None and "hx-get" not in final.content.decode().partition('id="run"')[2]


def test_the_server_slows_the_looking_down(approved, amazon):
    assert delay(progress(approved)) == 2
    amazon.status = "IN_PROGRESS"
    approved.work(KEY)
    seconds = []
    for minutes in (0, 5, 60):
        Step.objects.filter(key=KEY).update(started_at=timezone.now() - timedelta(minutes=minutes))
        seconds.append(delay(progress(approved)))
    assert seconds == [5, 15, 60]


def test_it_looks_again_while_an_approval_is_awaited_and_not_when_a_person_has_to_act(pages):
    request = pages.until_asked()
    assert delay(progress(pages)) == 5
    pages.approver_client.post(
        f"/requests/{request.pk}/send-back", {"digest": request.digest, "comment": "Not like this"}
    )
    assert delay(progress(pages)) is None


def test_the_part_is_the_part_and_the_page_the_page(approved):
    page, part = progress(approved), progress(approved, **{"HX-Request": "true"})
    assert b"<html" in page.content and b"<html" not in part.content
    assert part.content.decode().lstrip().startswith('<div id="run"')
    assert "<h1" not in part.content.decode()
    for response in (page, part):
        assert "HX-Request" in response["Vary"]


def test_a_change_is_spoken_once(approved, amazon):
    url = re.search(r'hx-get="([^"]+)"', progress(approved).content.decode())[1]
    unchanged = approved.client.get(url, headers={"HX-Request": "true"}).content.decode()
    assert 'id="live"' not in unchanged
    amazon.status = "IN_PROGRESS"
    approved.work(KEY)
    changed = approved.client.get(url, headers={"HX-Request": "true"}).content.decode()
    assert 'id="live" hx-swap-oob' in changed


def test_a_failure_says_what_why_who_and_what_to_do(approved, amazon, queued):
    amazon.before["createInstance"] = [
        Fix(
            "Amazon refused to create the instance",
            why="The name <b>is</b> not accepted.",
            who="Analyst",
            todo="Change the name and ask again.",
            code="BadRequest",
            status=400,
            request_id="r-1",
        )
    ]
    approved.work(KEY)
    page = progress(approved)
    text = text_of(page)
    for words in (
        "There is a problem",
        "Amazon refused to create the instance",
        "The name <b>is</b> not accepted.",
        "Change the name and ask again.",
        "Technical details",
        "BadRequest",
        "r-1",
        "Try again from here",
    ):
        assert words in text, words
    assert "<b>is</b>" not in page.content.decode()
    assert delay(page) is None
    # Who may not act is shown the problem, not the button.
    assert "Try again" not in text_of(approved.approver_client.get(approved.url(KEY, "progress/")))
    answer = approved.client.post(approved.url(KEY, "retry"))
    assert answer.url == approved.url(KEY, "progress/")
    assert approved.step(KEY).state == StepState.QUEUED
    twice = approved.client.post(approved.url(KEY, "retry"), follow=True)
    assert "There is nothing to try again" in text_of(twice)
    assert approved.work(KEY).state == StepState.DONE


def test_a_failed_step_can_be_answered_anew(approved, amazon):
    amazon.before["createInstance"] = [Fix("Amazon refused to create the instance", code="BadRequest")]
    approved.work(KEY)
    assert "Change the answers instead" in text_of(progress(approved))
    assert approved.client.get(approved.url(KEY, "review/")).status_code == 200
    approved.answer(KEY, "name", name="Acme CA")
    assert approved.step(KEY).state == StepState.READY


def test_trouble_that_passes_is_told_as_such(approved, amazon):
    amazon.before["createInstance"] = [Later("Amazon is busy.", retry_after=5)]
    approved.work(KEY)
    text = text_of(progress(approved))
    assert "The portal tries again by itself" in text and "Amazon is busy" in text


def test_a_broken_connection_pauses_and_says_who_acts(approved, amazon):
    amazon.before["createInstance"] = [Reconnect("The login no longer works.", connection="amc:1", who="Admin")]
    approved.work(KEY)
    text = text_of(progress(approved))
    assert "an admin has to renew the connection" in text
    assert "Waiting for a connection" in text_of(approved.client.get(f"/instances/{approved.pk}/"))


def test_cancelling_asks_for_the_name(approved):
    url = f"/instances/{approved.pk}/cancel/"
    assert "Type Acme US to confirm" in text_of(approved.client.get(url))
    nothing = approved.client.post(url, {"typed": ""})
    assert nothing.status_code == 422 and text_of(nothing).count("Type Acme US to confirm") == 2
    assert "&lt;" not in nothing.content.decode()
    wrong = approved.client.post(url, {"typed": "acme us"})
    assert wrong.status_code == 422 and "This is not the name" in text_of(wrong)
    assert Run.objects.get().ended_at is None
    done = approved.client.post(url, {"typed": "Acme US"}, follow=True)
    assert "was cancelled" in text_of(done)
    assert Run.objects.get().ended_at is not None
    assert {step.state for step in Run.objects.get().steps.all()} <= {StepState.DONE, StepState.CANCELLED}
    again = approved.client.post(url, {"typed": "Acme US"}, follow=True)
    assert "nothing to cancel" in text_of(again)


def test_cancelling_ends_the_open_request(pages):
    request = pages.until_asked()
    pages.client.post(f"/instances/{pages.pk}/cancel/", {"typed": "Acme US"})
    request.refresh_from_db()
    assert request.state == RequestState.VOID
