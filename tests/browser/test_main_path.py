"""Analyst, approver, analyst: on the built pages, with real workers, against the local Amazon."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path as File

import pytest
from playwright.sync_api import expect

from scripts.stack import ROOT
from simulator.people import PEOPLE
from tests.browser.identity_path import Path
from tests.browser.test_aws_connections import paste

AWS_ACCOUNT = "111122223333"
EMAILS = {person.id: person.email for person in PEOPLE}
# One more value typed by hand than this, and the portal has asked for what it could have known.
MOST_TYPED = 12


@pytest.fixture(scope="module")
def stack(empty_stack):
    """Nobody has signed in before."""
    return empty_stack


# Fewer than the README's, or the other tests would wait for it.
PEOPLE_TO_BRING = 2_000


def the_walk() -> str:
    """The README's walk, as one line."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return " ".join(text.partition("## A walk through it")[2].partition("\n## ")[0].split())


def labels(walk: str) -> list[str]:
    """What the walk says to click or choose, in order: what stands in italics."""
    return re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", walk)


def followed(told: list[str], clicked: list[str]) -> list[str]:
    """The labels that were clicked in the order in which they are told, up to the first that was not."""
    names = iter(clicked)
    return [label for label in told if any(name.startswith(label) for name in names)]


def connect(admin) -> None:
    """The admin connects AMC and adds the account."""
    page = admin.page
    navigation(page, "Connections")
    page.get_by_role("link", name="Connect an Amazon login").click()
    page.get_by_role("button", name="Continue to Amazon").click()
    # Amazon knows by now who sits there.
    expect(page.locator('input[name="person"][value="admin"]')).to_be_checked()
    page.get_by_role("button", name="Allow").click()
    page.get_by_label(re.compile("Harbour and Pine")).check()
    page.get_by_role("button", name="Add the chosen accounts").click()


def navigation(page, name: str) -> None:
    page.get_by_role("link", name=name, exact=True).first.click()


def connect_aws(admin, stack, folder) -> None:
    """The admin connects the AWS account, whose owner makes the roles with the script that the page offers."""
    page = admin.page
    navigation(page, "Connections")
    page.get_by_role("link", name=re.compile("Connect an AWS account.*Harbour and Pine")).click()
    page.get_by_label("AWS account id").fill(AWS_ACCOUNT)
    page.get_by_label("What you call it").fill("Harbour AWS")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Harbour AWS")
    page.get_by_text("With aws commands").first.click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the script").first.click()
    # As `make owner` runs it; the name is the one that the README gives.
    script = folder / download.value.suggested_filename
    assert f"make owner ACCOUNT={AWS_ACCOUNT} FILE=~/Downloads/{script.name}" in the_walk()
    download.value.save_as(script)
    command = [sys.executable, "-m", "scripts.owner", AWS_ACCOUNT, str(script), "--folder", str(stack.folder)]
    made = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    admin.look("aws-connection-made")
    paste(page, re.findall(r"^Role: (\S+)$", made.stdout, re.MULTILINE))
    expect(page.locator("#messages")).to_contain_text("Harbour AWS is connected")


def give_roles(admin) -> None:
    """The admin says who may ask and who may sign."""
    page = admin.page
    navigation(page, "People")
    for person in ("analyst", "approver"):
        form = page.locator("main form:has(input[name=email])")
        form.get_by_label("E-mail address").fill(EMAILS[person])
        form.get_by_label("AMC account").select_option(label="Harbour and Pine")
        form.get_by_label("Role").select_option(person)
        form.get_by_role("button", name="Give this role").click()
        expect(page.locator("#messages")).to_contain_text("Harbour and Pine")


def make_people(folder: File) -> tuple[File, str]:
    """Made-up people by the README's own command, but for how many and where; the file, and the rate it printed."""
    (told,) = re.findall(r"`\.venv/bin/python (-m simulator sample [^`]+)`", the_walk())
    arguments = shlex.split(told)
    arguments[arguments.index("--rows") + 1] = str(PEOPLE_TO_BRING)
    path = folder / File(arguments[-1]).name
    command = [sys.executable, *arguments[:-1], str(path)]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    (rate,) = re.findall(r"hashed with amazon-ads-1: .* customers \(([\d.]+%)\)", printed)
    return path, rate


# Forty pages, each looked at by axe: a busy machine takes minutes over it.
@pytest.mark.timeout(1200)
def test_from_the_first_sign_in_to_ready_as_the_readme_walks(stack, sign_in, by_hand, tmp_path):
    """Every label that the README's walk names is clicked or chosen, in its order; and some things are done wrongly."""
    analyst = sign_in("analyst")
    expect(analyst.page).to_have_url(re.compile("/access/"))
    analyst.sign_out()
    approver, admin = sign_in("approver"), sign_in("admin")
    admin.look("home-first")
    connect(admin)
    give_roles(admin)
    connect_aws(admin, stack, tmp_path)
    analyst.sign_in("analyst")

    # The analyst begins.
    page = analyst.page
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
    page.get_by_role("link", name=re.compile("^Start ?: Check the requirements")).click()
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
    start = page.get_by_role("link", name=re.compile("^Start ?: Create the instance"))
    expect(start).to_be_visible(timeout=30_000)

    # Guide 4, one question a page.
    start.click()
    expect(page.get_by_role("textbox", name="What should the instance be called?")).to_have_value("Spring Launch US")
    analyst.look("question-name")
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("textbox", name="Which advertiser is it for?").fill("Harbour and Pine")
    page.get_by_role("button", name="Continue").click()
    expect(page.locator("#id_account_id")).to_have_value(AWS_ACCOUNT)
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
    finished = page.url
    page.goto(instance)
    # The collaboration is there; next, the analyst says who acts in AWS.
    expect(page.locator("#tasks .status-large")).to_have_text("Waiting for an answer")
    expect(page.get_by_role("link", name="Check access to AWS")).to_be_visible()
    analyst.look("tasks-done")
    for name in ("Members", "Activity", "As commands"):
        page.get_by_role("navigation", name="Instance").get_by_role("link", name=name).click()
        analyst.look(f"instance-{name.lower().replace(' ', '-')}")
    expect(page.get_by_role("link", name=re.compile("Download")).first).to_be_visible()

    # The finished step leads on: the collaboration is joined, and identity data are brought, matched and proved.
    page.goto(finished)
    path = Path(analyst, approver, instance)
    path.join()
    people, rate = make_people(tmp_path)
    path.data_bucket()
    path.files(people)
    path.names()
    path.mapping_table()
    path.ready(rate)
    typed = by_hand.typed_on(analyst.page)
    assert 0 < len(typed) <= MOST_TYPED, typed
    assert not [value for value in typed if re.match(r"\s*(arn:|[\[{])", value)]
    told = labels(the_walk())
    done = followed(told, by_hand.clicked)
    assert len(told) > 30
    assert done == told, f"The README says *{told[len(done)]}* after *{done[-1]}*, which nobody clicked then."

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
