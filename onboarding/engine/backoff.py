"""When to try again: exponential, with jitter, never sooner than Amazon asked for."""

from __future__ import annotations

import random

LONGEST = 300.0
# After this long without a success a failure that kept saying "later" is shown to a person.
GIVE_UP_AFTER = 6 * 3600.0


def delay(
    attempt: int, *, retry_after: float | None = None, scale: float = 1.0, rng: random.Random | None = None
) -> float:
    """Seconds until the next try after `attempt` (1, 2, …) failures in a row.

    Between half and all of 2, 4, 8 … seconds, 300 at most, times `scale`; and at least `retry_after`, spread by up to a
    quarter so that those who were turned away together do not come back together.
    """
    chance = rng or random.SystemRandom()
    longest = min(LONGEST, 2.0 ** min(attempt, 16))
    wait = longest * chance.uniform(0.5, 1.0) * scale
    if retry_after is not None:
        wait = max(wait, retry_after * chance.uniform(1.0, 1.25))
    return wait
