"""What goes wrong, as RFC 9457 writes it: `application/problem+json` with a code that programs can rely on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus

from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from pydantic import BaseModel, ConfigDict, Field

CONTENT_TYPE = "application/problem+json"

# code → status and title. docs/api.md explains each; a code never changes its meaning.
CODES: dict[str, tuple[int, str]] = {
    "not-understood": (400, "The request cannot be understood"),
    "no-token": (401, "A token that works is needed"),
    "not-allowed": (403, "You may not do this"),
    "scope": (403, "The token may not do this"),
    "not-found": (404, "There is no such thing, or none that you may see"),
    "method": (405, "This address does not answer that method"),
    "refused": (409, "It cannot be done as things stand"),
    "key-reused": (409, "The idempotency key was used for something else"),
    "too-large": (413, "The request is too large"),
    "media-type": (415, "The body has another media type than the operation reads"),
    "invalid": (422, "Something has to be corrected"),
    "too-many": (429, "Too many requests"),
    "fault": (500, "The portal has a fault"),
}


class FieldError(BaseModel):
    """One thing to correct: what, and where it stands in the body, among the parameters or in the file."""

    detail: str = Field(description="What is wrong, in the words of the portal's forms.")
    pointer: str | None = Field(default=None, description="Where in the body, as a JSON Pointer (RFC 6901).")
    parameter: str | None = Field(default=None, description="Which parameter of the address or which header.")
    line: int | None = Field(default=None, description="Which line of a YAML file, from 1.")


class ProblemDocument(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(description="Names the kind of problem for good: `urn:amc-portal:problem:` and its code.")
    title: str = Field(description="The kind of problem in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong this time.")
    code: str = Field(description="The last part of `type`.", json_schema_extra={"enum": list(CODES)})
    request_id: str = Field(description="By which the portal's logs can be searched.")
    errors: list[FieldError] = Field(description="What has to be corrected; empty unless something was sent wrongly.")


class Problem(Exception):
    """Raised anywhere in an operation; answered as a problem document."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        errors: Iterable[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status, self.title = CODES[code]
        self.code, self.detail = code, detail or f"{self.title}."
        self.errors, self.headers = list(errors), dict(headers or {})
        super().__init__(self.detail)


def of_form(form: BaseForm) -> Problem:
    """What a form refuses, in its words."""
    errors = [
        FieldError(detail=str(error), pointer="" if name == "__all__" else f"/{_escaped(name)}")
        for name, found in form.errors.items()
        for error in found
    ]
    return Problem("invalid", errors[0].detail if errors else "", errors=errors)


def pointer(*path: str) -> str:
    """A JSON Pointer to what stands at `path`."""
    return "".join(f"/{_escaped(part)}" for part in path)


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


def code_for(status: int) -> str:
    """The code for an answer that Django itself gave."""
    found = next((code for code, (number, _) in CODES.items() if number == status), "")
    return found or ("not-understood" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "fault")


def answer(request: HttpRequest, problem: Problem) -> HttpResponse:
    """The problem as a response."""
    document = ProblemDocument(
        type=f"urn:amc-portal:problem:{problem.code}",
        title=problem.title,
        status=problem.status,
        detail=problem.detail,
        code=problem.code,
        request_id=str(request.META.get("portal.request_id", "")),
        errors=problem.errors,
    )
    body = document.model_dump_json()
    return HttpResponse(body, status=problem.status, content_type=CONTENT_TYPE, headers=problem.headers)
