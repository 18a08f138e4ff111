"""Requests that came back to whoever asked: somebody asks for a change, or nobody decided in time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import FilteredRelation, Q

from onboarding.models import Request, RequestState, StepState, person_name

BACK = (RequestState.SENT_BACK, RequestState.EXPIRED)
SHORT = 140


@dataclass(frozen=True)
class Returned:
    """The last request of a step that is to be answered, if it was sent back or expired; with who said what."""

    request: int
    step: int
    state: str
    at: datetime
    who: str
    comment: str

    @property
    def expired(self) -> bool:
        """Whether nobody decided in time."""
        return self.state == RequestState.EXPIRED

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


def returned(**steps: Any) -> dict[int, Returned]:
    """By step, what came back last of the steps that fit (conditions on a request) and wait for an answer. One query.

    A request that was asked again since, or withdrawn, is no longer answered for.
    """
    columns = (
        *("pk", "step_id", "state", "ended_at"),
        *("refusal__person__name", "refusal__person__email", "refusal__comment"),
    )
    refusal = FilteredRelation("decisions", condition=Q(decisions__approved=False))
    rows = Request.objects.filter(step__state=StepState.READY, **steps).annotate(refusal=refusal)
    last = {row[1]: row for row in rows.order_by("asked_at", "pk").values_list(*columns)}
    return {
        step: Returned(
            request=pk,
            step=step,
            state=state,
            at=at,
            who=person_name(name or "", email or ""),
            comment=comment or "",
        )
        for pk, step, state, at, name, email, comment in last.values()
        if state in BACK
    }
