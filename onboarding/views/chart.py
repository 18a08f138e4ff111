"""A line of shares over time as places in a picture, drawn by a template as SVG: no script, and a table beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

WIDTH, HEIGHT = 640, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 14, 28


@dataclass(frozen=True)
class Point:
    """One value and where it is in the picture."""

    x: float
    y: float
    at: datetime
    share: float


@dataclass(frozen=True)
class Chart:
    """The points from the oldest on, the path between them, and the lines of the axis with their words."""

    points: list[Point]
    path: str
    lines: list[tuple[float, str]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    bottom: int = HEIGHT - _BOTTOM


def shares_over_time(values: Sequence[tuple[datetime, float]]) -> Chart | None:
    """A chart of shares (0 to 1) at moments; None for fewer than two. Times are to scale; the axis ends at 100 %."""
    if len(values) < 2:
        return None
    ordered = sorted(values)
    first, last = ordered[0][0], ordered[-1][0]
    span = (last - first).total_seconds() or 1.0
    room, tall = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def height_of(share: float) -> float:
        return round(_TOP + tall * (1 - min(1.0, max(0.0, share))), 1)

    points = [
        Point(round(_LEFT + room * (at - first).total_seconds() / span, 1), height_of(share), at, share)
        for at, share in ordered
    ]
    path = "M" + " L".join(f"{point.x} {point.y}" for point in points)
    return Chart(points, path, [(height_of(part / 4), f"{part * 25}%") for part in range(5)])
