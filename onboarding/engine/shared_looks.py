"""Waits that one list answers for many runs: an account is read in pages of a hundred, not once for every run.

The clock puts a waiting step on the queue when it is due. Where more steps of an account wait for what `listInstances`
tells than that list has pages, the clock has the list read instead, once for all of them; `seen` then lets those go on
whose wait is over, and they look by themselves. Where reading the list has failed for long, every step does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Case, Count, DateTimeField, F, Q, Value, When

from onboarding.engine import queue
from onboarding.guide.plan import MISSING, Until, dig
from onboarding.guide.procedure import PROCEDURES
from onboarding.models import AmcAccount, AmcConnection, LogLine, Step, StepState

PAGE = 100
# A list is read no faster than this: 40 pages, all that an account may have, once a minute.
SECONDS_A_PAGE = 1.5
FAILS_FOR = timedelta(minutes=10)
BATCH = 500
# Step → where the list says of an instance what the step waits for, and when that is enough.
LISTED: Mapping[str, tuple[str, Until]] = {
    step.key: step.listed for steps in PROCEDURES.values() for step in steps if step.listed is not None
}


def waits() -> Q:
    """The steps that wait for what a list tells. One that has not looked yet (`polls`) was asked to look by itself."""
    return Q(state=StepState.WAITING, waiting_for="amazon", key__in=LISTED, polls__gt=0)


def put_off(ids: list[int], *, now: datetime) -> set[int]:
    """Of these steps that are due at `now`, those for which their account's list is read instead: not due any more."""
    account_of = dict(Step.objects.filter(waits(), pk__in=ids).values_list("pk", "run__account"))
    if not account_of:
        return set()
    accounts = set(account_of.values())
    waiting = dict(
        Step.objects.filter(waits(), run__account__in=accounts)
        .order_by()
        .values_list("run__account")
        .annotate(number=Count("*"))
    )
    listed = Count("instances", filter=Q(instances__gone_at=None) & ~Q(instances__instance_id=""))
    working = AmcAccount.objects.filter(pk__in=accounts, connection__state=AmcConnection.State.WORKING)
    by_list = {
        account.pk
        for account in working.annotate(listed=listed)
        if waiting[account.pk] > (pages := account.listed // PAGE + 1)  # type: ignore[attr-defined] # counted by the query
        and not _fails(account)
        and _ask(account, timedelta(seconds=pages * SECONDS_A_PAGE * settings.POLL_SCALE), now)
    }
    return {pk for pk, account in account_of.items() if account in by_list}


def _fails(account: AmcAccount) -> bool:
    read, asked = account.instances_read_at, account.instances_asked_at
    return read is None or (asked is not None and asked - read > FAILS_FOR)


def _ask(account: AmcAccount, every: timedelta, now: datetime) -> bool:
    """Have the account's list read if that is due, and its steps wait for it; False if the queue is out of reach."""
    asked = account.instances_asked_at
    if asked is None or asked <= now - every:
        if ask(account.pk, now - every, now=now) and not queue.put_job(queue.READ_INSTANCES, account.pk):
            return False
        asked = now
    for key, (_, until) in LISTED.items():
        # Each at its own pace, as if it had looked by itself; but not before the list may be read again.
        times = [max(now + timedelta(seconds=one * settings.POLL_SCALE), asked + every) for one in until.every]
        following = Case(
            *(When(polls=number, then=Value(at)) for number, at in enumerate(times)),
            default=Value(times[-1]),
            output_field=DateTimeField(),
        )
        Step.objects.filter(waits(), key=key, run__account=account, next_attempt_at__lte=now).filter(
            Q(enqueued_until=None) | Q(enqueued_until__lt=now)
        ).update(next_attempt_at=following, polls=F("polls") + 1)  # not a move: the state stays
    return True


def ask(account_id: int, not_since: datetime, *, now: datetime) -> bool:
    """Claim that the account's instances are to be read now; False if they were asked for after `not_since`."""
    asked = Q(instances_asked_at=None) | Q(instances_asked_at__lte=not_since)
    return bool(AmcAccount.objects.filter(asked, pk=account_id).update(instances_asked_at=now))


def seen(account: AmcAccount, listed: Mapping[str, Mapping[str, Any]], *, now: datetime) -> int:
    """Take over what AMC lists (by its id) for the steps that wait; returns for how many the wait is over.

    Those are put on the queue and look by themselves: what a list shows is not all that a step needs to know. So does
    one whose instance the list does not have, and one that has waited too long.
    """
    over: list[int] = []
    told: dict[str, list[int]] = {}
    rows = Step.objects.filter(waits(), run__account=account)
    columns = ("pk", "key", "since", "waiting_text", "run__instance__instance_id")
    for pk, key, since, text, instance_id in rows.values_list(*columns):
        path, until = LISTED[key]
        value = dig(listed.get(instance_id, MISSING), path)
        ended = value is MISSING or value in until.done or value in until.failed
        if ended or (now - since).total_seconds() > until.give_up:
            over.append(pk)
        elif (says := f"Amazon says {value}") != text:
            told.setdefault(says, []).append(pk)
    for says, ids in told.items():
        for chunk in _chunks(ids):
            Step.objects.filter(waits(), pk__in=chunk).update(waiting_text=says)
            LogLine.objects.bulk_create(
                LogLine(step_id=pk, at=now, level=LogLine.Level.WAIT, text=f"{says}, in the list of instances")
                for pk in chunk
            )
    for chunk in _chunks(over):
        Step.objects.filter(waits(), pk__in=chunk).update(
            polls=0, next_attempt_at=now, enqueued_until=now + timedelta(seconds=settings.PUT_AGAIN_SECONDS)
        )
    queue.put(over)
    return len(over)


def _chunks(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]
