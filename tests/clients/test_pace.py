"""After Amazon has asked for a pause, all processes together call no faster than it takes."""

from __future__ import annotations

import pytest

from onboarding.clients import beside, pace
from onboarding.clients.amc import AmcClient
from onboarding.clients.failures import Later

pytestmark = pytest.mark.django_db


T = 1_800_000_000.0


def begin(now: float = T) -> None:
    """Ten calls in a second, then a 429 with a pause of three seconds: two turns of five each second are left."""
    for number in range(10):
        pace.turn("E", f"run {number}", now=now)
    pace.slower("E", 3, now=now + 1)


def kept(server, name: str) -> float:
    return float(server.hget("portal:pace:E", name))


def test_nothing_is_held_back_until_amazon_says_so(own_redis):
    assert [pace.turn("E", f"run {number}", now=T) for number in range(50)] == [0.0] * 50


def test_after_a_pause_each_has_its_turn(own_redis):
    begin()
    assert kept(own_redis, "interval") == pytest.approx(0.2)
    # Several that were under way when Amazon said so are one; the longest pause holds.
    pace.slower("E", 3.5, now=T + 1)
    assert kept(own_redis, "interval") == pytest.approx(0.2)
    waits = [pace.turn("E", f"run {number}", now=T + 1) for number in range(5)]
    assert waits == pytest.approx([3.5, 3.7, 3.9, 4.1, 4.3])
    # Whoever asks again keeps the place; another account is not concerned.
    assert pace.turn("E", "run 3", now=T + 2) == pytest.approx(3.1)
    assert pace.turn("F", "run 0", now=T + 1) == 0
    turns = [pace.turn("E", f"run {number}", now=T + 4.75) for number in range(5)]
    assert turns == pytest.approx([0, 0, 0.15, 0.35, 0.55], abs=1e-4)
    # In the middle of a turn, the next call is made at once, and those who come later wait longer for it.
    late = pace.turn("E", "late", now=T + 4.75)
    assert pace.turn("E", "run 0", going_on=True, now=T + 4.75) == 0
    assert pace.turn("E", "later", now=T + 4.75) - late == pytest.approx(0.4, abs=1e-4)


def test_a_turn_under_way_ends_when_amazon_asks_for_a_pause(own_redis):
    begin()
    assert pace.turn("E", "run", going_on=True, now=T + 2) == pytest.approx(2)


def test_it_grows_faster_but_not_as_fast_as_what_was_refused(own_redis):
    begin()
    seen = []
    for minute in range(1, 11):
        pace.turn("E", "run", now=T + 10 + minute * 61)
        seen.append(kept(own_redis, "interval"))
    assert seen[:2] == pytest.approx([0.18, 0.162]) and seen[-1] == pytest.approx(0.125)
    assert seen == sorted(seen, reverse=True)
    pace.slower("E", 1, now=T + 1000)
    assert kept(own_redis, "interval") == pytest.approx(0.25)


def test_few_calls_tell_no_pace(own_redis):
    pace.turn("E", "run", now=T)
    pace.slower("E", 1, now=T + 4)
    assert kept(own_redis, "interval") == 0.5


def test_while_every_call_is_refused_the_pause_grows_and_not_the_pace(own_redis):
    begin()
    now, pauses = T + 1, []

    def refused(who: str, retry_after: float | None) -> float:
        """The pause after a call that was made when its turn came, and answered a tenth of a second later."""
        nonlocal now
        now += pace.turn("E", who, now=now)
        assert pace.turn("E", who, now=now) == 0
        now += 0.1
        pace.slower("E", retry_after, now=now)
        return pace.turn("E", who, now=now)

    for number in range(6):
        pauses.append(refused("run", 1 if number else None))
    assert pauses == pytest.approx([2, 4, 5, 5, 5, 5], abs=1e-4)
    assert kept(own_redis, "interval") == pytest.approx(0.2)
    # What Amazon itself asks for holds, however long.
    assert refused("run", 25) == pytest.approx(25, abs=1e-4)
    # Once calls are taken again, a refusal is one of the pace, and the pause is what Amazon asks for.
    now += 25
    assert pace.turn("E", "run", now=now) == 0
    assert refused("other", None) == pytest.approx(pace.USUAL_PAUSE, abs=1e-4)
    assert kept(own_redis, "interval") == pytest.approx(0.4)


def test_without_redis_calls_go_on(settings, monkeypatch):
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    monkeypatch.setattr(beside, "_silent_until", 0.0)
    assert pace.turn("E", "run") == 0
    pace.slower("E", 5)
    assert pace.turn("E", "run") == 0


def test_no_call_is_made_while_amazon_wants_a_pause(own_redis, amazon, connected):
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
    own_redis.delete(f"portal:pace:{connected.entity_id}")
    assert client.call("listInstances")["instances"]
