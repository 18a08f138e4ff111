"""The whole portal with its workers and the local Amazon as processes, and people in browsers of their own."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Keyboard, Locator, Page, expect

from scripts.stack import ROOT, Stack
from tests import leaks

SCREENSHOTS = ROOT / "build" / "screenshots"
# How long a busy machine may take over a page, in milliseconds; nothing waits that long when all is well.
PATIENCE = 60_000
expect.set_options(timeout=PATIENCE)
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@contextlib.contextmanager
def quick_stack(folder):
    """A stack in an empty folder, whose database, logs and Redis are searched for secrets in the end."""
    # The local Amazon is quick: it is asked again as soon.
    with Stack(folder, workers=1, pace="fast", environment={"POLL_SCALE": "0.02"}) as running:
        yield running
        leaks.check_stack(running)


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    """One for all tests of this process that don't mind what others have left there."""
    with quick_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="module")
def empty_stack(tmp_path_factory):
    """One in which nobody has done anything yet, for the tests of one module."""
    with quick_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


class Somebody:
    """A person in a browser of their own, who is signed in."""

    def __init__(self, browser, stack: Stack, person: str) -> None:
        self.stack = stack
        self.context = browser.new_context(viewport=WIDE, color_scheme="light")
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._note)
        self.page.goto(f"{stack.url}/")
        self.sign_in(person)

    def sign_in(self, person: str) -> None:
        """Sign in as one of the people of the local Amazon, from the page that asks for it."""
        self.page.get_by_role("button", name="Sign in with Amazon").click()
        self.page.locator(f'input[name="person"][value="{person}"]').check()
        self.page.get_by_role("button", name="Allow").click()
        expect(self.page.locator(".topbar")).to_be_visible()

    def sign_out(self) -> None:
        self.page.locator(".person-now").click()
        self.page.get_by_role("button", name="Sign out").click()
        expect(self.page.get_by_role("button", name="Sign in with Amazon")).to_be_visible()

    def _note(self, message) -> None:
        # A form with mistakes is answered with 422, which browsers report as well.
        if message.type == "error" and "422" not in message.text:
            self.problems.append(message.text)

    def go(self, path: str) -> Page:
        self.page.goto(self.stack.url + path)
        return self.page

    def look(self, name: str, shots: Path = SCREENSHOTS, *, narrow: bool = True) -> None:
        """Axe and a screenshot, wide and light, then narrow and dark; and nothing sticks out sideways.

        Without `narrow` only the first: for a page whose like was looked at before.
        """
        shots.mkdir(parents=True, exist_ok=True)
        # A click may only have begun to bring the page; what is being fetched is dimmed until it is there.
        self.page.wait_for_load_state("load")
        expect(self.page.locator("h1")).to_be_visible()
        expect(self.page.locator(".htmx-request")).to_have_count(0)
        # The page keeps axe from the first time on: bringing it takes as long as running it.
        both = ((WIDE, "light", "wide", Axe()), (NARROW, "dark", "narrow", Axe("void 0")))
        for size, scheme, mark, axe in both if narrow else both[:1]:
            self.page.set_viewport_size(size)
            self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            self.page.evaluate("for (const more of document.querySelectorAll('main details.more')) more.open = true")
            found = axe.run(self.page)
            assert not found.response["violations"], f"{name}, {mark}: {found.generate_report()}"
            sideways = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert sideways <= 0, f"{name}, {mark}: {sideways} px too wide"
            self.page.screenshot(path=shots / f"{name}-{mark}.png", full_page=True)
        self.page.set_viewport_size(WIDE)
        self.page.emulate_media(color_scheme="light", reduced_motion="no-preference")


class ByHand:
    """What people type, choose and click, whichever way the test does it."""

    def __init__(self, monkeypatch) -> None:
        self._typed: list[tuple[Page | None, str]] = []
        # The words on what was clicked or chosen, in order, whoever did it.
        self.clicked: list[str] = []
        for kind, names in (
            (Locator, ("fill", "type", "press_sequentially")),
            (Page, ("fill", "type")),
            (Keyboard, ("type", "insert_text")),
        ):
            for name in names:
                monkeypatch.setattr(kind, name, self._noted(getattr(kind, name)))
        for name in ("click", "check"):
            monkeypatch.setattr(Locator, name, self._named(getattr(Locator, name)))
        monkeypatch.setattr(Locator, "select_option", self._chosen(Locator.select_option))

    def _noted(self, act):
        def noted(where, *values, **options):
            page = where if isinstance(where, Page) else getattr(where, "page", None)
            self._typed.append((page, values[-1] if values else options.get("value", options.get("text"))))
            return act(where, *values, **options)

        return noted

    def _named(self, act):
        def named(where, **options):
            words = where.evaluate("one => one.labels?.length ? one.labels[0].innerText : one.innerText")
            self.clicked.append(" ".join(words.split()))
            return act(where, **options)

        return named

    def _chosen(self, act):
        def chosen(where, *values, **options):
            done = act(where, *values, **options)
            self.clicked.append(where.evaluate("one => one.selectedOptions[0].innerText"))
            return done

        return chosen

    def typed_on(self, page: Page) -> list[str]:
        """What was typed on this page, and what no page is known of."""
        return [value for where, value in self._typed if where in (page, None)]


@pytest.fixture
def by_hand(monkeypatch):
    """Notes from now on what is typed, chosen and clicked."""
    return ByHand(monkeypatch)


@pytest.fixture
def sign_in(browser, stack):
    """`sign_in("analyst")`: that person of the local Amazon, signed in."""
    people = []

    def open_browser(person: str) -> Somebody:
        people.append(Somebody(browser, stack, person))
        return people[-1]

    yield open_browser
    for somebody in people:
        somebody.context.close()
