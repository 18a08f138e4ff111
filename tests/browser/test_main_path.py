"""Analyst, approver, analyst: on the built pages, with real workers, against the local Amazon."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from simulator.people import PEOPLE
from tests.browser.identity_path import Path, put_people
from tests.browser.test_aws_connections import make_roles, paste

AWS_ACCOUNT = "111122223333"
EMAILS = {person.id: person.email for person in PEOPLE}
# One more value typed by hand than this, and the portal has asked for what it could have known.
MOST_TYPED = 12


@pytest.fixture(scope="module")
def stack(empty_stack):
    """Nobody has signed in before."""
    return empty_stack


def connect(admin) -> None:
    """The admin connects AMC and adds the account."""
    page = admin.go("/connections/")
    page.get_by_role("link", name="Connect an Amazon login").click()
    page.get_by_role("button", name="Continue to Amazon").click()
    page.locator('input[name="person"][value="admin"]').check()
    page.get_by_role("button", name="Allow").click()
    page.get_by_label(re.compile("Harbour and Pine")).check()
    page.get_by_role("button", name="Add the chosen accounts").click()


def connect_aws(admin, stack, folder) -> None:
    """The admin connects the AWS account, whose owner has made the roles with the commands on the page."""
    page = admin.go("/connections/")
    page.get_by_role("link", name=re.compile("Connect an AWS account.*Harbour and Pine")).click()
    page.get_by_label("AWS account id").fill(AWS_ACCOUNT)
    page.get_by_label("What you call it").fill("Harbour AWS")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Harbour AWS")
    admin.look("aws-connection-made")
    paste(page, make_roles(page, stack, AWS_ACCOUNT, folder))
    expect(page.locator("#messages")).to_contain_text("Harbour AWS is connected")


def give_roles(admin) -> None:
    """The admin says who may ask and who may sign."""
    for person in ("analyst", "approver"):
        page = admin.go("/people/")
        form = page.locator("main form:has(input[name=email])")
        form.get_by_label("E-mail address").fill(EMAILS[person])
        form.get_by_label("AMC account").select_option(label="Harbour and Pine")
        form.get_by_label("Role").select_option(person)
        form.get_by_role("button", name="Give this role").click()
        expect(page.locator("#messages")).to_contain_text("Harbour and Pine")


# Forty pages, each looked at by axe: a busy machine takes minutes over it.
@pytest.mark.timeout(1200)
def test_from_the_first_sign_in_to_ready(stack, sign_in, typed, tmp_path):
    admin, analyst, approver = sign_in("admin"), sign_in("analyst"), sign_in("approver")
    expect(analyst.page).to_have_url(re.compile("/access/"))
    admin.look("home-first")
    connect(admin)
    connect_aws(admin, stack, tmp_path)
    give_roles(admin)

    # The analyst begins.
    page = analyst.go("/")
    analyst.look("home-empty")
    page.get_by_role("link", name="Start an onboarding").first.click()
    analyst.look("instance-new")
    page.get_by_label("What should the instance be called?").fill("x")
    page.get_by_role("button", name="Start the onboarding").click()
    expect(page.locator(".error-summary")).to_be_focused()
    analyst.look("instance-new-error")
    page.get_by_label("What should the instance be called?").fill("Spring Launch US")
    page.get_by_role("button", name="Start the onboarding").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Spring Launch US")
    analyst.look("tasks-begun")
    instance = page.url

    # Guide 3 as a checklist.
    page.get_by_role("link", name="Check the requirements", exact=True).click()
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".error-summary")).to_be_focused()
    analyst.look("question-checklist-error")
    for box in ("Master Service Agreement", "Campaigns are planned", "advertiser ids"):
        page.get_by_label(re.compile(box)).check()
    page.get_by_role("button", name="Continue").click()
    for box in ("AWS account", "S3, Clean Rooms", "another S3 bucket"):
        page.get_by_label(re.compile(box)).check()
    page.get_by_role("button", name="Continue").click()
    analyst.look("review-requirements")
    page.get_by_role("button", name="Confirm the requirements").click()
    expect(page).to_have_url(instance)

    # The check of access goes by itself; the page follows it without a click.
    expect(page.get_by_role("link", name="Create the instance", exact=True)).to_be_visible(timeout=30_000)

    # Guide 4, one question a page.
    page.get_by_role("link", name="Create the instance", exact=True).click()
    expect(page.get_by_role("textbox", name="What should the instance be called?")).to_have_value("Spring Launch US")
    analyst.look("question-name")
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("textbox", name="Which advertiser is it for?").fill("Harbour and Pine")
    page.get_by_role("button", name="Continue").click()
    page.locator("#id_account_id").fill("1111-2222-333")
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".error-summary")).to_be_focused()
    expect(page.locator("#id_account_id")).to_have_value("1111-2222-333")
    analyst.look("question-error")
    page.locator("#id_account_id").fill("1111-2222-3333")
    page.get_by_role("button", name="Continue").click()
    page.get_by_label(re.compile("More than one account")).check()
    analyst.look("question-parties")
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("First partner: AWS account id").fill("222233334444")
    page.get_by_label("First partner: display name").fill("Loyalty data")
    analyst.look("question-partners")
    page.get_by_role("button", name="Save and come back later").click()
    expect(page).to_have_url(instance)
    page.get_by_role("link", name="Create the instance", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Create instance “Spring Launch US”")
    analyst.look("review")
    # Nobody else brings data after all.
    page.get_by_role("link", name=re.compile("Change Where the data lies")).click()
    page.get_by_label(re.compile("One account")).check()
    page.get_by_role("button", name="Continue").click()
    expect(page).to_have_url(re.compile("/review/$"))
    page.get_by_role("link", name=re.compile("Change Advertiser name")).click()
    page.get_by_role("button", name="Continue").click()
    expect(page).to_have_url(re.compile("/review/$"))
    page.get_by_label("Note to the approver").fill("The launch is on 1 March.")
    page.get_by_role("button", name=re.compile("Ask for approval")).click()
    expect(page.locator("#run")).to_contain_text("Waiting for approval")
    analyst.look("progress-waiting")

    # The approver reads exactly that, and signs.
    page = approver.go("/")
    approver.look("home-approver")
    page.get_by_role("link", name=re.compile("^Review")).click()
    expect(page.get_by_text("The launch is on 1 March.").first).to_be_visible()
    approver.look("request")
    page.get_by_role("button", name=re.compile("^Approve")).click()
    expect(page.get_by_text("You approved: Create instance")).to_be_visible()
    approver.look("request-approved")
    approver.go("/requests/?show=all")
    approver.look("requests")

    # The analyst's page, open since before, shows the end without being touched.
    page = analyst.page
    expect(page.locator("#run .status-large")).to_have_text("Completed")
    assert page.locator("#run[hx-get]").count() == 0
    analyst.look("progress-done")
    page.goto(instance)
    # The collaboration is there; next, the analyst says who acts in AWS.
    expect(page.locator("#tasks .status-large")).to_have_text("Waiting for an answer")
    expect(page.get_by_role("link", name="Check access to AWS")).to_be_visible()
    analyst.look("tasks-done")
    for name in ("Members", "Activity", "As commands"):
        page.get_by_role("navigation", name="Instance").get_by_role("link", name=name).click()
        analyst.look(f"instance-{name.lower().replace(' ', '-')}")
    expect(page.get_by_role("link", name=re.compile("Download")).first).to_be_visible()

    # The collaboration is joined, and identity data are brought, matched and proved.
    path = Path(analyst, approver, instance)
    path.join()
    put_people(stack, AWS_ACCOUNT, tmp_path)
    path.data_bucket()
    path.files()
    path.names()
    path.mapping_table()
    path.ready()
    by_hand = typed.on(analyst.page)
    assert 0 < len(by_hand) <= MOST_TYPED, by_hand
    assert not [value for value in by_hand if re.match(r"\s*(arn:|[\[{])", value)]

    page = analyst.go("/instances/")
    analyst.look("instances")
    page.get_by_label("Name or id").fill("nothing of that name")
    expect(page.get_by_text("No instance fits")).to_be_visible()
    expect(page).to_have_url(re.compile("q=nothing"))
    analyst.go("/")
    analyst.look("home")
    analyst.go("/notices/")
    analyst.look("notices")
    admin.go("/audit/")
    expect(admin.page.get_by_text("The chain is whole")).to_be_visible()
    admin.look("audit")
    for somebody in (admin, analyst, approver):
        assert not somebody.problems
