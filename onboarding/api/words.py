"""What several operations have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any
from uuid import UUID

from ninja import Path
from pydantic import BaseModel, Field

from onboarding.guide.render import PlanRow
from onboarding.models import Person

Pk = Annotated[int, Path(ge=1, le=2**63 - 1)]
RunId = Annotated[UUID, Path()]
Slug = Annotated[str, Path(pattern=r"^[-a-zA-Z0-9_]+$", max_length=100)]
# Words to search for: what no database refuses.
SearchText = Annotated[str, Field(max_length=100, pattern=r"^[^\u0000]*$")]


def one_of(values: Iterable[str], description: str = "") -> Any:
    """A field of an answer that has one of these values."""
    return Field(description=description, json_schema_extra={"enum": [str(value) for value in values]})


class PersonName(BaseModel):
    """Somebody, as the pages name them."""

    id: int
    name: str

    @classmethod
    def of(cls, person: Person) -> PersonName:
        """The person."""
        return cls(id=person.pk, name=str(person))

    @classmethod
    def if_any(cls, person: Person | None) -> PersonName | None:
        """The person, or None if there is none."""
        return None if person is None else cls.of(person)


class FactOut(BaseModel):
    """A label and a value."""

    label: str
    value: str


class PlanRowOut(BaseModel):
    """One call of a plan, as whoever signs it off reads it."""

    key: str
    effect: str = one_of(("make", "exists", "change", "read", "wait", "remove"), "What it does.")
    kind: str
    name: str
    call: str = Field(description="The service and the operation.")
    detail: str
    facts: list[FactOut]
    body: Any = Field(description="The parameters exactly as they are sent.")
    changes: bool = Field(description="Whether it changes anything outside the portal.")
    undo: str

    @classmethod
    def of(cls, row: PlanRow) -> PlanRowOut:
        """The row."""
        return cls(
            key=row.key,
            effect=row.effect,
            kind=row.kind,
            name=row.name,
            call=row.call,
            detail=row.detail,
            facts=[FactOut(label=label, value=value) for label, value in row.facts],
            body=row.body,
            changes=row.changes,
            undo=row.undo,
        )
