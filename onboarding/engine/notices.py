"""Tells people that it is their turn, or that something has ended: under Messages, and by their channels.

A notice is a row, written in the transaction of what it tells of; engine/deliveries.py sends it. The same event never
makes two for one person, nor for the channels of one account.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TypedDict

from onboarding.guide.procedure import step_of
from onboarding.models import AmcAccount, Channel, Notice, Person, Request, Step


class _Words(TypedDict):
    """What a notice says, whoever it goes to."""

    event: str
    subject: str
    text: str
    path: str
    now: datetime


def people_with(account: AmcAccount, *roles: str) -> list[Person]:
    """The active people who hold one of the roles on the account."""
    return list(
        Person.objects.filter(is_active=True, roles__account=account, roles__name__in=roles).distinct().order_by("pk")
    )


def tell(people: Iterable[Person], *, event: str, subject: str, text: str, path: str, now: datetime) -> None:
    """Write a notice for each of `people`, once an `event`."""
    Notice.objects.bulk_create(
        [
            Notice(
                person=person,
                event=event,
                subject=subject[:200],
                text=text,
                path=path,
                made_at=now,
                next_attempt_at=now,
            )
            for person in people
        ],
        ignore_conflicts=True,
    )


def tell_account(account: AmcAccount, *, event: str, subject: str, text: str, path: str, now: datetime) -> None:
    """Write a notice for the channels of the account, if it has any, once an `event`."""
    if not Channel.objects.filter(account=account).exists():
        return
    notice = Notice(
        account=account, event=event, subject=subject[:200], text=text, path=path, made_at=now, next_attempt_at=now
    )
    Notice.objects.bulk_create([notice], ignore_conflicts=True)


def _run_path(step: Step) -> str:
    place = "instances" if step.run.procedure == "onboard" else "runs"
    return f"/{place}/{step.run.address}/steps/{step.key}/"


def step_done(step: Step, *, now: datetime) -> None:
    """A step ended well: its asker hears of it, and the owner when the whole run is done."""
    run, title = step.run, step_of(step.run.procedure, step.key).title
    if step.plan:
        done = _Words(
            event=f"done:{step.pk}:{step.version}",
            subject=f"{run.instance}: {title} is completed",
            text=f"“{title}” of {run.instance} is completed.",
            path=_run_path(step),
            now=now,
        )
        if step.asked_by:
            tell([step.asked_by], **done)
        tell_account(run.account, **done)
    if run.ended_at is not None:
        ended = _Words(
            event=f"ended:{run.pk}",
            subject=f"{run.instance}: every step is completed",
            text=f"All steps of {run.instance} are completed.",
            path=f"/instances/{run.instance_id}/",
            now=now,
        )
        tell([run.owner], **ended)
        tell_account(run.account, **ended)


def step_failed(step: Step, what: str, *, now: datetime) -> None:
    """A step needs a person: whoever asked for it (else the owner of the run) hears of it."""
    title = step_of(step.run.procedure, step.key).title
    words = _Words(
        event=f"failed:{step.pk}:{step.version}",
        subject=f"{step.run.instance}: there is a problem with “{title}”",
        text=f"{what}\nOpen the step to see why, who can mend it and how.",
        path=_run_path(step),
        now=now,
    )
    tell([step.asked_by or step.run.owner], **words)
    tell_account(step.run.account, **words)


def connection_broken(account: AmcAccount, connection: str, what: str, *, path: str, now: datetime) -> None:
    """A login or an AWS connection no longer works: the admins of the account hear of it, once a day."""
    people = people_with(account, "admin") or list(Person.objects.filter(is_superuser=True, is_active=True))
    words = _Words(
        event=f"broken:{connection}:{now.date().isoformat()}",
        subject="A connection to Amazon has to be renewed",
        text=f"{what}\nIts runs are paused. They go on by themselves once it is reconnected.",
        path=path,
        now=now,
    )
    tell(people, **words)
    tell_account(account, **words)


def request_made(request: Request, *, now: datetime) -> None:
    """A request waits: everybody who may decide it hears of it."""
    words = _Words(
        event=f"request:{request.pk}",
        subject=f"Approval is asked for: {request.title}",
        text=f"{request.asked_by} asks for approval: {request.title} ({request.account}).",
        path=f"/requests/{request.pk}/",
        now=now,
    )
    tell([one for one in people_with(request.account, "approver") if one.pk != request.asked_by_id], **words)
    tell_account(request.account, **words)


def request_ended(request: Request, ended: str, *, now: datetime) -> None:
    """A request was decided, or has ended otherwise: its asker hears of it."""
    words = _Words(
        event=f"request-ended:{request.pk}",
        subject=f"{request.title}: {ended}",
        text=f"The request “{request.title}” was {ended}.",
        path=f"/requests/{request.pk}/",
        now=now,
    )
    tell([request.asked_by], **words)
    tell_account(request.account, **words)
