"""A simulator to ask: in this process over WSGI, or as a program of its own."""

from datetime import UTC, datetime

import httpx
import pytest

from simulator.server import Simulator
from simulator.testing import start_simulator
from tests.simulator.asking import Asking


@pytest.fixture
def simulator():
    """One whose clock stands still but for what a test lets pass: a busy machine may take its time."""
    now = datetime.now(UTC).replace(microsecond=0)
    simulator = Simulator(seeded=0, real_now=lambda: now)
    simulator.change_settings({"role_delay": 0})
    yield simulator
    simulator.close()


@pytest.fixture
def ask(simulator):
    return Asking(simulator)


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    """The simulator as a program, for the whole session: everybody uses names of their own in it."""
    running = start_simulator(tmp_path_factory.mktemp("simulator"))
    yield running
    assert running.stop() == 0


@pytest.fixture
def http(running):
    with httpx.Client(base_url=running.url, timeout=120) as client:
        yield client
