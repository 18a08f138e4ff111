"""Instances: the list, starting one, and the pages of one instance (tasks, members, activity, commands)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from onboarding.engine.authority import MAY_ASK
from onboarding.forms.instances import FindInstances, NewInstance
from onboarding.guide import render as rendering
from onboarding.guide.leave import memberships
from onboarding.guide.membership import place
from onboarding.models import (
    AmcAccount,
    CollaborationMember,
    Instance,
    InstanceStatus,
    Membership,
    Person,
    Request,
    Run,
    Step,
    StepState,
)
from onboarding.selectors import drift
from onboarding.selectors import instances as selector
from onboarding.selectors import runs as run_selector
from onboarding.selectors.returned import Returned, returned
from onboarding.selectors.runs import Onboarding
from onboarding.services import lifecycle, runs
from onboarding.services.errors import Refused
from onboarding.views.access_control import get_visible, person_of, require_role
from onboarding.views.components import Row, Tab, Task, TaskGroup
from onboarding.views.exports import csv_file, wants_csv
from onboarding.views.links import with_query
from onboarding.views.polling import next_look
from onboarding.views.saved_views import views_of
from onboarding.views.shell import render_page_or_part, shell_of
from portal.forms import ConfirmByName

AT_REST = (
    InstanceStatus.DONE,
    InstanceStatus.CANCELLED,
    InstanceStatus.IMPORTED,
    InstanceStatus.LEFT,
    InstanceStatus.DELETED,
)
MOVING = (InstanceStatus.IN_PROGRESS, InstanceStatus.AMAZON, InstanceStatus.APPROVAL, InstanceStatus.RECONNECT)


CSV_HEADER = (
    "Instance",
    "AMC instance id",
    "AMC account",
    "Kind",
    "Status",
    "Step",
    "Who acts next",
    "Steps done",
    "Steps",
    "Owner",
    "Since",
    "AWS account id",
)


def _csv_rows(query: selector.InstanceQuery, seen: Sequence[AmcAccount]) -> Iterator[Sequence[object]]:
    names = {account.pk: account.name for account in seen}
    for row in selector.every_instance(query, accounts=names):
        yield (
            row.name,
            row.instance_id,
            names[row.account_id],
            row.get_kind_display(),
            row.get_status_display(),
            row.status_detail,
            row.waiting_on,
            row.steps_done,
            row.steps_all,
            row.owner or "",
            row.status_since,
            row.aws_account_id,
        )


@require_safe
def instances(request: HttpRequest) -> HttpResponseBase:
    """GET /instances/: the list; with HX-Request only its rows, with `format=csv` all of it as a file."""
    shell = shell_of(request)
    if not shell.role_names:
        return redirect("access")
    get = request.GET
    query = selector.InstanceQuery(
        q=get.get("q", "")[:100],
        status=get.get("status", ""),
        kind=get.get("kind", ""),
        owner=get.get("owner", ""),
        account=get.get("account", ""),
        sort=get.get("sort", "") or selector.DEFAULT_ORDER,
    )
    seen = shell.seen
    keys = [account.pk for account in seen]
    if wants_csv(request):
        return csv_file("instances", CSV_HEADER, _csv_rows(query, seen))
    found = selector.instance_page(query, get.get("page", 1), accounts=keys)
    wide = len(seen) > 1
    owners = selector.owners(keys)
    context: dict[str, Any] = {
        "page": found.page,
        "show_account": wide,
        "accounts": {account.pk: account.name for account in seen},
        "owners": owners,
        "default_sort": selector.DEFAULT_ORDER,
        "searched": any((query.q, query.status, query.kind, query.owner, query.account)),
        "tabs": [
            Tab(title, with_query(request, status=key), current=query.status == key, count=found.count_of(key))
            for key, title in (("", "All"), *((key, group.title) for key, group in selector.GROUPS.items()))
        ],
        "can_start": bool(shell.role_names & set(MAY_ASK)),
        "csv_url": with_query(request, format="csv"),
    }
    if not getattr(request, "htmx", None):
        context["form"] = FindInstances(get or None, accounts=seen if wide else [], owners=owners)
        context["views"] = views_of(request, "instances")
    return render_page_or_part(request, "instances/list.html", "instances/_list.html", context)


def new(request: HttpRequest) -> HttpResponse:
    """GET and POST /instances/new/: choose the AMC account and begin an onboarding."""
    person, shell = person_of(request), shell_of(request)
    accounts = list(AmcAccount.objects.with_role(person, *MAY_ASK))
    if not accounts:
        raise PermissionDenied
    initial = {"account": shell.account.pk} if shell.account in accounts and shell.account else {}
    form = NewInstance(request.POST if request.method == "POST" else None, accounts=accounts, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            run = runs.run_start(
                person=person, account=form.cleaned_data["account"], name=form.cleaned_data["name"], now=timezone.now()
            )
        except Refused as refusal:
            form.add_error("name", str(refusal))
        else:
            return redirect("instance", run.instance_id)
    only = accounts[0] if len(accounts) == 1 else None
    return render(request, "instances/new.html", {"form": form, "only": only}, status=422 if form.is_bound else 200)


# --- one instance


@dataclass(frozen=True)
class InstancePage:
    """What every page of one instance starts from."""

    person: Person
    instance: Instance
    onboarding: Onboarding | None
    may_ask: bool

    def context(self, current: str) -> dict[str, Any]:
        """What the head and the tabs of the page show."""
        run = self.onboarding.run if self.onboarding else None
        return {
            "instance": self.instance,
            "run": run,
            "sentence": sentence(self.instance),
            "may_ask": self.may_ask,
            "can_cancel": bool(run and run.ended_at is None and self.may_ask),
            "tabs": _tabs(self.instance, current),
        }


def instance_page(request: HttpRequest, pk: int) -> InstancePage:
    """The instance, if the person may see it, with its onboarding; Http404 otherwise."""
    person = person_of(request)
    instance = get_visible(Instance.objects.visible_to(person).select_related("account", "owner"), person, pk=pk)
    return InstancePage(
        person, instance, run_selector.onboarding_of(instance), person.has_role(instance.account, *MAY_ASK)
    )


def _tabs(instance: Instance, current: str) -> list[Tab]:
    lines = (
        ("instance", "Tasks"),
        ("instance-members", "Members"),
        ("instance-mapping", "Mapping tables"),
        ("instance-ready", "Ready"),
        ("instance-data", "Data"),
        ("instance-runs", "Changes"),
        ("instance-differences", "Differences"),
        ("instance-activity", "Activity"),
        ("instance-commands", "As commands"),
    )
    return [Tab(text, reverse(name, args=[instance.pk]), current=name == current) for name, text in lines]


_ACTORS = {"Analyst": "an analyst", "Approver": "an approver", "Admin": "an admin", "The portal": "the portal"}


def sentence(instance: Instance) -> str:
    """What the instance is waiting for, in words: the step and who acts next."""
    detail = instance.status_detail
    if instance.status in AT_REST:
        return detail if detail != instance.get_status_display() else ""
    who = _ACTORS.get(instance.waiting_on, instance.waiting_on)
    return f"{detail} · {who} acts next" if who else detail


@require_safe
def instance(request: HttpRequest, pk: int) -> HttpResponse:
    """GET /instances/N/: the guide as a task list; with HX-Request only the part that changes."""
    page = instance_page(request, pk)
    context = page.context("instance")
    context["differences"] = drift.open_count(page.instance)
    if page.onboarding:
        context["groups"] = task_groups(page.onboarding)
        now = timezone.now()
        moving = page.instance.status in MOVING and page.onboarding.run.ended_at is None
        context["poll_seconds"] = next_look(now - page.instance.status_since) if moving else None
        seen = request.GET.get("seen", "")
        context["state"] = f"{page.instance.status}.{page.instance.steps_done}"
        context["next"] = next_step(page.onboarding, page.may_ask) if not moving else None
        context["news"] = page.instance.get_status_display() if seen and seen != context["state"] else ""
        context["stands"] = page.instance.status == InstanceStatus.CANCELLED and bool(page.instance.instance_id)
    else:
        context["facts"] = facts(page.instance)
    if not page.onboarding or context["stands"]:
        # What AMC has can be onboarded, also after an onboarding that was cancelled.
        context["why_not"] = runs.why_not_onboard(page.instance)
        context["why_not_adopt"] = lifecycle.why_not("adopt", page.instance)
    return render_page_or_part(request, "instances/instance.html", "instances/_tasks.html", context)


def next_step(onboarding: Onboarding | None, may_ask: bool) -> dict[str, str] | None:
    """The first step that waits for this person's answers: what the button says and where it leads."""
    if onboarding is None or not may_ask:
        return None
    for step in onboarding.steps:
        if step.state in (StepState.FAILED, StepState.READY):
            title = onboarding.titles[step.key]
            words = "Look at the problem" if step.state == StepState.FAILED else "Continue" if step.answers else "Start"
            return {"url": reverse("step", args=[onboarding.run.address, step.key]), "text": words, "title": title}
    return None


def facts(instance: Instance) -> list[Row]:
    """What AMC says about the instance."""
    rows = [
        Row("AMC instance id", instance.instance_id, mono=True, copy=True),
        Row("Kind", instance.get_kind_display()),
        Row("AMC account", f"{instance.account} ({instance.account.entity_id})"),
        Row("AWS account", account_number(instance.aws_account_id), mono=True),
        Row("Advertiser", instance.advertiser_name),
        Row("Status in AMC", instance.creation_status.replace("_", " ").capitalize()),
        Row("AWS account for uploads", account_number(instance.data_upload_aws_account_id), mono=True),
        Row("API endpoint", instance.api_endpoint, mono=True),
        Row("Collaboration", instance.collaboration_name),
        Row("Collaboration id", instance.collaboration_id, mono=True, copy=True),
    ]
    return [row for row in rows if row.value]


def account_number(value: str) -> str:
    """An AWS account id in groups of four."""
    return f"{value[:4]}-{value[4:8]}-{value[8:]}" if len(value) == 12 and value.isdigit() else value


def task_groups(onboarding: Onboarding) -> list[TaskGroup]:
    """The steps of a run as a task list, stage by stage."""
    states = {step.state for step in onboarding.steps}
    requests = run_selector.open_requests(onboarding.run) if StepState.AWAITING_APPROVAL in states else {}
    back = returned(step__run=onboarding.run) if StepState.READY in states else {}
    groups: dict[str, list[Task]] = {}
    for step in onboarding.steps:
        stage = onboarding.guide_step(step).stage
        task = _task(onboarding, step, requests.get(step.pk), back.get(step.pk))  # nosec B113 - dictionaries
        groups.setdefault(stage, []).append(task)
    return [TaskGroup(stage, tasks) for stage, tasks in groups.items()]


def _task(onboarding: Onboarding, step: Step, asked: Request | None, back: Returned | None) -> Task:
    guide_step = onboarding.guide_step(step)
    url = reverse("step", args=[onboarding.run.address, step.key])
    if step.state == StepState.BLOCKED:
        needs = " and ".join(f"“{title}”" for title in onboarding.missing_before(step))
        return Task(guide_step.title, step.state, hint=f"Needs {needs} first", usually=guide_step.usually)
    status, text, hint, who, when, usually = step.state, "", guide_step.summary, "", None, ""
    if step.state == StepState.READY:
        if step.answers:
            text, when = "In progress", step.since
        if back is not None:
            status, text, hint, when = back.state, "", back.said, back.at
    elif step.state == StepState.AWAITING_APPROVAL:
        text, when = "Waiting for an approver", step.since
        who = f"asked by {asked.asked_by}" if asked else ""
    elif step.state in (StepState.QUEUED, StepState.RUNNING):
        text, when, usually = "In progress", step.started_at or step.since, guide_step.usually
    elif step.state == StepState.WAITING:
        text = "Waiting for a connection" if step.waits_for_connection else "Waiting for Amazon"
        text = "Paused" if step.put_down else text
        if step.waiting_for == "worker":
            text = "In progress"
        hint, when, usually = step.waiting_text or hint, step.started_at or step.since, guide_step.usually
    elif step.state == StepState.FAILED:
        hint, when = (step.failure or {}).get("what", ""), step.since
        who = (step.failure or {}).get("who", "") and f"{(step.failure or {})['who']} acts next"
    elif step.state in (StepState.DONE, StepState.CANCELLED):
        who = str(step.asked_by) if step.asked_by else "The portal" if step.state == StepState.DONE else ""
        when = step.finished_at
    return Task(
        guide_step.title,
        status,
        url=url,
        hint=hint,
        status_text=text,
        who=who,
        when=when,
        usually=usually.removeprefix("about "),
    )


@dataclass(frozen=True)
class MemberKind:
    """A kind of member that guide 4 lists, and what it is for."""

    title: str
    purpose: str
    kind: str


MEMBER_KINDS = (
    MemberKind("Advertiser", "You. The account that joins, and that receives the results of queries.", "customer"),
    MemberKind("Customer partner", "Another account that brings data to the same collaboration.", "partner"),
    MemberKind("AMC service", "Amazon's account that sets up the collaboration.", "creator"),
    MemberKind("Query submitter", "Amazon's account that submits your queries to Clean Rooms.", "query_submitter"),
    MemberKind("Amazon Advertising data provider", "Amazon's account that holds Amazon's data.", "data_provider"),
    MemberKind("Advertiser uploaded data provider", "Holds the data that you uploaded into AMC.", "data_provider"),
    MemberKind("Third-party paid data provider", "Holds the paid features that you subscribed to.", "data_provider"),
    MemberKind("Lookalike audience generator", "Makes lookalike audiences.", "data_provider"),
    MemberKind("AMC results receiver", "Makes audiences in Amazon DSP.", "results_receiver"),
)
_MEMBER_TONES = {"ACTIVE": "done", "INVITED": "open", "LEFT": "withdrawn", "REMOVED": "withdrawn"}
_MEMBER_WORDS = {"ACTIVE": "Active", "INVITED": "Invited", "LEFT": "Left", "REMOVED": "Removed"}


def purpose_of(member: CollaborationMember) -> str:
    """What a member is for, by its name as AMC gives it, else by its kind."""
    name = member.display_name.casefold()
    for kind in MEMBER_KINDS:
        if kind.kind == member.kind and kind.title.casefold() in name:
            return kind.purpose
    if member.kind == CollaborationMember.Kind.RESULTS_RECEIVER:
        return "Receives the results of queries."
    return next(kind.purpose for kind in MEMBER_KINDS if kind.kind == member.kind)


def _members(instance: Instance) -> list[CollaborationMember]:
    """The members, each account once: the advertiser is among the receivers of results as well."""
    every = list(instance.members.all())
    customer = {member.account_id for member in every if member.kind == CollaborationMember.Kind.CUSTOMER}
    receiver = CollaborationMember.Kind.RESULTS_RECEIVER
    return [member for member in every if member.kind != receiver or member.account_id not in customer]


@require_safe
def members(request: HttpRequest, pk: int) -> HttpResponse:
    """GET /instances/N/members/: the collaboration and who is in it."""
    page = instance_page(request, pk)
    context = page.context("instance-members")
    context["members"] = [
        {
            "row": member,
            "purpose": purpose_of(member),
            "number": account_number(member.account_id),
            "status": _MEMBER_TONES.get(member.status, ""),
            "word": _MEMBER_WORDS.get(member.status, member.status.capitalize() or "Not known"),
        }
        for member in _members(page.instance)
    ]
    context["kinds"] = MEMBER_KINDS
    context["facts"] = [
        row
        for row in (
            Row("Collaboration", page.instance.collaboration_name),
            Row("Collaboration id", page.instance.collaboration_id, mono=True, copy=True),
            Row("Status", page.instance.collaboration_status.replace("_", " ").capitalize()),
        )
        if row.value
    ]
    context["memberships"] = [
        {
            "title": _WHOSE[row.aws_account_id == page.instance.aws_account_id],
            "number": account_number(row.aws_account_id),
            "facts": _membership_facts(row),
        }
        for row in memberships(page.instance)
    ]
    ended = page.instance.memberships.exclude(left_at=None).order_by("-left_at")
    context["ended"] = [
        {"row": row, "whose": _WHOSE[row.aws_account_id == page.instance.aws_account_id]} for row in ended
    ]
    context["otherwise"] = drift.found_otherwise(page.onboarding)
    context["why_not_change"] = lifecycle.why_not("membership", page.instance) if context["memberships"] else ""
    return render(request, "instances/members.html", context)


_WHOSE = {True: "Your membership", False: "A partner's membership"}


def _membership_facts(row: Membership) -> list[Row]:
    facts = [
        Row("Status", row.status.replace("_", " ").capitalize()),
        Row("Results go to", place(row.results_bucket, row.results_prefix) if row.results_bucket else "", mono=True),
        Row("Format", row.results_format),
        Row("Written by", row.results_role_arn, mono=True),
        Row("Query logging", "Kept in CloudWatch" if row.query_logging else "No log"),
        Row("Membership id", row.membership_id, mono=True, copy=True),
    ]
    return [fact for fact in facts if fact.value]


@require_safe
def activity(request: HttpRequest, pk: int) -> HttpResponse:
    """GET /instances/N/activity/: the log of every step of every run and the audit entries, the newest first."""
    page = instance_page(request, pk)
    context = page.context("instance-activity")
    context["happened"] = run_selector.activity(page.instance)
    return render(request, "instances/activity.html", context)


@require_safe
def commands(request: HttpRequest, pk: int) -> HttpResponse:
    """GET /instances/N/commands/: every step as commands, as far as its answers are known."""
    page = instance_page(request, pk)
    context = page.context("instance-commands")
    context["steps"] = list(_step_commands(page.onboarding)) if page.onboarding else []
    return render(request, "instances/commands.html", context)


def _step_commands(onboarding: Onboarding) -> Iterable[dict[str, Any]]:
    for step in onboarding.steps:
        calls = run_selector.all_calls_of(onboarding, step)
        yield {
            "title": onboarding.guide_step(step).title,
            "section": onboarding.guide_step(step).section,
            "key": step.key,
            "known": calls is not None,
            "commands": rendering.commands(run_selector.as_sent(calls or [], step), onboarding.run.account),
            "state": step.state,
        }


@require_POST
def onboard(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /instances/N/onboard: begin the onboarding of an instance that was imported from AMC."""
    page = instance_page(request, pk)
    require_role(page.person, page.instance.account, *MAY_ASK)
    try:
        runs.run_adopt(person=page.person, instance=page.instance, now=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
    return redirect("instance", pk)


def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """GET and POST /instances/N/cancel/: stop the run, after its name was typed."""
    page = instance_page(request, pk)
    require_role(page.person, page.instance.account, *MAY_ASK)
    run: Run | None = page.onboarding.run if page.onboarding else None
    if run is None or run.ended_at is not None:
        messages.info(request, "There is nothing to cancel: no onboarding of this instance is under way.")
        return redirect("instance", pk)
    form = ConfirmByName(request.POST if request.method == "POST" else None, name=page.instance.name)
    if request.method == "POST" and form.is_valid():
        try:
            runs.run_cancel(person=page.person, run=run, now=timezone.now())
        except Refused as refusal:
            form.add_error(None, str(refusal))
        else:
            messages.success(request, f"The onboarding of {page.instance} was cancelled. Nothing more will be done.")
            return redirect("instance", pk)
    made = bool(page.instance.instance_id)
    losses = [
        "Every step that is not completed ends, and a request that waits for approval is no longer valid.",
        "A new onboarding has to be answered and approved anew.",
        f"What was made in Amazon stays: the instance {page.instance.instance_id}."
        if made
        else "A call that is just being made may still have its effect.",
    ]
    context = {**page.context("instance"), "form": form, "losses": losses}
    return render(request, "instances/cancel.html", context, status=422 if form.is_bound else 200)
