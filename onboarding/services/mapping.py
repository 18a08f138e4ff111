"""What people do with mapping tables: another one, a refresh, its schedule, a replacement, the end."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from onboarding import audit
from onboarding.engine.authority import MAY_ASK
from onboarding.engine.standing import has_left
from onboarding.guide.procedure import PROCEDURE_TITLES
from onboarding.models import Instance, MappingJob, MappingTable, Person, Run, locked
from onboarding.models.mapping import MOST_TABLES
from onboarding.services.access import authorize
from onboarding.services.errors import Refused
from onboarding.services.runs import begin

OF_A_TABLE = ("refresh", "replace-dataset", "delete-mapping-table")
_ENDS = ("leave", "delete-instance")
_OPEN = (MappingJob.Status.TRACKED, MappingJob.Status.QUEUED, MappingJob.Status.RUNNING, MappingJob.Status.UNKNOWN)


def why_not_another(instance: Instance, *, tables: int, under_way: list[str]) -> str:
    """Why no mapping table can be added now, or an empty text. `tables`: how many there are."""
    if instance.gone_at is not None:
        return "AMC no longer has this instance."
    if instance.kind != Instance.Kind.COLLABORATION or not instance.instance_id:
        return "Only an instance with a collaboration has mapping tables."
    if has_left(instance):
        return "The collaboration was left."
    if instance.collaboration_status != "ACTIVE":
        return "The collaboration is not active yet."
    if tables >= MOST_TABLES:
        return f"There are {MOST_TABLES} mapping tables, the most that AMC allows. Delete one first."
    for name in ("mapping-table", *_ENDS):
        if name in under_way:
            return f"{PROCEDURE_TITLES[name]} is under way."
    return ""


def why_not(procedure: str, table: MappingTable, runs: list[Run], jobs: list[MappingJob], *, now: datetime) -> str:
    """Why a procedure can't be started for a table now, or an empty text.

    `runs` are the open runs of its instance, `jobs` the table's jobs.
    """
    if table.deleted_at is not None:
        return "AMC no longer has this table."
    for run in runs:
        if run.procedure in _ENDS or run.subject == str(table.pk):
            return f"{PROCEDURE_TITLES[run.procedure]} is under way."
    busy = any(job.status in _OPEN for job in jobs)
    if procedure == "refresh":
        if busy:
            return "A job of this table is under way."
        if table.next_refresh_at is not None and now < table.next_refresh_at:
            return f"AMC allows one refresh in 14 days: from {table.next_refresh_at:%-d %B %Y, %H:%M} UTC on."
    return ""


def start_another(*, person: Person, instance: Instance, now: datetime) -> Run:
    """Begin one more mapping table. Raises NotAllowed, or Refused when it can't be now."""
    authorize(person, instance.account, *MAY_ASK)
    with transaction.atomic():
        row = locked(Instance).select_related("account").get(pk=instance.pk)
        reason = why_not_another(row, tables=_count(row), under_way=[run.procedure for run in _open_runs(row)])
        if reason:
            raise Refused(reason)
        return begin("mapping-table", person=person, instance=row, now=now)


def start(*, person: Person, table: MappingTable, procedure: str, now: datetime) -> Run:
    """Begin a refresh, a replacement or the deletion of a table. Nothing is changed yet.

    Raises NotAllowed without the role of analyst (or admin), Refused when it can't be started now.
    """
    if procedure not in OF_A_TABLE:
        raise Refused("There is no such procedure.")
    authorize(person, table.instance.account, *MAY_ASK)
    with transaction.atomic():
        instance = locked(Instance).select_related("account").get(pk=table.instance_id)
        row = MappingTable.objects.get(pk=table.pk)
        reason = why_not(procedure, row, _open_runs(instance), list(row.jobs.all()), now=now)
        if procedure == "replace-dataset" and not reason and _count(instance) >= MOST_TABLES:
            reason = (
                f"There are {MOST_TABLES} mapping tables: no room for the new one beside the old. Delete one first."
            )
        if reason:
            raise Refused(reason)
        return begin(procedure, person=person, instance=instance, subject=str(row.pk), now=now)


def _open_runs(instance: Instance) -> list[Run]:
    return list(Run.objects.filter(instance=instance, ended_at=None).order_by("started_at"))


def _count(instance: Instance) -> int:
    return MappingTable.objects.filter(instance=instance, deleted_at=None).count()


def set_policy(*, person: Person, table: MappingTable, policy: str, now: datetime) -> bool:
    """Say when a table is refreshed; False if it was so already. Raises NotAllowed, or Refused for an unknown policy.

    A refresh by schedule asks for approval in the name of whoever set it, as any other.
    """
    authorize(person, table.instance.account, *MAY_ASK)
    if policy not in MappingTable.Policy.values:
        raise Refused("There is no such rule.")
    with transaction.atomic():
        row = locked(MappingTable).select_related("instance__account").get(pk=table.pk)
        if row.deleted_at is not None:
            raise Refused("AMC no longer has this table.")
        if row.policy == policy:
            return False
        before = row.policy
        row.policy, row.policy_by, row.policy_at = policy, person, now
        row.next_look_at = now if policy == MappingTable.Policy.WHEN_CHANGED else None
        row.save(update_fields=["policy", "policy_by", "policy_at", "next_look_at"])
        audit.record(
            "mapping_table.policy",
            actor=person,
            account=row.instance.account,
            subject=f"Mapping table {row} of {row.instance}",
            subject_ref=f"mapping_table:{row.pk}",
            details={"before": before, "after": policy},
            now=now,
        )
    return True
