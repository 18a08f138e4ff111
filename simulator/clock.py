"""The simulated time: real time plus whatever it was told to skip."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.store import World


def real_now() -> datetime:
    """What the machine's clock says, aware, in UTC."""
    return datetime.now(UTC)


class SimClock:
    """Tells the simulated time, and can be moved forward so that 14 days take none.

    The offset lives in the world, so it outlasts a restart.
    """

    def __init__(self, world: World, real_now: Callable[[], datetime] = real_now) -> None:
        self._world = world
        self._real_now = real_now

    def now(self) -> datetime:
        """The simulated time, aware, in UTC."""
        return self._real_now() + timedelta(seconds=self.offset)

    @property
    def offset(self) -> float:
        """How far the simulated time is ahead of the real one, in seconds."""
        entry = self._world.table("clock").get("offset")
        return float(entry["seconds"]) if entry else 0.0

    def advance(self, seconds: float) -> datetime:
        """Skip `seconds` (0 or more) and return the new time.

        Raises ValueError for a negative number: what was answered can't become the future again.
        """
        if seconds < 0:
            raise ValueError("the clock only goes forward")
        with self._world.change():
            self._world.table("clock").put("offset", {"seconds": self.offset + seconds})
        return self.now()
