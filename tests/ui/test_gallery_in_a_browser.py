"""Every component, in light and dark and on narrow and wide screens: accessible, in bounds, and within the CSP."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from onboarding.views.gallery import MADE_UP_PAGES

pytestmark = pytest.mark.django_db(transaction=True)

SETTINGS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]


class Watched:
    """A page whose console errors and refused styles and scripts are kept."""

    def __init__(self, browser, width=1280, scheme="light", **more):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **more)
        self.page = self.context.new_page()
        self.problems = []
        self.page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.add_init_script(
            "addEventListener('securitypolicyviolation', e => console.error('refused', e.violatedDirective))"
        )

    def close(self):
        self.context.close()


@pytest.fixture
def watched(browser):
    opened = []

    def watched(*args, **kwargs):
        opened.append(Watched(browser, *args, **kwargs))
        return opened[-1]

    yield watched
    for page in opened:
        page.close()


@pytest.mark.parametrize(("width", "scheme"), SETTINGS)
def test_axe_finds_nothing(watched, gallery, width, scheme):
    browser = watched(width, scheme)
    axe = Axe()
    for name in ("", *(f"{page}/" for page in MADE_UP_PAGES)):
        browser.page.goto(gallery + name)
        browser.page.evaluate("for (const more of document.querySelectorAll('main details')) more.open = true")
        found = axe.run(browser.page, options={"resultTypes": ["violations"]})
        assert found.violations_count == 0, f"{name or 'components'}: {found.generate_report()}"
    assert browser.problems == []


def test_nothing_sticks_out(watched, gallery):
    page = watched().page
    for name in ("", *(f"{page}/" for page in MADE_UP_PAGES)):
        page.goto(gallery + name)
        page.evaluate("for (const more of document.querySelectorAll('main details')) more.open = true")
        for width in (320, 390, 768, 992, 1280, 1920):
            page.set_viewport_size({"width": width, "height": 900})
            wider = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert wider <= 0, f"{name or 'components'} is {wider} px wider than {width} px"


def test_an_inline_script_or_style_would_be_refused_and_seen(watched, gallery):
    browser = watched()
    browser.page.goto(gallery)
    assert browser.problems == []
    with browser.page.expect_console_message(lambda message: "refused style-src" in message.text):
        browser.page.evaluate("document.querySelector('h1').setAttribute('style', 'color: red')")
    with browser.page.expect_console_message(lambda message: "refused script-src" in message.text):
        browser.page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: '1'}))")


def test_menus_open_without_scripts_and_navigation_is_reachable_on_a_phone(watched, gallery):
    browser = watched(390, java_script_enabled=False)
    browser.page.goto(gallery)
    assert not browser.page.locator(".sidebar").is_visible()
    browser.page.locator(".nav-small > summary").click()
    assert browser.page.locator(".nav-small a", has_text="Instances").is_visible()


def test_the_theme_is_chosen_without_scripts_and_kept(watched, gallery):
    browser = watched(java_script_enabled=False, scheme="light")
    browser.page.goto(gallery)

    def lightness():
        return browser.page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor")

    light = lightness()
    browser.page.locator("summary", has_text="Light or dark").click()
    browser.page.get_by_role("button", name="Dark", exact=True).click()
    browser.page.wait_for_url("**/gallery/")
    assert browser.page.locator("html").get_attribute("data-bs-theme") == "dark"
    dark = lightness()
    assert dark != light
    browser.page.goto(gallery + "empty/")
    assert lightness() == dark


def test_without_a_choice_the_system_decides(watched, gallery):
    colours = set()
    for scheme in ("light", "dark"):
        browser = watched(scheme=scheme)
        browser.page.goto(gallery)
        assert browser.page.locator("html").get_attribute("data-bs-theme") == "auto"
        colours.add(browser.page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor"))
    assert len(colours) == 2


def test_the_skip_link_and_the_error_summary_take_the_focus(watched, gallery):
    browser = watched()
    browser.page.goto(gallery)
    browser.page.keyboard.press("Tab")
    assert browser.page.evaluate("document.activeElement.textContent") == "Skip to the content"
    browser.page.keyboard.press("Enter")
    assert browser.page.evaluate("document.activeElement.id") == "content"

    browser.page.goto(gallery + "errors/")
    assert browser.page.evaluate("document.activeElement.className") == "error-summary"
    for link in browser.page.locator(".error-summary a").all():
        link.click()
        target = link.get_attribute("href").removeprefix("#")
        assert browser.page.evaluate("document.activeElement.id") == target


def test_escape_closes_a_menu_and_returns_the_focus(watched, gallery):
    browser = watched()
    browser.page.goto(gallery)
    menu = browser.page.locator("details.menu", has=browser.page.locator(".avatar"))
    menu.locator("summary").click()
    assert menu.evaluate("e => e.open")
    browser.page.keyboard.press("Escape")
    assert not menu.evaluate("e => e.open")
    assert browser.page.evaluate("document.activeElement.className") == "person-now"


def test_the_accounts_of_an_agency_can_be_narrowed(watched, gallery):
    browser = watched()
    browser.page.goto(gallery)
    browser.page.locator(".account-choose").click()
    browser.page.get_by_label("Find an account").fill("corvid")
    assert browser.page.locator("form[data-filter-list] .menu-item:visible").count() == 1


def test_copying_says_so(watched, gallery):
    browser = watched(permissions=["clipboard-read", "clipboard-write"])
    browser.page.goto(gallery)
    browser.page.get_by_role("button", name="Copy the id").click()
    expect(browser.page.locator("#live")).to_have_text("Copied")
    assert browser.page.evaluate("navigator.clipboard.readText()") == "123456789000"


def live_page(browser, gallery, delay):
    """The run page with its polling part asking /gallery/next after `delay` seconds."""
    browser.page.route(
        gallery + "run/",
        lambda route: route.fulfill(
            response=(answer := route.fetch()),
            body=answer.text()
            .replace("load delay:5s", f"load delay:{delay}s")
            .replace('data-poll="5"', f'data-poll="{delay}"'),
        ),
    )
    browser.page.goto(gallery + "run/")


def test_polling_stops_at_a_final_state_and_the_new_heading_has_the_focus(watched, gallery):
    browser = watched()
    asked = []

    def answer(route):
        asked.append(route.request.headers)
        if len(asked) == 1:
            route.fulfill(
                body='<div id="run" hx-get="/gallery/none/" hx-trigger="load delay:0.05s" hx-swap="outerHTML">on</div>'
            )
        else:
            route.fulfill(body='<div id="run"><h1>Joined</h1></div><div id="live" hx-swap-oob="innerHTML">Joined</div>')

    browser.page.route("**/gallery/none/", answer)
    live_page(browser, gallery, 0.05)
    browser.page.wait_for_selector("h1:has-text('Joined')")
    expect(browser.page.locator("#run h1")).to_be_focused()
    assert browser.page.locator("#live").text_content() == "Joined"
    assert browser.page.locator("#run").get_attribute("aria-busy") is None
    browser.page.wait_for_timeout(300)
    assert len(asked) == 2
    assert all(headers["x-csrftoken"] for headers in asked)
    assert browser.problems == []


def test_polling_that_keeps_failing_says_that_updates_are_paused(watched, gallery):
    browser = watched()
    asked = []
    browser.page.route("**/gallery/none/", lambda route: (asked.append(1), route.fulfill(status=503, body="")))
    live_page(browser, gallery, 0.01)
    browser.page.wait_for_selector(".poll-paused")
    assert "Updates paused" in browser.page.locator("#run").text_content()
    assert browser.page.locator(".poll-paused a").get_attribute("href") == gallery + "run/"
    browser.page.wait_for_timeout(300)
    assert len(asked) == 4
