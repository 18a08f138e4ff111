"""How long Amazon takes over each thing, in simulated seconds.

The delays are settings of a world, so they outlast a restart. Three presets: `fast` (everything is done when it is next
looked at), `demo` (a few seconds each, for people watching) and `real` (roughly what customers report).
"""

from __future__ import annotations

from collections.abc import Mapping

from simulator.store import World

PRESETS: dict[str, dict[str, float]] = {
    "fast": {
        "instance_submitted": 0,
        "instance_in_progress": 0,
        "instance_completed": 0,
        "collaboration_pending": 0,
        "collaboration_active": 0,
        "advertiser_updating": 0,
        "advertiser_completed": 0,
        "advertiser_review": 0,
        "job_tracking": 0,
        "job_started": 0,
        "job_finished": 0,
    },
    "demo": {
        "instance_submitted": 2,
        "instance_in_progress": 3,
        "instance_completed": 5,
        "collaboration_pending": 2,
        "collaboration_active": 5,
        "advertiser_updating": 2,
        "advertiser_completed": 3,
        "advertiser_review": 20,
        "job_tracking": 4,
        "job_started": 2,
        "job_finished": 6,
    },
    "real": {
        "instance_submitted": 60,
        "instance_in_progress": 600,
        "instance_completed": 3 * 3600,
        "collaboration_pending": 600,
        "collaboration_active": 420,
        "advertiser_updating": 300,
        "advertiser_completed": 1800,
        "advertiser_review": 2 * 86400,
        "job_tracking": 900,
        "job_started": 120,
        "job_finished": 3 * 3600,
    },
}
"""Seconds per stage, by preset. The stages of one thing follow each other: each is counted from the one before."""


class Pace:
    """The delays in force in a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def seconds(self, stage: str) -> float:
        """How long `stage` takes. Raises KeyError for a stage that does not exist."""
        return self.all()[stage]

    def all(self) -> dict[str, float]:
        """Every stage with its seconds."""
        entry = self._world.table("settings").get("pace") or {}
        return {**PRESETS["fast"], **entry}

    def set(self, changes: Mapping[str, object]) -> dict[str, float]:
        """Take over `changes` (stage to seconds, 0 or more) and return all stages.

        Raises ValueError for an unknown stage or something that is no such number.
        """
        pace = self.all()
        for stage, seconds in changes.items():
            if stage not in pace:
                raise ValueError(f"there is no stage called {stage!r}; there are {', '.join(sorted(pace))}")
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 10**9:
                raise ValueError(f"{stage} must be a number of seconds, 0 or more")
            pace[stage] = float(seconds)
        with self._world.change():
            self._world.table("settings").put("pace", pace)
        return pace

    def preset(self, name: str) -> dict[str, float]:
        """Take over the preset called `name`. Raises ValueError if there is none."""
        if name not in PRESETS:
            raise ValueError(f"there is no pace called {name!r}; there are {', '.join(PRESETS)}")
        return self.set(PRESETS[name])
