"""The queues: what is due, leased and waiting and why, the workers, throughput; pausing, stopping, trying again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from onboarding import audit
from onboarding.engine import carriers
from onboarding.engine.pauses import targets_of
from onboarding.forms.queues import PauseForm
from onboarding.guide.procedure import step_of
from onboarding.models import AmcAccount, Pause, Person, RoleName, Step, StepState
from onboarding.selectors import queues as selector
from onboarding.services import queues as service
from onboarding.services.errors import NotAllowed, Refused
from onboarding.views.access_control import get_visible, person_of, require_role, require_some_role, require_superuser
from onboarding.views.components import Chart, Series, Tab
from onboarding.views.dashboard import show_live
from onboarding.views.exports import csv_file, wants_csv
from onboarding.views.links import with_query
from onboarding.views.shell import shell_of

CSV_HEADER = (
    "Instance",
    "AMC account",
    "Step",
    "State",
    "Why",
    "Next attempt",
    "Worker",
    "Lease until",
    "Attempts",
    "In this state since",
)
# What nothing is, when a list is empty.
EMPTY = {
    "due": "due now",
    "leased": "being worked on",
    "amazon": "waiting for Amazon",
    "retry": "waiting to be tried again",
    "connection": "waiting for a connection",
    "paused": "put down for a pause",
    "failed": "stopped with a problem",
}


@dataclass(frozen=True)
class StepLine:
    """One step of the list, with what can be done about it."""

    step: Step
    title: str
    why: str
    url: str
    acts: list[tuple[str, str]]


@dataclass(frozen=True)
class Worker:
    """One worker of RQ and the step that it is at."""

    line: carriers.WorkerLine
    lost: bool
    step: StepLine | None


def _accounts(request: HttpRequest, person: Person) -> list[int] | None:
    """The accounts whose part is shown, by key; None for the whole system, which superusers see."""
    shell = shell_of(request)
    if person.is_superuser and shell.account is None:
        return None
    return [account.pk for account in shell.seen_as(RoleName.ADMIN)]


def _title(step: Step) -> str:
    return step_of(step.run.procedure, step.key).title


def _why(step: Step) -> str:
    if step.state == StepState.FAILED:
        return str((step.failure or {}).get("what", ""))
    return step.waiting_text if step.state == StepState.WAITING else ""


def _line(step: Step, held: Mapping[str, Pause] | None = None) -> StepLine:
    """`held` are the pauses in force, which tell why a step that is due is not worked on."""
    acts = []
    if step.state == StepState.FAILED:
        acts.append(("retry", "Try again"))
    elif step.state == StepState.WAITING and step.waiting_for in ("", "amazon", "retry"):
        acts.append(("retry", "Try now"))
    if step.state == StepState.RUNNING:
        acts.append(("release", "Release"))
    if step.state in service.STOPPABLE:
        acts.append(("stop", "Stop"))
    url = reverse("step-progress", args=[step.run.address, step.key])
    why = _why(step)
    pause = next((held[one] for one in targets_of(step.run.account) if one in held), None) if held else None
    if pause is not None and step.state != StepState.FAILED:
        why = f"{pause.name} is paused"
    return StepLine(step, _title(step), why, url, acts)


@require_safe
def queues(request: HttpRequest) -> HttpResponseBase:
    """GET /queues/; with HX-Request the part that changes, with `format=csv` the steps that are shown."""
    person, shell, now = person_of(request), shell_of(request), timezone.now()
    require_some_role(person, RoleName.ADMIN)
    accounts, show = _accounts(request, person), request.GET.get("show", "")
    if wants_csv(request):
        if request.GET.get("table") == "throughput":
            hours = selector.throughput(accounts=accounts, now=now)
            return csv_file("throughput", ("Hour (UTC)", "Steps completed"), zip(hours.hours, hours.done, strict=True))
        show = show if show in selector.SHOWS else "due"
        return csv_file("queue", CSV_HEADER, _csv_rows(selector.every_step(show, accounts=accounts, now=now)))
    numbers = selector.numbers(accounts=accounts, now=now)
    if show not in selector.SHOWS:
        show = next((key for key in selector.SHOWS if numbers[key]), "due")
    page = selector.step_page(show, request.GET.get("page", 1), accounts=accounts, now=now, count=numbers[show])
    hours = selector.throughput(accounts=accounts, now=now)
    administered, pauses = shell.seen_as(RoleName.ADMIN), selector.pauses()
    context: dict[str, Any] = {
        "show": show,
        "page": page,
        "lines": [_line(step, pauses) for step in page],
        "empty_words": EMPTY[show],
        "whole": accounts is None,
        "wide": accounts is None or len(accounts) > 1,
        "now": now,
        "csv_url": with_query(request, show=show, format="csv"),
        "tabs": [
            Tab(title, with_query(request, show=key), current=key == show, count=numbers[key])
            for key, title in selector.SHOWS.items()
        ],
        "done": sum(hours.done),
        "hours_chart": Chart(
            f"Steps completed in each of the last {selector.HOURS} hours",
            [f"{hour:%H:%M}" for hour in hours.hours],
            [Series("Steps", hours.done)],
        ),
        **_targets(person, administered, pauses),
    }
    seen: list[Any] = [numbers, hours.done, [pause.pk for _, pause in context["paused"]]]
    if person.is_superuser:
        context.update(_carriers(now))
        found = context["carriers"]
        seen.append(found and ([(one.name, one.state) for one in found.workers], found.queued, found.failures))
    context["state"] = hashlib.sha256(repr(seen).encode()).hexdigest()[:12]
    return show_live(request, context, "queues/queues.html", "queues/_queues.html")


def _targets(person: Person, administered: list[AmcAccount], pauses: Mapping[str, Pause]) -> dict[str, Any]:
    """What can be paused and what is."""
    rows = AmcAccount.objects.filter(pk__in=[one.pk for one in administered]).select_related("connection")
    targets = service.pausable(person, list(rows.order_by("name")))
    paused = [(target, pauses[target.target]) for target in targets if target.target in pauses]
    mine = {target.target for target, _ in paused}
    # What somebody else has paused and what holds these accounts back too.
    others = [pause for pause in pauses.values() if pause.target not in mine and _concerns(pause, administered)]
    choices = [(one.target, f"{one.kind}: {one.name}") for one in targets if one.target not in pauses]
    return {"paused": paused, "paused_by_others": others, "pause_form": PauseForm(targets=choices) if choices else None}


def _concerns(pause: Pause, accounts: Iterable[AmcAccount]) -> bool:
    """Whether a pause holds back something of one of the accounts."""
    kind, _, key = pause.target.partition(":")
    if kind in ("all", "queue"):
        return True
    keys = {str(account.connection_id if kind == "amc" else account.pk) for account in accounts}
    return key.partition(":")[0] in keys


def _carriers(now: datetime) -> dict[str, Any]:
    try:
        found = carriers.read()
    except carriers.QueueAway:
        return {"carriers": None, "away": True}
    # A worker begins with the step that its job names, and carries its run on.
    at_work = selector.steps_at_work({one.step for one in found.workers if one.step})
    keys = {*at_work.values(), *(one.step for one in found.failed if one.step)}
    steps = {key: _line(step) for key, step in selector.steps_by_key(keys).items()}
    return {
        "carriers": found,
        "workers": [Worker(one, one.lost(now), steps.get(at_work.get(one.step or 0, 0))) for one in found.workers],
        "failed_jobs": [(one, steps.get(one.step or 0)) for one in found.failed],
    }


def _csv_rows(steps: Iterable[Step]) -> Iterable[tuple[object, ...]]:
    for step in steps:
        yield (
            step.run.instance.name,
            step.run.account.name,
            _title(step),
            step.get_state_display(),
            _why(step),
            step.next_attempt_at,
            step.lease_owner,
            step.lease_until,
            step.attempts,
            step.since,
        )


# --- acts


@require_POST
def pause(request: HttpRequest) -> HttpResponse:
    """POST /queues/pause with `target` and `reason`."""
    person = person_of(request)
    require_some_role(person, RoleName.ADMIN)
    administered = list(AmcAccount.objects.with_role(person, RoleName.ADMIN).select_related("connection"))
    targets = [(one.target, one.name) for one in service.pausable(person, administered)]
    form = PauseForm(request.POST, targets=targets)
    if not form.is_valid():
        messages.error(request, " ".join(str(text) for texts in form.errors.values() for text in texts))
        return redirect("queues")
    wanted = form.cleaned_data
    return _do(
        request,
        lambda: service.pause(person, wanted["target"], reason=wanted["reason"], now=timezone.now()),
        "Paused. A call that was under way ends; none is begun.",
    )


@require_POST
def resume(request: HttpRequest) -> HttpResponse:
    """POST /queues/resume with `target`."""
    person = person_of(request)
    require_some_role(person, RoleName.ADMIN)
    target = request.POST.get("target", "")
    return _do(request, lambda: service.resume(person, target, now=timezone.now()), "Resumed. What waited goes on.")


def _do(request: HttpRequest, act: Callable[[], object], done: str) -> HttpResponse:
    try:
        act()
    except NotAllowed:
        raise Http404 from None
    except Refused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, done)
    return redirect("queues")


@dataclass(frozen=True)
class Act:
    """Something that is done with a step, once it was confirmed."""

    title: str
    text: str
    button: str
    done: str
    do: Callable[..., None]
    danger: bool = False


ACTS = {
    "retry": Act(
        "Try again now?",
        "The step goes on from the call that it had come to, under the approval that it has. What was made is not made "
        "again.",
        "Try again",
        "It is tried again.",
        service.retry,
    ),
    "release": Act(
        "Take it from its worker?",
        "The worker stops before its next call. Another one goes on as soon as a call that is under way must be over.",
        "Release the lease",
        "The lease is released; another worker goes on within seconds.",
        service.release,
    ),
    "stop": Act(
        "Stop this step?",
        "Nothing more is done until somebody chooses “Try again”. A call that is just being made may still have its "
        "effect; what was made stays.",
        "Stop it",
        "It is stopped.",
        service.stop,
        danger=True,
    ),
}


def step_act(request: HttpRequest, pk: int, act: str) -> HttpResponse:
    """GET and POST /queues/steps/N/ACT/: confirm, then stop a step, release its lease or try it again."""
    person = person_of(request)
    what = ACTS.get(act)
    if what is None:
        raise Http404
    rows = Step.objects.filter(run__account__in=AmcAccount.objects.visible_to(person))
    step = get_visible(rows.select_related("run__account", "run__instance"), person, pk=pk)
    require_role(person, step.run.account, RoleName.ADMIN)
    if request.method == "POST":
        return _do(request, lambda: what.do(person, step, now=timezone.now()), what.done)
    return render(request, "queues/act.html", {"act": what, "line": _line(step), "instance": step.run.instance})


@require_POST
def job_act(request: HttpRequest, job: UUID, act: str) -> HttpResponse:
    """POST /queues/jobs/ID/requeue or /dismiss: a failed job of RQ."""
    person = person_of(request)
    require_superuser(person)
    acts = {
        "requeue": (carriers.requeue, "job.requeued", "It is on the queue again."),
        "dismiss": (carriers.dismiss, "job.dismissed", "It is forgotten."),
    }
    if act not in acts:
        raise Http404
    do, name, done = acts[act]
    try:
        do(str(job))
    except carriers.QueueAway:
        messages.error(request, "Redis does not answer just now. Nothing was changed.")
    except carriers.NoSuchFailure:
        messages.error(request, "This job is no longer among the failed ones.")
    else:
        audit.record(name, actor=person, subject=f"Job {job}")
        messages.success(request, done)
    return redirect("queues")
