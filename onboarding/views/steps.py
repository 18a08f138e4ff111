"""One step of the guide: its questions one a page, the review, and the progress while it is carried out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.text import slugify
from django.views.decorators.http import require_POST, require_safe

from onboarding.engine.authority import MAY_ASK, approvers_needed
from onboarding.engine.notices import people_with
from onboarding.forms.requests import AskForApproval
from onboarding.guide import render as rendering
from onboarding.guide.differences import comparisons
from onboarding.guide.identity_work import OPEN
from onboarding.guide.leave import LeaveCollaboration
from onboarding.guide.plan import Call, load
from onboarding.guide.step import GuideStep, Question, Situation
from onboarding.models import (
    AccountPolicy,
    CallRecord,
    IdentityJob,
    Instance,
    Person,
    RequestState,
    RoleName,
    Run,
    Step,
    StepState,
)
from onboarding.selectors import datasets
from onboarding.selectors import runs as selector
from onboarding.selectors.returned import Returned, returned
from onboarding.selectors.runs import Onboarding, Progress
from onboarding.services import checks, lifecycle, runs
from onboarding.services.errors import Refused
from onboarding.services.requests import why_not_withdraw
from onboarding.views.access_control import get_visible, person_of, require_role
from onboarding.views.components import Document, PlanEntry, Row, Stage
from onboarding.views.instances import account_number, next_step
from onboarding.views.links import run_url
from onboarding.views.mapping import MAPPING_STEPS, mapping_picture
from onboarding.views.parts import part_of, progress_part_of
from onboarding.views.polling import WHILE_RUNNING, next_look
from onboarding.views.shell import render_page_or_part

ANSWERABLE = (StepState.READY, StepState.AWAITING_APPROVAL, StepState.FAILED)
TOO_LATE = {
    StepState.DONE: "is completed",
    StepState.CANCELLED: "was cancelled",
    StepState.BLOCKED: "cannot start yet",
}


@dataclass(frozen=True)
class StepPage:
    """What every page of one step starts from."""

    person: Person
    instance: Instance
    onboarding: Onboarding
    step: Step
    guide_step: GuideStep
    may_ask: bool

    @property
    def situation(self) -> Situation:
        """What the step knows."""
        return self.onboarding.situation

    @property
    def args(self) -> list[Any]:
        """The arguments of the step's addresses."""
        return [self.onboarding.run.address, self.step.key]

    @property
    def tasks_url(self) -> str:
        """The page with the steps of the run."""
        return run_url(self.onboarding.run)

    def url(self, name: str, *more: str) -> str:
        """The address of one of the step's pages."""
        return reverse(name, args=[*self.args, *more])

    @property
    def losses(self) -> list[str]:
        """What the step would end for good, in sentences."""
        if not self.guide_step.irreversible:
            return []
        return [text for kind in self.guide_step.asked(self.situation) for text in kind.losses(self.situation)]

    @property
    def returned(self) -> Returned | None:
        """What came back of the request, if it is to be answered now (one query)."""
        if self.step.state != StepState.READY:
            return None
        return returned(step=self.step).get(self.step.pk)

    def context(self, **more: Any) -> dict[str, Any]:
        """What the templates of every page need."""
        return {
            "instance": self.instance,
            "tasks_url": self.tasks_url,
            "losses": self.losses,
            "step": self.step,
            "guide_step": self.guide_step,
            "may_ask": self.may_ask,
            **more,
        }


def step_page(request: HttpRequest, at: int | UUID, key: str) -> StepPage:
    """What every page of a step starts from; Http404 where there is no such step that the person may see."""
    person = person_of(request)
    onboarding: Onboarding | None
    if isinstance(at, UUID):
        run = get_visible(
            Run.objects.visible_to(person).select_related("account", "instance__account", "instance__owner", "owner"),
            person,
            pk=at,
        )
        instance, onboarding = run.instance, selector.run_of(run)
    else:
        instance = get_visible(Instance.objects.visible_to(person).select_related("account", "owner"), person, pk=at)
        onboarding = selector.onboarding_of(instance)
    step = onboarding.step(key) if onboarding else None
    if onboarding is None or step is None:
        raise Http404
    may_ask = person.has_role(instance.account, *MAY_ASK)
    return StepPage(person, instance, onboarding, step, onboarding.guide_step(step), may_ask)


@require_safe
def step(request: HttpRequest, at: int | UUID, key: str) -> HttpResponse:
    """GET …/steps/KEY/: to the next open question, the review or the progress, as the step stands."""
    page = step_page(request, at, key)
    if page.step.state == StepState.READY and page.may_ask:
        return redirect(_next(page))
    return redirect("step-progress", *page.args)


def _next(page: StepPage, after: str = "") -> str:
    """The next question without a valid answer, from `after` on if there is one there; else the review."""
    missing = [question.slug for question, _ in runs.open_questions(page.step, page.situation)]
    if not missing:
        return page.url("step-review")
    order = [question.slug for question in page.guide_step.asked(page.situation)]
    later = [slug for slug in missing if after in order and order.index(slug) > order.index(after)]
    return page.url("step-question", (later or missing)[0])


# --- one question


def question(request: HttpRequest, at: int | UUID, key: str, slug: str) -> HttpResponse:
    """GET and POST …/steps/KEY/q/SLUG/: one decision; saved here, then on to the next."""
    page = step_page(request, at, key)
    require_role(page.person, page.instance.account, *MAY_ASK)
    if page.step.state not in ANSWERABLE:
        if request.method == "POST":
            why = TOO_LATE.get(StepState(page.step.state), "is being carried out")
            messages.error(request, f"Your answer was not kept: “{page.guide_step.title}” {why}.")
        return redirect("step-progress", *page.args)
    try:
        kind = runs.question_of(page.guide_step, page.situation, slug)
    except KeyError:
        raise Http404 from None
    work = kind.pending(page.situation, page.situation.answers.get(key, {}))
    if work is not None:
        return work_page(request, page, kind, work)
    htmx = getattr(request, "htmx", None)
    if htmx and htmx.target == "work":
        # The part that follows the work would take this whole page into itself.
        return HttpResponse(status=204, headers={"HX-Refresh": "true"})
    if request.method == "POST":
        form = kind(request.POST, request.FILES, situation=page.situation)
        answered = _answer(request, page, form)
        if answered is not None:
            return answered
    else:
        form = kind(initial=_initial(page, kind), situation=page.situation)
    asked, answers = page.guide_step.asked(page.situation), page.situation.answers.get(key, {})
    number = asked.index(kind) + 1
    fields = form.visible_fields()
    part = part_of(page.situation, key, slug)
    # With a part between them, heading and field keep words of their own.
    only = fields[0] if len(fields) == 1 and not part else None
    if only is not None:
        # The page's heading is the question; a second wording of it in the label would only be read twice.
        only.label = kind.heading
        only.help_text = kind.hint
    return render(
        request,
        "steps/question.html",
        page.context(
            form=form,
            only=only,
            step=number,
            steps=len(asked),
            back_url=page.url("step-review")
            if _from_review(request)
            else page.url("step-question", asked[number - 2].slug)
            if number > 1
            else page.tasks_url,
            later_url=page.tasks_url,
            why=kind.why,
            becomes=[Row(label, value) for label, value in kind.becomes(page.situation, answers)],
            documents=[Document(title, body) for title, body in kind.documents(page.situation, answers)],
            from_review=_from_review(request),
            returned=page.returned,
            voids=page.step.state == StepState.AWAITING_APPROVAL,
            again_url=page.url("step-again"),
            samples_url=page.url("step-samples"),
            browse_url=page.url("step-browse"),
            uploads_url=page.url("step-uploads"),
            **part,
        ),
        status=422 if form.is_bound else 200,
    )


def work_page(request: HttpRequest, page: StepPage, kind: type[Question], work: IdentityJob) -> HttpResponse:
    """In place of a question whose answer depends on work: how far it is, or why it did not end well."""
    asked = page.guide_step.asked(page.situation)
    number = asked.index(kind) + 1
    return render_page_or_part(
        request,
        "steps/work.html",
        "steps/_work.html",
        page.context(
            heading=kind.heading,
            returned=page.returned,
            work=datasets.standing_of(work, timezone.now()),
            here=page.url("step-question", kind.slug),
            poll_seconds=WHILE_RUNNING if work.state in OPEN else None,
            step_number=number,
            steps=len(asked),
            back_url=page.url("step-question", asked[number - 2].slug) if number > 1 else page.tasks_url,
        ),
    )


def _from_review(request: HttpRequest) -> bool:
    return "review" in (request.GET.get("from"), request.POST.get("from"))


def _initial(page: StepPage, kind: type[Question]) -> dict[str, Any]:
    answers = page.situation.answers.get(page.step.key, {})
    if kind.slug in answers:
        return runs.initial_of(kind, answers[kind.slug])
    # What was said when the onboarding was started is not asked twice.
    return {"name": page.instance.name} if (page.step.key, kind.slug) == ("create-instance", "name") else {}


def _answer(request: HttpRequest, page: StepPage, form: Question) -> HttpResponse | None:
    later = "later" in request.POST
    whole = form.is_valid()
    if not whole and not (later and form.cleaned_data):
        return None
    before = page.step.state
    try:
        runs.answer_save(person=page.person, step=page.step, form=form, now=timezone.now())
    except Refused as refusal:
        form.add_error(None, str(refusal))
        return None
    if before == StepState.AWAITING_APPROVAL and selector_state(page.step) == StepState.READY:
        messages.warning(request, "The answers changed, so the request for approval is no longer valid. Ask again.")
    if later:
        messages.success(
            request,
            f"Saved. “{page.guide_step.title}” goes on where you left it."
            if whole
            else f"Saved as far as it goes. “{form.heading}” still needs your answer.",
        )
        return redirect(page.tasks_url)
    fresh = step_page(request, page.onboarding.run.address, page.step.key)
    if _from_review(request) and not runs.open_questions(fresh.step, fresh.situation):
        return redirect("step-review", *page.args)
    return redirect(_next(fresh, after=form.slug))


def selector_state(step: Step) -> str:
    """The step's state as it is now in the database."""
    return Step.objects.values_list("state", flat=True).get(pk=step.pk)


# --- the review


def review(request: HttpRequest, at: int | UUID, key: str) -> HttpResponse:
    """GET and POST …/steps/KEY/review/: the answers, exactly what will be made, and the act itself."""
    page = step_page(request, at, key)
    if request.method == "POST":
        require_role(page.person, page.instance.account, *MAY_ASK)
        return _submit(request, page)
    if page.step.state not in ANSWERABLE:
        return redirect("step-progress", *page.args)
    if runs.open_questions(page.step, page.situation):
        return redirect(_next(page) if page.may_ask else reverse("step-progress", args=page.args))
    return _show_review(request, page, AskForApproval())


def _submit(request: HttpRequest, page: StepPage) -> HttpResponse:
    form = AskForApproval(request.POST)
    if not form.is_valid():
        return _show_review(request, page, form, status=422)
    try:
        asked = runs.submit(
            person=page.person, step=page.step, note=form.cleaned_data["note"].strip(), now=timezone.now()
        )
    except Refused as refusal:
        messages.error(request, str(refusal))
        return redirect("step", *page.args)
    if asked is not None:
        messages.success(request, f"You asked for approval: {asked.title}.")
    elif not page.guide_step.plan(page.situation):
        messages.success(request, f"{page.guide_step.title}: completed.")
        return redirect(page.tasks_url)
    return redirect("step-progress", *page.args)


def _show_review(request: HttpRequest, page: StepPage, form: AskForApproval, status: int = 200) -> HttpResponse:
    calls = page.guide_step.plan(page.situation)
    whole = page.guide_step.full_plan(page.situation)
    account = page.instance.account
    policy = AccountPolicy.of(account)
    needed = approvers_needed(page.step, calls, policy)
    approvers = []
    may_submit = page.step.state in (StepState.READY, StepState.FAILED)
    if needed:
        approvers = [one for one in people_with(account, RoleName.APPROVER) if one.pk != page.person.pk]
    return render(
        request,
        "steps/review.html",
        page.context(
            form=form,
            returned=page.returned,
            answers=answer_rows(page),
            sheet=page.guide_step.sheet(page.situation),
            plan=entries(selector.plan_rows(page.onboarding, page.step, calls)),
            commands=rendering.commands(selector.as_sent(whole, page.step), account),
            changes=any(call.changes for call in calls),
            act=page.guide_step.act(page.situation),
            needed=needed,
            policy=policy,
            approvers=approvers,
            short=needed > len(approvers),
            unseen=page.guide_step.unseen(page.situation),
            open=may_submit,
            objection=page.guide_step.objection(page.situation) if may_submit else "",
        ),
        status=status,
    )


def answer_rows(page: StepPage) -> list[Row]:
    """The answers as label and value, each with the link that changes it."""
    answers = page.situation.answers.get(page.step.key, {})
    changeable = page.may_ask and page.step.state in ANSWERABLE
    rows = []
    for kind in page.guide_step.asked(page.situation):
        change = page.url("step-question", kind.slug) + "?from=review" if changeable else ""
        summary = kind.summary(answers.get(kind.slug, {})) or [(kind.heading, "Not given")]
        rows += [Row(label, account_number(value), change_url=change) for label, value in summary]
    return rows


_AS_SENT = "The call as it is sent"
_SENT = {"exists": "The call, should it not be there any more"}


def entries(rows: list[rendering.PlanRow]) -> list[PlanEntry]:
    """A plan's rows as the design system draws them."""
    return [
        PlanEntry(
            effect=row.effect,
            kind=row.kind if row.changes else "",
            name=row.name,
            detail=row.detail,
            call=row.call,
            facts=[(label, account_number(value)) for label, value in row.facts],
            documents=[Document(_SENT.get(row.effect, _AS_SENT), row.body)] if row.body is not None else [],
        )
        for row in rows
    ]


# --- progress


@require_safe
def progress(request: HttpRequest, at: int | UUID, key: str) -> HttpResponse:
    """GET …/steps/KEY/progress/: stages, live log, what is wrong; with HX-Request only what changes."""
    page = step_page(request, at, key)
    found = selector.progress_of(page.step)
    step = page.step
    whole = selector.all_calls_of(page.onboarding, step) or []
    alone = bool(whole) and selector.by_others(load(step.plan), whole)
    state = f"{step.state}.{step.failure is not None}"
    seen = request.GET.get("seen", "")
    return render_page_or_part(
        request,
        "steps/progress.html",
        "steps/_progress.html",
        page.context(
            stages=stages(page, found),
            log=found.log,
            asked=found.request,
            poll_seconds=_poll_seconds(step, timezone.now()),
            state=state,
            news=step.get_state_display() if seen and seen != state else "",
            missing=page.onboarding.missing_before(step) if step.state == StepState.BLOCKED else [],
            failure=step.failure if step.state == StepState.FAILED else None,
            pause=step.failure if step.state == StepState.WAITING and step.waits_for_connection else None,
            waits_for_connection=step.waits_for_connection,
            can_retry=page.may_ask and step.state == StepState.FAILED,
            can_look_again=page.may_ask
            and step.key == LeaveCollaboration.key
            and not lifecycle.why_not_look_again(page.onboarding.run, page.onboarding.steps),
            can_change=page.may_ask and step.state == StepState.FAILED and bool(page.guide_step.questions),
            can_withdraw=bool(
                found.request
                and found.request.state == RequestState.OPEN
                and not why_not_withdraw(page.person, found.request)
            ),
            headline=_headline(page, found),
            next=next_step(page.onboarding, page.may_ask) if step.state == StepState.DONE else None,
            has_commands=bool(step.plan or whole),
            sheet=page.guide_step.sheet(page.situation),
            exhibits=page.guide_step.exhibits(page.situation),
            differences=comparisons((step.failure or {}).get("details", {}).get("differences", [])),
            alone=alone and (step.state == StepState.WAITING or _not_done_yet(step)),
            unseen=page.guide_step.unseen(page.situation) if step.state != StepState.BLOCKED else "",
            can_check=alone and page.may_ask and step.waiting_for in checks.LOOKS and step.state == StepState.WAITING,
            answers=answer_rows(page) if page.guide_step.questions and step.answers else [],
            mapped=mapping_picture(page.onboarding.run) if step.key in MAPPING_STEPS else None,
            **progress_part_of(page.situation, step),
        ),
    )


def _not_done_yet(step: Step) -> bool:
    """Whether the portal looked and did not find what people have to do by themselves."""
    return step.state == StepState.FAILED and (step.failure or {}).get("code") in ("NotFound", "Different")


def _poll_seconds(step: Step, now: datetime) -> float | None:
    if step.state in (StepState.QUEUED, StepState.RUNNING) or step.waiting_for == "worker":
        return WHILE_RUNNING
    if step.state in (StepState.WAITING, StepState.AWAITING_APPROVAL):
        begun = step.started_at if step.state == StepState.WAITING and step.started_at else step.since
        return next_look(now - begun)
    return None


def _headline(page: StepPage, found: Progress) -> str:
    """Who acts next, in one sentence."""
    step, usually = page.step, page.guide_step.usually
    if step.state == StepState.AWAITING_APPROVAL and found.request is not None:
        left = found.request.approvers_needed - len(found.approvals)
        return f"{left} {'approval is' if left == 1 else 'approvals are'} still needed; an approver acts next"
    if step.state in (StepState.QUEUED, StepState.RUNNING):
        return f"The portal is at work, usually {usually}" if usually else "The portal is at work"
    if step.state == StepState.WAITING:
        if step.waits_for_connection:
            return "Paused: an admin has to renew the connection, then it goes on by itself"
        if step.put_down or step.waiting_for == "released":
            return step.waiting_text
        if step.waiting_for == "worker":
            return "The portal is at work"
        if step.waiting_for == "retry":
            return "Amazon could not answer just now. The portal tries again by itself"
        return f"{step.waiting_text or 'Amazon is at work'}, usually {usually}" if usually else step.waiting_text
    if step.state == StepState.READY:
        if found.request is not None and found.request.state == RequestState.SENT_BACK:
            return "An approver sent it back. Change the answers, then ask again"
        return "The answers of an analyst are needed next"
    if step.state == StepState.BLOCKED:
        return "It can start once the steps before it are completed"
    if step.state == StepState.FAILED:
        return f"{(step.failure or {}).get('who') or 'An analyst'} acts next"
    return ""


def stages(page: StepPage, found: Progress) -> list[Stage]:
    """The step's way so far and what is still to come."""
    step, asked = page.step, found.request
    calls = load(step.plan) if step.plan else []
    result = []
    if asked is not None:
        result.append(
            Stage(
                "Asked for approval", StepState.DONE, asked.asked_at, detail=f"By {asked.asked_by}", state_text="Done"
            )
        )
        if asked.state == RequestState.OPEN:
            names = [f"Approved by {name}" for name, _ in found.approvals]
            detail = "; ".join([*names, f"{len(names)} of {asked.approvers_needed} so far"])
            result.append(Stage("Approval", StepState.AWAITING_APPROVAL, detail=detail))
        elif asked.state == RequestState.APPROVED:
            detail = "By " + ", ".join(name for name, _ in found.approvals)
            took = asked.ended_at - asked.asked_at if asked.ended_at else None
            result.append(Stage("Approval", StepState.DONE, asked.ended_at, took, detail, state_text="Given"))
        else:
            result.append(Stage("Approval", asked.state, asked.ended_at))
    elif step.asked_by and step.state not in (StepState.READY, StepState.BLOCKED) and not page.guide_step.automatic:
        first = found.log[0].at if found.log else step.started_at
        result.append(Stage("Started", StepState.DONE, first, detail=f"By {step.asked_by}", state_text="Done"))
    under_way = True
    for call in calls:
        stage, finished = _call_stage(step, call, found.records.get(call.key), under_way)
        result.append(stage)
        under_way = under_way and finished
    if calls or result:
        ended = step.state in (StepState.DONE, StepState.CANCELLED)
        result.append(
            Stage("End of the step", StepState.READY, state_text="Still to come")
            if not ended
            else Stage("End of the step", step.state, step.finished_at)
        )
    return result


_AT_WORK = {
    StepState.QUEUED: "Queued",
    StepState.RUNNING: "In progress",
    StepState.WAITING: "Waiting",
    StepState.FAILED: "There is a problem",
    StepState.CANCELLED: "Cancelled",
}


def _call_stage(step: Step, call: Call, record: CallRecord | None, next_one: bool) -> tuple[Stage, bool]:
    """One call as a stage, and whether it is finished. `next_one`: everything before it is finished."""
    usually = call.until.usually.removeprefix("about ") if call.until else ""
    if record is not None and record.finished_at is not None:
        if (call.given or call.unless) and record.outcome == CallRecord.Outcome.READ and record.output == {}:
            return Stage(call.title, StepState.DONE, record.finished_at, state_text="Not needed"), True
        words = {"made": "Made", "adopted": "Found and used", "read": "Done"}
        took = record.finished_at - record.started_at
        text = words.get(record.outcome, record.get_outcome_display())
        return Stage(call.title, StepState.DONE, record.finished_at, took, state_text=text), True
    at = record.started_at if record is not None else None
    if next_one and step.state in _AT_WORK:
        detail = ""
        if step.state == StepState.WAITING:
            detail = step.waiting_text
        elif step.state == StepState.FAILED:
            detail = (step.failure or {}).get("what", "")
        return Stage(
            call.title, step.state, at, detail=detail, usually=usually, state_text=_AT_WORK[StepState(step.state)]
        ), False
    return Stage(call.title, StepState.READY, at, usually=usually, state_text="Still to come"), False


@require_POST
def retry(request: HttpRequest, at: int | UUID, key: str) -> HttpResponse:
    """POST …/steps/KEY/retry: try again from the call that failed."""
    page = step_page(request, at, key)
    require_role(page.person, page.instance.account, *MAY_ASK)
    try:
        runs.try_again(person=page.person, step=page.step, now=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
    return redirect("step-progress", *page.args)


@require_POST
def check(request: HttpRequest, at: int | UUID, key: str) -> HttpResponse:
    """POST …/steps/KEY/check: somebody says that it is done in AWS; the worker looks now."""
    page = step_page(request, at, key)
    require_role(page.person, page.instance.account, *MAY_ASK)
    try:
        checks.check_now(person=page.person, step=page.step, now=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, "The portal looks now what is really there. What it finds is in the log below.")
    return redirect("step-progress", *page.args)


@require_safe
def commands(request: HttpRequest, at: int | UUID, key: str) -> HttpResponse:
    """GET …/steps/KEY/commands/: a zip with the script and its payload files."""
    page = step_page(request, at, key)
    calls = selector.all_calls_of(page.onboarding, page.step)
    if not calls:
        raise Http404
    title = f"{page.guide_step.act(page.situation)} ({page.instance.account})"
    content = rendering.archive(calls, page.instance.account, title)
    name = f"{slugify(page.instance.name) or 'instance'}-{page.step.key}.zip"
    return HttpResponse(
        content,
        content_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )
