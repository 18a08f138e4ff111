"""Starting a run, answering its questions, submitting a step, trying again, cancelling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.dateparse import parse_datetime

from onboarding import audit
from onboarding.engine import notices, queue
from onboarding.engine.authority import MAY_ASK, approvers_needed
from onboarding.engine.moves import MoveRefused, Overtaken, move, unblock, write_log
from onboarding.engine.situations import situation_of
from onboarding.engine.standing import has_left, update_standing
from onboarding.guide import plan as plans
from onboarding.guide.create_instance import CreateInstance, InstanceName, name_taken, parties_of
from onboarding.guide.procedure import PROCEDURE_TITLES, needs_of, step_of, steps_of
from onboarding.guide.step import GuideStep, Question, Situation
from onboarding.models import (
    AccountPolicy,
    AmcAccount,
    CallRecord,
    Instance,
    InstanceStatus,
    Person,
    Request,
    RequestState,
    Run,
    Step,
    StepState,
    locked,
)
from onboarding.services.access import authorize
from onboarding.services.errors import Refused

OPEN_STATES = (StepState.BLOCKED, StepState.READY, StepState.AWAITING_APPROVAL, StepState.FAILED)


def run_start(*, person: Person, account: AmcAccount, name: str, now: datetime) -> Run:
    """Begin an onboarding for an instance that is still to be made, called `name` for now.

    Raises NotAllowed without the role of analyst (or admin) on the account, Refused if the name is taken.
    """
    authorize(person, account, *MAY_ASK)
    with transaction.atomic():
        # Of two clicks the second waits here, and then finds the name taken.
        locked(AmcAccount).get(pk=account.pk)
        taken = name_taken(account, name.strip())
        if taken:
            raise Refused(taken)
        return run_of_new(person=person, account=account, name=name, now=now)


def run_of_new(*, person: Person, account: AmcAccount, name: str, now: datetime) -> Run:
    """What `run_start` does, for whoever holds the account's row in a transaction and has the name checked itself."""
    authorize(person, account, *MAY_ASK)
    instance = Instance.objects.create(
        account=account,
        name=name.strip() or "New instance",
        status=InstanceStatus.DRAFT,
        status_since=now,
        owner=person,
    )
    return begin("onboard", person=person, instance=instance, now=now)


def why_not_onboard(instance: Instance) -> str:
    """Why an instance that AMC lists can't be onboarded by the portal, or an empty text if it can."""
    if instance.gone_at is not None:
        return "AMC no longer lists this instance."
    if instance.kind == Instance.Kind.SANDBOX:
        return "A sandbox holds made-up data and has no collaboration: there is nothing to onboard."
    if instance.kind != Instance.Kind.COLLABORATION:
        return (
            "This instance is not backed by AWS Clean Rooms, and that can't be changed. "
            "Start a new onboarding to bring identity data to AMC."
        )
    if instance.creation_status not in ("COMPLETED", "SUCCEEDED"):
        return "AMC has not finished creating this instance."
    if has_left(instance):
        return "Its collaboration was left, and nobody can join it again. Start a new onboarding."
    return ""


def run_adopt(*, person: Person, instance: Instance, now: datetime) -> Run:
    """Begin an onboarding for an instance that AMC has already; what AMC says of it is filled in as answers.

    Raises NotAllowed without the role of analyst (or admin), Refused when it can't be onboarded or a run is under way.
    """
    authorize(person, instance.account, *MAY_ASK)
    reason = why_not_onboard(instance)
    if reason:
        raise Refused(reason)
    with transaction.atomic():
        row = locked(Instance).select_related("account").get(pk=instance.pk)
        run = begin("onboard", person=person, instance=row, now=now)
        if row.owner_id is None:
            Instance.objects.filter(pk=row.pk).update(owner=person)
        answers: dict[str, Any] = {"name": {"name": row.name}, "advertiser": {"name": row.advertiser_name}}
        if row.aws_account_id:
            answers["aws-account"] = {"account_id": row.aws_account_id}
        answers |= parties_of(row)
        Step.objects.filter(run=run, key="create-instance").update(answers=answers)
    return run


def begin(procedure: str, *, person: Person, instance: Instance, now: datetime, subject: str = "") -> Run:
    """Begin a procedure for an instance, inside the caller's transaction. Raises Refused if it is under way already.

    `subject` says what of the instance it is about, where there may be several.
    """
    try:
        with transaction.atomic():
            run = Run.objects.create(
                procedure=procedure,
                account=instance.account,
                instance=instance,
                owner=person,
                started_at=now,
                subject=subject,
            )
    except IntegrityError:
        raise Refused(f"{PROCEDURE_TITLES[procedure]} of {instance} is under way already.") from None
    Step.objects.bulk_create(
        Step(run=run, key=step.key, position=position, since=now) for position, step in enumerate(steps_of(procedure))
    )
    steps = list(run.steps.order_by("position"))
    for step in steps:
        if not needs_of(procedure, step.key):
            unblock(step, run=run, now=now)
    update_standing(run, steps, now=now)
    audit.record(
        "run.started",
        actor=person,
        account=run.account,
        subject=f"{PROCEDURE_TITLES[procedure]} of {instance}",
        subject_ref=f"run:{run.pk}",
        now=now,
    )
    return run


def question_of(guide_step: GuideStep, situation: Situation, slug: str) -> type[Question]:
    """The question called `slug`, if it applies now. Raises KeyError if not."""
    for question in guide_step.asked(situation):
        if question.slug == slug:
            return question
    raise KeyError(slug)


def answer_save(*, person: Person, step: Step, form: Question, now: datetime) -> None:
    """Keep one page's answers. `form` must be valid. An open request for the step becomes void: it no longer fits.

    Raises NotAllowed without a role, Refused when the step can't be answered any more.
    """
    authorize(person, step.run.account, *MAY_ASK)
    names = form.slug == InstanceName.slug and step.key == CreateInstance.key
    with transaction.atomic():
        if names:
            # The form has looked before: two may have found the same name free.
            locked(AmcAccount).get(pk=step.run.account_id)
            taken = name_taken(step.run.account, form.cleaned_data["name"], step.run.instance_id)
            if taken:
                raise Refused(taken)
        row = locked(Step).select_related("run__account", "run__instance").get(pk=step.pk)
        if row.state not in OPEN_STATES:
            raise Refused("This step can no longer be changed: it is being carried out or is completed.")
        before = row.answers.get(form.slug)
        after = dict(form.cleaned_data)
        if before == after and row.state != StepState.FAILED:
            return
        row.answers = {**row.answers, form.slug: after}
        # Of a question that no longer applies nothing may stay behind.
        situation = situation_of(row.run)
        situation.answers = {**situation.answers, row.key: row.answers}
        asked = {question.slug for question in step_of(row.run.procedure, row.key).asked(situation)}
        gone = set(form.forgets) if before is not None and before != after else set()
        row.answers = {slug: answer for slug, answer in row.answers.items() if slug in asked - gone}
        row.save(update_fields=["answers"])
        for job in step_of(row.run.procedure, row.key).answered(
            replace(situation, answers={**situation.answers, row.key: row.answers}), form.slug, person, now
        ):
            queue.put_identity_on_commit(job.pk)
        asked_for = row.state == StepState.AWAITING_APPROVAL
        if row.state in (StepState.AWAITING_APPROVAL, StepState.FAILED):
            move(row, StepState.READY, now=now, plan=[], digest="", failure=None)
        else:
            update_standing(row.run, list(row.run.steps.order_by("position")), now=now)
        if asked_for:
            request_void(row, "the answers were changed", now=now)
        if names:
            Instance.objects.filter(pk=row.run.instance_id, instance_id="").update(name=after["name"])
        audit.record(
            "answer.saved",
            actor=person,
            account=row.run.account,
            subject=f"{form.heading} ({row.run.instance})",
            subject_ref=f"run:{row.run_id}",
            details={"before": before, "after": after},
            now=now,
        )


def open_questions(step: Step, situation: Situation) -> list[tuple[type[Question], dict[str, list[str]]]]:
    """The questions of a step that have no valid answer yet, each with its errors by field."""
    guide_step = step_of(step.run.procedure, step.key)
    answers = situation.answers.get(step.key, {})
    found = []
    for question in guide_step.asked(situation):
        form = question(_as_data(question, answers.get(question.slug, {})), situation=situation)
        if question.slug not in answers or not form.is_valid():
            found.append((question, {name: [str(error) for error in errors] for name, errors in form.errors.items()}))
    return found


def _as_data(question: type[Question], answer: Mapping[str, Any]) -> dict[str, Any]:
    """Cleaned values as they would be posted: a yes-or-no choice goes back to its word."""
    data = {}
    for name, field in question.base_fields.items():
        value = answer.get(name)
        data[name] = ("yes" if value else "no") if isinstance(value, bool) and hasattr(field, "choices") else value
    return data


def initial_of(question: type[Question], answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer as a form's initial values."""
    return {name: value for name, value in _as_data(question, answer).items() if value is not None}


def submit(*, person: Person, step: Step, note: str = "", now: datetime) -> Request | None:
    """Freeze the step's plan and ask for approval; where none is needed the step goes on the queue at once.

    Returns the request, or None. Raises NotAllowed, or Refused when questions are open or the step is not open.
    """
    authorize(person, step.run.account, *MAY_ASK)
    with transaction.atomic():
        row = locked(Step).select_related("run__account", "run__instance").get(pk=step.pk)
        if row.state not in (StepState.READY, StepState.FAILED):
            raise Refused(
                "This step was submitted already." if row.state != StepState.BLOCKED else "It can't start yet."
            )
        guide_step, situation = step_of(row.run.procedure, row.key), situation_of(row.run)
        missing = open_questions(row, situation)
        if missing:
            raise Refused(f"One question has no answer yet: “{missing[0][0].heading}”")
        objection = guide_step.objection(situation)
        if objection:
            raise Refused(objection)
        calls = guide_step.plan(situation)
        documents = plans.dump(calls)
        digest = plans.digest(documents)
        policy = AccountPolicy.of(row.run.account)
        needed = approvers_needed(row, calls, policy)
        if row.digest != digest:
            # What was begun under another plan is not continued under this one; what was made is found by its look.
            CallRecord.objects.filter(step=row).delete()
        frozen: dict[str, Any] = {"plan": documents, "digest": digest, "asked_by": person, "failure": None, "polls": 0}
        act = guide_step.act(situation)
        request = None
        if needed:
            request = Request.objects.create(
                account=row.run.account,
                step=row,
                title=act,
                plan=documents,
                findings=findings(guide_step, situation),
                digest=digest,
                approvers_needed=needed,
                asked_by=person,
                asked_at=now,
                note=note,
                expires_at=now + timedelta(days=policy.request_days),
            )
            move(row, StepState.AWAITING_APPROVAL, now=now, log=("info", f"{person} asked for approval"), **frozen)
            notices.request_made(request, now=now)
        elif calls:
            move(row, StepState.QUEUED, now=now, log=("info", f"{person} started it"), **frozen)
        else:
            move(row, StepState.DONE, now=now, log=("good", f"{person} confirmed it"), started_at=now, **frozen)
        audit.record(
            "step.submitted",
            actor=person,
            account=row.run.account,
            subject=f"{act} ({row.run.instance})",
            subject_ref=f"request:{request.pk}" if request else f"run:{row.run_id}",
            details={"digest": digest, "plan": documents, "approvers_needed": needed},
            now=now,
        )
    return request


def findings(guide_step: GuideStep, situation: Situation) -> list[dict[str, Any]]:
    """What the portal knows, without asking Amazon, of what a step would make: is it there, and what is it like."""
    there = guide_step.there(situation)
    return [
        {"call": key, "verdict": verdict, **({"there": there[key]} if key in there else {})}
        for key, verdict in guide_step.foresee(situation).items()
    ]


def request_void(step: Step, why: str, *, now: datetime) -> None:
    """End the step's open request, if it has one, because it no longer fits. Inside the caller's transaction."""
    request = Request.objects.filter(step=step, state=RequestState.OPEN).first()
    if request is None:
        return
    request.state, request.ended_at = RequestState.VOID, now
    request.save(update_fields=["state", "ended_at"])
    audit.record(
        "request.void",
        actor=None,
        account=request.account,
        subject=request.title,
        subject_ref=f"request:{request.pk}",
        details={"why": why},
        now=now,
    )


def try_again(*, person: Person, step: Step, now: datetime) -> None:
    """Put a failed step back on the queue, from the call that failed, under the approval that it has.

    Where Amazon itself reported a final failure of what was made, that record is dropped, so that it is made anew.
    Raises NotAllowed, or Refused when the step has not failed.
    """
    authorize(person, step.run.account, *MAY_ASK)
    with transaction.atomic():
        row = locked(Step).select_related("run__account", "run__instance").get(pk=step.pk)
        if row.state != StepState.FAILED:
            raise Refused("There is nothing to try again: the step has not failed.")
        details = (row.failure or {}).get("details", {})
        # Whoever stopped it under way did not stop the call: it has to be over first.
        not_before = parse_datetime(details.get("not_before", "")) or now
        ended = bool(details.get("ended"))
        if ended:
            keys = [call.key for call in plans.load(row.plan)]
            first = details.get("again_from")
            dropped = keys[keys.index(first) :] if first in keys else keys
            CallRecord.objects.filter(step=row, key__in=dropped).delete()
        else:
            CallRecord.objects.filter(step=row, finished_at=None).update(started_at=now)
        move(
            row,
            StepState.QUEUED,
            now=now,
            log=("info", f"{person} tries again"),
            next_attempt_at=max(now, not_before),
            failure=None,
            attempts=0,
            troubled_since=None,
            polls=0,
            generation=row.generation + 1 if ended else row.generation,
        )
        audit.record(
            "step.retried",
            actor=person,
            account=row.run.account,
            subject=f"{step_of(row.run.procedure, row.key).title} of {row.run.instance}",
            subject_ref=f"run:{row.run_id}",
            now=now,
        )


def run_cancel(*, person: Person, run: Run, now: datetime) -> None:
    """Stop a run: nothing more is done. What was made already stays, and the log of each step says what that is.

    Allowed to the run's owner and to admins of the account. Raises NotAllowed, or Refused when the run has ended.
    """
    if person.pk != run.owner_id:
        authorize(person, run.account, "admin")
    else:
        authorize(person, run.account, *MAY_ASK)
    with transaction.atomic():
        row = locked(Run).select_related("account", "instance").get(pk=run.pk)
        if row.ended_at is not None:
            raise Refused("This run has ended already.")
        for step in row.steps.order_by("position"):
            if step.state in (StepState.DONE, StepState.CANCELLED):
                continue
            under_way = step.state == StepState.RUNNING
            try:
                move(step, StepState.CANCELLED, now=now)
            except (Overtaken, MoveRefused):
                raise Refused("It moved on just now. Look again, then cancel.") from None
            text = "; a call that was under way may still have had its effect" if under_way else ""
            write_log(step, "info", f"{person} cancelled the run{text}", now=now)
        for step in row.steps.order_by("position"):
            request_void(step, "the run was cancelled", now=now)
        audit.record(
            "run.cancelled",
            actor=person,
            account=row.account,
            subject=f"{PROCEDURE_TITLES[row.procedure]} of {row.instance}",
            subject_ref=f"run:{row.pk}",
            now=now,
        )
