"""Errors as AWS services answer them."""

from __future__ import annotations

from typing import Any

_STATUS = {
    "AccessDeniedException": 403,
    "ConflictException": 409,
    "ExceedsLimitException": 402,
    "InternalServerException": 500,
    "ResourceNotFoundException": 404,
    "ServiceQuotaExceededException": 402,
    "ThrottlingException": 429,
    "ValidationException": 400,
    "SerializationException": 400,
    "UnknownOperationException": 404,
    "ExpiredTokenException": 403,
    "UnrecognizedClientException": 403,
    "MissingAuthenticationTokenException": 403,
    "InvalidSignatureException": 403,
}


class AwsError(Exception):
    """A refusal by a simulated service.

    `code` is the error's name in the service model, `message` what people read, `members` the further modelled
    members (`reason`, `resourceId`, `resourceType`, `quotaName`, `quotaValue`, `fieldList`). `status` overrides the
    HTTP status that belongs to the code.
    """

    def __init__(self, code: str, message: str, *, status: int | None = None, **members: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status if status is not None else _STATUS.get(code, 400)
        self.members = members


class AccessRefused(Exception):
    """A role can't be used for what a service wants to do with it. `message` words it as the vendor does."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def invalid(message: str, *, reason: str | None = None, field: str | None = None) -> AwsError:
    """A ValidationException of Clean Rooms; `field` names the request member at fault."""
    members: dict[str, Any] = {}
    if reason is not None:
        members["reason"] = reason
    if field is not None:
        members["fieldList"] = [{"name": field, "message": message}]
    return AwsError("ValidationException", message, **members)
