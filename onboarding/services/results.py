"""Listing the queries of each instance once a night, for which of their results end soon; it changes nothing in Amazon.

The results of a query can be fetched for 90 days (the guide's page of limitations). The list is read the oldest first,
and no further than what ends within `AHEAD` or, where nothing does, what ends next: one call for most instances.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from onboarding.clients.amc import AmcClient
from onboarding.clients.failures import Fix, Later, Reconnect
from onboarding.engine import pauses
from onboarding.engine.authority import MAY_ASK
from onboarding.models import AmcConnection, Instance, Person, QueryResult, ResultsReading, locked
from onboarding.models.results import AHEAD, KEPT
from onboarding.services.access import authorize
from onboarding.services.connections import tell_broken
from onboarding.services.errors import Refused
from onboarding.services.nightly import MOST_AT_ONCE, next_night, put_due, put_now

log = structlog.get_logger(__name__)
JOB = "onboarding.services.results.read_instance"
CREATED = ("COMPLETED", "SUCCEEDED")
BATCH = 500


def put_due_readings(*, now: datetime, most: int = MOST_AT_ONCE) -> int:
    """Have workers list the queries of the instances whose time has come; how many. Any number of clocks may ask.

    Every instance that AMC has created is read once a night, at its own minute; none while its login is broken, or
    anything that it needs is paused.
    """
    there = Instance.objects.filter(gone_at=None, creation_status__in=CREATED).exclude(instance_id="")
    fresh = there.filter(results_reading=None).values_list("pk", flat=True)
    ResultsReading.objects.bulk_create(
        [ResultsReading(instance_id=pk, next_at=next_night(pk, now=now)) for pk in fresh],
        batch_size=BATCH,
        ignore_conflicts=True,
    )
    working = ResultsReading.objects.filter(
        instance__in=there, instance__account__connection__state=AmcConnection.State.WORKING
    )
    return put_due(pauses.not_paused(working, "instance"), JOB, now=now, most=most)


def ask_now(*, person: Person, instance: Instance, now: datetime) -> None:
    """Have a worker list the queries of an instance at once. Raises NotAllowed, or Refused with the reason in words."""
    authorize(person, instance.account, *MAY_ASK)
    if instance.gone_at is not None or instance.creation_status not in CREATED or not instance.instance_id:
        raise Refused("There are no queries to list: AMC has not made the instance yet, or it was deleted.")
    if instance.account.connection.state != AmcConnection.State.WORKING:
        raise Refused("The login that sees this instance no longer works. An admin has to reconnect it first.")
    if pauses.in_force().intersection(pauses.targets_of(instance.account)):
        raise Refused("An admin has paused what is called for this account.")
    put_now(ResultsReading, JOB, instance, done_at="read_at", now=now)


def read_instance(instance_id: int) -> None:
    """A job: list the queries of one instance. What goes wrong is written down; nothing else waits for it."""
    instance = Instance.objects.select_related("account__connection").filter(pk=instance_id, gone_at=None).first()
    if instance is None or pauses.in_force().intersection(pauses.targets_of(instance.account)):
        return
    now = timezone.now()
    try:
        read(instance, now=now)
    except Later as failure:
        log.info("results not read", instance=instance_id, why=failure.what)
    except Reconnect as failure:
        tell_broken(failure, instance.account.connection, now=now)
    except Fix as failure:
        # It is asked again the next night: a person has to mend it, and nothing that is known gets wrong by it.
        log.warning("results not read", instance=instance_id, code=failure.code)
        _plan(instance, now, unread=" ".join(filter(None, (failure.what + ".", failure.why)))[:300])


def read(instance: Instance, *, now: datetime) -> int:
    """List the queries whose results end soon, and keep those alone; how many.

    Raises Later, Fix or Reconnect, and has then changed nothing.
    """
    found = {row.execution_id: row for row in _listed(instance, now)}
    with transaction.atomic():
        locked(Instance).get(pk=instance.pk)
        mine = QueryResult.objects.filter(instance=instance)
        known = dict(mine.values_list("execution_id", "pk"))
        gone = [pk for execution_id, pk in known.items() if execution_id not in found]
        for start in range(0, len(gone), BATCH):
            mine.filter(pk__in=gone[start : start + BATCH]).delete()
        new = [row for execution_id, row in found.items() if execution_id not in known]
        QueryResult.objects.bulk_create(new, batch_size=BATCH, ignore_conflicts=True)
        _plan(instance, now, read_at=now, unread="")
    return len(found)


def _plan(instance: Instance, now: datetime, **values: Any) -> None:
    ResultsReading.objects.update_or_create(
        instance=instance, defaults={"next_at": next_night(instance.pk, now=now), **values}
    )


def _listed(instance: Instance, now: datetime) -> list[QueryResult]:
    since = (now - KEPT).astimezone(UTC)
    wanted = {
        "instanceId": instance.instance_id,
        "minCreationTime": since.strftime("%Y-%m-%dT%H:%M:%S"),
        "sortAscending": "true",
    }
    found: list[QueryResult] = []
    for one in AmcClient.of(instance.account).pages("listWorkflowExecutions", wanted, "executions"):
        created = _moment(one.get("createTime"))
        if created is None:
            continue
        ends = created + KEPT
        if found and ends > now + AHEAD:
            break
        if one.get("status") == "SUCCEEDED" and one.get("workflowExecutionId") and ends > now:
            found.append(
                QueryResult(
                    instance=instance,
                    execution_id=str(one["workflowExecutionId"])[:128],
                    workflow_id=str(one.get("workflowId") or "")[:200],
                    created_at=created,
                    ends_at=ends,
                )
            )
    return found


def _moment(value: Any) -> datetime | None:
    try:
        moment = parse_datetime(str(value or ""))
    except ValueError:
        return None
    return moment if moment is None or timezone.is_aware(moment) else timezone.make_aware(moment, UTC)
