"""Compares the project's own description of the AMC API with the published specification.

Whatever the published file has must be in ours: operations, parameters, media types, fields, enum values, limits, and
what is marked as required. Ours may say more, and may be stricter about requests.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simulator.amc.description import METHODS, document, resolve

# Of the reporting API only this is there.
REPORTING, OF_REPORTING = "/amc/reporting/", frozenset({"listWorkflowExecutions"})
LIMITS = ("minItems", "maxItems", "minimum", "maximum", "minLength", "maxLength", "pattern", "default", "format")

Node = dict[str, Any]


def differences(published: Node, own: Node) -> list[str]:
    """What is in `published` and missing from, or otherwise in, `own`: one line each."""
    return list(_paths(published, own))


def _paths(published: Node, own: Node) -> Iterator[str]:
    for method, path, operation in compared(published):
        where = f"{method.upper()} {path}"
        mine = own["paths"].get(path, {}).get(method)
        if mine is None:
            yield f"{where}: missing"
            continue
        if operation.get("operationId") != mine.get("operationId"):
            yield f"{where}: operationId is {operation.get('operationId')}"
        yield from _parameters(where, published, own, operation, mine)
        if "requestBody" in operation:
            yield from _body(where, published, own, operation["requestBody"], mine.get("requestBody"))
        for status, response in operation["responses"].items():
            if status not in mine["responses"]:
                yield f"{where}: no response {status}"
                continue
            there, here = resolve(published, response), resolve(own, mine["responses"][status])
            yield from _content(f"{where} {status}", published, own, there, here)


def compared(published: Node) -> list[tuple[str, str, Node]]:
    """The operations of the published file that ours must have: method, path and what is said of each."""
    return [
        (method, path, operation)
        for path, item in published["paths"].items()
        for method, operation in item.items()
        if method in METHODS and (not path.startswith(REPORTING) or operation.get("operationId") in OF_REPORTING)
    ]


def _parameters(where: str, published: Node, own: Node, there: Node, here: Node) -> Iterator[str]:
    mine = {(one["in"], one["name"]): one for one in (resolve(own, each) for each in here.get("parameters", ()))}
    for each in there.get("parameters", ()):
        parameter = resolve(published, each)
        name = f"{where} {parameter['in']} {parameter['name']}"
        found = mine.get((parameter["in"], parameter["name"]))
        if found is None:
            yield f"{name}: missing"
            continue
        if bool(parameter.get("required")) != bool(found.get("required")):
            yield f"{name}: required is {bool(parameter.get('required'))}"
        yield from _schema(name, published, own, parameter["schema"], found["schema"], ())


def _body(where: str, published: Node, own: Node, there: Any, here: Any) -> Iterator[str]:
    if here is None:
        yield f"{where}: no body"
        return
    there, here = resolve(published, there), resolve(own, here)
    if bool(there.get("required")) != bool(here.get("required")):
        yield f"{where} body: required is {bool(there.get('required'))}"
    yield from _content(f"{where} body", published, own, there, here)


def _content(where: str, published: Node, own: Node, there: Node, here: Node) -> Iterator[str]:
    for media, content in there.get("content", {}).items():
        mine = here.get("content", {}).get(media)
        if mine is None:
            yield f"{where}: no {media}"
        elif "schema" in content:
            yield from _schema(where, published, own, content["schema"], mine.get("schema", {}), ())


def _schema(where: str, published: Node, own: Node, there: Any, here: Any, seen: tuple[str, ...]) -> Iterator[str]:
    reference = there.get("$ref")
    if reference is not None:
        if reference in seen:
            return
        seen = (*seen, reference)
    there, here = resolve(published, there), resolve(own, here)
    if there.get("type") != here.get("type"):
        yield f"{where}: type is {there.get('type')}"
    for limit in LIMITS:
        if limit in there and there[limit] != here.get(limit):
            yield f"{where}: {limit} is {there[limit]}"
    for value in there.get("enum", ()):
        if value not in here.get("enum", ()):
            yield f"{where}: enum has {value}"
    if "enum" in there:
        for value in here.get("enum", ()):
            if value not in there["enum"]:
                yield f"{where}: enum has no {value}"
    for name in there.get("required", ()):
        if name not in here.get("required", ()):
            yield f"{where}.{name}: is required"
    for name in here.get("required", ()):
        if name not in there.get("required", ()):
            yield f"{where}.{name}: is not required"
    for name, field in there.get("properties", {}).items():
        mine = here.get("properties", {}).get(name)
        if mine is None:
            yield f"{where}.{name}: missing"
        else:
            yield from _schema(f"{where}.{name}", published, own, field, mine, seen)
    if "items" in there:
        yield from _schema(f"{where}[]", published, own, there["items"], here.get("items", {}), seen)
    for choice in there.get("anyOf", ()):
        if choice not in here.get("anyOf", ()):
            yield f"{where}: may be {choice}"


def main(given: list[str]) -> int:
    """`python -m simulator contract FILE`: print the differences; the exit status is 1 if there are any."""
    parser = argparse.ArgumentParser(prog="python -m simulator contract", description=__doc__)
    parser.add_argument("published", type=Path, help="the published OpenAPI file, as JSON")
    options = parser.parse_args(given)
    published = json.loads(options.published.read_bytes())
    found = differences(published, document())
    operations = len(compared(published))
    print("\n".join(found) if found else f"Nothing is missing: {operations} operations compared.")  # noqa: T201
    return 1 if found else 0
