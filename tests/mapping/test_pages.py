"""The pages of mapping tables: what they show, in how many queries, as a picture and as a table, and by forms alone."""

import json
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from onboarding.models import Difference, Instance, MappingJob, MappingTable, Membership, Request, Run, Step
from tests.pages.conftest import text_of
from tests.simulated import browser, somebody

pytestmark = pytest.mark.django_db
METRICS = {
    "inputRecords": 1000,
    "totalRecordsProcessed": 990,
    "recordsNotProcessed": 10,
    "totalMappedSourceRecords": 600,
    "totalMappedTargetRecords": 590,
}


@pytest.fixture
def instance(connected) -> Instance:
    return Instance.objects.create(
        account=connected,
        instance_id="amcmapped",
        name="Mapped",
        kind="COLLABORATION",
        creation_status="COMPLETED",
        collaboration_id="c",
        collaboration_status="ACTIVE",
        aws_account_id="111122223333",
        status_since=timezone.now(),
    )


def table_of(instance: Instance, name: str = "customers", jobs: int = 1, **fields) -> MappingTable:
    now = timezone.now()
    table = MappingTable.objects.create(
        instance=instance, table_id=name, name=name, queryable=True, created_at=now, seen_at=now, **fields
    )
    for number in range(jobs):
        at = now - timedelta(days=20 * number)
        MappingJob.objects.create(
            table=table,
            kind="refresh" if number < jobs - 1 else "create",
            job_id=f"{name}-{number}",
            status="SUCCEEDED",
            asked_at=at,
            started_at=at,
            ended_at=at + timedelta(minutes=30),
            metrics={**METRICS, "totalMappedSourceRecords": 600 - 10 * number},
            forecast={"rows": 1000, "matchable": 900, "customers": 980},
            seen_at=at,
        )
    return table


@pytest.fixture
def analyst(connected):
    return browser(somebody("Mia", connected, "analyst"))


def test_numbers_history_and_dates(analyst, instance):
    table = table_of(instance, jobs=3, refreshed_at=timezone.now() - timedelta(days=5))
    here = f"/instances/{instance.pk}/mapping-tables/{table.pk}/"
    page = analyst.get(here)
    text = text_of(page)
    assert "61.2% of 980 customers matched; at most 90.0% could" in text
    assert "in 9 days" in text and "one refresh in 14 days" in text
    html = page.content.decode()
    # The picture and the table hold the same.
    assert html.count('class="rates-point"') == 3
    for share in ("61.2%", "60.2%", "59.2%"):
        assert html.count(share) >= 2
    assert analyst.get(here, headers={"HX-Request": "true"}).content.decode().lstrip().startswith("<div id=")
    tab = text_of(analyst.get(f"/instances/{instance.pk}/mapping-tables/"))
    assert "customers" in tab and "61.2%" in tab and "1 of 5 are used" in tab
    assert "DELETE /amc/advertiserData" in tab


def test_few_matches_say_what_to_do(analyst, instance):
    table = table_of(instance)
    MappingJob.objects.update(metrics={**METRICS, "totalMappedSourceRecords": 100})
    text = text_of(analyst.get(f"/instances/{instance.pk}/mapping-tables/{table.pk}/"))
    assert "That is few" in text and "check report" in text


def test_a_second_table_is_warned_of_and_a_sixth_not_offered(analyst, instance):
    table_of(instance)
    here = f"/instances/{instance.pk}/mapping-tables/"
    assert "more than one mapping table" not in text_of(analyst.get(here))
    for number in range(4):
        table_of(instance, f"more{number}")
    text = text_of(analyst.get(here))
    assert "There is more than one mapping table" in text and "the most that AMC allows" in text
    answer = analyst.post(f"{here}new")
    assert answer.status_code == 302 and not Run.objects.exists()


def test_a_job_under_way_is_followed(analyst, instance):
    table = table_of(instance)
    MappingJob.objects.update(status="RUNNING", ended_at=None)
    here = f"/instances/{instance.pk}/mapping-tables/{table.pk}/"
    page = analyst.get(here).content.decode()
    assert "hx-get" in page and "Being filled" in page and "A job of this table is under way" in page
    MappingJob.objects.update(status="SUCCEEDED", ended_at=timezone.now())
    page = analyst.get(f"{here}?seen=Being filled.1", headers={"HX-Request": "true"}).content.decode()
    assert "hx-trigger" not in page and "Ready" in page
    MappingJob.objects.update(status="FAILED", error_details="AccessDenied on s3://x")
    text = text_of(analyst.get(here))
    assert "Amazon says: AccessDenied on s3://x" in text
    assert "may not read" in text and "Who can fix it: AWS administrator" in text


def test_by_forms_alone(analyst, connected, instance):
    table = table_of(instance)
    here = f"/instances/{instance.pk}/mapping-tables/{table.pk}/"
    assert analyst.post(f"{here}policy", {"policy": "weekly"})["Location"] == here
    analyst.post(f"{here}policy", {"policy": "when_changed"})
    table.refresh_from_db()
    assert (table.policy, str(table.policy_by)) == ("when_changed", "Mia")
    assert "Set by Mia" in text_of(analyst.get(here))
    assert analyst.post(f"{here}start", {"procedure": "onboard"})["Location"] == here
    assert analyst.post(f"{here}start", {"procedure": "refresh"})["Location"].endswith("/steps/refresh/")
    run = Run.objects.get(subject=str(table.pk))
    assert "Refresh of a mapping table is under way" in text_of(analyst.get(here))
    review = text_of(analyst.get(f"/runs/{run.pk}/steps/refresh/review/"))
    assert "refreshCollaborationIdMappingTable" in review
    approver = browser(somebody("Paul", connected, "approver"))
    for form in ("start", "policy", "look"):
        assert approver.post(f"{here}{form}", {"procedure": "refresh"}).status_code == 403
    page = approver.get(here).content.decode()
    assert "Refresh of a mapping table is under way" in page and 'name="procedure"' not in page


@pytest.mark.parametrize(
    ("procedure", "step", "wrong"),
    [
        ("refresh", "refresh", [("anyway", "", "Tick this, or come back when the data changed")]),
        (
            "delete-mapping-table",
            "delete-mapping-table",
            [
                ("typed", "Customers", "This is not the name. Type it exactly: customers"),
                ("typed", "", "is required"),
                ("understood", "", "Read what is lost, then tick this"),
            ],
        ),
    ],
)
def test_wrong_answers_are_said_at_the_field_and_nothing_is_asked(analyst, instance, procedure, step, wrong):
    table = table_of(instance, input_digest="same")
    MappingJob.objects.update(input_digest="same")
    here = f"/instances/{instance.pk}/mapping-tables/{table.pk}/"
    assert analyst.post(f"{here}start", {"procedure": procedure}).status_code == 302
    run = Run.objects.get(subject=str(table.pk))
    asked = analyst.get(f"/runs/{run.pk}/steps/{step}/", follow=True).request["PATH_INFO"]
    right = {"anyway": "on"} if procedure == "refresh" else {"understood": "on", "typed": "customers"}
    for name, value, words in wrong:
        sent = {**right, name: value}
        if not value and name != "typed":
            del sent[name]
        answer = analyst.post(asked, sent)
        body = answer.content.decode()
        assert answer.status_code == 422 and words in text_of(answer), text_of(answer)
        assert f'href="#id_{name}"' in body and 'aria-invalid="true"' in body
        if name == "typed" and value:
            # What was typed stays to be mended, and what was ticked stays ticked.
            assert re.search(rf'<input[^>]*name="typed"[^>]*value="{value}"|value="{value}"[^>]*name="typed"', body)
            assert re.search(r'<input[^>]*name="understood"[^>]*checked', body)
        assert not run.steps.get(key=step).answers and not Request.objects.exists()
    assert analyst.post(asked, right).status_code == 302
    assert run.steps.get(key=step).answers


def test_a_schedule_that_is_none_is_said_and_the_one_that_was_set_stays(analyst, instance):
    table = table_of(instance, policy="when_changed")
    here = f"/instances/{instance.pk}/mapping-tables/{table.pk}/"
    for sent in ({"policy": "weekly"}, {}):
        assert "There is no such rule" in text_of(analyst.post(f"{here}policy", sent, follow=True))
        table.refresh_from_db()
        assert table.policy == "when_changed"


def test_queries_do_not_grow(analyst, instance):
    first = table_of(instance, jobs=2)
    pages = (
        f"/instances/{instance.pk}/mapping-tables/",
        f"/instances/{instance.pk}/mapping-tables/{first.pk}/",
        f"/instances/{instance.pk}/ready/",
    )

    def counted() -> list[int]:
        counts = []
        for page in pages:
            with CaptureQueriesContext(connection) as queries:
                assert analyst.get(page).status_code == 200
            counts.append(len(queries))
        return counts

    before = counted()
    for number in range(3):
        table_of(instance, f"more{number}", jobs=4)
    assert counted() == before
    assert max(before) <= 20


def test_the_page_to_keep(analyst, instance):
    here = f"/instances/{instance.pk}/ready"
    assert "Not ready yet" in text_of(analyst.get(f"{here}/"))
    table_of(instance)
    now = timezone.now()
    Membership.objects.create(
        instance=instance,
        aws_account_id="111122223333",
        membership_id="m",
        status="ACTIVE",
        receives_results=True,
        results_bucket="acme-results",
        results_prefix="amc",
        results_format="CSV",
        seen_at=now,
    )
    run = Run.objects.create(
        procedure="onboard",
        account=instance.account,
        instance=instance,
        owner=instance.account.roles.first().person,
        started_at=now,
    )
    plan = [{"key": "one", "title": "AMC says so"}, {"key": "two", "title": "AWS says so"}]
    step = Step.objects.create(run=run, key="ready", position=0, since=now, state="failed", plan=plan)
    step.failure = {"what": "AWS does not say so."}
    step.save()
    step.calls.create(key="one", outcome="read", started_at=now, finished_at=now)
    text = text_of(analyst.get(f"{here}/"))
    assert "Not ready yet" in text and "AWS does not say so." in text
    step.calls.create(key="two", outcome="read", started_at=now, finished_at=now)
    Step.objects.update(state="done", failure=None, finished_at=now)
    text = text_of(analyst.get(f"{here}/"))
    assert "Not ready yet" not in text
    for wanted in ("s3://acme-results/amc/", "90 days", "date range", "synthetic", "JOIN customers AS m"):
        assert wanted in text
    answer = analyst.get(f"{here}.json")
    assert "attachment" in answer["Content-Disposition"]
    document = json.loads(answer.content)
    assert document["ready"] is True
    assert document["mapping_tables"][0]["match_rate"] == pytest.approx(600 / 980)
    assert document["results"] == {"bucket": "acme-results", "prefix": "amc", "format": "CSV"}
    assert document["differences_since"] == 0 and "Something has changed since" not in text
    role = {"kind": "role", "subject": "arn", "aspect": "trust", "since": now, "seen_at": now}
    Difference.objects.create(instance=instance, **role)
    Difference.objects.create(instance=instance, **{**role, "aspect": "gone"}, ended_at=now)
    assert "The nightly comparison found 1 difference from what was made." in text_of(analyst.get(f"{here}/"))
    assert json.loads(analyst.get(f"{here}.json").content)["differences_since"] == 1
