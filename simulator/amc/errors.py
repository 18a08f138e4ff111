"""What the AMC administration API answers when it refuses."""

from __future__ import annotations


class ApiError(Exception):
    """A refusal: the HTTP status and the text that goes into `details` (on accounts, `message`)."""

    def __init__(self, status: int, details: str, retry_after: int | None = None) -> None:
        super().__init__(details)
        self.status = status
        self.details = details
        self.retry_after = retry_after


def bad_request(details: str) -> ApiError:
    """A 400."""
    return ApiError(400, details)


def not_found(what: str) -> ApiError:
    """A 404 for `what` (such as "instance amc123")."""
    return ApiError(404, f"Not Found: {what} does not exist or you do not have permission to see it.")
