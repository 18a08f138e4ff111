"""REST-JSON services described by botocore's service models: routing, request validation and answers.

Patterns, lengths, enums and required members are taken from the model that ships with botocore, the same one the AWS
command line uses, so the simulator refuses what the published model refuses.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote

import botocore.session
import regex
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

from simulator.aws.errors import AwsError

# Path members that hold an ARN: clients send the slash inside as %2F, people with curl as it is.
_ARN_MEMBERS = {"resourceArn", "arn", "analysisTemplateArn", "idNamespaceName"}


@cache
def service_model(name: str) -> ServiceModel:
    """The botocore model of service `name`."""
    return botocore.session.get_session().get_service_model(name)


@cache
def _pattern(text: str) -> regex.Pattern[str]:
    return regex.compile(f"(?:{text})", regex.ASCII if r"\p{" not in text else 0)


# Where the two services exist. Asking anywhere else would reach nobody; the simulator answers 403 there.
_REGIONS = {
    "us-east-1", "us-east-2", "us-west-2", "eu-central-1", "eu-west-1", "eu-west-2", "ap-northeast-1",
    "ap-northeast-2", "ap-southeast-1", "ap-southeast-2",
}  # fmt: skip


def offered(region: str) -> bool:
    """Do Clean Rooms and Entity Resolution exist in `region`?"""
    return region in _REGIONS


@cache
def error_status(service: str, code: str) -> int | None:
    """The HTTP status that the model gives an error, None for an error it doesn't know."""
    model = service_model(service)
    if code not in model.shape_names:
        return None
    error = model.shape_for(code).metadata.get("error") or {}
    return int(error["httpStatusCode"]) if "httpStatusCode" in error else None


@dataclass(frozen=True)
class Route:
    """One operation with its HTTP method and path."""

    name: str
    method: str
    path: re.Pattern[str]
    model: OperationModel
    literal: int  # how much of the path is fixed text: the most specific route wins


@cache
def routes(service: str) -> list[Route]:
    """All operations of `service`, the most specific paths first."""
    model = service_model(service)
    found = []
    for name in model.operation_names:
        operation = model.operation_model(name)
        template = str(operation.http["requestUri"]).split("?")[0]
        pieces = re.split(r"\{(\w+)\+?\}", template)
        expression = ""
        for position, piece in enumerate(pieces):
            if position % 2 == 0:
                expression += re.escape(piece)
            else:
                expression += f"(?P<{piece}>{'.+' if piece in _ARN_MEMBERS else '[^/]+'})"
        literal = sum(len(piece) for piece in pieces[::2])
        found.append(Route(name, str(operation.http["method"]), re.compile(expression), operation, literal))
    return sorted(found, key=lambda route: -route.literal)


def match(service: str, method: str, raw_path: str) -> tuple[Route, dict[str, str]] | None:
    """The operation that `method raw_path` asks for and its decoded path members, or None."""
    path = raw_path.rstrip("/") or "/"
    for route in routes(service):
        if route.method == method:
            found = route.path.fullmatch(path)
            if found:
                return route, {name: unquote(value) for name, value in found.groupdict().items()}
    return None


def _serialization(message: str) -> AwsError:
    return AwsError("SerializationException", message)


def _coerce(shape: Shape, text: str) -> Any:
    if shape.type_name in ("integer", "long"):
        if not re.fullmatch(r"-?\d{1,18}", text):
            raise _serialization(f"'{text[:50]}' can not be converted to an Integer")
        return int(text)
    if shape.type_name == "boolean":
        if text not in ("true", "false"):
            raise _serialization(f"'{text[:50]}' can not be converted to a Boolean")
        return text == "true"
    return text


def parse(route: Route, path_members: dict[str, str], query: str, headers: dict[str, str], body: bytes) -> Any:
    """The request's parameters by member name, checked against the model.

    Raises AwsError: SerializationException for what isn't JSON or has the wrong type, ValidationException for what
    breaks a constraint.
    """
    shape = route.model.input_shape
    if not isinstance(shape, StructureShape):
        return {}
    payload: Any = {}
    if body.strip():
        try:
            payload = json.loads(body)
        except (ValueError, RecursionError):
            raise _serialization("Could not parse the request body as JSON") from None
        if not isinstance(payload, dict):
            raise _serialization("Start of structure or map found where not expected.")
    parameters: dict[str, Any] = {}
    asked = parse_qs(query, keep_blank_values=True)
    for name, member in shape.members.items():
        location = member.serialization.get("location")
        wire = member.serialization.get("name", name)
        if location == "uri":
            if wire in path_members:
                parameters[name] = _coerce(member, path_members[wire])
        elif location == "querystring":
            if wire in asked:
                if isinstance(member, ListShape):
                    parameters[name] = asked[wire]
                else:
                    parameters[name] = _coerce(member, asked[wire][-1])
        elif location == "header":
            if wire.lower() in headers:
                value = headers[wire.lower()]
                parameters[name] = value.split(",") if isinstance(member, ListShape) else _coerce(member, value)
        elif payload.get(wire) is not None:
            parameters[name] = payload[wire]
    problems: list[tuple[str, str]] = []
    checked = _check(shape, parameters, "", problems)
    if problems:
        raise _refusal(route, problems)
    return checked


def _refusal(route: Route, problems: list[tuple[str, str]]) -> AwsError:
    many = "error" if len(problems) == 1 else "errors"
    text = f"{len(problems)} validation {many} detected: " + "; ".join(message for _, message in problems)
    members: dict[str, Any] = {}
    if route.model.service_model.service_name == "cleanrooms":
        members = {
            "reason": "FIELD_VALIDATION_FAILED",
            "fieldList": [{"name": field, "message": message} for field, message in problems],
        }
    return AwsError("ValidationException", text[:2048], **members)


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:200] + "…"


def _check(shape: Shape, value: Any, where: str, problems: list[tuple[str, str]]) -> Any:
    """`value` with unknown members dropped; breaches of the model are added to `problems`."""
    kind = shape.type_name
    if isinstance(shape, StructureShape):
        if not isinstance(value, dict):
            if shape.metadata.get("document"):
                return value
            raise _serialization(f"Value at '{where}' is not a structure")
        return _check_structure(shape, value, where, problems)
    if isinstance(shape, ListShape):
        if not isinstance(value, list):
            raise _serialization(f"Value at '{where}' is not a list")
        _check_size(shape, len(value), value, where, problems)
        if any(entry is None for entry in value):
            problems.append((where, f"Value at '{where}' failed to satisfy constraint: Member must not be null"))
            return value
        return [
            _check(shape.member, entry, f"{where}.{position}.member", problems)
            for position, entry in enumerate(value, start=1)
        ]
    if isinstance(shape, MapShape):
        if not isinstance(value, dict):
            raise _serialization(f"Value at '{where}' is not a map")
        _check_size(shape, len(value), value, where, problems)
        checked = {}
        for key, entry in value.items():
            _check(shape.key, key, where, problems)
            checked[key] = _check(shape.value, entry, f"{where}.{key}.member", problems)
        return checked
    if kind == "string":
        if not isinstance(value, str):
            raise _serialization(f"Value at '{where}' can not be converted to a String")
        _check_string(shape, value, where, problems)
        return value
    if kind == "boolean":
        if not isinstance(value, bool):
            raise _serialization(f"Value at '{where}' can not be converted to a Boolean")
        return value
    if kind in ("integer", "long"):
        if isinstance(value, bool) or not isinstance(value, int):
            raise _serialization(f"Value at '{where}' can not be converted to an Integer")
        _check_number(shape, value, where, problems)
        return value
    if kind in ("float", "double"):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _serialization(f"Value at '{where}' can not be converted to a Double")
        _check_number(shape, value, where, problems)
        return value
    if kind == "timestamp":
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise _serialization(f"Value at '{where}' can not be converted to a Timestamp")
        return value
    return value


def _check_structure(
    shape: StructureShape, value: dict[str, Any], where: str, problems: list[tuple[str, str]]
) -> dict[str, Any]:
    prefix = f"{where}." if where else ""
    if getattr(shape, "is_document_type", False):
        return value
    if shape.is_tagged_union:
        known = [name for name in shape.members if value.get(name) is not None]
        unknown = [name for name in value if name not in shape.members and name != "__type"]
        if len(known) != 1 or unknown:
            problems.append(
                (
                    where,
                    f"Value at '{where}' failed to satisfy constraint: Member must have exactly one of "
                    f"[{', '.join(shape.members)}] set",
                )
            )
            return value
    checked = {}
    for name in shape.required_members:
        if value.get(name) is None:
            problems.append(
                (
                    f"{prefix}{name}",
                    f"Value null at '{prefix}{name}' failed to satisfy constraint: Member must not be null",
                )
            )
    for name, member in shape.members.items():
        if value.get(name) is not None:
            checked[name] = _check(member, value[name], f"{prefix}{name}", problems)
    return checked


# The model allows these 100 characters, fewer than the service's own ARNs of that form have.
_TOO_SHORT = {"CleanroomsArn", "ConfiguredTableAssociationArn"}


def _check_size(shape: Shape, size: int, value: Any, where: str, problems: list[tuple[str, str]]) -> None:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and size < least:
        problems.append(
            (
                where,
                f"Value '{_shown(value)}' at '{where}' failed to satisfy constraint: Member must have length "
                f"greater than or equal to {least}",
            )
        )
    if most is not None and size > most and shape.name not in _TOO_SHORT:
        problems.append(
            (
                where,
                f"Value '{_shown(value)}' at '{where}' failed to satisfy constraint: Member must have length "
                f"less than or equal to {most}",
            )
        )


def _check_number(shape: Shape, value: float, where: str, problems: list[tuple[str, str]]) -> None:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and value < least:
        problems.append(
            (
                where,
                f"Value '{value}' at '{where}' failed to satisfy constraint: Member must have value greater than "
                f"or equal to {least}",
            )
        )
    if most is not None and value > most:
        problems.append(
            (
                where,
                f"Value '{value}' at '{where}' failed to satisfy constraint: Member must have value less than or "
                f"equal to {most}",
            )
        )


def _check_string(shape: Shape, value: str, where: str, problems: list[tuple[str, str]]) -> None:
    _check_size(shape, len(value), value, where, problems)
    choices = shape.metadata.get("enum")
    if choices and value not in choices:
        problems.append(
            (
                where,
                f"Value '{_shown(value)}' at '{where}' failed to satisfy constraint: Member must satisfy enum "
                f"value set: [{', '.join(choices)}]",
            )
        )
    pattern = shape.metadata.get("pattern")
    if pattern and not _pattern(pattern).fullmatch(value):
        problems.append(
            (
                where,
                f"Value '{_shown(value)}' at '{where}' failed to satisfy constraint: Member must satisfy regular "
                f"expression pattern: {pattern}",
            )
        )


def breaches(shape: Shape, value: Any) -> list[str]:
    """What in `value` breaks `shape` (used to check answers); empty when it conforms."""
    problems: list[tuple[str, str]] = []
    try:
        _check(shape, value, "", problems)
    except AwsError as error:
        return [error.message]
    return [message for _, message in problems]


def shaped(shape: Shape | None, value: Any) -> Any:
    """`value` reduced to what `shape` knows, without members that are None: what an answer may hold."""
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        if getattr(shape, "is_document_type", False):
            return value
        return {
            name: shaped(member, value[name]) for name, member in shape.members.items() if value.get(name) is not None
        }
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [shaped(shape.member, entry) for entry in value]
    if isinstance(shape, MapShape) and isinstance(value, dict):
        return {key: shaped(shape.value, entry) for key, entry in value.items()}
    return value


def page(entries: list[Any], parameters: dict[str, Any], key: str, *, default: int = 100) -> dict[str, Any]:
    """One page of `entries` under `key`, honouring `maxResults` and `nextToken`.

    Raises ValidationException for a token the simulator didn't give out.
    """
    token = parameters.get("nextToken")
    start = 0
    if token is not None:
        found = re.fullmatch(r"p-(\d{1,9})", token)
        if not found or int(found[1]) > len(entries):
            raise AwsError("ValidationException", "Invalid nextToken")
        start = int(found[1])
    size = max(1, parameters.get("maxResults") or default)
    answer: dict[str, Any] = {key: entries[start : start + size]}
    if start + size < len(entries):
        answer["nextToken"] = f"p-{start + size}"
    return answer


def epoch(moment: datetime) -> float:
    """A timestamp as REST-JSON writes it: seconds since 1970, to the millisecond."""
    return round(moment.timestamp(), 3)
