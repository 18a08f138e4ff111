"""For every test: whatever is logged holds no token, no secret and no marked value of an identity file."""

from __future__ import annotations

import gc
import logging
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright
from redis import Redis

from bench.bare import redis
from onboarding.clients import beside
from scripts.stack import ROOT, begin_database
from tests.leaks import Watch
from tests.warm_aws import remember_models

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")


def pytest_collection_modifyitems(items):
    """What takes longest begins first: at the end no process works on while the others have nothing left."""
    items.sort(key=lambda item: "chaos" not in item.path.parts)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings, tmp_path_factory):
    """The test database is there, migrated, before Django makes it: whoever tests in this checkout shares the work."""
    from django.db import connection

    name = connection.creation._get_test_db_name()
    if connection.vendor != "sqlite" or not connection.creation.is_in_memory_db(name):
        yield
        return
    path = tmp_path_factory.mktemp("empty") / "portal.sqlite3"
    begin_database(path, partial(migrate, path))
    with closing(sqlite3.connect(name, uri=True)) as database:
        with closing(sqlite3.connect(path)) as file:
            file.backup(database)
        yield


def migrate(path: Path) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "DATABASE_URL": f"sqlite:///{path}"}
    command = [sys.executable, str(ROOT / "manage.py"), "migrate", "--noinput"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session", autouse=True)
def lightly_loaded():
    """What all tests share is made once, and the collector of garbage does not walk over it again and again."""
    remember_models()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session")
def browser():
    """One for all tests of this process: playwright can't be started a second time beside itself."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def watch():
    """Reads the log as the portal writes it."""
    root, reader = logging.getLogger(), Watch()
    written = [one.formatter for one in root.handlers if type(one) is logging.StreamHandler and one.formatter]
    reader.setFormatter(written[0])
    root.addHandler(reader)
    yield reader
    root.removeHandler(reader)


@pytest.fixture(autouse=True)
def nothing_leaks_into_the_log(watch):
    watch.found.clear()
    yield
    assert watch.found == []


@pytest.fixture(scope="session")
def redis_address(tmp_path_factory):
    with redis(str(tmp_path_factory.mktemp("redis"))) as address:
        yield address


@pytest.fixture
def own_redis(redis_address, settings, monkeypatch):
    """An empty Redis, which the portal uses for everything."""
    with Redis.from_url(redis_address) as server:
        server.flushall()
        settings.REDIS_URL = redis_address
        for name, queue in settings.RQ_QUEUES.items():
            monkeypatch.setitem(settings.RQ_QUEUES, name, {**queue, "URL": redis_address})
        monkeypatch.setattr(beside, "_silent_until", 0.0)
        yield server
