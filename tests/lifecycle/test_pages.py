"""The pages: what is offered, a run from its first page to its end, what is lost in words, and how many queries."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from onboarding.models import Instance, Request, Run
from onboarding.services import runs
from tests.pages.conftest import text_of
from tests.simulated import browser

pytestmark = pytest.mark.django_db


def start(life, client, procedure: str) -> Run:
    answer = client.post(f"/instances/{life.instance.pk}/runs/start", {"procedure": procedure})
    assert answer.status_code == 302, answer.content
    life.run = Run.objects.get(pk=answer["Location"].split("/")[2])
    return life.run


def test_leaving_by_the_pages(life):
    life.joined()
    analyst, approver = browser(life.analyst), browser(life.approver)
    tab = text_of(analyst.get(f"/instances/{life.instance.pk}/runs/"))
    assert "Leave the collaboration" in tab and "Delete the instance" in tab and "Invite users" not in tab
    run = start(life, analyst, "leave")
    here = f"/runs/{run.pk}/steps"
    assert analyst.get(f"/runs/{run.pk}/").status_code == 200
    assert analyst.get(f"{here}/leave-look/")["Location"] == f"{here}/leave-look/q/who/"
    assert analyst.post(f"{here}/leave-look/q/who/", {"who": "portal"})["Location"] == f"{here}/leave-look/review/"
    assert analyst.get(f"{here}/leave-look/review/").status_code == 200
    assert analyst.post(f"{here}/leave-look/review/", {"note": ""}).status_code == 302
    assert life.work("leave-look").state == "done"
    question = text_of(analyst.get(f"{here}/leave/q/confirm/"))
    assert "This cannot be undone" in question and "can never join this collaboration again" in question
    wrong = analyst.post(f"{here}/leave/q/confirm/", {"typed": "acme", "understood": "on"})
    assert wrong.status_code == 422 and "Type it exactly" in text_of(wrong)
    # Without the name there is no way to the review, nor past it.
    assert analyst.get(f"{here}/leave/review/")["Location"] == f"{here}/leave/q/confirm/"
    analyst.post(f"{here}/leave/review/", {"note": ""})
    assert life.step("leave").state == "ready" and not Request.objects.exists()
    analyst.post(f"{here}/leave/q/confirm/", {"typed": "Acme", "understood": "on"})
    review = text_of(analyst.get(f"{here}/leave/review/"))
    assert "DeleteMembership" in review and "can never join" in review
    # A double click asks once.
    for _ in range(2):
        analyst.post(f"{here}/leave/review/", {"note": ""})
    request = Request.objects.get()
    assert approver.get(f"/requests/{request.pk}/").status_code == 200
    mine = analyst.post(f"/requests/{request.pk}/approve", {"digest": request.digest, "comment": ""})
    assert mine.status_code == 403
    assert life.work("leave").state == "awaiting_approval"
    approver.post(f"/requests/{request.pk}/approve", {"digest": request.digest, "comment": ""})
    assert life.work("leave").state == "done", life.step("leave").failure
    assert "Left the collaboration" in text_of(analyst.get(f"/instances/{life.instance.pk}/"))
    assert "Leaving the collaboration" in text_of(analyst.get(f"/instances/{life.instance.pk}/runs/"))
    assert analyst.get(f"/runs/{run.pk}/").status_code == 200


def test_the_onboarding_keeps_its_address(life):
    run = runs.run_start(person=life.analyst, account=life.account, name="New one", now=timezone.now())
    client = browser(life.analyst)
    assert client.get(f"/runs/{run.pk}/")["Location"] == f"/instances/{run.instance_id}/"
    assert client.get(f"/instances/{run.instance_id}/steps/requirements/progress/").status_code == 200
    by_run = client.get(f"/runs/{run.pk}/steps/requirements/")
    assert by_run["Location"].startswith(f"/instances/{run.instance_id}/steps/requirements/q/")


def test_what_cannot_be_started_says_why(life):
    client = browser(life.analyst)
    life.made(creation_status="REQUESTED")
    page = f"/instances/{life.instance.pk}/runs/"
    assert "has not finished creating" in text_of(client.get(page))
    answer = client.post(f"{page}start", {"procedure": "delete-instance"}, follow=True)
    assert "has not finished creating" in text_of(answer)
    assert client.post(f"{page}start", {"procedure": "nonsense"}).status_code == 302
    assert not Run.objects.exists()
    Instance.objects.filter(pk=life.instance.pk).update(creation_status="COMPLETED")
    run = start(life, client, "delete-instance")
    assert "under way" in text_of(client.get(page))
    cancel = f"/runs/{run.pk}/cancel/"
    assert client.post(cancel, {"typed": "no"}).status_code == 422
    assert client.post(cancel, {"typed": "Acme"}).status_code == 302
    run.refresh_from_db()
    assert run.ended_at is not None
    life.instance.refresh_from_db()
    assert life.instance.status == "imported"


def test_the_pages_take_as_many_queries_for_twenty_runs_as_for_one(life):
    life.made()
    client = browser(life.analyst)
    page = f"/instances/{life.instance.pk}/runs/"

    def queries(url: str) -> int:
        with CaptureQueriesContext(connection) as seen:
            assert client.get(url).status_code == 200
        return len(seen)

    run = start(life, client, "advertisers")
    client.get(page)
    one = queries(page)
    assert queries(f"/runs/{run.pk}/") <= 12
    for _ in range(20):
        runs.run_cancel(person=life.analyst, run=life.run, now=timezone.now())
        life.begin("advertisers")
    assert queries(page) == one <= 16
