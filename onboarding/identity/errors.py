"""What can go wrong. No message ever holds a value of a column: only files, row numbers and column names."""

import os
import re


class IdentityError(Exception):
    """Base of the library's errors. The message is for people; ``code`` is what S3 answered, if it did."""

    code = ""


class Unreadable(IdentityError):
    """A file cannot be read as CSV or Parquet. ``row`` is the first row that could not be read, if known."""

    def __init__(self, file: str, reason: str, row: int | None = None, code: str = "") -> None:
        super().__init__(f"{file}: {reason}" + (f" (near row {row})" if row is not None else ""))
        self.file, self.reason, self.row, self.code = file, reason, row, code


class BadMapping(IdentityError):
    """The mapping of columns to kinds cannot be used."""


class BadDestination(IdentityError):
    """The prepared files cannot be put there."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class BadManifest(IdentityError):
    """A manifest is not one of ours, does not fit to itself, or was made by other rules than there are here."""


class Cancelled(IdentityError):
    """The caller asked to stop. Nothing was published."""


def number(error: OSError) -> int | None:
    """The system's number of what went wrong."""
    # Polars gives it in its text alone.
    found = re.search(r"\(os error (\d+)\)$", str(error)) if error.errno is None else None
    return int(found[1]) if found else error.errno


def reason(error: OSError) -> str:
    """The system's words for what went wrong; a library's own text may hold more than that."""
    known = number(error)
    return os.strerror(known) if known else type(error).__name__
