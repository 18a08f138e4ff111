"""The fields of a schema mapping: proposed from what was prepared, changed in a table, sent as the guide has them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms

from onboarding.guide.prepared import Column
from onboarding.identity.columns import CARRIED_KINDS, MAX_COLUMNS, MEANINGS, RESERVED, Kind
from onboarding.numbers import number_of

UNIQUE_ID, STRING = "UNIQUE_ID", "STRING"
TYPES = (
    UNIQUE_ID,
    "NAME",
    "NAME_FIRST",
    "NAME_MIDDLE",
    "NAME_LAST",
    "EMAIL_ADDRESS",
    "PHONE",
    "PHONE_NUMBER",
    "PHONE_COUNTRYCODE",
    "ADDRESS",
    "ADDRESS_STREET1",
    "ADDRESS_STREET2",
    "ADDRESS_STREET3",
    "ADDRESS_CITY",
    "ADDRESS_STATE",
    "ADDRESS_COUNTRY",
    "ADDRESS_POSTALCODE",
    "DATE",
    "PROVIDER_ID",
    "IPV4",
    "IPV6",
    "MAID",
    STRING,
)
"""`SchemaAttributeType` of Entity Resolution."""
_WORD = re.compile(r"[a-zA-Z_0-9\- \t]{1,255}")
_NEVER_HASHED = frozenset(str(MEANINGS[kind].match_key) for kind in CARRIED_KINDS)
Field = dict[str, Any]


def proposed_fields(columns: Sequence[Column]) -> list[Field]:
    """A field for each column: type and match key by what it holds; consent is passed through without a match key."""
    found = []
    for column in columns:
        meaning = MEANINGS.get(column.kind)
        consent = column.kind is Kind.CONSENT
        found.append(
            {
                "column": column.name,
                "use": meaning is not None or consent,
                "type": meaning.er_type if meaning else STRING,
                "match_key": (meaning.match_key if meaning else "") or "",
                "group": "",
                "hashed": column.hashed,
            }
        )
    return found


def as_sent(fields: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`mappedInputFields`: only the fields in use, booleans as booleans, only name and type for the unique id."""
    sent = []
    for field in fields:
        if not field["use"]:
            continue
        one: dict[str, Any] = {"fieldName": field["column"], "type": field["type"]}
        if field["type"] != UNIQUE_ID:
            if field["group"]:
                one["groupName"] = field["group"]
            if field["match_key"]:
                one["matchKey"] = field["match_key"]
            one["hashed"] = bool(field["hashed"])
        sent.append(one)
    return sent


def told(field: Mapping[str, Any]) -> str:
    """A field in words."""
    if not field["use"]:
        return "Left out"
    words = [str(field["type"])]
    if field["type"] != UNIQUE_ID:
        words.append(f"match key {field['match_key']}" if field["match_key"] else "passed through, no match key")
        if field["group"]:
            words.append(f"group {field['group']}")
        words.append("hashed" if field["hashed"] else "clear")
    return ", ".join(words)


class FieldsTable(forms.Widget):
    """The fields as a table: a row a column, everything about it to change."""

    template_name = "steps/fields_table.html"
    use_fieldset = True

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        rows = value if isinstance(value, list) else []
        context["widget"] |= {"rows": rows, "types": TYPES}
        return context

    def value_from_datadict(self, data: Mapping[str, Any], files: Any, name: str) -> Any:
        if name in data:
            return data[name]  # from a file, or as it was kept
        count = number_of(str(data.get(f"{name}-count") or ""))
        if count is None:
            return None
        return [
            {
                "column": str(data.get(f"{name}-{number}-column") or ""),
                "use": f"{name}-{number}-use" in data,
                "type": str(data.get(f"{name}-{number}-type") or ""),
                "match_key": str(data.get(f"{name}-{number}-match_key") or "").strip(),
                "group": str(data.get(f"{name}-{number}-group") or "").strip(),
                "hashed": f"{name}-{number}-hashed" in data,
            }
            for number in range(min(count, 200))
        ]

    def id_for_label(self, id_: str) -> str:
        return f"{id_}_0"


class FieldsField(forms.Field):
    """The fields of one table. Empty means what is proposed; in a file, a line changes the field of one column:

    `email: EMAIL_ADDRESS, Email, hashed` (column: type, match key, hashed or clear), or `email: leave out`.
    """

    widget = FieldsTable

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, **kwargs)
        self.columns: Sequence[Column] = ()

    def for_columns(self, columns: Sequence[Column]) -> None:
        """Take over the columns of the prepared table."""
        self.columns = columns
        self.initial = proposed_fields(columns)

    def clean(self, value: Any) -> list[Field]:
        proposal = proposed_fields(self.columns)
        if value in (None, "", []):
            return proposal
        fields = self._of_text(value, proposal) if isinstance(value, str) else self._of_rows(value)
        check_fields(fields)
        return fields

    def _of_text(self, text: str, proposal: list[Field]) -> list[Field]:
        known = {field["column"]: field for field in proposal}
        for line in filter(None, map(str.strip, text.splitlines())):
            column, _, rest = (part.strip() for part in line.partition(":"))
            if column not in known:
                raise forms.ValidationError(f"The table has no column “{column[:60]}”.")
            words = [word.strip() for word in rest.split(",")]
            if words == ["leave out"]:
                known[column]["use"] = False
                continue
            hashed = [word for word in words if word in ("hashed", "clear")]
            others = [word for word in words if word not in ("hashed", "clear")]
            known[column] |= {
                "use": True,
                "type": others[0] if others else "",
                "match_key": others[1] if len(others) > 1 else "",
                "group": others[2] if len(others) > 2 else "",
                "hashed": "hashed" in hashed,
            }
        return proposal

    def _of_rows(self, rows: Any) -> list[Field]:
        names = [column.name for column in self.columns]
        given = {str(row.get("column")): row for row in rows if isinstance(row, Mapping)}
        if sorted(given) != sorted(names):
            raise forms.ValidationError("The columns of the table have changed. Open the page again.")
        return [
            {
                "column": name,
                "use": bool(given[name].get("use")),
                "type": str(given[name].get("type") or ""),
                "match_key": str(given[name].get("match_key") or ""),
                "group": str(given[name].get("group") or ""),
                "hashed": bool(given[name].get("hashed")),
            }
            for name in names
        ]


def check_fields(fields: Sequence[Field]) -> None:
    """The rules of guide and Entity Resolution. Raises forms.ValidationError with every one that is broken."""
    used = [field for field in fields if field["use"]]
    wrong = [
        f"“{field['column']}”: {field['type'] or 'nothing'} is no type of Entity Resolution."
        for field in used
        if field["type"] not in TYPES
    ]
    unique = [field["column"] for field in used if field["type"] == UNIQUE_ID]
    if len(unique) != 1:
        told_ = f"not {len(unique)}: {', '.join(unique)}" if unique else "and none has it"
        wrong.append(f"Exactly one column must have the type UNIQUE_ID, {told_}.")
    if len(used) > MAX_COLUMNS:
        wrong.append(
            f"A schema mapping takes {MAX_COLUMNS} columns: the unique id and {MAX_COLUMNS - 1} others. "
            f"Leave out {len(used) - MAX_COLUMNS}."
        )
    if not any(field["match_key"] for field in used if field["type"] != UNIQUE_ID):
        wrong.append("No column has a match key, so nothing could be matched.")
    types: dict[str, str] = {}
    for field in used:
        name, key = field["column"], field["match_key"]
        if name.lower() in RESERVED:
            wrong.append(f"“{name}” is a name that Entity Resolution keeps for itself. Leave the column out.")
        if field["type"] == UNIQUE_ID:
            continue
        for word, what in ((key, "match key"), (field["group"], "group")):
            if word and not _WORD.fullmatch(word):
                wrong.append(f"“{name}”: a {what} has letters, digits, blanks, - and _ only.")
        if key and types.setdefault(key, field["type"]) != field["type"]:
            wrong.append(f"“{name}”: the match key {key} belongs to columns of type {types[key]}; give it another.")
        if field["hashed"] and key in _NEVER_HASHED:
            wrong.append(f"“{name}”: ids with the match key {key} are never hashed.")
    if wrong:
        raise forms.ValidationError(wrong)
