"""The portal against the local Amazon: fixtures that several folders of tests share."""

from __future__ import annotations

import atexit
import functools
import html
import re
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from django.db import connection, connections
from django.test import Client

from onboarding.clients.http import shared_client
from onboarding.models import AmcAccount, AmcConnection, Person, Role
from portal.signin import limits
from simulator import people
from simulator.testing import start_simulator


@functools.cache
def _simulator() -> tuple[str, int]:
    """The address of this process's local Amazon, and the snapshot with which every test begins."""
    running = start_simulator()
    atexit.register(running.stop)
    atexit.register(lambda: shared_client().close())
    return running.url, Amazon(running.url).control("POST", "snapshots")["id"]


class Amazon:
    """The local Amazon of a test: its control API and its consent page."""

    def __init__(self, url: str) -> None:
        self.url = url
        # There is no TLS; without this every client reads all the certificates that the machine trusts.
        self.http = httpx.Client(base_url=url, timeout=60, verify=False)

    def control(self, method: str, path: str, **body):
        answer = self.http.request(method, f"/_simulator/{path}", json=body or None)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def rule(self, operation: str, times: int | None = 1, **action) -> None:
        """Misbehave: `rule("amc:listInstances", kind="throttle", retry_after=3)`."""
        self.control("POST", "rules", operation=operation, times=times, action=action)

    def exchanges(self, operation: str) -> list[dict]:
        return [one for one in self.control("GET", "exchanges") if one["operation"] == operation]

    def token(self, person: str = "admin", scope: str = "profile advertising::campaign_management") -> dict:
        answer = self.http.get("/_simulator/token", params={"person": person, "scope": scope})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def revoke(self, person: str) -> None:
        assert self.control("POST", f"people/{person}/revoke")["revoked"] >= 1

    def consent(self, address: str, person: str, answer: str = "allow") -> str:
        """Somebody answers the consent page at `address`; the path and query that Amazon sends them back to."""
        with httpx.Client(timeout=60, verify=False) as browser:
            page = browser.get(address)
            assert page.status_code == 200, page.text
            fields = dict(re.findall(r'name="(request|nonce)" value="([^"]*)"', page.text))
            values = {name: html.unescape(value) for name, value in fields.items()}
            back = browser.post(f"{self.url}/ap/oa", data={**values, "person": person, "answer": answer})
        assert back.status_code == 302, back.text
        parts = urlsplit(back.headers["Location"])
        return f"{parts.path}?{parts.query}"


@pytest.fixture
def amazon(settings) -> Amazon:
    """A fresh local Amazon, and a portal whose settings point at it."""
    url, begun = _simulator()
    settings.AMC_URL = url
    settings.LOGIN_AUTHORIZE_URL = settings.SOCIAL_AUTH_AMAZON_AUTHORIZATION_URL = f"{url}/ap/oa"
    settings.LOGIN_TOKEN_URL = settings.SOCIAL_AUTH_AMAZON_ACCESS_TOKEN_URL = f"{url}/auth/o2/token"
    settings.LOGIN_PROFILE_URL = f"{url}/user/profile"
    settings.LOGIN_CLIENT_ID = settings.SOCIAL_AUTH_AMAZON_KEY = people.CLIENT_ID
    settings.LOGIN_CLIENT_SECRET = settings.SOCIAL_AUTH_AMAZON_SECRET = people.CLIENT_SECRET
    limits.BY_ADDRESS.clear()
    limits.BY_SESSION.clear()
    amazon = Amazon(url)
    # With it come the settings and the pace, which another test may have changed.
    amazon.control("POST", f"snapshots/{begun}/restore")
    yield amazon
    amazon.http.close()


@pytest.fixture
def connected(amazon, db) -> AmcAccount:
    """The AMC account "Paper Boat Foods", reached through the simulator's administrator."""
    return connect(amazon)


def connect(amazon: Amazon, person: str = "admin", account: people.AmcAccount = people.PAPERBOAT) -> AmcAccount:
    """Put a connection with the grant of `person` and one AMC account into the database."""
    who = next(one for one in people.PEOPLE if one.id == person)
    grant = amazon.token(person)
    connection_row, _ = AmcConnection.objects.get_or_create(
        amazon_id=who.user_id, defaults={"label": who.email, "refresh_token": grant["refresh_token"]}
    )
    return AmcAccount.objects.create(
        entity_id=account.id, marketplace_id=account.marketplace, name=account.name, connection=connection_row
    )


def somebody(name: str, account: AmcAccount | None = None, *roles: str, **fields) -> Person:
    """A person with these roles on the account."""
    person = Person.objects.create_user(
        f"amzn1.account.{name.upper()}", name=name, email=f"{name.lower()}@example.com", **fields
    )
    for role in roles:
        Role.objects.create(person=person, account=account, name=role)
    return person


def browser(person: Person) -> Client:
    """A browser in which the person is signed in."""
    client = Client()
    client.force_login(person)
    return client


def sign_in(amazon: Amazon, person: str, client: Client | None = None, **form) -> Client:
    """Sign in through the consent page; the browser, with the last answer in `client.last`."""
    client = client or Client()
    start = client.post("/sign-in/amazon/begin", form)
    assert start.status_code == 302, start.content
    client.last = client.get(amazon.consent(start["Location"], person))
    return client


def in_threads(count: int, act: Callable[[], object], tmp_path: Path, monkeypatch) -> list[object]:
    """What `act` returned or raised in each of `count` threads that begin together.

    SQLite in memory cannot be written by two threads at once, so the threads work on a copy in a file. Tests that use
    this, or `database_bytes`, need `django_db(transaction=True)`.
    """
    if connection.vendor == "sqlite" and not Path(str(connection.settings_dict["NAME"])).is_file():
        copy = tmp_path / "threads.sqlite3"
        with connection.cursor() as cursor:
            cursor.execute("VACUUM INTO %s", [str(copy)])
        # As `migrate`, which every start runs first and alone, leaves a file: of several that turn one into a
        # write-ahead log at the same moment, SQLite refuses some at once, whatever the timeout.
        with closing(sqlite3.connect(copy)) as alone:
            assert alone.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
        monkeypatch.setitem(connections.settings["default"], "NAME", str(copy))
    ready, results, lock = threading.Barrier(count), [], threading.Lock()

    def work() -> None:
        try:
            ready.wait(20)
            result = act()
        except Exception as error:
            result = error
        finally:
            connections.close_all()
        with lock:
            results.append(result)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == count
    return results


def database_bytes(tmp_path: Path) -> bytes:
    """Everything that the database holds."""
    if connection.vendor == "sqlite":
        dump = tmp_path / "dump.sqlite3"
        with connection.cursor() as cursor:
            cursor.execute("VACUUM INTO %s", [str(dump)])
        return dump.read_bytes()
    everything = b""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            everything += repr(cursor.fetchall()).encode()
    return everything
