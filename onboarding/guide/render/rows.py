"""A plan as rows for whoever signs it off, and what changed between two plans."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from onboarding.guide.plan import Call, Ref
from onboarding.guide.render.names import Names, as_json

RowEffect = Literal["make", "exists", "change", "read", "wait", "remove"]
# What kind of thing an operation is about.
KINDS = {
    "createInstance": "AMC instance",
    "getInstance": "AMC instance",
    "listInstances": "AMC instance",
    "getInstanceCollaboration": "Collaboration",
    "AmcpLinkListAmcAccounts": "AMC account",
}
SERVICES = {"amc": "AMC API", "identity": "Identity files"}
# Parameters under the names that people know them by.
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
    }
}
_EFFECTS: dict[str, RowEffect] = {
    "create": "make",
    "update": "change",
    "delete": "remove",
    "read": "read",
    "wait": "wait",
}


@dataclass(frozen=True)
class PlanRow:
    """One call as a person reads it. `facts` are labels and values, `body` the parameters exactly as they are sent."""

    key: str
    effect: RowEffect
    kind: str
    name: str
    call: str
    detail: str = ""
    facts: Sequence[tuple[str, str]] = ()
    body: Any = None
    changes: bool = False
    undo: str = ""


def rows(calls: Iterable[Call], foreseen: Mapping[str, str] | None = None) -> list[PlanRow]:
    """The calls in order. `foreseen` is call key → "make", "adopt" or "none", as far as the portal knows."""
    known = foreseen or {}
    calls = list(calls)
    names = Names(calls)
    return [_row(call, known.get(call.key, ""), names) for call in calls]


def _row(call: Call, foreseen: str, names: Names) -> PlanRow:
    effect = _EFFECTS[call.effect]
    kind = KINDS.get(call.operation, "")
    name = call.title.removeprefix(kind).strip() if kind and call.changes else call.title
    detail = ""
    if call.effect == "create" and foreseen == "adopt":
        effect, detail = "exists", "It is there already and is used as it is; nothing second is made."
    elif call.each is not None:
        detail = "For each one that is there"
    elif call.given is not None or call.unless is not None:
        detail = "Only where Amazon's answer makes it necessary."
    elif call.effect == "wait" and call.until and call.until.usually:
        detail = f"Usually {call.until.usually}"
    return PlanRow(
        key=call.key,
        effect=effect,
        kind=kind,
        name=name,
        call=f"{SERVICES.get(call.service, call.service)} · {call.operation}",
        detail=detail,
        facts=_named(call) if call.changes else (),
        body=json.loads(names.shown(as_json(names.filled(call.params)))) if call.changes else None,
        changes=call.changes,
        undo=call.undo,
    )


def _named(call: Call) -> list[tuple[str, str]]:
    names = SERVICE_LABELS.get(call.service, {})
    return list(_facts({names.get(name, name): value for name, value in call.params.items()}))


def _facts(params: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, str]]:
    for name, value in params.items():
        label = LABELS.get(name, name)
        label = f"{before}: {label}" if before else label
        if isinstance(value, Mapping):
            yield from _facts(value, label)
        elif isinstance(value, list | tuple):
            for number, item in enumerate(value, 1):
                if isinstance(item, Mapping):
                    yield from _facts(item, f"{label} {number}")
                else:
                    yield label, _word(item)
        else:
            yield label, _word(value)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, Ref):
        return "known once it is made"
    return "None" if value is None else str(value)


def differences(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str | None, str | None]]:
    """What changed between two plans (as `dump` wrote them): what it is, what it was, what it is now; None: not there.

    Only calls that change something are compared; the order of a list counts.
    """
    old, new = dict(_paths(before)), dict(_paths(after))
    names = [*old, *(name for name in new if name not in old)]
    return [(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)]


def _paths(plan: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    for document in plan:
        if document["effect"] in ("create", "update", "delete"):
            yield f"{document['operation']}", "to be called"
            for label, value in _facts(document["params"]):
                yield f"{document['operation']}: {label}", value
