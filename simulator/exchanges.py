"""Holds captured exchanges against API descriptions: the published files, or our own.

`python -m simulator exchanges CAPTURE.jsonl [--spec FILE]…` says for every exchange with the AMC API whether request
and answer are ones that the description allows: operation, required headers, parameters, media types, bodies.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from simulator.amc.description import METHODS, document, resolve

Node = dict[str, Any]
# Not in a published file: a guide describes it.
ELSEWHERE = frozenset({"/user-invitations"})
# Published in a file of its own.
REPORTING = "/amc/reporting/"


class Description:
    """An OpenAPI description, and what it says of an exchange."""

    def __init__(self, whole: Node) -> None:
        self._whole = whole
        resource = Resource.from_contents(whole, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource("urn:description", resource)
        self._operations = [
            (method, path.split("/"), item)
            for path, methods in whole["paths"].items()
            for method, item in methods.items()
            if method in METHODS
        ]

    def problems(self, exchange: Node) -> list[str]:
        """What the description does not allow about one captured exchange, a line each."""
        return list(self._problems(exchange))

    def _problems(self, exchange: Node) -> Iterator[str]:
        parts = exchange["path"].split("/")
        method = exchange["method"].lower()
        fitting = [one for one in self._operations if one[0] == method and _fits(one[1], parts)]
        if not fitting:
            yield f"there is no {exchange['method']} {exchange['path']}"
            return
        _, segments, operation = fitting[0]
        values = {
            segment[1:-1]: unquote(part)
            for segment, part in zip(segments, parts, strict=True)
            if segment.startswith("{")
        }
        yield from self._parameters(operation, exchange, values)
        yield from self._request(operation, exchange)
        if exchange["cut"] or exchange["rule"] is not None:
            return  # the answer was made to go wrong
        yield from self._answer(operation, exchange)

    def _parameters(self, operation: Node, exchange: Node, values: dict[str, str]) -> Iterator[str]:
        headers = {name.lower(): value for name, value in exchange["request_headers"].items()}
        query = dict(parse_qsl(exchange["query"], keep_blank_values=True))
        known = set()
        for each in operation.get("parameters", ()):
            parameter = resolve(self._whole, each)
            name = parameter["name"]
            places = {"header": headers, "query": query, "path": values}
            value = places.get(parameter["in"], {}).get(name.lower() if parameter["in"] == "header" else name)
            known.add((parameter["in"], name))
            if value is None:
                if parameter.get("required"):
                    yield f"the {parameter['in']} parameter {name} is missing"
                continue
            yield from self._schema(
                f"{parameter['in']} {name}", parameter["schema"], _typed(parameter["schema"], value)
            )
        for name in query:
            if ("query", name) not in known:
                yield f"there is no query parameter {name}"

    def _request(self, operation: Node, exchange: Node) -> Iterator[str]:
        body = exchange["request_body"]
        described = operation.get("requestBody")
        if described is None:
            if body is not None:
                yield "a body was sent where none belongs"
            return
        if body is None:
            if described.get("required"):
                yield "the body is missing"
            return
        yield from self._content("request", described, exchange["request_headers"], body)

    def _answer(self, operation: Node, exchange: Node) -> Iterator[str]:
        responses = operation["responses"]
        response = responses.get(str(exchange["status"])) or responses.get("default")
        if response is None:
            yield f"there is no answer {exchange['status']}"
            return
        # A 204 has no body, whatever a description says.
        if exchange["status"] != 204:
            described = resolve(self._whole, response)
            yield from self._content("answer", described, exchange["response_headers"], exchange["response_body"])

    def _content(self, what: str, described: Node, headers: dict[str, str], body: Any) -> Iterator[str]:
        content = described.get("content", {})
        if not content:
            return
        sent = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
        media = sent.partition(";")[0].strip()
        if media not in content:
            yield f"the {what} is {media or 'of no media type'}, not {' or '.join(content)}"
            return
        if isinstance(body, dict) and set(body) == {"size", "sha256"}:
            yield f"the {what} is too long to have been kept"
            return
        yield from self._schema(what, content[media]["schema"], body)

    def _schema(self, what: str, schema: Node, value: Any) -> Iterator[str]:
        pointed = _pointed(schema)
        for error in Draft202012Validator(pointed, registry=self._registry).iter_errors(value):
            yield f"{what}{error.json_path[1:]}: {error.message[:200]}"


def _typed(schema: Node, value: str) -> Any:
    """What the text in an address or a header stands for."""
    if schema.get("type") == "integer" and value.isdigit():
        return int(value)
    return {"true": True, "false": False}.get(value, value) if schema.get("type") == "boolean" else value


def _pointed(schema: Any) -> Any:
    """The schema with its references as addresses into the registered description."""
    if isinstance(schema, dict):
        return {key: f"urn:description{value}" if key == "$ref" else _pointed(value) for key, value in schema.items()}
    return [_pointed(item) for item in schema] if isinstance(schema, list) else schema


def _fits(segments: list[str], parts: list[str]) -> bool:
    return len(segments) == len(parts) and all(
        segment == part or (segment.startswith("{") and part) for segment, part in zip(segments, parts, strict=True)
    )


def published() -> list[Node]:
    """The vendor's files that the variable AMC_OPENAPI names (several with the separator of PATH), if any."""
    paths = filter(None, os.environ.get("AMC_OPENAPI", "").split(os.pathsep))
    return [json.loads(Path(path).read_text(encoding="utf-8")) for path in paths]


def check(exchanges: list[Node], files: Sequence[Node] = ()) -> tuple[int, list[str]]:
    """How many exchanges with the AMC API there were, and every problem with them.

    Each is held against that one of the published `files` that is about its API; without any, against our description.
    So is what the reporting API answers where its own file is not among them.
    """
    own = Description(document())
    by_api = {_is_reporting(whole): Description(whole) for whole in files}
    found, count = [], 0
    for exchange in exchanges:
        if not exchange["operation"].startswith("amc:") or (files and exchange["path"] in ELSEWHERE):
            continue
        count += 1
        description = by_api.get(exchange["path"].startswith(REPORTING), own)
        found += [f"{exchange['number']} {exchange['operation']}: {text}" for text in description.problems(exchange)]
    return count, found


def _is_reporting(whole: Node) -> bool:
    return all(path.startswith(REPORTING) for path in whole["paths"])


def main(given: list[str]) -> int:
    """Print the problems; 1 if there are any, 2 if the files can't be read."""
    parser = argparse.ArgumentParser(prog="python -m simulator exchanges", description=__doc__)
    parser.add_argument("capture", type=Path)
    parser.add_argument(
        "--spec", type=Path, action="append", default=[], help="a published file; without any our own description"
    )
    options = parser.parse_args(given)
    try:
        lines = options.capture.read_text(encoding="utf-8").splitlines()
        exchanges = [json.loads(line) for line in lines if line]
        files = [json.loads(path.read_text(encoding="utf-8")) for path in options.spec]
    except (OSError, ValueError) as error:
        print(f"can't be read: {error}")
        return 2
    count, found = check(exchanges, files)
    for line in found:
        print(line)
    print(f"{count} exchanges with the AMC API, {len(found)} problems")
    return 1 if found else 0
