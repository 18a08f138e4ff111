"""IAM policy evaluation: may this principal do this action on this resource?

Knows Allow and Deny, Action/NotAction, Resource/NotResource, Principal/NotPrincipal, the condition operators that the
onboarding's documents use (string, ARN, boolean, numeric, Null, with IfExists and ForAnyValue/ForAllValues) and
permissions boundaries. An operator it doesn't know never matches, so an unknown condition refuses rather than grants.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

Document = dict[str, Any]


@lru_cache(maxsize=4096)
def _glob(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    expression = "".join(".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern)
    return re.compile(expression, re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def glob_match(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Does `text` match `pattern`, in which * stands for anything and ? for one character?"""
    return bool(_glob(pattern, ignore_case).fullmatch(text))


def _arn_match(pattern: str, arn: str) -> bool:
    wanted, given = pattern.split(":", 5), arn.split(":", 5)
    if len(wanted) < 6 or len(given) < 6:
        return glob_match(pattern, arn)
    return all(glob_match(left, right) for left, right in zip(wanted, given, strict=True))


def as_list(value: Any) -> list[Any]:
    """Policy documents write one thing bare and several as a list."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def load(document: str | Document | None) -> Document:
    """A policy document from its JSON text (a broken one allows nothing)."""
    if isinstance(document, str):
        try:
            loaded = json.loads(document)
        except ValueError:
            return {}
        return loaded if isinstance(loaded, dict) else {}
    return document or {}


@dataclass(frozen=True)
class Request:
    """What is being asked. `context` maps condition keys to a value or a list of values."""

    action: str
    resource: str = "*"
    context: Mapping[str, str | list[str]] = field(default_factory=dict)


def _compare(operator: str, wanted: str, given: str) -> bool:
    match operator:
        case "stringequals":
            return wanted == given
        case "stringequalsignorecase":
            return wanted.lower() == given.lower()
        case "stringlike":
            return glob_match(wanted, given)
        case "arnequals" | "arnlike":
            return _arn_match(wanted, given)
        case "bool":
            return wanted.lower() == given.lower()
    try:
        left, right = float(given), float(wanted)
    except ValueError:
        return False
    return {
        "numericequals": left == right,
        "numericlessthan": left < right,
        "numericlessthanequals": left <= right,
        "numericgreaterthan": left > right,
        "numericgreaterthanequals": left >= right,
    }.get(operator, False)


_NEGATED = {
    "stringnotequals": "stringequals",
    "stringnotequalsignorecase": "stringequalsignorecase",
    "stringnotlike": "stringlike",
    "arnnotequals": "arnequals",
    "arnnotlike": "arnlike",
    "numericnotequals": "numericequals",
}


def _condition_holds(operator: str, key: str, wanted: list[Any], context: Mapping[str, str | list[str]]) -> bool:
    name = operator.lower()
    qualifier = ""
    for prefix in ("foranyvalue:", "forallvalues:"):
        if name.startswith(prefix):
            qualifier, name = prefix, name[len(prefix) :]
    optional = name.endswith("ifexists")
    name = name.removesuffix("ifexists")
    lowered = {given.lower(): value for given, value in context.items()}
    value = lowered.get(key.lower())
    if name == "null":
        return (value is None) == (str(wanted[0]).lower() == "true") if wanted else False
    values = [str(entry) for entry in as_list(value)]
    texts = [str(entry).lower() if isinstance(entry, bool) else str(entry) for entry in wanted]
    if not values:
        return optional or qualifier == "forallvalues:" or name in _NEGATED
    if name in _NEGATED:
        positive = _NEGATED[name]
        hits = [not any(_compare(positive, text, given) for text in texts) for given in values]
    else:
        hits = [any(_compare(name, text, given) for text in texts) for given in values]
    return any(hits) if qualifier == "foranyvalue:" else all(hits)


def conditions_hold(statement: Document, context: Mapping[str, str | list[str]]) -> bool:
    """Do all conditions of `statement` hold in `context`?"""
    block = statement.get("Condition") or {}
    if not isinstance(block, dict):
        return False
    for operator, keys in block.items():
        if not isinstance(keys, dict):
            return False
        for key, wanted in keys.items():
            if not _condition_holds(operator, key, as_list(wanted), context):
                return False
    return True


def _covers(statement: Document, request: Request) -> bool:
    if "Action" in statement:
        named = any(glob_match(str(entry), request.action, ignore_case=True) for entry in as_list(statement["Action"]))
    elif "NotAction" in statement:
        named = not any(
            glob_match(str(entry), request.action, ignore_case=True) for entry in as_list(statement["NotAction"])
        )
    else:
        return False
    if not named:
        return False
    if "Resource" in statement:
        reached = any(glob_match(str(entry), request.resource) for entry in as_list(statement["Resource"]))
    elif "NotResource" in statement:
        reached = not any(glob_match(str(entry), request.resource) for entry in as_list(statement["NotResource"]))
    else:
        reached = True
    return reached and conditions_hold(statement, request.context)


def decide(documents: Iterable[str | Document | None], request: Request) -> str:
    """ "Allow", "Deny" (explicit) or "None" over all statements of `documents`, principals aside."""
    verdict = "None"
    for document in documents:
        for statement in as_list(load(document).get("Statement")):
            if isinstance(statement, dict) and _covers(statement, request):
                if statement.get("Effect") == "Deny":
                    return "Deny"
                if statement.get("Effect") == "Allow":
                    verdict = "Allow"
    return verdict


def _principal_matches(block: Any, kind: str, names: list[str]) -> bool:
    if block == "*":
        return True
    if not isinstance(block, dict):
        return False
    for entry in as_list(block.get(kind)):
        text = str(entry)
        if text == "*" or text in names:
            return True
        if kind == "AWS" and re.fullmatch(r"\d{12}", text) and f"arn:aws:iam::{text}:root" in names:
            return True
    return False


def trusts(
    trust_policy: str | Document | None,
    kind: str,
    names: list[str],
    context: Mapping[str, str | list[str]],
    action: str = "sts:AssumeRole",
) -> bool:
    """Does a trust (or resource) policy let a principal in?

    `kind` is "AWS" or "Service"; `names` are all the ways in which the principal may be named there (its own ARN, its
    role's ARN, its account's root, or the service's name).
    """
    allowed = False
    for statement in as_list(load(trust_policy).get("Statement")):
        if not isinstance(statement, dict):
            continue
        if "NotPrincipal" in statement:
            matched = not _principal_matches(statement["NotPrincipal"], kind, names)
        else:
            matched = _principal_matches(statement.get("Principal"), kind, names)
        actions = as_list(statement.get("Action"))
        if not matched or not any(glob_match(str(entry), action, ignore_case=True) for entry in actions):
            continue
        if not conditions_hold(statement, context):
            continue
        if statement.get("Effect") == "Deny":
            return False
        allowed = allowed or statement.get("Effect") == "Allow"
    return allowed


def resource_policy_decision(document: str | Document | None, principals: list[str], request: Request) -> str:
    """What a resource's own policy (such as a bucket policy) says about `request` by one of `principals`."""
    verdict = "None"
    for statement in as_list(load(document).get("Statement")):
        if not isinstance(statement, dict) or not _principal_matches(statement.get("Principal"), "AWS", principals):
            continue
        if _covers(statement, request):
            if statement.get("Effect") == "Deny":
                return "Deny"
            if statement.get("Effect") == "Allow":
                verdict = "Allow"
    return verdict
