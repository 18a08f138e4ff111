"""What the program writes: tables for people, JSON for programs, progress beside it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from typing import Any, TextIO


class Output:
    """Results go to standard output, progress to standard error; with `as_json` the results are JSON."""

    def __init__(self, as_json: bool, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.as_json = as_json
        self.out, self.err = out or sys.stdout, err or sys.stderr

    def result(self, value: Any, text: str) -> None:
        """One result: the value as JSON, or the text."""
        self.line(json.dumps(value, ensure_ascii=False, indent=2) if self.as_json else text)

    def table(self, values: Sequence[Any], heads: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
        """Several results: the values as JSON, or the rows under their heads."""
        if self.as_json:
            self.line(json.dumps(values, ensure_ascii=False, indent=2))
        elif not rows:
            self.line(empty)
        else:
            self.line(_table(heads, [[plain(cell) for cell in row] for row in rows]))

    def line(self, text: str) -> None:
        """A line of the result."""
        print(text, file=self.out, flush=True)

    def say(self, text: str) -> None:
        """A line for whoever watches."""
        print(text, file=self.err, flush=True)


def plain(value: object) -> str:
    """A value on one line, without anything that a terminal would act on."""
    text = "" if value is None else str(value)
    return "".join(one if one.isprintable() else " " for one in text)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(heads, *rows, strict=True)]
    room = shutil.get_terminal_size((120, 24)).columns
    # The last column takes what is left.
    widths[-1] = max(10, min(widths[-1], room - sum(widths[:-1]) - 2 * (len(widths) - 1)))
    lines = []
    for row in (heads, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        cells[-1] = row[-1] if len(row[-1]) <= widths[-1] else row[-1][: widths[-1] - 1] + "…"
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
