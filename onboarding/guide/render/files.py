"""The files of an archive: what each call sends, what is looked for first, and how references in them are filled."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onboarding.clients import athena
from onboarding.clients.amc import Account, ApiRequest, request_for
from onboarding.clients.aws import DOCUMENTS, command_name
from onboarding.guide.plan import Call, Ref
from onboarding.guide.render.identity import IDENTITY
from onboarding.guide.render.names import Names, as_json, kebab

AMC = "amc"
# The command line's name of a service, where it is another one.
_CLI = {"s3": "s3api"}
# The names that the guide gives to payload files; all others are called after their operation.
_GUIDE_NAMES = {
    "CreateIdNamespace": "create-source-id-namespace",
    "CreateIdNamespaceAssociation": "create-source-id-namespace-association",
}


def cli(service: str, operation: str) -> str:
    """The words of the AWS command line for an operation: `iam create-role --region us-east-1`."""
    words = f"aws {_CLI.get(service, service)} {command_name(operation)} --region us-east-1"
    kept = athena.QUERIES.get(operation) if service == "athena" else None
    return f"{words} --query {shlex.quote(kept)}" if kept else words


def payload_names(calls: Sequence[Call]) -> dict[str, str]:
    """Call key → the name of the file that holds what it sends; only calls that change something send one."""
    sending = [call for call in calls if call.changes and call.params and call.service != IDENTITY]
    plain = {call.key: _plain_name(call) for call in sending}
    count = Counter(plain.values())
    keys = {call.key: call for call in sending}
    names = {}
    for key, name in plain.items():
        if count[name] == 1:
            names[key] = f"{name}.json"
            continue
        account = keys[key].account
        once = account and sum(1 for other in sending if plain[other.key] == name and other.account == account) == 1
        names[key] = f"{name}-{account if once else kebab(key)}.json"
    return names


def _plain_name(call: Call) -> str:
    operation = call.operation
    return _GUIDE_NAMES.get(operation) or (kebab(operation) if call.service == AMC else command_name(operation))


def request_of(call: Call, operation: str, params: Mapping[str, Any], account: Account, names: Names) -> ApiRequest:
    """The request of a call of the AMC API, with marks in place of references; ValueError for another."""
    if call.service != AMC:
        raise ValueError(f"{call.service} is not the AMC API")
    return request_for(operation, names.filled(dict(params)), account)


def sent_by(call: Call, account: Account, names: Names) -> Any:
    """What a call sends, with marks in place of references: AMC's body, or the parameters of an AWS call."""
    if call.service == AMC:
        return request_of(call, call.operation, call.params, account, names).body
    return names.filled(call.params)


def look_file(call: Call, account: Account, names: Names) -> dict[str, Any]:
    """What the script has to know of a look or of a wait, with marks in place of references."""
    if call.effect == "wait":
        until = call.until
        if until is None:
            raise ValueError(f"{call.key} waits for nothing")
        return {
            "params": _asked(call, call.operation, call.params, account, names),
            "path": until.path,
            "done": list(until.done),
            "failed": {str(value): words for value, words in until.failed.items()},
            "every": list(until.every),
            "give_up": until.give_up,
            "gone": list(until.gone),
            "there": until.there,
            "one": until.one,
            "reason": until.reason,
            "todo": until.todo,
        }
    look = call.look
    if look is None:
        return {"params": _asked(call, call.operation, call.params, account, names)}
    found: dict[str, Any] = {"params": _asked(call, look.operation, look.params, account, names)}
    for name in _LOOK_PARTS:
        value = getattr(look, name)
        if value:
            found[name] = names.filled(list(value) if isinstance(value, tuple) else value)
    if look.items:
        found.setdefault("where", {})
        found.setdefault("ignore", {})
    return found


_LOOK_PARTS = (
    "items",
    "where",
    "ignore",
    "same",
    "alike",
    "missing",
    "wrap",
    "differs",
    "detail",
    "detail_param",
    "several",
    "first",
    "echo",
    "absent",
    "todo",
)


def _asked(call: Call, operation: str, params: Mapping[str, Any], account: Account, names: Names) -> Any:
    if call.service == AMC:
        return request_of(call, operation, params, account, names).body or {}
    return names.filled(dict(params))


def marked(value: Any, names: Names, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every place in `value` that is a mark: its path and the variable's name."""
    if isinstance(value, str):
        match = names.pattern.fullmatch(value)
        if match:
            yield path, match[1]
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from marked(item, names, (*path, key))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from marked(item, names, (*path, number))


def fill(value: Any, names: Names, here: Mapping[str, Call]) -> tuple[list[str], list[str]]:
    """How jq puts values in place of the marks in `value`: filters, and the options that they need.

    `here` is call key → call, of those whose answers the scripts keep; other references come from the environment.
    """
    filters, options = [], []
    refs = {name: ref for ref, name in names.taken.items()}
    for path, name in marked(value, names):
        ref = refs[name]
        if ref.call in here:
            places = [f"(${answer_variable(one)}[0] | at({json.dumps(one.path)}))" for one in ref.chain()]
            known = f"first({', '.join(places)} | select(. != missing and . != null)) // missing"
            # Null is a value where there is nowhere else to look.
            known = f"({places[0] if len(places) == 1 else known}) | need({json.dumps(ref.path)})"
            wanted = [f"--slurpfile {answer_variable(one)} {answer(one.call)}" for one in ref.chain()]
        else:
            known, wanted = f"${name}", [f'--arg {name} "${name}"']
        filters.append(f"setpath({json.dumps(list(path))}; {known})")
        options += [option for option in dict.fromkeys(wanted) if option not in options]
    return filters, options


def answer_variable(ref: Ref) -> str:
    """jq's variable for the answer that `ref` refers to."""
    return "answer_" + re.sub(r"[^A-Za-z0-9]", "_", ref.call)


def answer(key: str) -> str:
    """Where a script keeps the answer of a call."""
    return f"answers/{key}.json"


def as_text(value: Any) -> list[str]:
    """The jq filters that turn policy documents into the text that AWS takes."""
    if not isinstance(value, Mapping):
        return []
    return [f".{name} |= tojson" for name in value if name in DOCUMENTS and not isinstance(value[name], str)]


def jq_word(filters: Sequence[str]) -> str:
    """Filters as one word of a shell."""
    return shlex.quote(" | ".join(filters) or ".")


def file_text(value: Any, names: Names) -> str:
    """`value` as a file: JSON, with `${NAME}` where the script puts what it knows by then."""
    return names.shown(as_json(value)) + "\n"
