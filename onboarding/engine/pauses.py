"""What admins have paused: the clock leaves it alone, no worker takes it, and whoever is at it stops before a call.

A pause is a row, so that it holds at once for every process, and is still there after a restart.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeVar

from django.db import transaction
from django.db.models import Model, QuerySet

from onboarding.engine import queue
from onboarding.models import AmcAccount, Pause, Run, Step, StepState

EVERYTHING = "all"
WAITING_FOR = "paused"
# A step that a worker put down for a pause is looked at again after this time, should nobody wake it.
LOOK_AGAIN = timedelta(seconds=60)


class Paused(Exception):
    """The next call is paused; `pause` says by whom."""

    def __init__(self, pause: Pause) -> None:
        super().__init__(str(pause))
        self.pause = pause


def of_queue(name: str = "default") -> str:
    """The target that stands for a queue of RQ."""
    return f"queue:{name}"


def of_account(account: int) -> str:
    """The target that stands for an AMC account, by its key."""
    return f"account:{account}"


def of_login(connection: int) -> str:
    """The target that stands for an Amazon login, by its key."""
    return f"amc:{connection}"


def of_aws(account: int, aws_account_id: str) -> str:
    """The target that stands for an AWS account as it is connected for an AMC account."""
    return f"aws:{account}:{aws_account_id}"


def targets_of(account: AmcAccount, aws_account_id: str = "") -> list[str]:
    """Everything whose pause stops a call for this AMC account, in this AWS account if one is given."""
    found = [EVERYTHING, of_queue(), of_account(account.pk), of_login(account.connection_id)]
    return [*found, of_aws(account.pk, aws_account_id)] if aws_account_id else found


def in_force() -> frozenset[str]:
    """The targets that are paused now (one query)."""
    return frozenset(Pause.objects.values_list("target", flat=True))


Rows = TypeVar("Rows", bound=Model)


def not_paused(rows: QuerySet[Rows], run: str = "run") -> QuerySet[Rows]:
    """Those of the rows that no pause of the whole, the queue, an account or a login holds back (one query at once).

    `run` is how a row names its run.

    A pause of an AWS account shows only when a call is about to use it: `check` finds it then.
    """
    targets = in_force()
    if not targets:
        return rows
    if EVERYTHING in targets or of_queue() in targets:
        return rows.none()
    accounts, logins = _keys(targets, "account:"), _keys(targets, "amc:")
    if accounts:
        rows = rows.exclude(**{f"{run}__account__in": accounts})
    return rows.exclude(**{f"{run}__account__connection__in": logins}) if logins else rows


def _keys(targets: frozenset[str], kind: str) -> list[int]:
    return [int(target.removeprefix(kind)) for target in targets if target.startswith(kind)]


def check(run: Run, aws_account_id: str = "") -> None:
    """Raise Paused if the next call of the run must not be made now (one query)."""
    found = Pause.objects.filter(target__in=targets_of(run.account, aws_account_id)).first()
    if found is not None:
        raise Paused(found)


def wake(*, now: datetime) -> int:
    """After something was resumed: what was put down is due at once; what is paused still is put down again.

    Returns how many steps there were.
    """
    with transaction.atomic():
        rows = Step.objects.filter(state=StepState.WAITING, waiting_for=WAITING_FOR)
        ids = list(rows.values_list("pk", flat=True))
        # Not a move: the state stays; and what the clock left alone is put on the queue by its next tick.
        rows.filter(pk__in=ids).update(next_attempt_at=now, enqueued_until=None)
        transaction.on_commit(lambda: queue.put(ids))
    return len(ids)
