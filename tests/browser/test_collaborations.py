"""Joining, taking over, putting right, changing and leaving, as an analyst and an approver click it."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from playwright.sync_api import Page, expect

from tests.aws_roles import aws_admin
from tests.browser.collaborations import ELSEWHERE, JOINING, LEAVING
from tests.browser.conftest import Somebody

LONG = 90_000
# The night comes: what the clock compares is due.
NIGHT = """
from django.utils import timezone
from onboarding.models import Comparison
Comparison.objects.update(next_at=timezone.now())
"""


@pytest.fixture(scope="module")
def stack(empty_stack):
    """The accounts and people of these tests alone."""
    return empty_stack


@pytest.fixture(scope="module")
def people(browser, stack):
    """The analyst and the approver of three instances, signed in."""
    analyst, approver = (Somebody(browser, stack, person) for person in ("analyst", "approver"))
    stack.manage("shell", "-c", "from tests.browser.collaborations import make; make()")
    yield SimpleNamespace(analyst=analyst, approver=approver)
    problems = [*analyst.problems, *approver.problems]
    for somebody in (analyst, approver):
        somebody.context.close()
    assert problems == []


def instance(analyst: Somebody, name: str) -> Page:
    """The page of an instance, found in the list."""
    page = analyst.go(f"/instances/?q={name.replace(' ', '+')}")
    page.get_by_role("link", name=name).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    return page


def go_on(page: Page) -> None:
    """Answer the question as it stands."""
    page.get_by_role("button", name="Continue").click()


def task(page: Page, title: str) -> None:
    """Open a task as soon as it can be done."""
    page.get_by_role("link", name=title, exact=True).click(timeout=LONG)


def approved(people, shot: str = "") -> Page:
    """The analyst asks on the review page, the approver signs, and the analyst's page shows the end by itself."""
    page = people.analyst.page
    page.get_by_role("button", name=re.compile("^Ask for approval")).click()
    expect(page.locator("#run")).to_contain_text("Waiting for approval")
    # Nobody approves their own.
    asked = page.locator("#run-request").get_attribute("href")
    theirs = people.approver.go(asked)
    if shot:
        people.approver.look(shot)
    theirs.get_by_role("button", name=re.compile("^Approve")).click()
    expect(theirs.get_by_text("You approved:")).to_be_visible()
    expect(page.locator("#run .status-large")).to_have_text("Completed", timeout=LONG)
    return page


def test_joining(people):
    analyst = people.analyst
    page = instance(analyst, "Summer Sale")
    here = page.url
    task(page, "Check access to AWS")
    page.get_by_label(re.compile("^The portal")).check()
    analyst.look("join-who")
    go_on(page)
    page.get_by_role("button", name="Check access to AWS").click()
    expect(page.locator("#run .status-large")).to_have_text("Completed", timeout=LONG)
    page.goto(here)

    # The invitation is read by itself; then where results go.
    task(page, "Join the collaboration")
    page.get_by_label(re.compile("^Make a new bucket")).check()
    page.get_by_label("Bucket name").fill("Summer_Results")
    go_on(page)
    expect(page.locator(".error-summary")).to_be_focused()
    analyst.look("join-bucket-error")
    page.get_by_label("Bucket name").fill("summer-results")
    go_on(page)
    page.get_by_label("PARQUET").check()
    analyst.look("join-shape")
    go_on(page)
    page.get_by_label("Keep a log in CloudWatch").check()
    go_on(page)
    for words in ("summer-results", "PARQUET", "amc-cleanrooms-results-"):
        expect(page.locator("main")).to_contain_text(words)
    analyst.look("join-review")
    approved(people, "join-request")
    analyst.look("join-done")

    # The partner's account is connected: the portal joins for it as well.
    page.goto(here)
    task(page, "Partners join")
    expect(page.locator("main")).to_contain_text("Membership of Loyalty data")
    approved(people)
    page.goto(here)
    page.get_by_role("navigation", name="Instance").get_by_role("link", name="Members").click()
    for words in ("s3://summer-results/amc/", "PARQUET", "Loyalty data", "Amazon Advertising Data Provider"):
        expect(page.locator("main")).to_contain_text(words)
    analyst.look("members-joined")
    page.goto(here)
    analyst.look("tasks-joined")
    found = aws_admin(people.analyst.stack.simulator_url, JOINING, "cleanrooms").list_memberships()
    assert [one["status"] for one in found["membershipSummaries"]] == ["ACTIVE"]


def test_taking_over_what_was_made_elsewhere_and_what_is_changed_elsewhere(people):
    analyst, stack = people.analyst, people.analyst.stack
    page = instance(analyst, "Winter Archive")
    here = page.url
    analyst.look("elsewhere")
    page.get_by_role("button", name="Take over Winter Archive").click()
    expect(page.locator("#tasks .status-large")).to_have_text("Completed", timeout=LONG)
    analyst.look("taken-over")
    page.goto(f"{here}members/")
    expect(page.locator("main")).to_contain_text("s3://winter-results/amc/")
    analyst.look("members-taken-over")

    def differences(words: str) -> None:
        """The page of differences, once a worker has compared: opened anew until it says so."""
        page.goto(f"{here}differences/")
        for _ in range(300):
            if words in page.locator("main").inner_text():
                return
            page.wait_for_timeout(200)
            page.reload()
        raise AssertionError(page.locator("main").inner_text())

    # The clock has had it compared at once: as it is now is how it has to be.
    differences("No differences")
    differences("Last compared")
    analyst.look("differences-none")

    # Somebody opens the bucket, has results written as PARQUET, and the night comes.
    s3, rooms = (aws_admin(stack.simulator_url, ELSEWHERE, service) for service in ("s3", "cleanrooms"))
    s3.delete_public_access_block(Bucket="winter-results")
    which = {"membershipIdentifier": rooms.list_memberships()["membershipSummaries"][0]["id"]}
    where = rooms.get_membership(**which)["membership"]["defaultResultConfiguration"]
    where["outputConfiguration"]["s3"]["resultFormat"] = "PARQUET"
    rooms.update_membership(**which, defaultResultConfiguration=where)
    stack.manage("shell", "-c", NIGHT)
    differences("Closed to the public")
    analyst.look("differences")
    page.get_by_role("button", name=re.compile("^Accept as it is now.*Format")).click()
    expect(page.locator("#messages")).to_contain_text("Accepted")
    page.get_by_role("button", name=re.compile("^Put right")).click()
    page.get_by_role("link", name=re.compile("^Continue|^Start|^Answer")).first.click()
    page.get_by_label(re.compile("Closed to the public")).check()
    analyst.look("put-right-which")
    go_on(page)
    page.get_by_label(re.compile("^The portal")).check()
    go_on(page)
    expect(page.locator("main")).to_contain_text("PutPublicAccessBlock")
    analyst.look("put-right-review")
    approved(people)
    closed = s3.get_public_access_block(Bucket="winter-results")["PublicAccessBlockConfiguration"]
    assert all(closed.values())
    page.goto(f"{here}differences/")
    expect(page.locator("main")).to_contain_text("No differences")
    expect(page.locator("main")).to_contain_text("Accepted as it is")
    analyst.look("differences-ended")

    # What was accepted is changed back in the portal.
    page.goto(f"{here}members/")
    page.get_by_role("button", name="Change the membership").click()
    page.get_by_role("link", name=re.compile("^Continue|^Start|^Answer")).first.click()
    page.get_by_label(re.compile("^The portal")).check()
    go_on(page)
    page.get_by_role("button", name="Read the settings").click()
    expect(page.locator("#run .status-large")).to_have_text("Completed", timeout=LONG)
    page.get_by_role("link", name="All tasks").click()
    task(page, "Change the membership")
    expect(page.get_by_label(re.compile("^Leave it as it is: winter-results"))).to_be_checked()
    analyst.look("membership-bucket")
    go_on(page)
    expect(page.get_by_label("PARQUET")).to_be_checked()
    page.get_by_label("CSV").check()
    go_on(page)
    analyst.look("membership-role")
    go_on(page)
    go_on(page)
    analyst.look("membership-review")
    approved(people)
    found = rooms.get_membership(**which)["membership"]["defaultResultConfiguration"]["outputConfiguration"]["s3"]
    assert found == {"bucket": "winter-results", "keyPrefix": "amc", "resultFormat": "CSV"}


def test_leaving(people):
    analyst = people.analyst
    page = instance(analyst, "Autumn Test")
    here = page.url
    page.get_by_role("navigation", name="Instance").get_by_role("link", name="Changes").click()
    analyst.look("changes")
    page.get_by_role("button", name=re.compile("Start.*Leave the collaboration")).click()
    run = page.url
    page.get_by_role("link", name=re.compile("^Continue|^Start|^Answer")).first.click()
    page.get_by_label(re.compile("^The portal")).check()
    go_on(page)
    page.get_by_role("button", name="Read what is still there").click()
    expect(page.locator("#run .status-large")).to_have_text("Completed", timeout=LONG)
    page.goto(run)
    task(page, "Leave the collaboration")
    for words in ("can never join this collaboration again", "ID mapping table “people”", "associated table “events”"):
        expect(page.locator(".notice-warning")).to_contain_text(words)
    analyst.look("leave-confirm")
    page.get_by_label(re.compile("^I have read")).check()
    page.get_by_role("textbox").fill("autumn test")
    go_on(page)
    expect(page.locator(".error-summary")).to_be_focused()
    expect(page.locator("#id_typed_error, .invalid-feedback, .field-error").first).to_contain_text("Type it exactly")
    analyst.look("leave-wrong-name")
    page.get_by_role("textbox").fill("Autumn Test")
    go_on(page)
    expect(page.locator("main")).to_contain_text("DeleteMembership")
    analyst.look("leave-review")
    approved(people, "leave-request")
    analyst.look("leave-done")

    # It was left; what was done stays to be read.
    page.goto(here)
    expect(page.locator("main")).to_contain_text("Left the collaboration")
    analyst.look("left")
    page.goto(f"{here}members/")
    expect(page.locator("main")).to_contain_text("Memberships that ended")
    analyst.look("members-left")
    page.goto(f"{here}runs/")
    expect(page.get_by_role("link", name="Leaving the collaboration")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="Leave the collaboration")).to_contain_text("left already")
    analyst.look("changes-left")
    page.get_by_role("link", name="Leaving the collaboration").click()
    expect(page.locator("#tasks .status-large")).to_have_text("Completed")
    page.goto(f"{here}activity/")
    expect(page.locator("main")).to_contain_text("Leave")
    found = aws_admin(analyst.stack.simulator_url, LEAVING, "cleanrooms").list_memberships()["membershipSummaries"]
    assert [one["status"] for one in found] == ["REMOVED"]
