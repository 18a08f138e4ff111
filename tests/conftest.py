"""For every test: whatever is logged holds no token, no secret and no marked value of an identity file."""

from __future__ import annotations

import gc
import logging
import os

import pytest
from playwright.sync_api import sync_playwright

from tests.leaks import Watch
from tests.warm_aws import remember_models

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")


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
