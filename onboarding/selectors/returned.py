"""Requests that came back to whoever asked: somebody asks for a change, or nobody decided in time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Exists, FilteredRelation, OuterRef, Q, QuerySet, Subquery, TextField, Value
from django.db.models.functions import Coalesce, Concat, NullIf

from onboarding.guide.procedure import step_of
from onboarding.models import Request, RequestState, StepState, person_name

BACK = (RequestState.SENT_BACK, RequestState.EXPIRED)
SHORT = 140
_END = Value("\n")


@dataclass(frozen=True)
class Returned:
    """The last request of a step that is to be answered, if it was sent back or expired; with who said what."""

    request: int
    step: int
    instance: int
    state: str
    at: datetime
    who: str
    comment: str
    step_title: str

    @property
    def expired(self) -> bool:
        """Whether nobody decided in time."""
        return self.state == RequestState.EXPIRED

    @property
    def words(self) -> str:
        """What it needs, for one line of a list."""
        return _words(self.step_title, self.state, self.who)

    @property
    def said(self) -> str:
        """What happened, with the beginning of what was said."""
        if self.expired:
            return "Expired, ask again: nobody decided in time. The answers are kept."
        return f"Needs a change, says {self.who}: “{_beginning(self.comment)}”"


def _beginning(comment: str) -> str:
    """A comment on one line, cut between two words if it is long."""
    text = " ".join(comment.split())
    return text if len(text) <= SHORT else f"{text[:SHORT].rpartition(' ')[0] or text[:SHORT]}…"


def _words(title: str, state: str, who: str) -> str:
    return f"{title}: {'expired, ask again' if state == RequestState.EXPIRED else f'needs a change, says {who}'}"


def _of_waiting(**steps: Any) -> QuerySet[Request]:
    """The requests of steps that wait for an answer, with who sent them back and why as `refusal`."""
    refusal = FilteredRelation("decisions", condition=Q(decisions__approved=False))
    return Request.objects.filter(step__state=StepState.READY, **steps).annotate(refusal=refusal)


def returned(**steps: Any) -> dict[int, Returned]:
    """By step, what came back last of the steps that fit (conditions on a request) and wait for an answer. One query.

    A request that was asked again since, or withdrawn, is no longer answered for.
    """
    columns = (
        *("pk", "step_id", "step__key", "step__run__procedure", "step__run__instance_id", "state", "ended_at"),
        *("refusal__person__name", "refusal__person__email", "refusal__comment"),
    )
    last = {row[1]: row for row in _of_waiting(**steps).order_by("asked_at", "pk").values_list(*columns)}
    return {
        step: Returned(
            request=pk,
            step=step,
            instance=instance,
            state=state,
            at=at,
            who=person_name(name or "", email or ""),
            comment=comment or "",
            step_title=step_of(procedure, key).title,
        )
        for pk, step, key, procedure, instance, state, at, name, email, comment in last.values()
        if state in BACK
    }


def by_instance(found: Iterable[Returned]) -> dict[int, str]:
    """What each instance needs, in words: of several the one that came back first."""
    return {one.instance: one.words for one in sorted(found, key=lambda one: one.at, reverse=True)}


def of_row() -> Subquery:
    """The same for each row of a query of instances, as a column of it, which `words_of` reads."""
    later = Request.objects.filter(step=OuterRef("step"), asked_at__gt=OuterRef("asked_at"))
    rows = _of_waiting(step__run__instance=OuterRef("pk")).filter(~Exists(later), state__in=BACK)
    # Not as JSON: whether a database has it is asked in queries of its own.
    who = Coalesce(
        NullIf("refusal__person__name", Value("")), "refusal__person__email", Value(""), output_field=TextField()
    )
    told = Concat("step__key", _END, "step__run__procedure", _END, "state", _END, who, output_field=TextField())
    return Subquery(rows.order_by("ended_at", "pk").values(told=told)[:1])


def words_of(told: str) -> str:
    """What a row of `of_row` says, for one line of a list."""
    key, procedure, state, who = told.split(_END.value, 3)
    return _words(step_of(procedure, key).title, state, person_name(who, ""))
