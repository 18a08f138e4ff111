"""The parameters of a call in words: what to call each, and how to say its value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from onboarding.guide.differences import statements
from onboarding.guide.plan import Ref
from onboarding.identity import countries

# Parameters under the names that people know them by; what has no name here is read out ("queryLogStatus": Query log
# status). An empty name is a level that says nothing to people: what is below it stands alone.
LABELS = {
    "instanceName": "Name",
    "instanceId": "Instance",
    "awsAccountId": "AWS account",
    "acrBacked": "Backed by AWS Clean Rooms",
    "advertiserName": "Advertiser",
    "displayName": "display name",
    "acrCustomerPartners": "Partner",
    "idMappingTableName": "Name",
    "idMappingTableId": "Mapping table",
    "sourceIdNamespaceArn": "ID namespace",
}
# The same for services whose parameters have names that others use too.
SERVICE_LABELS = {
    "identity": {
        "dataset": "Data set",
        "version": "Version",
        "from": "Read from",
        "files": "Files",
        "bytes": "Bytes",
        "rows": "Rows",
        "usable_rows": "Usable rows",
        "columns": "Column",
        "country": "Country of rows that name none",
        "to": "Written to",
        "table": "Table",
        "rules": "Hashed by",
        "content": "Content of the files (digest)",
        "counted": "Rows that Athena counted",
        "prepared": "Columns",
        "version_pk": "Number in the portal",
    },
    "iam": {
        "AssumeRolePolicyDocument": "Who may use it",
        "PolicyDocument": "What it may do",
        "PolicyName": "Name of the policy",
        "RoleName": "Role",
        "Tags": "Tag",
    },
    "s3": {
        "PublicAccessBlockConfiguration": "Public access",
        "BlockPublicAcls": "block by access lists",
        "IgnorePublicAcls": "ignore access lists",
        "BlockPublicPolicy": "block by policies",
        "RestrictPublicBuckets": "restrict where a policy gives it",
        "ServerSideEncryptionConfiguration": "Encryption",
        "ApplyServerSideEncryptionByDefault": "",
        "SSEAlgorithm": "by default",
        "Rules": "rule",
    },
    "cleanrooms": {
        "collaborationIdentifier": "Collaboration",
        "membershipIdentifier": "Membership",
        "queryLogStatus": "Query logging",
        "defaultResultConfiguration": "Results",
        "outputConfiguration": "",
        "s3": "",
        "resultFormat": "format",
        "keyPrefix": "folder",
        "bucket": "bucket",
        "roleArn": "written by",
        "paymentConfiguration": "This account pays for",
        "queryCompute": "queries",
        "isResponsible": "",
        "tags": "Tag",
    },
    "glue": {"TableInput": "", "DatabaseInput": "", "StorageDescriptor": "", "Columns": "Column"},
    "entityresolution": {
        "mappedInputFields": "Field",
        "inputSourceConfig": "Source",
        "idMappingWorkflowProperties": "",
        "roleArn": "Role",
        "tags": "Tag",
    },
}
# What is in these has the names that people gave it.
_OF_PEOPLE = {"columns", "tags", "Parameters"}
# What of a list is one line: the name of such a thing, and what stands beside it.
_ONE_LINE = {"key": "value", "name": "type", "fieldname": "type"}
_CAPITALS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_PARAMETER = re.compile(r"[A-Za-z][A-Za-z0-9]*")


def facts_of(service: str, params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The parameters of a call as labels and values, a policy's statements as one each."""
    if service == "identity" and isinstance(params.get("country"), str):
        params = {**params, "country": countries.in_words(params["country"])}
    return list(_facts(params, {**LABELS, **SERVICE_LABELS.get(service, {})}))


def _facts(params: Mapping[str, Any], names: Mapping[str, str], before: str = "") -> Iterable[tuple[str, str]]:
    for name, value in params.items():
        if name in _OF_PEOPLE and isinstance(value, Mapping):
            above = _under(before, names.get(name, name))
            yield from ((_under(above, key), word(item)) for key, item in value.items())
            continue
        known = "AssumeRolePolicyDocument" if any("Principal" in one for one in statements(value)) else name
        yield from _fact(_under(before, names[known] if known in names else _read_out(name)), value, names)


def _fact(label: str, value: Any, names: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    if found := statements(value):
        several = len(found) > 1
        for number, one in enumerate(found, 1):
            yield f"{label} {number}" if several else label, said(one)
    elif isinstance(value, Mapping):
        yield from _facts(value, names, label)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value, 1):
            if isinstance(item, Mapping) and (short := _short(item)):
                yield _under(label, short[0]), short[1]
            elif isinstance(item, Mapping):
                yield from _facts(item, names, f"{label} {number}")
            else:
                yield label, word(item)
    else:
        yield label, word(value)


def _under(before: str, label: str) -> str:
    if not before or not label:
        return before or label
    return f"{before}: {label}"


def _short(item: Mapping[str, Any]) -> tuple[str, str] | None:
    """A tag, a column or a mapped field, each of which is one line to a person: its name and the rest."""
    keys = {key.lower(): value for key, value in item.items()}
    if any(isinstance(value, Mapping | list) for value in keys.values()):
        return None
    name = next((name for name, beside in _ONE_LINE.items() if {name, beside} <= set(keys)), None)
    if name is None:
        return None
    return word(keys[name]), " · ".join(_beside(key, value) for key, value in keys.items() if key != name)


def _beside(name: str, value: Any) -> str:
    """What stands beside a name without a label of its own: of a yes or no it is said what it is about."""
    if isinstance(value, bool):
        return name if value else f"not {name}"
    return word(value)


def _read_out(name: str) -> str:
    """`ServerSideEncryption` as "Server side encryption"; what is no parameter's name, such as a tag, as it is."""
    if not _PARAMETER.fullmatch(name):
        return name
    parts = _CAPITALS.split(name)
    words = [part if part.isupper() and len(part) > 1 else part.lower() for part in parts]
    return words[0][:1].upper() + " ".join(words)[1:]


def said(statement: Mapping[str, Any]) -> str:
    """A statement of a policy as people read it: what it allows, to whom, on what, on what condition, a line each."""
    effect = "Forbids" if statement.get("Effect") == "Deny" else "Allows"
    lines = [f"{effect} {_listed(statement, 'Action', 'all but')}"]
    principal = statement.get("Principal", statement.get("NotPrincipal"))
    if principal is not None:
        who = [
            word(one)
            for value in (principal.values() if isinstance(principal, Mapping) else [principal])
            for one in _list(value)
        ]
        lines.append(f"{'to all but' if 'NotPrincipal' in statement else 'to'} {', '.join(who)}")
    if "Resource" in statement or "NotResource" in statement:
        lines.append(f"on {_listed(statement, 'Resource', 'all but')}")
    for operator, keys in (statement.get("Condition") or {}).items():
        for key, value in keys.items():
            lines.append(f"only if {key} {_OPERATORS.get(operator, operator)} {' or '.join(map(word, _list(value)))}")
    return "\n".join(lines)


_OPERATORS = {
    "StringEquals": "is",
    "StringLike": "is like",
    "StringNotEquals": "is not",
    "ArnEquals": "is",
    "ArnLike": "is like",
    "ForAnyValue:ArnEquals": "is",
    "ForAnyValue:ArnLike": "is like",
    "Bool": "is",
}


def _listed(statement: Mapping[str, Any], name: str, but: str) -> str:
    if name in statement:
        return ", ".join(map(word, _list(statement[name])))
    return f"{but} {', '.join(map(word, _list(statement.get(f'Not{name}'))))}"


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def word(value: Any) -> str:
    """One value in words."""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, Ref):
        return "known once it is made"
    return "None" if value is None else str(value)
