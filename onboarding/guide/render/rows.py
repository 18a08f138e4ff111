"""A plan as rows for whoever signs it off, and what changed between two plans."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from onboarding.guide.plan import Call
from onboarding.guide.render.facts import facts_of
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


Facts = Sequence[tuple[str, str]]


def rows(
    calls: Iterable[Call], foreseen: Mapping[str, str] | None = None, there: Mapping[str, Facts] | None = None
) -> list[PlanRow]:
    """The calls in order. `foreseen` is call key → "make", "adopt" or "none", as far as the portal knows.

    `there` is call key → what is known of the thing that is adopted: it has that, and not what would be made.
    """
    known, exists = foreseen or {}, there or {}
    calls = list(calls)
    names = Names(calls)
    return [_row(call, known.get(call.key, ""), exists.get(call.key), names) for call in calls]


def _row(call: Call, foreseen: str, there: Facts | None, names: Names) -> PlanRow:
    effect = _EFFECTS[call.effect]
    kind = KINDS.get(call.operation, "")
    name = call.title.removeprefix(kind).strip() if kind and call.changes else call.title
    detail = ""
    wanted: Facts = _facts(call) if call.changes else ()
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
        facts=there if effect == "exists" and there is not None else wanted,
        body=json.loads(names.shown(as_json(names.filled(call.params)))) if call.changes else None,
        changes=call.changes,
        undo=call.undo,
    )


def _facts(call: Call) -> Facts:
    # A token says nothing to people; it stands in the call as it is sent.
    return facts_of(call.service, {name: value for name, value in call.params.items() if name != call.token_param})


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
            for label, value in facts_of(document["service"], document["params"]):
                yield f"{document['operation']}: {label}", value
