"""What can go wrong. No message ever holds a value of a column: only files, row numbers and column names."""


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
