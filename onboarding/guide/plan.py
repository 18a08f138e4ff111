"""A step's plan: the list of calls that it will make, as data.

One list is executed by the worker, read by the approver, downloaded as commands and stored in the audit log, so the
four can never disagree. A plan goes through JSON unchanged; its digest is what an approval binds to.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Effect = Literal["read", "wait", "create", "update", "delete"]
EFFECTS_THAT_CHANGE = frozenset({"create", "update", "delete"})


class PlanError(Exception):
    """A plan refers to an output that does not exist."""


@dataclass(frozen=True, slots=True)
class Ref:
    """An output of an earlier call, not known yet: `path` (dotted) in the output of `call` of `step`.

    Where that is not there, or null, it is what `otherwise` refers to: Amazon answers some calls in two ways.
    """

    step: str
    call: str
    path: str
    otherwise: Ref | None = None

    def as_json(self) -> dict[str, Any]:
        written = {"$ref": f"{self.step}/{self.call}", "path": self.path}
        return {**written, "otherwise": self.otherwise.as_json()} if self.otherwise else written

    def chain(self) -> list[Ref]:
        """The places to look at, in order, each by itself."""
        rest = self.otherwise.chain() if self.otherwise else []
        return [Ref(self.step, self.call, self.path), *rest]


def first_of(*refs: Ref) -> Ref:
    """The first of several references that has a value. Raises ValueError without any."""
    found: Ref | None = None
    for ref in reversed(refs):
        found = Ref(ref.step, ref.call, ref.path, found)
    if found is None:
        raise ValueError("no reference")
    return found


@dataclass(frozen=True, slots=True)
class Look:
    """How to find what a call would create, before it is created.

    With `items` the operation lists, and an item fits when every path of `where` has its value and no path of `ignore`
    has one of its values; lists of texts are equal in any order. With `several` everything that fits is found, as one
    list under the name `items`. Without `items` the operation gets one thing, and a code of `missing` says there is
    none.
    What is found is equal when every path of `same` has its value (None: also when nothing is there) and every path of
    `alike` has its text, in capitals or not, or has none: what is still being made does not say it all. `differs` says
    in words what it means if it is not ("{found}" stands for what is there), `absent` what it means if nothing is
    found, and `todo` what to do then. `detail` names an operation that is asked about each item before it is judged,
    with the item's value at the path that `detail_param` maps a parameter to. `wrap` puts a found item under that name,
    so that an adopted output has the shape of a created one. With `first`, the first of several that fit is taken: for
    lists that begin with the newest. A refusal with a code of `echo` may be what Amazon says to a repetition of the
    very same call, whose effect can't be seen yet: after an earlier try it is looked for again instead of given up.
    """

    operation: str
    params: Mapping[str, Any] = field(default_factory=dict)
    items: str = ""
    where: Mapping[str, Any] = field(default_factory=dict)
    ignore: Mapping[str, list[Any] | Ref] = field(default_factory=dict)
    same: Mapping[str, Any] = field(default_factory=dict)
    alike: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    wrap: str = ""
    differs: str = ""
    detail: str = ""
    detail_param: Mapping[str, str] = field(default_factory=dict)
    several: bool = False
    first: bool = False
    echo: tuple[str, ...] = ()
    absent: str = ""
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Until:
    """When a call that waits has seen enough: the value at `path` is in `done`; in `failed` it has gone wrong for good.

    Where the path holds a `*`, every value has to be in `done`, and none may be in `failed`.

    `failed` maps a value to the sentence that says what happened, `todo` says what to do then, and the value at the
    path `reason`, if there is one, is why. A refusal with a code of `gone` means that there is nothing left to look at,
    and ends the wait as well. With `there`, any value at the path is enough; with `one`, one of several values in
    `done` is. `every` are the delays between looks in seconds, the last one repeats. After `give_up` seconds a person
    has to look.
    """

    path: str
    done: tuple[Any, ...]
    failed: Mapping[str, str] = field(default_factory=dict)
    every: tuple[float, ...] = (5, 10, 15, 30, 60)
    give_up: float = 86_400
    usually: str = ""
    reason: str = ""
    todo: str = ""
    gone: tuple[str, ...] = ()
    there: bool = False
    one: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One call: which operation of which service, with which parameters, and what it is for in words.

    `token_param` names a parameter that carries an idempotency token; the engine fills it in for each try, so that it
    is not part of what is approved (`as_sent` adds it). `account` is the AWS account that the call is made in; empty
    for AMC.
    A call is only made if `given`, where there is one, has a value, and `unless`, where there is one, has none.
    With `each`, a script makes it for every item of the list there; `item` refers to what is in the item. The worker
    has no such calls: it knows the items when its plan is made.
    """

    key: str
    title: str
    service: str
    operation: str
    params: Mapping[str, Any] = field(default_factory=dict)
    effect: Effect = "read"
    account: str = ""
    look: Look | None = None
    until: Until | None = None
    token_param: str = ""
    undo: str = ""
    given: Ref | None = None
    unless: Ref | None = None
    each: Ref | None = None

    @property
    def changes(self) -> bool:
        """Whether the call changes anything outside the portal."""
        return self.effect in EFFECTS_THAT_CHANGE


def token(run: uuid.UUID, step: str, call: Call, generation: int) -> str:
    """The idempotency token of a call: the same for every try, another once what it made has failed for good.

    And another for other answers: with the same one Amazon would refuse them, or answer as if they were the earlier.
    """
    return str(uuid.uuid5(run, f"{step}/{call.key}/{generation}/{digest([_to_json(call.params)])}"))


def as_sent(calls: Iterable[Call], run: uuid.UUID, step: str, generation: int) -> list[Call]:
    """The calls with their idempotency tokens, which are no part of what is approved, among the parameters."""
    return [
        replace(call, params={**call.params, call.token_param: token(run, step, call, generation)})
        if call.token_param
        else call
        for call in calls
    ]


_REFS = ("given", "unless", "each")


def each_key(call: str) -> str:
    """Under which key the item is kept for which a call with `each` is just being made."""
    return f"each-{call}"


def item(step: str, call: str, path: str) -> Ref:
    """What is at `path` of the item for which the call, one with `each`, is made."""
    return Ref(step, each_key(call), path)


def _to_json(value: Any) -> Any:
    if isinstance(value, Ref):
        return value.as_json()
    if isinstance(value, Mapping):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        if "$ref" in value:
            step, _, call = value["$ref"].partition("/")
            return Ref(step, call, value["path"], _from_json(value.get("otherwise")))
        return {key: _from_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    return value


def dump(calls: Iterable[Call]) -> list[dict[str, Any]]:
    """The calls as JSON documents."""
    documents = []
    for call in calls:
        document = {
            name: getattr(call, name)
            for name in ("key", "title", "service", "operation", "effect", "account", "token_param", "undo")
        }
        document["params"] = _to_json(call.params)
        document["look"] = _to_json(_fields(call.look)) if call.look else None
        document["until"] = _to_json(_without_rare(asdict(call.until))) if call.until else None
        document |= {name: _to_json(ref) for name in _REFS if (ref := getattr(call, name)) is not None}
        documents.append(document)
    return documents


# What few calls use is written for those alone: the digest of a plan that waits for its approval stays the same.
_RARE = ("first", "echo", "there", "one")
_RARE_IN_LOOKS = (*_RARE, "absent", "todo", "alike")


def _without_rare(values: dict[str, Any], rare: Iterable[str] = _RARE) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value or name not in rare}


def _fields(look: Look) -> dict[str, Any]:
    # asdict would turn the references inside into plain mappings.
    return _without_rare({name: getattr(look, name) for name in Look.__dataclass_fields__}, _RARE_IN_LOOKS)


def load(documents: Iterable[Mapping[str, Any]]) -> list[Call]:
    """The calls that `dump` wrote."""
    calls = []
    for document in documents:
        values = dict(document)
        values["params"] = _from_json(values["params"])
        if values["look"]:
            codes = {name: tuple(values["look"].get(name, ())) for name in ("missing", "echo")}
            values["look"] = Look(**{**_from_json(values["look"]), **codes})
        if values["until"]:
            until = values["until"]
            lists = {name: tuple(until[name]) for name in ("done", "every", "gone") if name in until}
            values["until"] = Until(**{**until, **lists})
        values |= {name: _from_json(values[name]) for name in _REFS if name in values}
        calls.append(Call(**values))
    return calls


def digest(documents: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256, in hex, of the plan's canonical JSON."""
    text = json.dumps(list(documents), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


MISSING = object()


def dig(document: Any, path: str) -> Any:
    """The value at a dotted path (`instance.instanceId`, `items.0.id`), or `MISSING`.

    A `*` stands for every item of a list, and the result is then a list.
    """
    value = document
    parts = path.split(".") if path else []
    for position, part in enumerate(parts):
        if part == "*":
            rest = ".".join(parts[position + 1 :])
            return [dig(item, rest) for item in value] if isinstance(value, list) else MISSING
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return MISSING
    return value


def known(ref: Ref, outputs: Mapping[str, Mapping[str, Any]]) -> Any:
    """What a reference refers to, or `MISSING`. Null is a value only where there is nothing else to look at."""
    output = outputs.get(ref.step, {}).get(ref.call, MISSING)
    found = MISSING if output is MISSING else dig(output, ref.path)
    if ref.otherwise is not None and found in (MISSING, None):
        return known(ref.otherwise, outputs)
    return found


def is_known(ref: Ref, outputs: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a reference has a value that is not null."""
    return known(ref, outputs) not in (MISSING, None)


def filled(calls: Iterable[Call], outputs: Mapping[str, Mapping[str, Any]], step: str) -> list[Call]:
    """The calls of a step with what other steps have brought by now in place of references to it.

    What the step itself will bring, and what nobody has brought yet, stays a reference.
    """

    def fill(value: Any) -> Any:
        if isinstance(value, Ref):
            found = MISSING if value.step == step else known(value, outputs)
            return value if found is MISSING else found
        if isinstance(value, Mapping):
            return {key: fill(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [fill(item) for item in value]
        return value

    def fill_look(look: Look | None) -> Look | None:
        if look is None:
            return None
        parts = {name: fill(getattr(look, name)) for name in ("params", "where", "ignore", "same", "alike")}
        return replace(look, **parts)

    return [replace(call, params=fill(call.params), look=fill_look(call.look)) for call in calls]


def resolve(value: Any, outputs: Mapping[str, Mapping[str, Any]]) -> Any:
    """Replace every reference in `value` by what it refers to; `outputs` is step key → call key → output.

    Raises PlanError if an output is not there.
    """
    if isinstance(value, Ref):
        found = known(value, outputs)
        if found is MISSING:
            raise PlanError(f"{value.step}/{value.call} has no {value.path}")
        return found
    if isinstance(value, Mapping):
        return {key: resolve(item, outputs) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [resolve(item, outputs) for item in value]
    return value
