"""Onboarding files as bodies of requests: YAML as people write it, or the same as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml
from django.http import HttpRequest

from onboarding.api.bodies import JSON, json_object
from onboarding.api.problems import FieldError, Problem, pointer
from onboarding.services.from_file import FileProblems, OnboardingFile, understood

YAML = ("application/yaml", "application/x-yaml", "text/yaml")
MOST_BYTES = 100_000
_VALUE = {"type": ["string", "boolean", "number", "null"]}
_FILE = {
    "type": "object",
    "properties": {
        "account": {"type": "string", "minLength": 1, "description": "The AMC account id, or its name in the portal."},
        "marketplace": {"type": "string", "description": "Only if the account is there for several marketplaces."},
        "steps": {
            "type": "object",
            "description": "Step → question → field → value.",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": {"type": "object", "additionalProperties": _VALUE},
            },
        },
    },
    "required": ["account", "steps"],
    "additionalProperties": False,
}
FILE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {JSON: {"schema": _FILE}, YAML[0]: {"schema": {"type": "string", "description": "The file."}}},
    }
}


def onboarding_file(request: HttpRequest) -> OnboardingFile:
    """The file in the body, as far as it can be understood. Raises Problem when it is no text."""
    return understood(_text(request))


def _text(request: HttpRequest) -> str:
    if len(request.body) > MOST_BYTES:
        raise Problem("too-large", f"A file may have at most {MOST_BYTES} bytes.")
    if request.content_type in YAML:
        try:
            return request.body.decode()
        except UnicodeDecodeError:
            raise Problem("not-understood", "The file is not UTF-8.") from None
    if request.content_type != JSON:
        raise Problem("media-type", f"Send {YAML[0]} or {JSON}.")
    # As YAML the same reader takes it, with the same checks and words.
    return yaml.safe_dump(json_object(request), allow_unicode=True, sort_keys=False)


@contextmanager
def problem_of_file(request: HttpRequest) -> Iterator[None]:
    """All that is wrong with a file as one Problem: lines for YAML, pointers where they are known."""
    try:
        yield
    except FileProblems as found:
        lines = request.content_type in YAML
        errors = [
            FieldError(
                detail=problem.text,
                pointer=pointer(*problem.path) if problem.path or not lines else None,
                line=problem.line if lines else None,
            )
            for problem in found.problems
        ]
        several = f"{len(errors)} things in the file have to be corrected."
        raise Problem("invalid", errors[0].detail if len(errors) == 1 else several, errors=errors) from None
