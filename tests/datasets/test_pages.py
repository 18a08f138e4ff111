"""The pages of identity data: the wizard around the work, data sets, and who may do what."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from onboarding.models import Dataset, IdentityJob, Run
from tests.datasets.conftest import BUCKET, COLUMNS, HEADER, as_csv, people
from tests.pages.conftest import text_of
from tests.simulated import browser


@pytest.fixture
def page(files):
    """`page("q/columns/")` reads a page of the step, `page("q/columns/", field=…)` posts to it."""
    files.before()
    client = browser(files.analyst)
    base = f"/instances/{files.run.instance_id}/steps/identity-files/"

    def visit(rest: str = "", **data):
        return client.post(base + rest, data) if data else client.get(base + rest)

    visit.client, visit.base = client, base
    return visit


def test_the_wizard_waits_for_the_work_and_shows_what_it_found(files, page):
    files.put("in/people.csv", as_csv(people(20)))
    assert page("q/dataset/", name="Customers!").status_code == 422
    assert page("q/dataset/", name="customers").status_code == 302
    assert page("q/source/", origin="s3").status_code == 302
    assert "no place in S3" in text_of(page("q/places/", places="/home/people.csv"))
    assert page("q/places/", places=f"s3://{BUCKET}/in/people.csv")["Location"].endswith("q/columns/")
    waiting = page("q/columns/")
    assert "Looking at the files" in text_of(waiting) and 'hx-trigger="load delay:2s' in waiting.content.decode()
    files.jobs()
    shown = page("q/columns/")
    assert "99 % sure" in text_of(shown) or "100 % sure" in text_of(shown)
    assert shown.content.decode().count("<select") == len(HEADER)
    samples = text_of(page("samples/"))
    assert "x9@xxxxxxx.xxx" in samples and "c1@example" not in samples
    chosen = {f"columns-{n}-column": name for n, name in enumerate(HEADER)}
    kinds = dict(part.split("=") for part in COLUMNS.split(", "))
    wrong = {f"columns-{n}-kind": "email" for n in range(len(HEADER))}
    assert "which column is the key" in text_of(page("q/columns/", **chosen, **wrong))
    right = {f"columns-{n}-kind": kinds[name] for n, name in enumerate(HEADER)}
    assert page("q/columns/", **chosen, **right)["Location"].endswith("q/country/")
    assert "United States (US)" in text_of(page("q/country/")) and "Austria (AT)" in text_of(page("q/country/"))
    assert page("q/country/", country="AT")["Location"].endswith("q/report/")
    assert "Checking the files" in text_of(page("q/report/"))
    files.jobs()
    report = text_of(page("q/report/"))
    assert "20 100.0 %" in report and "How complete each column is" in report and "country Austria (AT)" in report
    assert page("q/report/", note="").status_code == 422
    assert page("q/report/", read="on")["Location"].endswith("q/hashing/")
    assert page("q/hashing/", rules="amazon-ads-1")["Location"].endswith("review/")
    review = text_of(page("review/"))
    assert "s3://acme-data/amc/customers/v1" in review and "amazon-ads-1" in review
    assert "Country Austria (AT)" in review
    assert page("review/", note="").status_code == 302
    request = files.step(files.KEY).requests.get()
    asked = text_of(browser(files.approver).get(f"/requests/{request.pk}/"))
    assert "s3://acme-data/amc/customers/v1" in asked and "usable rows" in asked.lower()
    assert "Country of rows that name none Austria (AT)" in asked


def test_the_pages_of_data_sets(files, page):
    files.put("in/people.csv", as_csv(people(20)))
    files.choose(f"s3://{BUCKET}/in/people.csv")
    files.prepare()
    dataset = Dataset.objects.get()
    listed = text_of(page.client.get(f"/instances/{files.run.instance_id}/data/"))
    assert "customers" in listed and "New version" in listed
    version = page.client.get(f"/datasets/{dataset.pk}/versions/1/")
    assert "Rows written" in text_of(version) and "Nothing is wrong" in text_of(version)
    assert "Country United States (US)" in text_of(version)
    assert page.client.get(f"/datasets/{dataset.pk}/versions/2/").status_code == 404
    begun = page.client.post(f"/datasets/{dataset.pk}/new-version")
    run = Run.objects.get(procedure="dataset")
    assert begun["Location"] == f"/runs/{run.pk}/"
    assert run.steps.get(key="identity-files").answers == {"dataset": {"name": "customers"}}
    assert page.client.post(f"/datasets/{dataset.pk}/retire/", {"typed": "wrong"}).status_code == 422
    assert page.client.post(f"/datasets/{dataset.pk}/retire/", {"typed": "customers"}).status_code == 302
    assert "Retired" in text_of(page.client.get(f"/instances/{files.run.instance_id}/data/"))


def test_a_consent_string_is_not_shown_as_granted(files, page):
    rows = [[*row, string] for row, string in zip(people(4), ("CPXxRfA.YA", "CPXxRfA", "yes", ""), strict=True)]
    files.put("in/people.csv", as_csv(rows, [*HEADER, "tcf"]))
    files.choose(f"s3://{BUCKET}/in/people.csv", columns=f"{COLUMNS}, tcf=consent")
    address = f"{page.base}q/report/"
    shown = text_of(page.client.get(address))
    assert "tcf Carries a consent string 2 tcf Carries something that is no consent string 1 tcf Empty 1" in shown
    assert "Granted" not in shown
    # A report of before consent strings were looked at.
    counted = {"granted": 3, "other": 0, "empty": 1}
    files.prepare()
    version = files.version
    version.report["consent"] = {"tcf": counted, "amz_user_data_consent": counted}
    version.save(update_fields=["report"])
    old = text_of(page.client.get(f"/datasets/{version.dataset_id}/versions/1/"))
    assert "tcf Carries a value 3 tcf Empty 1" in old
    assert "amz_user_data_consent Granted 3 amz_user_data_consent Not granted 0 amz_user_data_consent Empty 1" in old


def test_work_can_be_cancelled_and_begun_again(files, page):
    files.put("in/people.csv", as_csv(people(5)))
    files.answer(files.KEY, "dataset", name="customers")
    files.answer(files.KEY, "source", origin="s3")
    files.answer(files.KEY, "places", places=f"s3://{BUCKET}/in/people.csv")
    job = IdentityJob.objects.get()
    assert page.client.post(f"/identity-work/{job.pk}/cancel").status_code == 302
    assert "was cancelled" in text_of(page("q/columns/"))
    files.jobs()
    job.refresh_from_db()
    assert job.state == "cancelled"
    page("again", again="look")
    files.jobs()
    assert "Which column holds what?" in text_of(page("q/columns/"))


def test_queries_do_not_grow(files, page):
    def queries(address: str) -> int:
        with CaptureQueriesContext(connection) as seen:
            assert page.client.get(address).status_code == 200
        return len(seen)

    for number in range(3):
        files.put(f"in/{number}.csv", as_csv(people(5)))
    files.choose(f"s3://{BUCKET}/in/")
    dataset = Dataset.objects.get()
    pages = [
        f"/instances/{files.run.instance_id}/data/",
        f"/datasets/{dataset.pk}/versions/1/",
        f"{page.base}q/report/",
    ]
    before = [queries(address) for address in pages]
    assert max(before) <= 25, before
    for number in range(20):
        Dataset.objects.create(
            instance=dataset.instance, name=f"more-{number}", bucket="b", aws_account_id="1", made_at=dataset.made_at
        )
    assert [queries(address) for address in pages] == before
