"""From the invitation to READY, as an analyst and an approver click it: guides 4 and 7, one page after the other."""

from __future__ import annotations

import re
from pathlib import Path as File

from playwright.sync_api import expect


class Path:
    """An onboarding in the browsers of its analyst and its approver; `instance` is the address of its page."""

    def __init__(self, analyst, approver, instance: str) -> None:
        self.analyst, self.approver, self.instance = analyst, approver, instance
        self.page = analyst.page
        self._kinds: set[str] = set()

    def look(self, somebody, kind: str, name: str) -> None:
        """The first page of a kind is looked at wide and narrow, those after it wide."""
        somebody.look(f"{kind}-{name}", narrow=kind not in self._kinds)
        self._kinds.add(kind)

    def open(self, title: str) -> None:
        """Open the next step by the button of the page, or of the list of steps once it is there to be answered."""
        go_on = self.page.get_by_role("link", name=re.compile(f"^Go on ?: {title}$"))
        if not go_on.count():
            self.page.goto(self.instance)
            go_on = self.page.locator("#tasks").get_by_role("link", name=re.compile(f"^(Start|Go on) ?: {title}$"))
        expect(go_on).to_be_visible()
        go_on.click()

    def go_on(self) -> None:
        self.page.get_by_role("button", name="Continue").click()

    def heading(self, words: str) -> None:
        expect(self.page.get_by_role("heading", level=1)).to_have_text(words)

    def take(self, look: str, *headings: str) -> None:
        """Take what is proposed on each of these questions."""
        for number, words in enumerate(headings, 1):
            self.heading(words)
            self.analyst.look(f"{look}-{number}" if len(headings) > 1 else look)
            self.go_on()

    def ask(self, look: str) -> None:
        """The review, the approver's signature, and the page that follows it to the end."""
        expect(self.page).to_have_url(re.compile("/review/$"))
        self.look(self.analyst, "review", look)
        self.page.get_by_role("button", name=re.compile("Ask for approval")).click()
        expect(self.page.locator("#run")).to_contain_text("Waiting for approval")
        page = self.approver.go("/")
        page.get_by_role("link", name=re.compile("^Review")).first.click()
        self.look(self.approver, "request", look)
        page.get_by_role("button", name=re.compile("^Approve")).click()
        expect(page.get_by_text("You approved")).to_be_visible()
        # That an open page follows by itself is seen with the first request; nobody waits for its next look here.
        self.page.reload()
        expect(self.page.locator("#run .status-large")).to_have_text("Completed")
        self.look(self.analyst, "progress", look)

    def confirm(self, look: str) -> None:
        """The review of a step that nobody has to approve."""
        expect(self.page).to_have_url(re.compile("/review/$"))
        self.look(self.analyst, "review", look)
        self.page.locator("main form button.btn-primary").click()

    # The steps

    def join(self) -> None:
        self.open("Add or remove advertisers")
        self.page.get_by_label(re.compile("Later")).check()
        self.go_on()
        self.confirm("advertisers")
        self.open("Check access to AWS")
        self.page.get_by_label(re.compile("The portal, through")).check()
        self.go_on()
        self.confirm("aws-access")
        self.open("Join the collaboration")
        self.heading("Which bucket receives the results?")
        self.page.get_by_label("Bucket name").fill("harbour-pine-results")
        self.go_on()
        self.take("join", "How should the results be written?", "Should AWS keep a log of the queries?")
        self.ask("join")

    def data_bucket(self) -> None:
        self.open("Choose where the data lie")
        self.heading("Where is your identity data?")
        self.page.get_by_label(re.compile("In files")).check()
        self.analyst.look("data-where")
        self.go_on()
        self.heading("Which bucket holds the data?")
        self.page.get_by_label("Bucket name").fill("harbour-pine-identity")
        self.analyst.look("data-bucket")
        self.go_on()
        self.take("data-folder", "In which folder of the bucket may the portal write?")
        self.ask("data-bucket")

    def files(self, people: File) -> None:
        self.open("Prepare identity data")
        self.heading("What is this data set called?")
        self.page.get_by_role("textbox").fill("customers")
        self.analyst.look("files-name")
        self.go_on()
        self.heading("Where are the files?")
        self.page.get_by_label(re.compile("On a computer")).check()
        self.analyst.look("files-source")
        self.go_on()
        self.heading("Which files?")
        self.analyst.look("files-places")
        self.page.get_by_role("link", name="Upload files from this computer").click()
        self.page.locator("#upload-files").set_input_files(people)
        expect(self.page.locator(".upload-state")).to_have_text("In the bucket")
        self.analyst.look("files-uploaded")
        self.page.get_by_role("button", name="Go on with 1 file").click()
        self.heading("Which files?")
        expect(self.page.get_by_role("textbox")).to_have_value(re.compile(f"s3://.*/{people.name}$"))
        self.go_on()
        self.take("files-columns", "Which column holds what?")
        self.take("files-country", "In which country do the people live?")
        self.heading("What the check has found")
        read = self.page.get_by_label(re.compile("I have read the report"))
        expect(read).to_be_visible()
        self.analyst.look("files-report")
        read.check()
        self.go_on()
        self.take("files-hashing", "Should the values be hashed?")
        self.ask("files")

    def names(self) -> None:
        self.open("Role that reads the identity data")
        self.take(
            "role",
            "What are the database and its tables called in AWS Glue?",
            "Which role may read your identity data?",
        )
        self.ask("role")
        self.open("Catalogue the tables")
        self.take("catalogue", "How should AWS Glue get to know the tables?")
        self.ask("catalogue")
        self.open("Say what the columns hold")
        self.take("schema-mapping", "What do the columns hold?")
        self.ask("schema-mapping")
        self.open("Offer the identity data to the collaboration")
        self.take("namespace", "What should the ID namespace be called?")
        self.ask("namespace")

    def mapping_table(self) -> None:
        self.open("Create the mapping table")
        self.take("mapping-name", "What should the mapping table be called?")
        self.ask("mapping")

    def ready(self, rate: str) -> None:
        """Proved by itself; the page to keep, and what the mapping table says: as many as the sample promised."""
        self.page.get_by_role("link", name="All tasks").click()
        expect(self.page.locator("#tasks .status-large")).to_have_text("Completed")
        self.analyst.look("tasks-ready")
        tabs = self.page.get_by_role("navigation", name="Instance")
        tabs.get_by_role("link", name="Ready", exact=True).click()
        expect(self.page.locator(".standing")).to_contain_text("Ready")
        self.analyst.look("ready")
        self.page.emulate_media(media="print")
        expect(self.page.locator(".topbar")).to_be_hidden()
        expect(self.page.get_by_text("Names to use in AMC SQL")).to_be_visible()
        self.page.emulate_media(media="screen")
        with self.page.expect_download() as download:
            self.page.get_by_role("link", name="Download as JSON").click()
        kept = download.value.path().read_text(encoding="utf-8")
        assert '"ready": true' in kept
        tabs.get_by_role("link", name="Mapping tables").click()
        expect(self.page.get_by_role("button", name="Make a mapping table")).to_be_visible()
        self.analyst.look("mapping-tables")
        self.page.get_by_role("link", name="customers", exact=True).click()
        expect(self.page.get_by_text(re.compile("of 1,9.. customers matched"))).to_contain_text(rate)
        self.analyst.look("mapping-table")
