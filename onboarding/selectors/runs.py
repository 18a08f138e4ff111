"""What the pages of an instance and of its steps read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from onboarding.engine.situations import situation_of
from onboarding.guide import plan as plans
from onboarding.guide.plan import Call, load
from onboarding.guide.procedure import needs_of, step_of, steps_of
from onboarding.guide.render import PlanRow, rows
from onboarding.guide.step import GuideStep, Situation
from onboarding.models import (
    AuditEntry,
    CallRecord,
    Instance,
    LogLine,
    Request,
    RequestState,
    Run,
    Step,
    StepState,
)
from onboarding.services.runs import open_questions

MOST_ACTIVITY = 200


@dataclass
class Onboarding:
    """A run of an instance, with its steps in the guide's order."""

    instance: Instance
    run: Run
    steps: list[Step]

    def step(self, key: str) -> Step | None:
        """The step of that key, if the run has it."""
        return next((step for step in self.steps if step.key == key), None)

    def guide_step(self, step: Step) -> GuideStep:
        """What the guide says about the step."""
        return step_of(self.run.procedure, step.key)

    @cached_property
    def titles(self) -> dict[str, str]:
        """Step key → title."""
        return {guide_step.key: guide_step.title for guide_step in steps_of(self.run.procedure)}

    @cached_property
    def situation(self) -> Situation:
        """What the steps know (two queries, once)."""
        return situation_of(self.run)

    def missing_before(self, step: Step) -> list[str]:
        """The titles of the steps that have to be done before this one."""
        done = {other.key for other in self.steps if other.state == StepState.DONE}
        return [self.titles[key] for key in needs_of(self.run.procedure, step.key) if key not in done]


def onboarding_of(instance: Instance) -> Onboarding | None:
    """The instance's latest onboarding (two queries), or None when nobody has begun one."""
    runs = Run.objects.filter(instance=instance, procedure="onboard")
    run = runs.select_related("owner").order_by("-started_at").first()
    if run is None:
        return None
    run.instance, run.account = instance, instance.account
    return run_of(run)


def other_runs(instance: Instance, *, most: int = 50) -> list[Run]:
    """The runs of the instance beside its onboarding, with their steps, the newest first (two queries)."""
    runs = Run.objects.filter(instance=instance).exclude(procedure="onboard").select_related("owner")
    return list(runs.prefetch_related("steps").order_by("-started_at")[:most])


def run_of(run: Run) -> Onboarding:
    """A run, read with its instance and account, and its steps (one query)."""
    instance = run.instance
    steps = list(Step.objects.filter(run=run).select_related("asked_by").order_by("position"))
    for step in steps:
        step.run = run
    return Onboarding(instance, run, steps)


def open_requests(run: Run) -> dict[int, Request]:
    """Step id → its open request, with who asked (one query)."""
    rows = Request.objects.filter(step__run=run, state=RequestState.OPEN)
    return {row.step_id: row for row in rows.select_related("asked_by")}


def calls_of(onboarding: Onboarding, step: Step) -> list[Call] | None:
    """The step's calls: those that were submitted, else those that its answers give now; None while answers miss."""
    if step.plan:
        return load(step.plan)
    if (
        step.state in (StepState.BLOCKED, StepState.CANCELLED)
        and not step.answers
        and onboarding.guide_step(step).questions
    ):
        return None
    if open_questions(step, onboarding.situation):
        return None
    return onboarding.guide_step(step).plan(onboarding.situation)


def all_calls_of(onboarding: Onboarding, step: Step) -> list[Call] | None:
    """Every call of the step, whoever makes it: what people download. None while answers or earlier steps miss.

    What was submitted is given as it was submitted if the worker makes every change itself.
    """
    calls = calls_of(onboarding, step)
    if calls is None:
        return None
    whole = onboarding.guide_step(step).full_plan(onboarding.situation)
    if step.state == StepState.BLOCKED and any(call.service != "amc" for call in whole):
        return None
    found = whole if by_others(calls, whole) or not calls else calls
    return plans.filled(found, onboarding.situation.outputs, step.key)


def plan_rows(onboarding: Onboarding, step: Step, calls: list[Call]) -> list[PlanRow]:
    """The step's calls as whoever signs them off reads them, with what the portal knows of what is there."""
    guide_step, situation = onboarding.guide_step(step), onboarding.situation
    return rows(as_sent(calls, step), guide_step.foresee(situation), guide_step.there(situation))


def as_sent(calls: Iterable[Call], step: Step) -> list[Call]:
    """The calls of a step as its worker sends them next, with their idempotency tokens."""
    return plans.as_sent(calls, step.run_id, step.key, step.generation)


def by_others(calls: list[Call], whole: list[Call]) -> bool:
    """Whether people have to make changes themselves: `calls` is the worker's part of `whole`."""
    mine = {call.key for call in calls if call.changes}
    return any(call.changes and call.key not in mine for call in whole)


@dataclass(frozen=True)
class Happened:
    """One line of an instance's activity."""

    at: datetime
    who: str
    text: str
    level: str = "info"
    step: str = ""


# What the log of a step does not tell; everything else would be there twice.
_NOT_IN_LOG = ("run.started", "run.cancelled", "answer.saved", "request.commented", "request.void")


def activity(instance: Instance) -> list[Happened]:
    """The log of every step of every run, and what people did besides, the newest first (four queries)."""
    lines = LogLine.objects.filter(step__run__instance=instance).select_related("step__run").order_by("-pk")
    runs = Run.objects.filter(instance=instance).values_list("pk", flat=True)
    requests = Request.objects.filter(step__run__instance=instance).values_list("pk", flat=True)
    refs = [*(f"run:{pk}" for pk in runs), *(f"request:{pk}" for pk in requests)]
    entries = AuditEntry.objects.filter(subject_ref__in=refs, act__in=_NOT_IN_LOG).order_by("-number")[:MOST_ACTIVITY]
    found = [
        Happened(line.at, "", line.text, line.level, step_of(line.step.run.procedure, line.step.key).title)
        for line in lines[:MOST_ACTIVITY]
    ]
    found += [Happened(entry.at, entry.actor_name, f"{act_words(entry.act)}: {entry.subject}") for entry in entries]
    return sorted(found, key=lambda one: one.at, reverse=True)[:MOST_ACTIVITY]


_ACTS = {
    "run.started": "Started",
    "run.cancelled": "Cancelled",
    "answer.saved": "Answered",
    "step.submitted": "Submitted",
    "step.retried": "Tried again",
    "step.checked": "Asked for a check of",
    "step.done": "Completed",
    "step.failed": "Stopped with a problem",
    "request.approved": "Approved",
    "request.sent_back": "Sent back",
    "request.withdrawn": "Withdrew",
    "request.expired": "Expired",
    "request.void": "No longer valid",
    "request.commented": "Commented on",
    "call.made": "Made in Amazon",
    "call.adopted": "Found in Amazon and used",
}


def act_words(act: str) -> str:
    """An act of the audit log in words."""
    return _ACTS.get(act) or act.replace(".", " ").replace("_", " ").capitalize()


@dataclass(frozen=True)
class Progress:
    """Everything that the progress page of one step shows."""

    request: Request | None
    approvals: list[tuple[str, datetime]] = field(default_factory=list)
    records: dict[str, CallRecord] = field(default_factory=dict)
    log: list[LogLine] = field(default_factory=list)


MOST_LINES = 500


def progress_of(step: Step) -> Progress:
    """The step's latest request with its approvals, what became of its calls, and its log (four queries)."""
    request = Request.objects.filter(step=step).select_related("asked_by").order_by("-asked_at", "-pk").first()
    approvals = []
    if request is not None:
        approvals = [
            (str(decision.person), decision.at)
            for decision in request.decisions.filter(approved=True).select_related("person")
        ]
    records = {record.key: record for record in CallRecord.objects.filter(step=step)}
    log = list(LogLine.objects.filter(step=step).order_by("-pk")[:MOST_LINES])[::-1]
    return Progress(request, approvals, records, log)
