"""Lists as CSV: streamed row by row, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone

# A cell that begins like this would be carried out as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class _Echo:
    """A file that hands back what is written to it."""

    def write(self, line: str) -> str:
        return line


def wants_csv(request: HttpRequest) -> bool:
    """Whether the list is asked for as a file (`?format=csv`)."""
    return request.GET.get("format") == "csv"


def cell(value: Any) -> str | int | float:
    """What is written for a value: times in UTC to the second, lengths of time in seconds, text never as a formula."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(timezone.get_default_timezone()).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, timedelta):
        return round(value.total_seconds())
    if isinstance(value, int | float):
        return value
    text = str(value)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def _lines(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    # Excel takes a file for UTF-8 only with this mark.
    yield "\ufeff" + str(writer.writerow(header))
    for row in rows:
        yield str(writer.writerow([cell(value) for value in row]))


def lines_file(name: str, lines: Iterable[str]) -> StreamingHttpResponse:
    """A download `name-DATE.jsonl`: one JSON object a line, read while it is sent."""
    response = StreamingHttpResponse((f"{line}\n" for line in lines), content_type="application/x-ndjson")
    response["Content-Disposition"] = f'attachment; filename="{name}-{timezone.now():%Y-%m-%d}.jsonl"'
    response["Cache-Control"] = "private, no-store"
    return response


def csv_file(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> StreamingHttpResponse:
    """A download `name-DATE.csv`; `rows` is read while it is sent, and never held whole."""
    response = StreamingHttpResponse(_lines(header, rows), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}-{timezone.now():%Y-%m-%d}.csv"'
    response["Cache-Control"] = "private, no-store"
    return response
