"""What people see of the local Amazon: what exists now, the way by hand, and the page of consent."""

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from werkzeug.test import Client

from simulator import learn
from simulator.people import CLIENT_ID, CLIENT_SECRET, HARBOUR
from tests.simulator.asking import Asking

ROOT = Path(__file__).parents[2]
# How long a busy machine may take over a page, in milliseconds; nothing waits that long when all is well.
PATIENCE = 120_000
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
CONSENT = learn.sign_in("http://127.0.0.1:8900")


@pytest.fixture
def asked(http):
    """Asks the running simulator as the admin of Harbour and Pine."""
    assert http.post("/_simulator/reset").status_code == 200
    token = http.get("/_simulator/token", params={"person": "admin"}).json()["access_token"]
    headers = {
        "Authorization": f"Bearer {token}",
        "Amazon-Advertising-API-ClientId": CLIENT_ID,
        "Amazon-Advertising-API-AdvertiserId": HARBOUR.id,
        "Amazon-Advertising-API-MarketplaceId": HARBOUR.marketplace,
        "Content-Type": "application/vnd.amcinstances.v1+json",
    }

    def create(name):
        body = {"instanceName": name, "awsAccountId": HARBOUR.aws_accounts[0], "acrBacked": True}
        made = http.post("/amc/instances", headers=headers, json=body).json()["instance"]["instanceId"]
        assert http.get(f"/amc/instances/{made}/collaboration", headers=headers).status_code == 200

    return create


@pytest.fixture
def visit(browser, running):
    """Opens pages of the running simulator; nothing may go wrong in them."""
    contexts, problems = [], []

    def open_page(path, size=WIDE, scheme="light", clock=False):
        contexts.append(browser.new_context(viewport=size, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: message.type == "error" and problems.append(message.text))
        if clock:
            # It stands still: only what a test lets pass passes.
            page.clock.install(time=0)
            page.clock.pause_at(1000)
        page.goto(running.url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


@pytest.mark.parametrize("path", ["/", "/learn", "/learn?code=AN0123456789abcdef01", CONSENT])
@pytest.mark.parametrize(("size", "scheme"), [(WIDE, "light"), (NARROW, "dark")])
def test_the_pages_are_for_everybody(asked, visit, path, size, scheme):
    asked("For everybody")
    page = visit(path, size, scheme)
    page.evaluate("for (const more of document.querySelectorAll('details')) more.open = true")
    found = Axe().run(page)
    assert not found.response["violations"], found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0


def test_things_appear_while_somebody_watches(asked, visit):
    asked("The first")
    page = visit("/", clock=True)
    expect(page.get_by_text("renews itself")).to_be_visible()
    page.locator("summary").first.click()
    asked("The second")
    assert page.get_by_text("The second").count() == 0
    page.clock.run_for(3000)
    appeared = page.locator("tr.new", has_text="The second")
    expect(appeared).to_be_visible(timeout=PATIENCE)
    expect(appeared.locator(".state").first).to_have_text("COMPLETED")
    assert page.locator("tr.new", has_text="The first").count() == 0
    # What somebody has opened stays so, and the keyboard stays where it was.
    expect(page.locator("details[open]")).to_have_count(1)
    expect(page.locator("summary").first).to_be_focused()


def test_a_page_that_is_paused_stays(asked, visit):
    page = visit("/", clock=True)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("paused")).to_be_visible()
    asked("While paused")
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.clock.run_for(9000)
    assert page.get_by_text("While paused").count() == 0 and requests == []
    page.get_by_role("button", name="Go on").click()
    page.clock.run_for(3000)
    expect(page.get_by_text("While paused")).to_be_visible(timeout=PATIENCE)


def test_signing_in_by_hand_as_one_of_the_demo_people(http, visit):
    page = visit("/learn")
    page.get_by_role("link", name="Sign in with Amazon").click()
    page.get_by_role("radio", name=re.compile("Omar Haddad")).check()
    page.get_by_role("button", name="Allow").click()
    expect(page.get_by_text("Amazon sent you back here with a code")).to_be_visible(timeout=PATIENCE)
    form = dict(re.findall(r"-d (\w+)=(\S+)", page.locator("pre").first.inner_text()))
    assert form["code"] == parse_qs(urlsplit(page.url).query)["code"][0]
    assert (form["client_id"], form["client_secret"]) == (CLIENT_ID, CLIENT_SECRET)
    tokens = http.post("/auth/o2/token", data=form).json()
    profile = http.get("/user/profile", headers={"Authorization": f"Bearer {tokens['access_token']}"}).json()
    assert profile["name"] == "Omar Haddad"
    page.get_by_role("link", name="Sign in again").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Access not permitted.")).to_be_visible(timeout=PATIENCE)


def test_the_way_by_hand_leads_to_people_who_match(running, http, tmp_path):
    """All of it as it is offered, by the real `aws` and curl; the job counts what the sample said."""
    assert http.post("/_simulator/reset").status_code == 200
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
    }
    done = subprocess.run(
        ["sh", "-s"], input=http.get("/learn.sh").text, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    must = re.search(r"clear: \d+ rows must match, of (\d+) customers", done.stdout)[1]
    assert '"status": "SUCCEEDED"' in done.stdout and f'"totalMappedSourceRecords": {must},' in done.stdout


def test_the_steps_are_the_script_and_each_says_why(simulator):
    text = Client(simulator).get("/learn.sh", headers={"Host": "localhost:1234"}).text
    steps = learn.steps("http://localhost:1234")
    assert text == learn.script("http://localhost:1234") and "AWS_ENDPOINT_URL=http://localhost:1234 " in text
    assert len(steps) == text.count("# == ") == 10
    assert all(step.title and step.why and step.commands in text for step in steps)
    assert not re.search(r"@[A-Z]+@", text)


def test_what_was_sent_is_shown_as_text_alone(simulator):
    browser = Client(simulator)
    evil = "<script>alert(1)</script>"
    page = browser.get("/learn", query_string={"error_description": evil}, headers={"Host": 'x";$(id)'})
    assert evil not in page.text and "&lt;script&gt;" in page.text and "$(id)" not in page.text
    assert "curl -s" in browser.get("/learn", query_string={"code": "AN0123"}).text
    assert "AN0;id" not in browser.get("/learn", query_string={"code": "AN0;id"}).text
    assert browser.post("/").status_code == browser.post("/learn").status_code == 405


def test_the_page_shows_what_exists(simulator):
    ask = Asking(simulator)
    ask.create("Seen by people")
    page = ask.client.get("/")
    assert page.status_code == 200 and "Seen by people" in page.text and "Harbour and Pine" in page.text
    assert ask.client.get("/openapi.json").json["paths"]["/amc/instances"]
    account = next(one for one in ask.control("GET", "world")["amc"] if one["id"] == HARBOUR.id)
    assert "Seen by people" in [one["instanceName"] for one in account["instances"]]
