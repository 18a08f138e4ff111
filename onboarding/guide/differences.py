"""What is there beside what has to be there, laid out for people: policies by statement, columns by position."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SAME = "The same"


@dataclass(frozen=True)
class Line:
    """One statement, column or value: what it is about, what is there, what has to be there, and the verdict."""

    about: str
    found: str
    wanted: str
    verdict: str

    @property
    def same(self) -> bool:
        """Whether nothing has to change here."""
        return self.verdict == SAME


@dataclass(frozen=True)
class Sheet:
    """What was read and has to be known before somebody decides: facts, and a table of text."""

    title: str
    hint: str
    facts: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def lines(self) -> list[list[tuple[str, str]]]:
        """Each row as pairs of its column's title and the cell."""
        return [list(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Comparison:
    """Lines under one title; `noun` is what a line is about."""

    title: str
    noun: str
    lines: tuple[Line, ...]


def comparisons(differences: Iterable[Mapping[str, Any]]) -> list[Comparison]:
    """The differences that a failure keeps (`path`, `is`, `wanted`), each as a table."""
    found = []
    for one in differences:
        path, is_, wanted = str(one["path"]), one.get("is"), one.get("wanted")
        title = path.rpartition(".")[2]
        if isinstance(wanted, Mapping) and "Statement" in wanted:
            found.append(Comparison(TITLES.get(title, title), "Statement", tuple(by_statement(is_, wanted))))
        elif isinstance(wanted, list) and wanted and (isinstance(is_, list) or is_ is None):
            found.append(Comparison(TITLES.get(title, title), "Position", tuple(by_position(is_ or [], wanted))))
        else:
            line = Line(title, shown(is_), shown(wanted), SAME if is_ == wanted else "Different")
            found.append(Comparison(TITLES.get(title, title), "Value", (line,)))
    return found


TITLES = {
    "AssumeRolePolicyDocument": "Trust policy",
    "PolicyDocument": "Permissions",
    "Columns": "Columns",
    "mappedInputFields": "Fields",
    "inputSourceConfig": "Tables",
}


def shown(value: Any) -> str:
    """A value as people read it."""
    if value is None or value == "":
        return "not there"
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


# --- policy documents


def statements(document: Any) -> list[dict[str, Any]]:
    """The statements of a policy document, one alone as a list of one."""
    found = document.get("Statement", []) if isinstance(document, Mapping) else []
    return [dict(one) for one in (found if isinstance(found, list) else [found]) if isinstance(one, Mapping)]


def meaning(statement: Mapping[str, Any]) -> str:
    """What a statement says, the same text for whatever means the same: its name, order and single values count not."""
    kept = {name: value for name, value in statement.items() if name != "Sid"}
    for name in ("Action", "NotAction"):
        if name in kept:
            kept[name] = sorted({str(one).lower() for one in _list(kept[name])})
    for name in ("Resource", "NotResource"):
        if name in kept:
            kept[name] = sorted(map(str, _list(kept[name])))
    for name in ("Principal", "NotPrincipal"):
        if isinstance(kept.get(name), Mapping):
            kept[name] = {kind: sorted(map(str, _list(value))) for kind, value in kept[name].items()}
    if isinstance(kept.get("Condition"), Mapping):
        kept["Condition"] = {
            operator: {key.lower(): sorted(map(str, _list(value))) for key, value in keys.items()}
            for operator, keys in kept["Condition"].items()
        }
    return json.dumps(kept, sort_keys=True)


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def by_statement(found: Any, wanted: Mapping[str, Any]) -> list[Line]:
    """Every statement that has to be there beside the one that is, then those that are there besides."""
    rest = statements(found)
    lines = []
    for number, need in enumerate(statements(wanted), 1):
        name = str(need.get("Sid") or f"Statement {number}")
        equal = next((one for one in rest if meaning(one) == meaning(need)), None)
        like = equal or next((one for one in rest if need.get("Sid") and one.get("Sid") == need.get("Sid")), None)
        if like is not None:
            rest.remove(like)
        verdict = SAME if equal else "Different" if like else "Missing"
        lines.append(Line(name, shown(like), shown(need), verdict))
    lines += [
        Line(str(one.get("Sid") or "Another statement"), shown(one), "not needed", "There besides") for one in rest
    ]
    return lines


def lacking(lines: Iterable[Line]) -> list[str]:
    """What is missing or different, by name; statements that are there besides take nothing away."""
    return [line.about for line in lines if line.verdict in ("Missing", "Different")]


# --- columns and other lists


def by_position(found: Sequence[Any], wanted: Sequence[Any]) -> list[Line]:
    """Two lists position by position."""
    lines = []
    for number in range(max(len(found), len(wanted))):
        is_ = found[number] if number < len(found) else None
        need = wanted[number] if number < len(wanted) else None
        lines.append(Line(str(number + 1), _item(is_), _item(need), _verdict(is_, need, found, wanted)))
    return lines


def _name(item: Any) -> str:
    if isinstance(item, Mapping):
        return str(item.get("Name") or item.get("fieldName") or "")
    return str(item or "")


def _item(item: Any) -> str:
    if isinstance(item, Mapping) and set(item) <= {"Name", "Type", "Comment", "Parameters"}:
        return " ".join(filter(None, (str(item.get("Name") or ""), str(item.get("Type") or ""))))
    return shown(item)


def _verdict(found: Any, wanted: Any, all_found: Sequence[Any], all_wanted: Sequence[Any]) -> str:
    if found == wanted:
        return SAME
    if wanted is None:
        return "Not wanted"
    name, names = _name(wanted), [_name(one) for one in all_found]
    if name in names:
        return "Different" if _name(found) == name else "Another order"
    if name.lower() in [one.lower() for one in names]:
        return "Upper and lower case differ"
    return "Missing"


def columns_that_differ(found: Sequence[str], wanted: Sequence[str], *, ordered: bool) -> bool:
    """Whether a table's columns fit the files' header: name and case always, the order where it counts (CSV)."""
    return list(found) != list(wanted) if ordered else sorted(found) != sorted(wanted)
