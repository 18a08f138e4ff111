"""Draws what `BENCH_OUT=FOLDER make bench` has kept: `python -m bench.plot FOLDER docs` writes performance-*.svg."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

WIDTH, ROW, LEFT = 640, 20, 190
# Seen on white and on black: the pages that show it may be either.
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#767676}"
    ".bar{fill:#3b82c4}.other{fill:#7fb2df}.most{stroke:#c2410c;stroke-width:2}.line{fill:none;stroke:#3b82c4;stroke-width:2}"
    ".grid{stroke:#999;stroke-width:.5}"
)


def _picture(height: int, title: str, parts: Iterable[str]) -> str:
    box = f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {box}>\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def bars(title: str, rows: list[tuple[str, float, float, str]]) -> str:
    """A bar for each of (name, value, the most that it may be, unit), with its limit as a line across."""
    parts = []
    for number, (name, value, most, unit) in enumerate(rows):
        y, kind = 10 + number * ROW, "other" if number % 2 else "bar"
        scale = (WIDTH - LEFT - 130) / (most * 1.15)
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{value * scale:.0f}" height="14"/>',
            f'<path class="most" d="M{LEFT + most * scale:.0f} {y - 2}v18"/>',
            f'<text x="{WIDTH - 118}" y="{y + 12}">{value:g}{unit} of {most:g}{unit}</text>',
        ]
    return _picture(20 + len(rows) * ROW, title, parts)


def curve(title: str, ended: list[float], count: int) -> str:
    """How many of `count` had ended after how many seconds."""
    high, wide = 180, WIDTH - 80
    most = max(ended)
    points = [(0.0, 0.0), *((at, part / len(ended)) for part, at in enumerate(ended, 1))]
    line = " ".join(f"{50 + at / most * wide:.0f},{10 + high - share * high:.0f}" for at, share in points)
    parts = [f'<path class="grid" d="M50 {10 + high - high * share / 2:.0f}h{wide}"/>' for share in (0, 1, 2)]
    parts += [
        f'<text x="44" y="{14 + high - high * share / 2:.0f}" text-anchor="end">{count * share // 2:,}</text>'
        for share in (0, 1, 2)
    ]
    parts += [
        f'<text x="{50 + wide * share / 2:.0f}" y="{high + 28}" text-anchor="middle">{most * share / 2:.0f} s</text>'
        for share in (0, 1, 2)
    ]
    return _picture(high + 40, title, [*parts, f'<polyline class="line" points="{line}"/>'])


def draw(measured: Path, out: Path) -> None:
    """Write the pictures of what was kept in the folder `measured`."""

    def read(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((measured / f"{name}.json").read_text(encoding="utf-8"))
        return found

    at_size, clock, thousand = read("at_size"), read("clock"), read("thousand")
    pages = [
        (f"{one['page']}, {one['at_once']} at a time", one["ratio"], one["most_ratio"], "×") for one in at_size["pages"]
    ]
    memory = [("memory of a web worker", max(at_size["worker_mb"]), 120, " MB")]
    reads = max(one["reads"] + one["single"] for one in clock["ticks"])
    processor = max(one["cpu"] for one in clock["ticks"])
    ticks = [("reads of a tick", reads, 45, ""), ("processor of a tick", processor, 1, " s")]
    text = bars("Pages beside a bare list, a web worker's memory, and the clock's tick", [*pages, *memory, *ticks])
    (out / "performance-limits.svg").write_text(text, encoding="utf-8")
    first = next(iter(thousand["parts"].values()))
    text = curve("Onboardings that had ended, by seconds since they began at once", first["ended_s"], first["count"])
    (out / "performance-onboardings.svg").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
