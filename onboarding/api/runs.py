"""Runs: starting one from a file, following it, answering the questions of its steps, submitting, trying again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.db.models import QuerySet
from django.forms import Field as FormField
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router
from pydantic import BaseModel, Field

from onboarding.api.auth import acting, caller
from onboarding.api.bodies import body, filled, no_fields, schema_of
from onboarding.api.files import FILE_BODY, onboarding_file, problem_of_file
from onboarding.api.once import once
from onboarding.api.paging import Page, PageOf, paged
from onboarding.api.words import PersonName, PlanRowOut, RunId, Slug, one_of
from onboarding.engine.authority import MAY_ASK
from onboarding.engine.standing import standing
from onboarding.forms.requests import AskForApproval
from onboarding.guide.procedure import PROCEDURE_TITLES, PROCEDURES, step_of
from onboarding.guide.step import Question
from onboarding.models import (
    CallRecord,
    InstanceStatus,
    LogLine,
    Person,
    Request,
    Run,
    Step,
    StepState,
)
from onboarding.selectors import runs as selector
from onboarding.selectors.runs import Onboarding
from onboarding.services import checks, from_file
from onboarding.services import runs as services
from onboarding.services.access import get_visible, require_role
from portal.forms import ConfirmByName

router = Router(tags=["runs"])
ADDRESS = "/api/v1/runs/{id}"
MOST_LINES = 1000


class FailureOut(BaseModel):
    """Why a step stopped: what is wrong, why, who acts next and what they do."""

    what: str
    why: str
    who: str
    todo: str
    code: str

    @classmethod
    def of(cls, failure: dict[str, Any] | None) -> FailureOut | None:
        """The failure as a step keeps it, or None."""
        return None if not failure else cls(**{name: str(failure.get(name) or "") for name in cls.model_fields})


class StepLine(BaseModel):
    """A step of a run, in short."""

    key: str
    title: str
    stage: str
    state: str = one_of(StepState.values)
    state_text: str
    since: datetime
    waiting_text: str
    failure: FailureOut | None

    @classmethod
    def of(cls, row: Step, procedure: str) -> StepLine:
        """The row of a run of that procedure."""
        guide_step = step_of(procedure, row.key)
        return cls(
            key=row.key,
            title=guide_step.title,
            stage=guide_step.stage,
            state=row.state,
            state_text=row.get_state_display(),
            since=row.since,
            waiting_text=row.waiting_text,
            failure=FailureOut.of(row.failure),
        )


class RunOut(BaseModel):
    """A run: one procedure carried out for one instance."""

    id: str
    procedure: str = one_of(PROCEDURES)
    title: str
    account: int
    instance: int
    instance_name: str
    owner: PersonName
    started_at: datetime
    ended_at: datetime | None
    status: str = one_of(InstanceStatus.values, "Where the run stands.")
    status_text: str
    status_detail: str
    waiting_on: str = Field(description="Who acts next.")
    steps: list[StepLine]

    @classmethod
    def of(cls, row: Run) -> RunOut:
        """The row, read by `runs_of`."""
        steps = sorted(row.steps.all(), key=lambda step: step.position)
        for step in steps:
            step.run = row
        stands = standing(row, steps, now=row.ended_at or timezone.now())
        return cls(
            id=str(row.pk),
            procedure=row.procedure,
            title=PROCEDURE_TITLES[row.procedure],
            account=row.account_id,
            instance=row.instance_id,
            instance_name=row.instance.name,
            owner=PersonName.of(row.owner),
            started_at=row.started_at,
            ended_at=row.ended_at,
            status=stands.status,
            status_text=str(InstanceStatus(stands.status).label),
            status_detail=stands.detail,
            waiting_on=stands.waiting_on,
            steps=[StepLine.of(step, row.procedure) for step in steps],
        )


def runs_of(rows: QuerySet[Run]) -> QuerySet[Run]:
    """The runs with all that RunOut shows, the newest first."""
    return rows.select_related("instance", "owner").prefetch_related("steps").order_by("-started_at", "pk")


class FieldOut(BaseModel):
    """A field of a question, and what may be sent for it."""

    name: str
    json_schema: dict[str, Any] = Field(description="What may be sent, as a JSON Schema.")
    errors: list[str] = Field(description="What is wrong with the answer that is kept.")


class QuestionOut(BaseModel):
    """A question of a step that applies now."""

    slug: str
    heading: str
    hint: str
    answered: bool = Field(description="Whether it has an answer that is valid.")
    answer: dict[str, Any] | None
    fields: list[FieldOut]


class CallOut(BaseModel):
    """What became of one call of the plan."""

    key: str
    outcome: str = one_of(CallRecord.Outcome.values)
    started_at: datetime
    finished_at: datetime | None


class StepOut(StepLine):
    """A step with its questions, its plan and what was done so far."""

    run: str
    needs: list[str] = Field(description="The keys of the steps that have to be done before.")
    questions: list[QuestionOut]
    plan: list[PlanRowOut] = Field(
        description="What was submitted, or what the answers give now; empty while some miss."
    )
    digest: str = Field(description="Of the plan that was submitted.")
    request: int | None = Field(description="The latest request for approval.")
    calls: list[CallOut]
    attempts: int
    next_attempt_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None


class LineOut(BaseModel):
    """A line of the log of a run."""

    id: int
    step: str
    at: datetime
    level: str = one_of(LogLine.Level.values)
    text: str


class SubmittedOut(BaseModel):
    """What a submission led to."""

    run: RunOut
    requests: list[int] = Field(description="The requests for approval that were made.")


class FindRuns(BaseModel):
    """Which runs."""

    open: bool | None = Field(default=None, description="Only those under way, or only those that have ended.")
    account: int | None = Field(default=None, ge=1, le=2**63 - 1, description="The portal's number of the AMC account.")


class FindLines(BaseModel):
    """Which lines of a log."""

    after: int = Field(default=0, ge=0, le=2**63 - 1, description="Only lines with a higher id.")
    step: str = Field(default="", max_length=100, pattern=r"^[-a-zA-Z0-9_]*$", description="Only of this step.")


# --- reading


@router.get("", response=PageOf[RunOut], url_name="runs", summary="List runs")
def list_runs(
    request: HttpRequest, response: HttpResponse, find: Annotated[FindRuns, Query()], paging: Page
) -> PageOf[RunOut]:
    """The runs of your accounts, the newest first."""
    rows = Run.objects.visible_to(caller(request))
    if find.open is not None:
        rows = rows.filter(ended_at__isnull=find.open)
    if find.account is not None:
        rows = rows.filter(account=find.account)
    return paged(request, response, runs_of(rows), paging, RunOut.of)


@router.get("/{uuid:pk}", response=RunOut, url_name="run", summary="Read a run")
def read_run(request: HttpRequest, pk: RunId) -> RunOut:
    """A run with its steps in the guide's order."""
    return RunOut.of(_run(request, pk))


@router.get("/{uuid:pk}/log", response=list[LineOut], url_name="run-log", summary="Read a run's log")
def read_log(request: HttpRequest, pk: RunId, find: Annotated[FindLines, Query()]) -> list[LineOut]:
    """The log of the run's steps, oldest first, at most 1000 lines; ask again with `after` for those that follow."""
    rows = LogLine.objects.filter(step__run=_run(request, pk), pk__gt=find.after).select_related("step")
    if find.step:
        rows = rows.filter(step__key=find.step)
    return [
        LineOut(id=row.pk, step=row.step.key, at=row.at, level=row.level, text=row.text)
        for row in rows.order_by("pk")[:MOST_LINES]
    ]


@router.get("/{uuid:pk}/steps/{slug:key}", response=StepOut, url_name="run-step", summary="Read a step")
def read_step(request: HttpRequest, pk: RunId, key: Slug) -> StepOut:
    """A step: its questions with their answers, its plan, and what was done so far."""
    return _step_out(*_step(request, pk, key))


# --- acting


class Submitting(BaseModel):
    """What is done after starting."""

    submit: bool = Field(default=False, description="Also submit every step that has all its answers.")


@router.post("", response={201: SubmittedOut}, url_name="runs", summary="Start from a file", openapi_extra=FILE_BODY)
def start_from_file(request: HttpRequest, after: Annotated[Submitting, Query()]) -> HttpResponse:
    """Start the onboarding that a file describes, or go on with the open one of the same name. All or nothing.

    The file is YAML as docs/from-a-file.md explains it, or the same as JSON. What is wrong with it is answered at once
    (422): `errors` has each thing to correct in the order of the file, with the `line` of a YAML file and the `pointer`
    to what it is about. Answers below what is not understood come after that is mended.
    """
    person = acting(request)
    file = onboarding_file(request)
    # Whether the caller may do this at all is asked before a kept answer is looked for.
    with problem_of_file(request):
        from_file.account_of(file, person)

    def act() -> SubmittedOut:
        with problem_of_file(request):
            run = from_file.onboard(file, person=person, now=timezone.now())
        return _submitted(run, person) if after.submit else SubmittedOut(run=_run_out(run), requests=[])

    return once(request, act, status=201, location="/api/v1/runs/{run[id]}")


@router.post("/{uuid:pk}/submit", response=SubmittedOut, url_name="run-submit", summary="Submit what is ready")
def submit_run(request: HttpRequest, pk: RunId) -> HttpResponse:
    """Submit every step of the run that has all its answers; those that need it are asked for approval."""
    person, run = acting(request), _run(request, pk)
    require_role(person, run.account, *MAY_ASK)
    no_fields(request)
    return once(request, lambda: _submitted(run, person))


@router.put(
    "/{uuid:pk}/steps/{slug:key}/answers/{slug:question}",
    response=StepOut,
    url_name="run-answer",
    summary="Answer a question",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "description": "The fields of the question, as `questions` of the step describes them.",
                        "additionalProperties": {"type": ["string", "boolean", "number", "array"]},
                    }
                }
            },
        }
    },
)
def answer_question(request: HttpRequest, pk: RunId, key: Slug, question: Slug) -> StepOut:
    """Keep the answer to one question. An open request for the step becomes void: it no longer fits."""
    person = acting(request)
    onboarding, step = _step(request, pk, key)
    require_role(person, onboarding.run.account, *MAY_ASK)
    kind = _question(onboarding, step, question)

    def make(data: dict[str, Any]) -> Question:
        return kind(data, situation=onboarding.situation)

    form = filled(request, make({}).fields, make)
    services.answer_save(person=person, step=step, form=form, now=timezone.now())
    return _step_out(*_step(request, pk, key))


@router.post(
    "/{uuid:pk}/steps/{slug:key}/submit",
    response=StepOut,
    url_name="run-step-submit",
    summary="Submit a step",
    openapi_extra=body(AskForApproval, required=False),
)
def submit_step(request: HttpRequest, pk: RunId, key: Slug) -> HttpResponse:
    """Freeze the step's plan and ask for approval; where none is needed it goes on the queue."""
    person, step = _asking(request, pk, key)
    note = filled(request, AskForApproval.base_fields, AskForApproval).cleaned_data["note"].strip()

    def act() -> StepOut:
        services.submit(person=person, step=step, note=note, now=timezone.now())
        return _step_out(*_step(request, pk, key))

    return once(request, act)


@router.post("/{uuid:pk}/steps/{slug:key}/retry", response=StepOut, url_name="run-step-retry", summary="Try again")
def retry_step(request: HttpRequest, pk: RunId, key: Slug) -> HttpResponse:
    """Put a failed step back on the queue, from the call that failed, under the approval that it has."""
    person, step = _asking(request, pk, key)
    no_fields(request)

    def act() -> StepOut:
        services.try_again(person=person, step=step, now=timezone.now())
        return _step_out(*_step(request, pk, key))

    return once(request, act)


@router.post("/{uuid:pk}/steps/{slug:key}/check", response=StepOut, url_name="run-step-check", summary="Check now")
def check_step(request: HttpRequest, pk: RunId, key: Slug) -> HttpResponse:
    """Somebody has done in AWS what a step waits for: the portal looks now what is really there."""
    person, step = _asking(request, pk, key)
    no_fields(request)

    def act() -> StepOut:
        checks.check_now(person=person, step=step, now=timezone.now())
        return _step_out(*_step(request, pk, key))

    return once(request, act)


@router.post(
    "/{uuid:pk}/cancel",
    response=RunOut,
    url_name="run-cancel",
    summary="Cancel a run",
    openapi_extra=body(ConfirmByName),
)
def cancel_run(request: HttpRequest, pk: RunId) -> HttpResponse:
    """Stop a run: nothing more is done, what was made stays. `typed` is the name of the instance."""
    person, run = acting(request), _run(request, pk)
    require_role(person, run.account, *MAY_ASK)

    def make(data: dict[str, Any]) -> ConfirmByName:
        return ConfirmByName(data, name=run.instance.name)

    filled(request, ConfirmByName.base_fields, make)

    def act() -> RunOut:
        services.run_cancel(person=person, run=run, now=timezone.now())
        return _run_out(run)

    return once(request, act)


# --- what they share


def _run(request: HttpRequest, pk: Any) -> Run:
    person = caller(request)
    rows = runs_of(Run.objects.visible_to(person)).select_related("account", "instance__account", "instance", "owner")
    return get_visible(rows, person, pk=pk)


def _run_out(run: Run) -> RunOut:
    return RunOut.of(runs_of(Run.objects.filter(pk=run.pk)).get())


def _step(request: HttpRequest, pk: Any, key: str) -> tuple[Onboarding, Step]:
    onboarding = selector.run_of(_run(request, pk))
    step = onboarding.step(key)
    if step is None:
        raise Http404
    return onboarding, step


def _asking(request: HttpRequest, pk: Any, key: str) -> tuple[Person, Step]:
    person = acting(request)
    onboarding, step = _step(request, pk, key)
    require_role(person, onboarding.run.account, *MAY_ASK)
    return person, step


def _question(onboarding: Onboarding, step: Step, slug: str) -> type[Question]:
    try:
        return services.question_of(onboarding.guide_step(step), onboarding.situation, slug)
    except KeyError:
        raise Http404 from None


def _submitted(run: Run, person: Person) -> SubmittedOut:
    made = from_file.submit_ready(run, person=person, now=timezone.now())
    return SubmittedOut(run=_run_out(run), requests=[asked.pk for _, asked in made if asked is not None])


def _step_out(onboarding: Onboarding, step: Step) -> StepOut:
    guide_step = onboarding.guide_step(step)
    calls = selector.calls_of(onboarding, step) or []
    asked = Request.objects.filter(step=step).order_by("-asked_at", "-pk").values_list("pk", flat=True).first()
    line = StepLine.of(step, onboarding.run.procedure)
    return StepOut(
        **line.model_dump(exclude={"failure"}),
        failure=line.failure,
        run=str(onboarding.run.pk),
        needs=list(guide_step.needs),
        questions=_questions(onboarding, step),
        plan=[PlanRowOut.of(row) for row in selector.plan_rows(onboarding, step, calls)],
        digest=step.digest,
        request=asked,
        calls=[
            CallOut(key=row.key, outcome=row.outcome, started_at=row.started_at, finished_at=row.finished_at)
            for row in CallRecord.objects.filter(step=step).order_by("started_at", "pk")
        ],
        attempts=step.attempts,
        next_attempt_at=step.next_attempt_at,
        started_at=step.started_at,
        finished_at=step.finished_at,
    )


def _questions(onboarding: Onboarding, step: Step) -> list[QuestionOut]:
    if step.state == StepState.BLOCKED and not step.answers:
        return []
    open_ones = {kind.slug: errors for kind, errors in services.open_questions(step, onboarding.situation)}
    found = []
    for kind in onboarding.guide_step(step).asked(onboarding.situation):
        answer = step.answers.get(kind.slug)
        errors = open_ones.get(kind.slug, {}) if answer is not None else {}
        fields: dict[str, FormField] = kind(None, situation=onboarding.situation).fields
        found.append(
            QuestionOut(
                slug=kind.slug,
                heading=kind.heading,
                hint=kind.hint,
                answered=kind.slug not in open_ones,
                answer=answer,
                fields=[
                    FieldOut(
                        name=name,
                        json_schema=schema_of({name: field})["properties"][name],
                        errors=errors.get(name, []),
                    )
                    for name, field in fields.items()
                ],
            )
        )
    return found
