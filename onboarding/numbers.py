"""Numbers out of addresses and forms: whoever sends them can send anything."""

from __future__ import annotations

from typing import TypeVar

from django.db.models import Model, QuerySet

M = TypeVar("M", bound=Model)
# The largest key of a row: a database refuses to compare with more, and refuses it late, while a file is being sent.
MOST = 2**63 - 1


def number_of(text: str) -> int | None:
    """The whole number that the text is, in plain digits and no larger than a key can be; None for anything else."""
    # The length first: Python refuses to read thousands of digits.
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MOST))):
        return None
    number = int(text)
    return number if number <= MOST else None


def of_key(rows: QuerySet[M], name: str, text: str) -> QuerySet[M]:
    """The rows whose `name` refers to the row of that number; all if the text is empty, none if it is no number."""
    if not text:
        return rows
    number = number_of(text)
    return rows.none() if number is None else rows.filter(**{name: number})
