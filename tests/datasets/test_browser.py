"""The whole wizard of identity files in a browser: from a bucket to tables, with a cancelled try on the way."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from onboarding.engine import identity_jobs
from onboarding.models import IdentityJob
from tests.data_bucket.test_browser import Visitor
from tests.datasets.conftest import BUCKET, HEADER, as_csv, people

pytestmark = pytest.mark.django_db(transaction=True)
HASH = "a" * 64


def messy(rows: int) -> bytes:
    """A file in which a check finds something of every weight."""
    made = people(rows)
    for number, row in enumerate(made):
        if number % 4 == 0:
            row[3] = ""
        if number % 9 == 0:
            row[4] = "12"
        if number % 25 == 0:
            row[3] = HASH
        if number % 30 == 7:
            row[0] = made[number - 1][0]
        if number % 50 == 3:
            row[1] = "José"
        row += ["GRANTED" if number % 5 else "DENIED", f"{number}@shop.example"]
    made[5][0] = ""
    made[8].append("too much")
    return as_csv(made, [*HEADER, "amz_user_data_consent", "second_contact"])


@pytest.fixture
def visitor(files, browser, live_server, client):
    client.force_login(files.analyst, backend="portal.signin.amazon.LoginWithAmazon")
    visitor = Visitor(browser, live_server.url, client.cookies["sessionid"].value)
    yield visitor
    visitor.context.close()


def test_from_a_bucket_to_tables(files, visitor, live_server, monkeypatch):
    files.before()
    for key, body in {"exports/customers.csv": messy(400), "exports/old/customers.csv": messy(9)}.items():
        files.put(key, body)
    page = visitor.page
    step = f"{live_server.url}/instances/{files.run.instance_id}/steps/{files.KEY}/"

    def go_on() -> None:
        page.get_by_role("button", name="Continue").click()

    page.goto(step)
    page.get_by_label("What is this data set called?").fill("customers")
    go_on()
    visitor.look("files-source")
    page.get_by_label("In S3 already").check()
    go_on()
    visitor.look("files-places")
    page.get_by_role("link", name="Choose them in S3").click()
    page.get_by_role("link", name=BUCKET).click()
    page.get_by_role("link", name="exports/").click()
    expect(page.get_by_role("link", name="old/")).to_be_visible()
    visitor.look("files-browse")
    page.get_by_label("customers.csv").check()
    page.get_by_role("button", name="Take what is ticked").click()
    expect(page.get_by_label("Places")).to_have_value(f"s3://{BUCKET}/exports/customers.csv")
    go_on()

    # A worker looks at the files; the page shows the table by itself as soon as it has.
    expect(page.get_by_role("heading", name="Looking at the files")).to_be_visible()
    visitor.look("files-looking")
    files.jobs()
    expect(page.get_by_label("What customer_id holds")).to_have_value("key")
    expect(page.get_by_label("What amz_user_data_consent holds")).to_have_value("consent")
    expect(page.get_by_text("Shapes of the first values")).to_be_visible()
    page.get_by_label("What second_contact holds").select_option("ignore")
    visitor.look("files-columns")
    go_on()
    page.get_by_label("In which country do the people live?").select_option("US")
    go_on()
    expect(page.get_by_role("heading", name="Checking the files")).to_be_visible()
    files.jobs()
    expect(page.get_by_role("heading", name="What was found")).to_be_visible()
    expect(page.get_by_text("A column looks like personal data but is mapped to nothing.")).to_be_visible()
    visitor.look("files-report")
    go_on()
    expect(page.get_by_text("Tick this to go on").first).to_be_visible()
    page.get_by_label("I have read the report").check()
    go_on()
    visitor.look("files-hashing")
    go_on()
    visitor.look("files-review")
    page.get_by_role("button", name="Ask for approval").click()
    expect(page.locator("#run .status-large")).to_have_text("Waiting for approval")
    files.approve(files.KEY)
    files.work(files.KEY, tries=2)

    # While a worker prepares, the page says how far it is; the person stops it, and it stops.
    real, seen = identity_jobs._Carried.progress, []

    def watched(carried, at) -> None:
        real(carried, at)
        if at.stage == "prepare" and not seen:
            carried._beat()
            expect(page.get_by_text("Standardising and writing")).to_be_visible(timeout=60_000)
            visitor.look("files-preparing")
            page.get_by_role("button", name="Cancel preparing").click()
            expect(page.get_by_text("It was cancelled. Nothing of it was published.")).to_be_visible()
            seen.append(at)
            carried._beat()

    monkeypatch.setattr(identity_jobs._Carried, "progress", watched)
    page.goto(f"{step}progress/")
    files.jobs()
    assert IdentityJob.objects.get(kind="prepare").state == "cancelled" and seen
    assert files.listed("amc/") == []
    assert files.work(files.KEY, tries=2).state == "failed"
    page.reload()
    expect(page.get_by_text("Problem: Preparing the files was cancelled.")).to_be_visible()
    page.get_by_role("button", name="Try again").click()
    files.work(files.KEY, tries=2)
    files.jobs()
    assert files.work(files.KEY).state == "done"
    expect(page.locator("#run .status-large")).to_have_text("Completed", timeout=60_000)
    visitor.look("files-ready")

    page.goto(f"{live_server.url}/instances/{files.run.instance_id}/data/")
    visitor.look("data-sets")
    page.get_by_role("link", name="customers", exact=True).click()
    expect(page.get_by_text("Rows written")).to_be_visible()
    visitor.look("data-set-version")
    assert visitor.problems == []
