"""Personal tokens in a browser: made, shown once, used by the command line, revoked."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from playwright.sync_api import expect

from scripts.stack import ROOT


def test_a_token_is_made_used_and_revoked(stack, sign_in, tmp_path):
    person = sign_in("admin")
    page = person.page
    page.locator("summary.person-now").click()
    page.get_by_role("link", name="API tokens").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("API tokens")
    page.get_by_role("button", name="Make the token").click()
    expect(page.locator(".error-summary")).to_be_focused()
    person.look("tokens-error")
    page.get_by_label("What is it for?").fill("Nightly job")
    page.get_by_label("Act").check()
    page.get_by_role("button", name="Make the token").click()
    expect(page.get_by_text("it is shown this once")).to_be_visible()
    person.look("token-made")
    token = page.locator(".code-block code").first.inner_text().strip()

    def program(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "AMC_PORTAL_URL": stack.url, "AMC_PORTAL_TOKEN": token}
        environment["AMC_PORTAL_CONFIG"] = str(tmp_path / "none.json")
        command = [sys.executable, "-m", "amc_portal", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)

    found = program("accounts", "--json")
    assert found.returncode == 0, found.stderr
    assert isinstance(json.loads(found.stdout), list)
    person.go("/tokens/")
    row = page.get_by_role("row").filter(has_text="Nightly job")
    expect(row).to_contain_text("Works")
    person.look("tokens")
    row.get_by_role("button", name="Revoke").click()
    expect(page.locator("#messages")).to_contain_text("no longer opens anything")
    expect(row).to_contain_text("Revoked")
    refused = program("accounts")
    assert refused.returncode == 3 and token not in refused.stdout + refused.stderr
    assert person.problems == []
