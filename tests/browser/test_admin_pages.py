"""The admin's pages in a browser: connect AMC, give a newcomer a role, lose the grant, reconnect."""

from __future__ import annotations

import re

import httpx
from playwright.sync_api import expect

from tests.browser.conftest import NARROW, WIDE

NIGHT = """
from datetime import timedelta
import httpx
from django.utils import timezone
from onboarding.models import Instance
from onboarding.services import results
now = timezone.now()
one = Instance.objects.exclude(instance_id="").select_related("account__connection").first()
ran = [
    dict(workflowId=name, createTime=f"{{now - timedelta(days=90) + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}}")
    for name, hours in (("weekly-reach", 30), ("path-to-purchase", 50))
]
made = dict(account=one.account.entity_id, instance=one.instance_id, executions=ran)
httpx.post("{simulator}/_simulator/seed-executions", json=made).raise_for_status()
results.read(one, now=now)
"""

FAILED = """
from django.utils import timezone
from onboarding.models import Instance, Person, Run, Step, StepFailure
now = timezone.now()
one = Instance.objects.select_related("account").first()
mine = dict(account=one.account, instance=one, owner=Person.objects.first())
run = Run.objects.create(**mine, procedure="refresh", started_at=now, ended_at=now)
step = Step.objects.create(run=run, key="refresh", position=0, state="cancelled", since=now)
for code, what in (
    ("EntityAlreadyExistsException", "Another role: arn:aws:iam::111122223333:role/service-role/amc-cleanrooms"),
    ("InvalidAccessKeyId", "AWS does not know the portal any more"),
):
    StepFailure.objects.create(step=step, account=one.account, at=now, kind="fix", code=code, what=what)
"""


def connect(admin, *names: str) -> None:
    """Connect AMC through the simulator's administrator and add accounts that are not here yet."""
    page = admin.go("/connections/new")
    admin.look("connection-new")
    page.get_by_role("button", name="Continue to Amazon").click()
    page.locator('input[name="person"][value="admin"]').check()
    page.get_by_role("button", name="Allow").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Add AMC accounts")
    admin.look("connection-accounts")
    page.get_by_role("button", name="Add the chosen accounts").click()
    expect(page.locator(".error-summary")).to_be_focused()
    for name in names:
        page.get_by_label(re.compile(name)).check()
    page.get_by_role("button", name="Add the chosen accounts").click()


def test_connect_give_a_role_lose_the_grant_and_reconnect(stack, sign_in):
    admin, newcomer = sign_in("admin"), sign_in("outsider")

    # Somebody without a role asks for one.
    page = newcomer.page
    expect(page.get_by_role("heading", level=1)).to_have_text("You have no role yet")
    newcomer.look("access-none")
    page.get_by_role("button", name="Ask for this role").click()
    expect(page.locator(".error-summary")).to_be_focused()
    page.get_by_label("Advertiser or team").fill("Paper Boat, brand team")
    page.get_by_label("Analyst").check()
    page.get_by_role("button", name="Ask for this role").click()
    expect(page.locator("#messages")).to_contain_text("with the admins")
    newcomer.look("access-waiting")

    connect(admin, "Paper Boat Foods")
    page = admin.page
    expect(page.locator("#messages")).to_contain_text("Paper Boat Foods")
    # A worker reads the instances; the page shows them once it has.
    row = page.get_by_role("row").filter(has_text="Paper Boat Foods")
    expect(row).to_be_visible()
    for _ in range(50):
        if "never" not in row.inner_text():
            break
        page.wait_for_timeout(200)
        page.reload()
    expect(row).not_to_contain_text("never")
    admin.look("connections")

    # The admin gives it.
    page = admin.go("/people/")
    expect(page.get_by_role("heading", name="Noor Petrov asks to be analyst")).to_be_visible()
    admin.look("people")
    page.get_by_label("AMC account").first.select_option(label="Paper Boat Foods")
    page.get_by_role("button", name="Give Noor Petrov this role").click()
    expect(page.locator("#messages")).to_contain_text("Noor Petrov is now analyst of Paper Boat Foods")
    page.get_by_role("link", name="Noor Petrov").click()
    admin.look("person")
    newcomer.go("/")
    expect(newcomer.page.get_by_role("link", name="Start an onboarding").first).to_be_visible()
    newcomer.go("/people/")
    newcomer.look("forbidden")

    # The policy.
    page = admin.go("/connections/")
    page.get_by_role("link", name="Approval policy of Paper Boat Foods").click()
    admin.look("policy")
    page.get_by_label("Days until an open request expires").fill("0")
    page.get_by_role("button", name="Save the policy").click()
    expect(page.locator(".error-summary")).to_be_focused()

    # The dashboard and the queues, live, at both sizes; a pause, and its end.
    page = admin.go("/dashboard/")
    expect(page.locator("canvas[data-chart]").first).to_be_visible()
    admin.look("dashboard")
    page = admin.go("/dashboard/results/")
    expect(page.get_by_role("heading", name="Nothing ends soon")).to_be_visible()
    admin.look("results-none")
    # Queries of long ago, and the night in which they are listed.
    stack.manage("shell", "-v", "0", "-c", NIGHT.format(simulator=stack.simulator_url))
    page = admin.go("/dashboard/results/")
    expect(page.get_by_role("region", name="Query results").get_by_role("row")).to_have_count(3)
    admin.look("results")
    page = admin.go("/dashboard/")
    expect(page.locator("#d-ending")).to_have_text(re.compile("^2 query results"))
    admin.look("dashboard-results")
    # Causes with long names: the whole table is in view, wide and narrow.
    stack.manage("shell", "-v", "0", "-c", FAILED)
    page = admin.go("/dashboard/")
    causes = page.get_by_role("region", name="Failures by cause")
    for size in (WIDE, NARROW):
        page.set_viewport_size(size)
        assert causes.evaluate("one => one.scrollWidth - one.clientWidth") <= 0, size
    admin.look("dashboard-failures")
    page = admin.go("/queues/")
    expect(page.get_by_role("heading", name="Workers")).to_be_visible()
    page.get_by_text("Pause something").click()
    page.get_by_label("What", exact=True).select_option(label="AMC account: Paper Boat Foods")
    page.get_by_label("Why", exact=True).fill("Maintenance")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#queues")).to_contain_text("AMC account “Paper Boat Foods” is paused")
    # What was opened stays open when the part renews itself.
    page.locator("#hours-summary").click()
    with page.expect_response(lambda answer: "/queues/?" in answer.url and "seen=" in answer.url):
        page.evaluate("htmx.trigger('#queues', 'poll-again')")
    expect(page.locator("#hours-table")).to_have_attribute("open", "")
    expect(page.locator("canvas[data-chart]").first).to_be_visible()
    admin.look("queues")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#messages")).to_contain_text("Resumed")

    # Where messages go, and what was done so far.
    page = admin.go("/connections/")
    page.get_by_role("link", name="Channels of Paper Boat Foods").click()
    page.get_by_label("Slack").check()
    page.get_by_label("Name").fill("Team")
    page.get_by_label("Address").fill("https://elsewhere.example/")
    page.get_by_role("button", name="Add the channel").click()
    expect(page.locator(".error-summary")).to_be_focused()
    page.get_by_label("Address").fill("https://hooks.slack.com/services/T1AAAAAAA/B1AAAAAAA/abcdefghijklmnopqrstuvwx")
    page.get_by_role("button", name="Add the channel").click()
    expect(page.locator("#messages")).to_contain_text("“Team” is added")
    admin.look("channels")
    page = admin.go("/notices/settings/")
    expect(page.get_by_role("heading", name="Your e-mail")).to_be_visible()
    admin.look("notice-settings")
    page = admin.go("/audit/?q=policy")
    admin.look("audit")
    page = admin.go("/audit/?act=role.given")
    page.get_by_role("rowheader").get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="Entry")).to_be_visible()
    admin.look("audit-entry")

    # The grant is taken back, found out by a worker, and made again.
    assert httpx.post(f"{stack.simulator_url}/_simulator/people/admin/revoke").status_code == 200
    page = admin.go("/connections/")
    page.get_by_role("button", name=re.compile("Refresh now.*Paper Boat Foods")).click()
    for _ in range(50):
        if "Has to be reconnected" in page.locator("main").inner_text():
            break
        page.wait_for_timeout(200)
        page.reload()
    expect(page.locator("main")).to_contain_text("has to be made again")
    admin.look("connections-broken")
    page.get_by_role("button", name="Reconnect ingrid@harbour.example").click()
    page.locator('input[name="person"][value="admin"]').check()
    page.get_by_role("button", name="Allow").click()
    expect(page.locator("#messages")).to_contain_text("is connected again")
    # A refused form (422) or page (403) is an error to the console of the browser, and to nobody else.
    problems = [one for one in admin.problems + newcomer.problems if "status of 422" not in one and "of 403" not in one]
    assert problems == []


def test_signing_in_and_out_and_saying_no(stack, browser, sign_in):
    somebody = sign_in("approver")
    page = somebody.page
    page.locator(".person-now").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in with Amazon")).to_be_visible()
    somebody.look("sign-in")
    page.get_by_role("button", name="Sign in with Amazon").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("You did not allow the sign-in")
    somebody.look("sign-in-refused")
