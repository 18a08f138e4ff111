"""What pages hand to the tags of `{% load ui %}`: plain values, made by views, drawn by templates/ui."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal


@dataclass(frozen=True)
class Task:
    """One line of a task list, named by a verb. Without `url` it can't be opened; `hint` then says why.

    `status` is a value of InstanceStatus, StepState or RequestState; `status_text` replaces its word
    ("Waiting for P. to approve"). `done_of` shows a bar: how many of how many.
    """

    title: str
    status: str
    url: str = ""
    hint: str = ""
    status_text: str = ""
    who: str = ""
    when: datetime | None = None
    usually: str = ""
    done_of: tuple[int, int] | None = None


@dataclass(frozen=True)
class TaskGroup:
    """A heading of a task list and its tasks."""

    title: str
    tasks: Sequence[Task]


@dataclass(frozen=True)
class Row:
    """One row of a summary list. `change_url` offers a link "Change"; `copy` a button that copies the value."""

    label: str
    value: Any
    change_url: str = ""
    hint: str = ""
    mono: bool = False
    copy: bool = False


@dataclass(frozen=True)
class Document:
    """A policy or another JSON document, shown formatted behind a disclosure."""

    title: str
    body: Any


Effect = Literal["make", "exists", "change", "same", "read", "wait", "remove"]


@dataclass(frozen=True)
class PlanEntry:
    """One call of a plan as an approver reads it.

    `kind` is the resource ("IAM role"), `name` its exact name, `call` the operation ("IAM CreateRole"), `facts` pairs
    of label and value, `documents` its policies, `difference` pairs of what is there and what is wanted.
    """

    effect: Effect
    kind: str
    name: str
    detail: str = ""
    call: str = ""
    facts: Sequence[tuple[str, str]] = ()
    documents: Sequence[Document] = ()
    difference: Sequence[tuple[str, str, str]] = ()


@dataclass(frozen=True)
class Stage:
    """A stage of a run: its state (StepState), when it was reached, and how long it took or usually takes."""

    title: str
    state: str
    at: datetime | None = None
    took: timedelta | None = None
    detail: str = ""
    usually: str = ""
    url: str = ""
    state_text: str = ""


@dataclass(frozen=True)
class Tile:
    """A big number: `tone` is empty, `good`, `busy`, `wait` or `bad`."""

    number: int | str
    label: str
    url: str = ""
    tone: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Tab:
    """A tab that is a link to a page of its own."""

    text: str
    url: str
    current: bool = False
    count: int | None = None


@dataclass(frozen=True)
class Failure:
    """A failure in plain words; the fields are those of `RemoteFailure.as_dict()`."""

    what: str
    why: str = ""
    who: str = ""
    todo: str = ""
    code: str = ""
    status: int | None = None
    request_id: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    kind: str = "fix"


@dataclass(frozen=True)
class Series:
    """One line or one set of bars of a chart; `tone` is empty, `good`, `busy`, `wait`, `amazon` or `bad`."""

    name: str
    values: Sequence[float | None]
    tone: str = ""


@dataclass(frozen=True)
class Chart:
    """What a chart shows; the same is always there as a table. `kind` is `bar` or `line`."""

    title: str
    labels: Sequence[str]
    series: Sequence[Series]
    kind: Literal["bar", "line"] = "bar"
    unit: str = ""

    @property
    def data(self) -> dict[str, Any]:
        """For the script that draws it."""
        return {
            "kind": self.kind,
            "unit": self.unit,
            "labels": list(self.labels),
            "series": [{"name": one.name, "tone": one.tone, "values": list(one.values)} for one in self.series],
        }

    @property
    def rows(self) -> list[tuple[str, list[float | None]]]:
        """Label and values, as the table shows them."""
        return [(label, [one.values[index] for one in self.series]) for index, label in enumerate(self.labels)]
