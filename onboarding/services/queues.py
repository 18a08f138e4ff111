"""What admins do with the queue: pause and resume, stop a step, let a worker's lease go, have a step tried again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F

from onboarding import audit
from onboarding.engine import pauses, queue
from onboarding.engine.moves import MoveRefused, Overtaken, move, write_log
from onboarding.guide.procedure import step_of
from onboarding.models import AmcAccount, AwsConnection, Pause, Person, RoleName, Step, StepState, locked
from onboarding.services.access import authorize
from onboarding.services.errors import NotAllowed, Refused
from onboarding.services.runs import try_again

STOPPABLE = (StepState.QUEUED, StepState.RUNNING, StepState.WAITING)
STOPPED = "Stopped"


@dataclass(frozen=True)
class Target:
    """Something that can be paused: its target, what it is, and the account that it belongs to, if one alone."""

    target: str
    kind: str
    name: str
    account: AmcAccount | None = None


def pausable(person: Person, accounts: Collection[AmcAccount]) -> list[Target]:
    """What the person may pause: superusers everything; admins their accounts, and the connections of these alone.

    `accounts` are those that the person administers, each with its connection. At most two queries.
    """
    found = []
    if person.is_superuser:
        found += [
            Target(pauses.EVERYTHING, "Everything", "All accounts and queues"),
            Target(pauses.of_queue(), "Queue", "default"),
        ]
    keys = {account.pk for account in accounts}
    of_login: dict[int, set[int]] = {}
    logins = {account.connection_id: account.connection for account in accounts}
    rows = AmcAccount.objects.filter(connection__in=logins).values_list("connection_id", "pk")
    for connection, account in rows:
        of_login.setdefault(connection, set()).add(account)
    found += [Target(pauses.of_account(account.pk), "AMC account", account.name, account) for account in accounts]
    found += [
        Target(pauses.of_login(pk), "Amazon login", logins[pk].label)
        for pk, reached in of_login.items()
        # Pausing a login stops every account behind it.
        if reached <= keys
    ]
    by_key = {account.pk: account for account in accounts}
    for row in AwsConnection.objects.filter(account__in=keys).order_by("account__name", "aws_account_id"):
        name = f"{row.aws_account_id} for {by_key[row.account_id].name}"
        target = pauses.of_aws(row.account_id, row.aws_account_id)
        found.append(Target(target, "AWS account", name, by_key[row.account_id]))
    return found


def _may(person: Person, target: str) -> Target:
    accounts = AmcAccount.objects.with_role(person, RoleName.ADMIN).select_related("connection")
    found = next((one for one in pausable(person, list(accounts)) if one.target == target), None)
    if found is None:
        raise NotAllowed("You may not pause or resume this.")
    return found


def pause(person: Person, target: str, *, reason: str, now: datetime) -> Pause:
    """Pause something: from now on no call of it is begun. Raises NotAllowed, or Refused when it is paused already."""
    what = _may(person, target)
    try:
        with transaction.atomic():
            row = Pause.objects.create(
                target=target,
                name=f"{what.kind}: {what.name}"[:200],
                reason=reason[:300],
                paused_by=person,
                paused_at=now,
            )
            _note("engine.paused", person, what, {"reason": reason[:300]}, now=now)
    except IntegrityError:
        raise Refused("It is paused already.") from None
    return row


def resume(person: Person, target: str, *, now: datetime) -> None:
    """End a pause; what it held back goes on at once. Raises NotAllowed, or Refused when it isn't paused."""
    what = _may(person, target)
    with transaction.atomic():
        if not Pause.objects.filter(target=target).delete()[0]:
            raise Refused("It is not paused.")
        _note("engine.resumed", person, what, {}, now=now)
        pauses.wake(now=now)


def _note(act: str, person: Person, what: Target, details: dict[str, Any], *, now: datetime) -> None:
    audit.record(
        act,
        actor=person,
        account=what.account,
        subject=f"{what.kind}: {what.name}",
        subject_ref=what.target,
        details=details,
        now=now,
    )


# --- one step


def _locked(person: Person, step: Step) -> Step:
    authorize(person, step.run.account, RoleName.ADMIN)
    return locked(Step).select_related("run__account", "run__instance").get(pk=step.pk)


def _audited(act: str, person: Person, row: Step, *, now: datetime, **details: Any) -> None:
    audit.record(
        act,
        actor=person,
        account=row.run.account,
        subject=f"{step_of(row.run.procedure, row.key).title} of {row.run.instance}",
        subject_ref=f"run:{row.run_id}",
        details=details,
        now=now,
    )


def stop(person: Person, step: Step, *, now: datetime) -> None:
    """Stop a step that is queued, waiting or being worked on; “Try again” lets it go on under the same approval.

    A worker that is at it finds out before its next call; it is not tried again before that call is over.
    Raises NotAllowed, or Refused when there is nothing to stop.
    """
    with transaction.atomic():
        row = _locked(person, step)
        if row.state not in STOPPABLE:
            raise Refused("There is nothing to stop: the portal is not at this step.")
        busy = row.state == StepState.RUNNING
        # What was stopped or released before may still be in its call.
        until = row.lease_until if busy else row.next_attempt_at
        held = row.state == StepState.QUEUED or row.waiting_for == "released"
        failure = {
            "kind": "fix",
            "what": f"{person} stopped this step.",
            "why": "A call that was under way may still have had its effect." if busy else "",
            "who": "Admin",
            "todo": "“Try again” lets it go on from where it was.",
            "code": STOPPED,
            "status": None,
            "request_id": "",
            "details": {"not_before": until.isoformat()} if until and (busy or held) else {},
        }
        try:
            move(
                row,
                StepState.FAILED,
                now=now,
                log=("bad", f"{person} stopped it"),
                failure=failure,
                waiting_for="",
                waiting_text="",
            )
        except (Overtaken, MoveRefused):
            raise Refused("It moved on just now. Look again.") from None
        _audited("step.stopped", person, row, now=now, was=step.state)


def release(person: Person, step: Step, *, now: datetime) -> None:
    """Take a step from the worker that holds it; another one goes on as soon as a call under way must be over.

    Raises NotAllowed, or Refused when no worker holds it.
    """
    with transaction.atomic():
        row = _locked(person, step)
        if row.state != StepState.RUNNING or row.lease_until is None:
            raise Refused("No worker holds this step.")
        owner = row.lease_owner
        try:
            move(
                row,
                StepState.WAITING,
                now=now,
                log=("info", f"{person} took it from its worker; another one goes on"),
                # A call takes less time than a lease lasts: two workers are never in a call at once.
                next_attempt_at=max(now, row.lease_until),
                waiting_for="released",
                waiting_text=f"{person} took it from its worker",
            )
        except (Overtaken, MoveRefused):
            raise Refused("It moved on just now. Look again.") from None
        _audited("step.released", person, row, now=now, worker=owner)


def retry(person: Person, step: Step, *, now: datetime) -> None:
    """Try a failed step again, or a waiting one now instead of later. Raises NotAllowed or Refused."""
    if step.state == StepState.FAILED:
        try_again(person=person, step=step, now=now)
        return
    with transaction.atomic():
        row = _locked(person, step)
        if row.state != StepState.WAITING or row.next_attempt_at is None:
            raise Refused("It does not wait for its time: there is nothing to try again.")
        if row.waiting_for == "released":
            raise Refused("Its last call has to be over first: it goes on by itself within seconds.")
        if row.next_attempt_at <= now:
            raise Refused("It is due already, and goes on as soon as a worker is free.")
        changed = Step.objects.filter(pk=row.pk, version=row.version, state=StepState.WAITING).update(
            next_attempt_at=now, enqueued_until=None, version=F("version") + 1
        )
        if not changed:
            raise Refused("It moved on just now. Look again.")
        write_log(row, "info", f"{person} has it tried now", now=now)
        _audited("step.hurried", person, row, now=now)
    queue.put_on_commit(row.pk)
