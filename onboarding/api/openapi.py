"""Completes the OpenAPI document: problems, headers, limits and idempotency keys, which no operation repeats."""

from __future__ import annotations

from typing import Any

from ninja.openapi.schema import OpenAPISchema

from onboarding.api.problems import CODES, CONTENT_TYPE, ProblemDocument

_METHODS = ("get", "post", "put")
_EVERYWHERE = (400, 401, 429, 500)


def completed(schema: OpenAPISchema) -> OpenAPISchema:
    """The document with what is the same for every operation."""
    document: dict[str, Any] = schema
    problem = ProblemDocument.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    document["components"]["schemas"] |= {**problem.pop("$defs", {}), "Problem": problem}
    document["components"]["headers"] = _headers()
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                _complete(path, method, operations[method])
    return schema


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    responses: dict[Any, Any] = operation["responses"]
    numbers = {*_EVERYWHERE, 403}
    if "{" in path:
        numbers.add(404)
    if method != "get":
        numbers |= {404, 409, 413, 415, 422}
    else:
        numbers.add(422)
    for number in sorted(numbers):
        responses.setdefault(number, _problem(number))
    if method == "get":
        responses[304] = {"description": "Nothing has changed since the answer with this ETag."}
        _headed(responses[200], "ETag")
        if any(one["name"] in ("page", "limit") for one in operation.get("parameters", ())):
            _headed(responses[200], "Link")
    if method == "post":
        operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
    if 201 in responses:
        _headed(responses[201], "Location")
    for response in responses.values():
        _headed(response, "X-Request-Id", "RateLimit", "RateLimit-Policy")


def _problem(number: int) -> dict[str, Any]:
    words = [title for status, title in CODES.values() if status == number]
    found: dict[str, Any] = {
        "description": "; or: ".join(words),
        "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if number == 429:
        _headed(found, "Retry-After")
    if number == 401:
        _headed(found, "WWW-Authenticate")
    return found


def _headed(response: dict[str, Any], *names: str) -> None:
    for name in names:
        response.setdefault("headers", {})[name] = {"$ref": f"#/components/headers/{name}"}


_IDEMPOTENCY_KEY = {
    "in": "header",
    "name": "Idempotency-Key",
    "required": False,
    "description": "Any text of your own, new for every act. The same request with the same key is answered as the "
    "first time, for a day, and does nothing again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}


def _headers() -> dict[str, Any]:
    def text(description: str, **more: Any) -> dict[str, Any]:
        return {"description": description, "schema": {"type": "string", **more}}

    return {
        "X-Request-Id": text("By which the portal's logs can be searched."),
        "RateLimit": text('How many requests are left, and for how many seconds: `"token";r=599;t=41`.'),
        "RateLimit-Policy": text('The limit and its window in seconds: `"token";q=600;w=60`.'),
        "Retry-After": text("After how many seconds to try again.", pattern="^[0-9]+$"),
        "WWW-Authenticate": text("What is needed."),
        "ETag": text("Send it back as `If-None-Match` to hear whether something changed."),
        "Link": text("Where the first, previous, next and last page are (RFC 8288)."),
        "Location": text("Where what was made can be read."),
    }
