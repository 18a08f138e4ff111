"""Looking whether the files of a mapping table changed, and refreshing it by schedule.

The clock says which table is due; a worker lists its files through the connected role and compares. A refresh that is
due is a run like any other: in the name of whoever set the schedule, and with the approval that the policy asks for.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from django.utils import timezone

from onboarding import audit
from onboarding.clients.aws import AwsClient
from onboarding.clients.failures import Later, Reconnect, RemoteFailure
from onboarding.engine import aws_health, queue
from onboarding.engine.authority import MAY_ASK
from onboarding.engine.notices import people_with, tell
from onboarding.guide.mapping_inputs import digest_of, listings, locations_of
from onboarding.guide.refresh import changed_since
from onboarding.models import AwsConnection, MappingTable, Step
from onboarding.services import mapping, runs
from onboarding.services.errors import NotAllowed, Refused

log = structlog.get_logger(__name__)
LOOK_EVERY = timedelta(days=1)
LOOK_AGAIN = timedelta(hours=1)


def put_due_looks(*, now: datetime, most: int = 50) -> int:
    """Have workers look at the files of the tables that are due; how many. Any number of clocks may ask."""
    due = MappingTable.objects.filter(
        policy=MappingTable.Policy.WHEN_CHANGED, deleted_at=None, next_look_at__lte=now
    ).order_by("next_look_at")
    put = 0
    for pk, planned in list(due.values_list("pk", "next_look_at")[:most]):
        mine = MappingTable.objects.filter(pk=pk, next_look_at=planned).update(next_look_at=now + LOOK_AGAIN)
        put += bool(mine) and put_look(pk)
    return put


def put_look(pk: int) -> bool:
    """Have a worker look at the files of one table; False where the queue is out of reach."""
    return queue.put_job("onboarding.services.mapping_looks.look", pk)


def look(pk: int, *, now: datetime | None = None) -> None:
    """Look at the files of one table, as a worker does, and refresh it if its schedule says so."""
    moment = now or timezone.now()
    table = (
        MappingTable.objects.select_related("instance__account", "namespace", "version__dataset", "policy_by")
        .filter(pk=pk, deleted_at=None)
        .first()
    )
    if table is None:
        return
    try:
        digest = _digest(table)
    except Later as failure:
        log.info("files not looked at", table=pk, why=failure.what)
        return
    except RemoteFailure as failure:
        log.warning("files not looked at", table=pk, kind=failure.kind, code=failure.code)
        if isinstance(failure, Reconnect):
            aws_health.note_failure(table.instance.account, failure, now=moment)
        return
    if digest:
        table.input_digest, table.looked_at = digest, moment
        MappingTable.objects.filter(pk=pk).update(input_digest=digest, looked_at=moment)
    if table.policy == MappingTable.Policy.WHEN_CHANGED:
        _by_schedule(table, moment)


def _digest(table: MappingTable) -> str:
    found = {}
    for call in listings(locations_of(table.namespace)):
        connection = AwsConnection.objects.working(table.instance.account).filter(aws_account_id=call.account).first()
        if connection is None or call.look is None:
            return ""
        client = AwsClient(connection, "s3", session_name=f"mapping-table-{table.pk}", reading=True)
        items = list(client.pages(call.look.operation, call.look.params, call.look.items))
        found[call.key] = {call.look.items: items}
    return digest_of(found)


def _by_schedule(table: MappingTable, now: datetime) -> None:
    following = now + LOOK_EVERY
    if table.next_refresh_at is not None and now < table.next_refresh_at:
        # What changes before it may be refreshed is found at the earliest time.
        following = min(following, table.next_refresh_at)
    elif changed_since(table):
        _refresh(table, now)
    MappingTable.objects.filter(pk=table.pk).update(next_look_at=following)


def _refresh(table: MappingTable, now: datetime) -> None:
    person = table.policy_by
    if person is None or not person.is_active or not person.has_role(table.instance.account, *MAY_ASK):
        tell(
            people_with(table.instance.account, *MAY_ASK),
            event=f"schedule:{table.pk}:{now.date().isoformat()}",
            subject=f"Mapping table {table} is not refreshed by itself any more",
            text="Its files changed, but whoever set the schedule has no role any more that allows it. Set it anew.",
            path=f"/instances/{table.instance_id}/mapping-tables/{table.pk}/",
            now=now,
        )
        return
    try:
        run = mapping.start(person=person, table=table, procedure="refresh", now=now)
        step = Step.objects.select_related("run__account", "run__instance").get(run=run, key="refresh")
        request = runs.submit(person=person, step=step, note="By schedule: the files changed.", now=now)
    except (NotAllowed, Refused) as refusal:
        log.info("not refreshed", table=table.pk, why=str(refusal))
        return
    audit.record(
        "mapping_table.scheduled",
        actor=None,
        account=table.instance.account,
        subject=f"Mapping table {table} of {table.instance}: its files changed",
        subject_ref=f"mapping_table:{table.pk}",
        details={"run": str(run.pk), "request": request.pk if request else None},
        now=now,
    )
