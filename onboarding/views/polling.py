"""How soon a live part of a page looks again: the server decides, and slows down while nothing happens."""

from __future__ import annotations

from datetime import timedelta

WHILE_RUNNING = 2.0
_STEPS = ((timedelta(minutes=2), 5.0), (timedelta(minutes=15), 15.0))
SLOWEST = 60.0


def next_look(age: timedelta) -> float:
    """Seconds until the next look, given for how long things have stood as they are: 5, then 15, then 60."""
    for limit, seconds in _STEPS:
        if age < limit:
            return seconds
    return SLOWEST
