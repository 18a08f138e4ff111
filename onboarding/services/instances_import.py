"""Brings the instances that AMC lists (`listInstances`, up to 4,000 an account) into the database and up to date."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from onboarding.clients.amc import AmcClient
from onboarding.clients.failures import Reconnect, RemoteFailure
from onboarding.engine import queue, shared_looks
from onboarding.models import AmcAccount, AmcConnection, Instance, InstanceStatus, locked
from onboarding.services.connections import tell_broken

log = structlog.get_logger(__name__)
BATCH = 500
FACTS = (
    *("account", "instance_id", "name", "kind", "creation_status", "aws_account_id", "advertiser_name", "gone_at"),
    *("data_upload_aws_account_id", "api_endpoint", "created_in_amc_at", "collaboration_id", "collaboration_name"),
)
# How old the list of an account's instances may become, and how long a reading that fails is left alone.
READ_EVERY = timedelta(hours=1)
READ_AGAIN_AFTER = timedelta(minutes=15)


@dataclass(frozen=True)
class ImportResult:
    """How many instances AMC listed, and what that changed here. `left` are those that a run is just making."""

    listed: int
    added: int
    changed: int
    gone: int
    returned: int
    left: int

    def __str__(self) -> str:
        return f"{self.listed} instances in AMC: {self.added} new, {self.changed} changed, {self.gone} gone"


def import_instances(account: AmcAccount, now: datetime | None = None) -> ImportResult:
    """Read every page of the account's instances and write what differs, all or nothing.

    Instances are matched by their AMC id. One that AMC no longer lists keeps its row, marked as gone; not while a run
    is under way on it. One that AMC lists while a run is just making it is left to the run. Steps that wait for what
    the list tells go on.
    Raises Later, Fix or Reconnect, and has then changed nothing.
    """
    now = now or timezone.now()
    # Before the listing: an instance that a run makes in the meantime is not missed.
    known = set(account.instances.exclude(instance_id="").values_list("instance_id", flat=True))
    listed = {
        str(entry["instanceId"]): entry
        for entry in AmcClient.of(account).pages("listInstances", {"limit": shared_looks.PAGE}, "instances")
        if entry.get("instanceId")
    }
    with transaction.atomic():
        # One import of an account at a time writes; the order of two listings does not matter.
        locked(AmcAccount).get(pk=account.pk)
        rows = {row.instance_id: row for row in account.instances.exclude(instance_id="").only(*FACTS)}
        being_made = set(
            account.instances.filter(instance_id="")
            .exclude(status=InstanceStatus.CANCELLED)
            .values_list("name", flat=True)
        )
        changed, added, left = 0, [], 0
        changes: dict[tuple[tuple[str, Any], ...], list[Instance]] = {}
        for instance_id, entry in listed.items():
            row = rows.get(instance_id)
            if row is not None:
                if change := _take_over(row, entry):
                    changed += 1
                    changes.setdefault(change, []).append(row)
            elif str(entry.get("instanceName") or "") in being_made:
                left += 1
            else:
                row = Instance(
                    account=account,
                    instance_id=instance_id,
                    kind=Instance.Kind.STANDARD,
                    status=InstanceStatus.IMPORTED,
                    status_since=now,
                    seen_at=now,
                )
                _take_over(row, entry)
                added.append(row)
        _write(changes)
        Instance.objects.bulk_create(added, batch_size=BATCH, ignore_conflicts=True)
        returned = sum(row.gone_at is not None for key, row in rows.items() if key in listed)
        for chunk in _chunks([row.pk for key, row in rows.items() if key in listed]):
            Instance.objects.filter(pk__in=chunk).update(seen_at=now, gone_at=None)
        gone = 0
        under_way = account.runs.filter(ended_at=None).values("instance")
        for chunk in _chunks([rows[key].pk for key in known - listed.keys() if key in rows]):
            missing = Instance.objects.filter(pk__in=chunk, gone_at=None).exclude(pk__in=under_way)
            gone += missing.update(gone_at=now)
        AmcAccount.objects.filter(pk=account.pk).update(instances_read_at=now)
    shared_looks.seen(account, listed, now=now)
    return ImportResult(len(listed), len(added), changed, gone, returned, left)


def import_account(account_id: int) -> None:
    """A job: import the instances of one account. What goes wrong is written to the log; the clock asks again."""
    account = AmcAccount.objects.select_related("connection").get(pk=account_id)
    try:
        result = import_instances(account)
    except Reconnect as failure:
        tell_broken(failure, account.connection, now=timezone.now())
    except RemoteFailure as failure:
        log.warning("instances not imported", account=account_id, kind=failure.kind, code=failure.code)
    else:
        log.info("instances imported", account=account_id, listed=result.listed, added=result.added, gone=result.gone)


def put_import(account_id: int) -> bool:
    """Have a worker import the instances of an account; False if the queue does not answer."""
    return queue.put_job(queue.READ_INSTANCES, account_id)


def put_due_imports(*, now: datetime) -> int:
    """Have those accounts read that were not read for an hour and can be read now; returns how many."""
    due = Q(instances_read_at=None) | Q(instances_read_at__lte=now - READ_EVERY)
    accounts = AmcAccount.objects.filter(due, connection__state=AmcConnection.State.WORKING)
    ids = accounts.order_by("instances_read_at").values_list("pk", flat=True)
    return sum(shared_looks.ask(pk, now - READ_AGAIN_AFTER, now=now) and put_import(pk) for pk in ids)


def _write(changes: Mapping[tuple[tuple[str, Any], ...], list[Instance]]) -> None:
    """Write columns with their new values into rows: at once into those that change alike, as they do in creation."""
    single: dict[tuple[str, ...], list[Instance]] = {}
    for change, rows in changes.items():
        if len(rows) == 1:
            single.setdefault(tuple(name for name, _ in change), []).extend(rows)
            continue
        for chunk in _chunks([row.pk for row in rows]):
            Instance.objects.filter(pk__in=chunk).update(**dict(change))
    for names, rows in single.items():
        Instance.objects.bulk_update(rows, names, batch_size=BATCH)


def _chunks(pks: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(pks), BATCH):
        yield pks[start : start + BATCH]


def _take_over(row: Instance, entry: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Write what AMC says into the row (not saved); the columns that differ, with their new values.

    A list need not repeat everything: what is missing in it, such as the collaboration, stays as it is.
    """
    # What AMC decides; a run's own columns (status, owner, steps, members) are never written here.
    collaboration = entry.get("acrCollaboration")
    collaboration = collaboration if isinstance(collaboration, dict) else None
    said = {
        "name": _text(entry, "instanceName", 200) or row.name or row.instance_id,
        "kind": _kind(row, entry, collaboration),
        "creation_status": _text(entry, "creationStatus", 16),
        "aws_account_id": _text(entry, "awsAccountId", 12),
        "advertiser_name": _text(entry, "customerCanonicalName", 200) or row.advertiser_name,
        "data_upload_aws_account_id": _text(entry, "dataUploadAwsAccountId", 12),
        "api_endpoint": _text(entry, "apiEndpoint", 500),
        "created_in_amc_at": _moment(entry.get("creationDatetime")) or row.created_in_amc_at,
        "collaboration_id": _text(collaboration or {}, "id", 64) or row.collaboration_id,
        "collaboration_name": _text(collaboration or {}, "name", 200) or row.collaboration_name,
    }
    differs = tuple((name, value) for name, value in said.items() if getattr(row, name) != value)
    for name, value in differs:
        setattr(row, name, value)
    return differs


def _kind(row: Instance, entry: dict[str, Any], collaboration: dict[str, Any] | None) -> str:
    if collaboration is not None:
        return Instance.Kind.COLLABORATION
    if "SANDBOX" in (str(entry.get("instanceType")).upper(), str(entry.get("type")).upper()):
        return Instance.Kind.SANDBOX
    return row.kind


def _text(entry: dict[str, Any], name: str, most: int) -> str:
    return str(entry.get(name) or "")[:most]


def _moment(value: Any) -> datetime | None:
    try:
        moment = parse_datetime(str(value or ""))
    except ValueError:
        return None
    if moment is None:
        return None
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)
