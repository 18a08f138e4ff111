"""The project's own description of the API: which operations there are and what their bodies may hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

FILE = Path(__file__).parent.parent / "openapi" / "amc.yaml"
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

INSTANCES_MEDIA = "application/vnd.amcinstances.v1+json"
ACCOUNTS_MEDIA = "application/vnd.amcaudiencesconnections.v1+json"


@dataclass(frozen=True)
class Operation:
    """One operation: where it is, which headers it demands and what its body may be."""

    id: str
    method: str
    path: str
    headers: tuple[str, ...]
    media: str
    body: Draft202012Validator | None

    @property
    def segments(self) -> tuple[str, ...]:
        """The path's parts; `{…}` stands for a parameter."""
        return tuple(self.path.split("/"))


@cache
def document() -> dict[str, Any]:
    """The description as a whole."""
    with FILE.open("rb") as file:
        loaded: dict[str, Any] = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    return loaded


def resolve(whole: dict[str, Any], node: Any) -> Any:
    """`node`, or what it refers to within `whole` if it is a `$ref`."""
    while isinstance(node, dict) and "$ref" in node:
        target: Any = whole
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        node = target
    return node


@cache
def _registry() -> Registry[Any]:
    resource = Resource.from_contents(document(), default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource("urn:description", resource)
    return registry


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    """Checks values against a `$ref` into the description."""
    return Draft202012Validator({"$ref": f"urn:description{schema['$ref']}"}, registry=_registry())


@cache
def operations() -> tuple[Operation, ...]:
    """Every operation of the AMC administration API, the list of the reporting API and the invitation of users."""
    whole = document()
    found = []
    for path, methods in whole["paths"].items():
        if not path.startswith(("/amc/", "/user-invitations")):
            continue
        for method, operation in methods.items():
            parameters = [resolve(whole, one) for one in operation.get("parameters", ())]
            content = operation.get("requestBody", {}).get("content", {})
            answers = next(iter(operation["responses"].values()))["content"]
            found.append(
                Operation(
                    id=operation["operationId"],
                    method=method.upper(),
                    path=path,
                    headers=tuple(one["name"] for one in parameters if one["in"] == "header" and one.get("required")),
                    media=next(iter(content or answers)),
                    body=validator(next(iter(content.values()))["schema"]) if content else None,
                )
            )
    return tuple(found)


def route(method: str, raw_path: str) -> tuple[Operation | None, dict[str, str], list[str]]:
    """Find the operation for `method` and the still percent-encoded `raw_path`.

    Returns the operation (None if there is none), its path parameters, and the methods that the path knows.
    """
    parts = raw_path.split("/")
    best: tuple[int, Operation, dict[str, str]] | None = None
    allowed: list[str] = []
    for operation in operations():
        values = _match(operation.segments, parts)
        if values is None:
            continue
        allowed.append(operation.method)
        if operation.method == method and (best is None or len(values) < best[0]):
            best = (len(values), operation, values)
    return (best[1], best[2], allowed) if best else (None, {}, allowed)


def _match(segments: tuple[str, ...], parts: list[str]) -> dict[str, str] | None:
    if len(segments) != len(parts):
        return None
    values = {}
    for segment, part in zip(segments, parts, strict=True):
        if segment.startswith("{"):
            if not part:
                return None
            values[segment[1:-1]] = unquote(part)
        elif segment != part:
            return None
    return values


def complaints(operation: Operation, body: Any) -> Iterator[str]:
    """What is wrong with `body`, one sentence each; nothing when it is as described."""
    if operation.body is None:
        return
    for error in operation.body.iter_errors(body):
        where = ".".join(str(part) for part in error.absolute_path) or "the body"
        yield f"{where}: {re.sub(r'^.{200,}?(?= is not )', 'the value', error.message)}"
