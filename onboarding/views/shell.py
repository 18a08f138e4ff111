"""What surrounds every page: navigation by role, the AMC account in view, what waits for me, light or dark."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils.cache import patch_vary_headers
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from onboarding.models import AmcAccount, Person, Request, RoleName

ACCOUNT_KEY = "account_in_view"
THEME_COOKIE = "theme"
THEMES = {"auto": "Same as the system", "light": "Light", "dark": "Dark"}
THEME_SECONDS = 365 * 24 * 3600

# name of the URL, text, icon
EVERYBODY = (
    ("home", "Home", "home"),
    ("dashboard", "Dashboard", "chart"),
    ("instances", "Instances", "layers"),
    ("runs", "Runs", "play"),
    ("requests", "Requests", "inbox"),
    ("files", "Files", "folder"),
)
ADMINS = (
    ("connections", "Connections", "plug"),
    ("differences", "Differences", "change"),
    ("people", "People", "people"),
    ("queues", "Queues", "queue"),
    ("audit", "Audit", "scroll"),
)


@dataclass(frozen=True)
class Entry:
    """One line of the navigation. `count` is shown beside it when it isn't 0."""

    name: str
    text: str
    icon: str
    url: str
    current: bool
    count: int = 0


def address(name: str) -> str:
    """The address of a page by its URL name; empty when this installation has no such page."""
    try:
        return reverse(name)
    except NoReverseMatch:
        return ""


class Shell:
    """The frame of a page for one request. Everything is looked up when a template first asks for it.

    At most two queries: the accounts with the person's roles on them, and the number of requests that wait for them.
    """

    def __init__(self, request: HttpRequest) -> None:
        self.request = request

    @property
    def person(self) -> Person | None:
        """Who is signed in, or None."""
        user = getattr(self.request, "user", None)
        return user if isinstance(user, Person) else None

    @cached_property
    def theme(self) -> str:
        """`light`, `dark`, or `auto` to follow the system."""
        return theme_of(self.request)

    @property
    def themes(self) -> list[tuple[str, str]]:
        """The choices of light and dark, with their words."""
        return list(THEMES.items())

    @cached_property
    def _roles(self) -> tuple[list[AmcAccount], dict[str, set[int]]]:
        """The accounts by name, and for each role the keys of those on which the person holds it."""
        person = self.person
        held: dict[str, set[int]] = {}
        if person is None:
            return [], held
        if person.is_superuser:
            every = list(AmcAccount.objects.all())
            return every, {name: {account.pk for account in every} for name in RoleName.values}
        accounts: dict[int, AmcAccount] = {}
        for role in person.roles.select_related("account").order_by("account__name"):
            accounts.setdefault(role.account_id, role.account)
            held.setdefault(role.name, set()).add(role.account_id)
        return list(accounts.values()), held

    @property
    def accounts(self) -> list[AmcAccount]:
        """The AMC accounts on which the person holds a role, by name."""
        return self._roles[0]

    @property
    def role_names(self) -> frozenset[str]:
        """The roles the person holds on any account (`analyst`, `approver`, `admin`)."""
        return frozenset(self._roles[1])

    @property
    def seen(self) -> list[AmcAccount]:
        """The AMC accounts that pages show: the one in view, or all of the person's."""
        return [self.account] if self.account else self.accounts

    def seen_as(self, role: str) -> list[AmcAccount]:
        """Those of `seen` on which the person holds the role."""
        held = self._roles[1].get(role, set())
        return [account for account in self.seen if account.pk in held]

    @property
    def is_admin(self) -> bool:
        """Whether the person is an admin of any account."""
        return RoleName.ADMIN in self.role_names

    @cached_property
    def account(self) -> AmcAccount | None:
        """The AMC account in view, or None for all that the person may see."""
        chosen = self.request.session.get(ACCOUNT_KEY) if hasattr(self.request, "session") else None
        if len(self.accounts) == 1:
            return self.accounts[0]
        return next((account for account in self.accounts if account.pk == chosen), None)

    @cached_property
    def waiting_for_me(self) -> int:
        """How many open requests wait for this person's decision."""
        if self.person is None or RoleName.APPROVER not in self.role_names:
            return 0
        return Request.objects.waiting_for(self.person).count()

    @cached_property
    def navigation(self) -> list[Entry]:
        """The entries for everybody."""
        return self._entries(EVERYBODY) if self.person else []

    @cached_property
    def admin_navigation(self) -> list[Entry]:
        """The entries for admins; empty for others."""
        return self._entries(ADMINS) if self.is_admin else []

    def _entries(self, lines: tuple[tuple[str, str, str], ...]) -> list[Entry]:
        path = self.request.path
        entries = []
        for name, text, icon in lines:
            url = address(name)
            if not url:
                continue
            current = path == url if url == "/" else path == url or path.startswith(url.rstrip("/") + "/")
            # A data set is one of an instance.
            current = current or (name == "instances" and path.startswith("/datasets/"))
            count = self.waiting_for_me if name == "requests" else 0
            entries.append(Entry(name, text, icon, url, current, count))
        return entries

    @cached_property
    def urls(self) -> dict[str, str]:
        """Addresses that the frame links to; empty ones are left out of the page."""
        return {
            "home": address("home") or "/",
            "sign_in": address("sign-in"),
            "sign_out": address("sign-out"),
            "account_in_view": address("account-in-view"),
            "search": address("instances"),
            "theme": address("theme"),
        }


def theme_of(request: HttpRequest) -> str:
    """The theme that the person chose in this browser: `light`, `dark` or `auto`."""
    chosen = request.COOKIES.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else "auto"


def shell_of(request: HttpRequest) -> Shell:
    """The frame of this request, the same for view and template, so that nothing is looked up twice."""
    found: Shell | None = getattr(request, "portal_shell", None)
    if found is None:
        found = Shell(request)
        request.portal_shell = found  # type: ignore[attr-defined]
    return found


def shell(request: HttpRequest) -> dict[str, Any]:
    """Context processor: `shell`, the frame of the page."""
    return {"shell": shell_of(request)}


def account_in_view(request: HttpRequest) -> AmcAccount | None:
    """The AMC account that the person looks at, or None for all of theirs."""
    return shell_of(request).account


def look_at(request: HttpRequest, account: AmcAccount | None) -> None:
    """Remember which AMC account is in view; None shows all. The caller has checked that the person may see it."""
    if account is None:
        request.session.pop(ACCOUNT_KEY, None)
    else:
        request.session[ACCOUNT_KEY] = account.pk


def page_to_return_to(request: HttpRequest, default: str = "/") -> str:
    """The address in `next`, if it is one of ours."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    if url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure()):
        return wanted
    return default


@login_not_required
@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """POST /theme with `theme`: keep the choice in a cookie and return to the page it was made on."""
    response = HttpResponseRedirect(page_to_return_to(request))
    chosen = request.POST.get("theme", "")
    if chosen in THEMES:
        response.set_cookie(
            THEME_COOKIE,
            chosen,
            max_age=THEME_SECONDS,
            samesite="Lax",
            httponly=True,
            secure=settings.SESSION_COOKIE_SECURE,
        )
    return response


def render_page_or_part(
    request: HttpRequest, page: str, part: str, context: dict[str, Any] | None = None, status: int | None = None
) -> HttpResponse:
    """The template `page`, or only the template `part` (which the page includes) when htmx asks for a fragment.

    A boosted or history-restoring request of htmx gets the whole page. The answer varies by HX-Request.
    """
    htmx = getattr(request, "htmx", None)
    wants_part = htmx is not None and bool(htmx) and not htmx.boosted and not htmx.history_restore_request
    response = render(request, part if wants_part else page, context, status=status)
    patch_vary_headers(response, ["HX-Request"])
    return response
