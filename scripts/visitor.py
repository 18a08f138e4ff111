"""A person at the portal without a browser: opens pages, fills in forms and sends them, as HTML says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from types import TracebackType
from urllib.parse import urljoin

import httpx


class VisitFailed(Exception):
    """A page is not what was expected; the text says which and what it showed."""


@dataclass
class Form:
    """A form of a page: where it goes, its values as they stand, and what may be chosen."""

    action: str
    method: str
    values: dict[str, list[str]] = field(default_factory=dict)
    choices: dict[str, list[str]] = field(default_factory=dict)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._open: Form | None = None
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._open = Form(given.get("action", ""), given.get("method", "get").lower())
            self.forms.append(self._open)
        if self._open is None:
            return
        name, value = given.get("name", ""), given.get("value", "")
        if tag == "select":
            self._select = name
        elif tag == "option" and self._select:
            self._open.choices.setdefault(self._select, []).append(value)
            if "selected" in given:
                self._open.values[self._select] = [value]
        elif tag == "input" and name:
            self._open.choices.setdefault(name, []).append(value)
            if given.get("type") not in ("checkbox", "radio") or "checked" in given:
                self._open.values.setdefault(name, []).append(value)
        elif tag == "textarea" and name:
            self._open.values.setdefault(name, []).append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None
        elif tag == "select":
            self._select = ""


class Visitor:
    """Somebody with cookies of their own."""

    def __init__(self, portal: str) -> None:
        self._portal = portal
        self._client = httpx.Client(follow_redirects=True, timeout=30)
        self.page: httpx.Response | None = None

    def __enter__(self) -> Visitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def open(self, path: str) -> None:
        """Open a page of the portal. Raises VisitFailed unless it is there."""
        self._see(self._client.get(urljoin(self._portal, path)))

    def form(self, fits: Callable[[Form], bool]) -> Form:
        """The first form of the page that fits. Raises VisitFailed if there is none."""
        assert self.page is not None
        parser = _Forms()
        parser.feed(self.page.text)
        found = next((form for form in parser.forms if fits(form)), None)
        if found is None:
            actions = ", ".join(form.action or "(itself)" for form in parser.forms)
            raise VisitFailed(f"{self.page.url} has no such form, only: {actions}")
        return found

    def send(self, form: Form, values: Mapping[str, str | list[str]] | None = None) -> None:
        """Send a form with some values changed, and see the page that follows."""
        assert self.page is not None
        data = {**form.values, **(values or {})}
        target = urljoin(str(self.page.url), form.action)
        # A browser says where it comes from; the portal and the local Amazon look at it.
        headers = {"Origin": str(self.page.url.copy_with(raw_path=b"")).rstrip("/"), "Referer": str(self.page.url)}
        self._see(self._client.request(form.method.upper(), target, data=data, headers=headers))

    def sign_in(self, person: str) -> None:
        """Sign in with the local Amazon as one of its people ("analyst", "approver", "admin" …)."""
        self.open("/")
        self.send(self.form(lambda form: "sign-in/amazon" in form.action))
        self.allow(person)

    def allow(self, person: str) -> None:
        """Answer the local Amazon's page of consent."""
        self.send(self.form(lambda form: "nonce" in form.values), {"person": person, "answer": "allow"})

    def _see(self, page: httpx.Response) -> None:
        self.page = page
        if page.status_code >= 400:
            raise VisitFailed(f"{page.request.method} {page.url} answered {page.status_code}: {page.text[:500]}")
