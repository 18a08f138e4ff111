"""Connecting an AWS account in a browser: an admin's, and a partner's through a link."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.aws_roles import run_script
from tests.browser.test_admin_pages import connect

ACCOUNT, PARTNER = "666677778888", "444455556666"
MULTI_PARTY = f"""
from django.utils import timezone
from onboarding.models import *
account = AmcAccount.objects.get(name="Big Catalogue")
instance = Instance.objects.create(account=account, instance_id="amcparty", name="Party", status_since=timezone.now())
CollaborationMember.objects.create(instance=instance, kind="partner", account_id="{PARTNER}",
    display_name="Source Data 1", status="INVITED", seen_at=timezone.now())
"""


def make_roles(page, stack, account: str, folder) -> list[str]:
    """Run the script that the page offers, as an administrator of the account; the ARNs that it prints."""
    script = page.request.get(page.get_by_role("link", name="Download the script").evaluate("link => link.href")).text()
    done = run_script(script, stack.simulator_url, account, folder)
    assert done.returncode == 0, done.stderr
    return re.findall(r"^Role: (\S+)$", done.stdout, re.MULTILINE)


def paste(page, arns: list[str]) -> None:
    page.get_by_label("ARN of the provisioner role").fill(arns[0])
    page.get_by_label("ARN of the read-only role").fill(arns[1])
    page.get_by_role("button", name="Save and check").click()


def test_an_admin_and_a_partner_connect_their_accounts(stack, sign_in, tmp_path):
    admin = sign_in("admin")
    connect(admin, "Big Catalogue")
    page = admin.page
    page.get_by_role("link", name=re.compile("Connect an AWS account.*Big Catalogue")).click()
    admin.look("aws-new")
    page.get_by_label("AWS account id").fill("12")
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".error-summary")).to_be_focused()
    page.get_by_label("AWS account id").fill(ACCOUNT)
    page.get_by_label("What you call it").fill("Catalogue AWS")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Catalogue AWS")
    admin.look("aws-connection-new")

    # Wrong first: no roles are there yet.
    arns = [f"arn:aws:iam::{ACCOUNT}:role/amc-onboarding-portal-{name}" for name in ("provisioner", "reader")]
    paste(page, arns)
    expect(page.locator("#messages")).to_contain_text("Not in order")
    expect(page.locator("main")).to_contain_text("What to do:")
    admin.look("aws-connection-refused")
    assert make_roles(page, stack, ACCOUNT, tmp_path) == arns
    page.get_by_role("button", name="Check now").click()
    expect(page.locator("#messages")).to_contain_text("Catalogue AWS is connected")
    admin.look("aws-connection-working")
    page = admin.go("/connections/")
    expect(page.get_by_role("row").filter(has_text="Catalogue AWS")).to_contain_text("Working")
    admin.look("connections-aws")

    # The partner's own person.
    stack.manage("shell", "-c", MULTI_PARTY)
    page = admin.go("/connections/aws/invite")
    page.get_by_label(re.compile("Source Data 1")).check()
    admin.look("aws-invite")
    page.get_by_role("button", name="Make the link").click()
    link = page.locator("pre code").inner_text()
    admin.look("aws-invite-link")
    partner = sign_in("agency")
    page = partner.page
    page.goto(link)
    partner.look("partner-link")
    page.get_by_role("button", name="Accept the invitation").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Source Data 1")
    partner.look("partner-new")
    paste(page, make_roles(page, stack, PARTNER, tmp_path))
    expect(page.locator("#messages")).to_contain_text("Source Data 1 is connected")
    partner.look("partner-working")
    page.goto(link)
    expect(page.get_by_role("heading", level=1)).to_have_text("This link no longer works")
    partner.look("partner-gone")
    allowed = ("status of 422", "status of 410")
    problems = [one for one in admin.problems + partner.problems if not any(code in one for code in allowed)]
    assert problems == []
