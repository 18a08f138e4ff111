"""Guide 7, step 3: a schema mapping for each Glue table, which says what its columns hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from django import forms

from onboarding.guide.plan import Call, Look
from onboarding.guide.prepared import IdentityStep, Prepared, acts, member_name, prepared
from onboarding.guide.schema_fields import FieldsField, as_sent, proposed_fields, told
from onboarding.guide.source_role import chosen_tables
from onboarding.guide.step import Question, Situation
from onboarding.guide.verify import may_look, verification
from onboarding.identity.columns import MAX_TABLES

KEY = "schema-mapping"
_NAME = re.compile(r"[a-zA-Z_0-9-]{1,255}")


def clean_resource_name(value: str) -> str:
    """A name by Entity Resolution's rule. Raises forms.ValidationError for anything else."""
    if not _NAME.fullmatch(value):
        raise forms.ValidationError("Use 1 to 255 English letters, digits, dashes and underscores only.")
    return value


def resource_name(*parts: str) -> str:
    """A name for a resource of Entity Resolution."""
    return re.sub(r"[^a-zA-Z_0-9-]+", "-", "-".join(filter(None, parts)))[:255]


def proposed_schema(situation: Situation, data: Prepared, number: int) -> str:
    """A name that says instance, data set, version and table."""
    return resource_name(situation.instance.instance_id, data.label, data.tables[number - 1].name)


def chosen_schemas(situation: Situation) -> list[tuple[str, list[dict[str, Any]]]]:
    """Name and `mappedInputFields` of each table's schema mapping, in the order of the prepared tables."""
    data = prepared(situation)
    if data is None:
        return []
    found = []
    for number, table in enumerate(data.tables, 1):
        name = situation.answer(KEY, f"table-{number}", "name") or proposed_schema(situation, data, number)
        fields = situation.answer(KEY, f"table-{number}", "columns")
        found.append((str(name), as_sent(fields if isinstance(fields, list) else proposed_fields(table.columns))))
    return found


class TableFields(Question):
    """The schema mapping of one table; `number` counts the tables from 1."""

    number: ClassVar[int]
    hint = "Types and match keys are proposed from what the columns hold. Change what is not right."
    why = (
        "The type decides how Entity Resolution reads a value. Columns with the same match key are compared together, "
        "such as several e-mail addresses. Consent columns are passed through without a match key."
    )
    name = forms.CharField(label="Name of the schema mapping", required=False, max_length=255)
    columns = FieldsField(label="Columns")

    def __init__(self, *args: Any, situation: Situation, **kwargs: Any) -> None:
        super().__init__(*args, situation=situation, **kwargs)
        self.prepared = prepared(situation)
        if self.prepared is not None and len(self.prepared.tables) >= self.number:
            self.fields["name"].initial = proposed_schema(situation, self.prepared, self.number)
            field = self.fields["columns"]
            if isinstance(field, FieldsField):
                field.for_columns(self.prepared.tables[self.number - 1].columns)

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        data = prepared(situation)
        return data is not None and len(data.tables) >= cls.number

    def clean_name(self) -> str:
        value: str = self.cleaned_data["name"].strip() or str(self.fields["name"].initial or "")
        taken = [
            self.situation.answer(KEY, f"table-{number}", "name")
            for number in range(1, MAX_TABLES + 1)
            if number != self.number
        ]
        if value in taken:
            raise forms.ValidationError("Another table's schema mapping has this name already.")
        return clean_resource_name(value)

    @classmethod
    def becomes(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
        data = prepared(situation)
        if data is None:
            return []
        database, table = chosen_tables(situation)[cls.number - 1]
        return [("Glue table", f"{database}.{table}"), ("In", member_name(situation, data.account))]

    @classmethod
    def documents(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Any]]:
        name, fields = chosen_schemas(situation)[cls.number - 1]
        return [("create-schema-mapping.json", {"schemaName": name, "mappedInputFields": fields})]

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        rows = [("Schema mapping", str(answer.get("name") or ""))]
        return rows + [(str(field["column"]), told(field)) for field in answer.get("columns") or []]


def _of_table(number: int) -> type[TableFields]:
    values = {
        "__module__": __name__,
        "__doc__": f"The schema mapping of table {number}.",
        "number": number,
        "slug": f"table-{number}",
        "heading": "What do the columns hold?" if number == 1 else f"What do the columns of table {number} hold?",
    }
    return cast(type[TableFields], type(f"TableFields{number}", (TableFields,), values))


class SchemaMapping(IdentityStep):
    """Makes the schema mappings, or takes those that are equal."""

    key = KEY
    title = "Say what the columns hold"
    section = "Guide 7: Create schema mapping corresponding to the AWS Glue table"
    summary = "A schema mapping for each table tells Entity Resolution what to compare."
    needs = ("catalogue",)
    usually = "a few seconds"
    undo = "A schema mapping can be deleted in Entity Resolution while no ID namespace uses it."
    questions = tuple(_of_table(number) for number in range(1, MAX_TABLES + 1))

    def act(self, situation: Situation) -> str:
        names = [name for name, _ in chosen_schemas(situation)]
        return f"Make schema mapping{'s' if len(names) > 1 else ''} {', '.join(names[:3])}" + (
            f" and {len(names) - 3} more" if len(names) > 3 else ""
        )

    def plan(self, situation: Situation) -> list[Call]:
        data = prepared(situation)
        if data is None:
            return []
        whole = self.full_plan(situation)
        if acts(situation, data.account):
            return whole
        return verification(whole) if may_look(situation, data.account) else []

    def full_plan(self, situation: Situation) -> list[Call]:
        data = prepared(situation)
        if data is None:
            return []
        return [
            Call(
                key=f"schema-{number}",
                title=f"Schema mapping {name}",
                service="entityresolution",
                operation="CreateSchemaMapping",
                params={
                    "schemaName": name,
                    "mappedInputFields": fields,
                    "tags": {"amc-portal-run": str(situation.run.pk)},
                },
                effect="create",
                account=data.account,
                look=Look(
                    operation="GetSchemaMapping",
                    params={"schemaName": name},
                    missing=("ResourceNotFoundException",),
                    same={"mappedInputFields": fields},
                ),
                undo="Can be deleted in Entity Resolution while no ID namespace uses it.",
            )
            for number, (name, fields) in enumerate(chosen_schemas(situation), 1)
        ]
