"""The job that fills an ID mapping table (guide 7, step 5): the calls that follow it, and what its answers mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import models
from django.utils.dateparse import parse_datetime

from onboarding.clients.failures import Fix
from onboarding.guide.plan import Call, Look, Ref, Until, first_of
from onboarding.guide.step import Situation
from onboarding.models import DatasetVersion, MappingJob, MappingTable, Run, locked

_Status = MappingJob.Status
ENDED = (_Status.SUCCEEDED, _Status.FAILED)
JOB = "idMappingWorkflowJobId"


def started(step: str, call: str) -> Ref:
    """The id of the job that a call started, whether Amazon said it at once or behind a tracking id."""
    return first_of(Ref(step, call, JOB), Ref(step, f"{call}-tracked", "idMappingJobId"))


def tracked(step: str, call: str, instance: Any, table: Any) -> Call:
    """Wait for the id of the job that `call` started, where Amazon gave a tracking id in its place."""
    return Call(
        key=f"{call}-tracked",
        title="Wait until AMC has queued the job",
        service="amc",
        operation="getCollaborationIdMappingJobForTrackingId",
        params={"instanceId": instance, "idMappingTableId": table, "trackingId": Ref(step, call, "trackingId")},
        effect="wait",
        until=Until(path="idMappingJobId", done=(), there=True, give_up=2 * 86_400, usually="a few minutes"),
        given=Ref(step, call, "trackingId"),
        unless=Ref(step, call, JOB),
    )


def ended(instance: Any, table: Any, job: Ref) -> Call:
    """Wait for the end of a job. What AMC doesn't know at the moment (`UNKNOWN`) is no end."""
    return Call(
        key="job",
        title="Wait until the mapping job has ended",
        service="amc",
        operation="getCollaborationIdMappingJob",
        params={"instanceId": instance, "idMappingTableId": table, "jobId": job},
        effect="wait",
        until=Until(
            path="idMappingJob.status",
            done=(_Status.SUCCEEDED.value,),
            failed={_Status.FAILED.value: "The mapping job failed."},
            every=(5, 15, 60, 300),
            give_up=4 * 86_400,
            usually="about 30 minutes; hours for many millions of rows",
            reason="idMappingJob.errorDetails",
        ),
    )


def jobs_of(instance: Any, table: Any, ignore: Mapping[str, Any]) -> Look:
    """The newest job of a table that is not to be ignored."""
    return Look(
        operation="listCollaborationIdMappingJobs",
        params={"instanceId": instance, "idMappingTableId": table},
        items="idMappingJobs",
        ignore=ignore,
        wrap="job",
        first=True,
        # Not every refusal is one, but then an earlier try of the same refresh has been made.
        echo=("400",),
    )


def note_job(table: MappingTable, job_id: str, said: Mapping[str, Any], now: datetime) -> MappingJob:
    """Write what AMC says of a job into its row, which is made if need be."""
    job, new = MappingJob.objects.get_or_create(
        table=table,
        job_id=job_id,
        defaults={
            "kind": MappingJob.Kind.REFRESH if table.jobs.exists() else MappingJob.Kind.CREATE,
            "asked_at": when(said.get("startTime")) or now,
            "seen_at": now,
        },
    )
    status = str(said.get("status") or "")
    job.status = status if status in _Status.values else _Status.UNKNOWN
    job.started_at = when(said.get("startTime")) or job.started_at
    job.ended_at = when(said.get("endTime")) or (now if job.status in ENDED and not job.ended_at else job.ended_at)
    # Lists tell less than what is asked about one job.
    if said.get("errorDetails") or job.status != _Status.FAILED:
        job.error_details = str(said.get("errorDetails") or "")[:4000]
    if said.get("metrics"):
        job.metrics = {name: value for name, value in said["metrics"].items() if isinstance(value, int)}
    job.seen_at = now
    job.save()
    if new and job.kind == MappingJob.Kind.REFRESH:
        # Somebody refreshed it elsewhere: that counts as well.
        earlier = models.Q(refreshed_at=None) | models.Q(refreshed_at__lt=job.asked_at)
        MappingTable.objects.filter(earlier, pk=table.pk).update(refreshed_at=job.asked_at)
    if job.status == _Status.SUCCEEDED:
        MappingTable.objects.filter(pk=table.pk).update(queryable=True, updated_at=job.ended_at, seen_at=now)
    return job


def when(text: Any) -> datetime | None:
    """A time as AMC writes it, or None."""
    try:
        return parse_datetime(text) if isinstance(text, str) else None
    except ValueError:
        return None


def forecast_of(version: DatasetVersion | None, prepared: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was foreseen from the files, with the number of customers (the rows of the longest table)."""
    source: Mapping[str, Any] = prepared or ((version.manifest if version else None) or {})
    foreseen = dict(source.get("forecast") or ((version.report if version else None) or {}).get("forecast") or {})
    rows = [int(table["rows"]) for table in source.get("tables") or [] if table.get("rows")]
    if rows:
        foreseen["customers"] = max(rows)
    return foreseen or None


def note_started(
    situation: Situation,
    table: MappingTable,
    output: Mapping[str, Any],
    kind: str,
    inputs: str,
    now: datetime,
) -> None:
    """Write the job that a call started; of one that was found only its id is known. `inputs`: digest of the files."""
    found = output.get("job") or {}
    job_id = str(output.get("idMappingWorkflowJobId") or found.get("jobId") or "")
    tracking = "" if job_id else str(output.get("trackingId") or "")
    if not job_id and not tracking:
        return
    same = {"job_id": job_id} if job_id else {"tracking_id": tracking}
    prepared = situation.outputs.get("identity-files", {}).get("prepare", {})
    MappingJob.objects.get_or_create(
        table=table,
        **same,
        defaults={
            "run": situation.run,
            "version": table.version,
            "kind": MappingJob.Kind.CREATE if found and not table.jobs.exists() else kind,
            "status": MappingJob.Status.QUEUED if job_id else MappingJob.Status.TRACKED,
            "asked_at": now,
            "seen_at": now,
            "forecast": forecast_of(table.version, prepared),
            "input_digest": inputs,
        },
    )
    if inputs:
        MappingTable.objects.filter(pk=table.pk).update(input_digest=inputs, looked_at=now)


def note_tracked(
    table: MappingTable | None, begun: Mapping[str, Any], output: Mapping[str, Any], now: datetime
) -> None:
    """Write the id of a job that was only tracked until now."""
    if table is None or not output.get("idMappingJobId") or not begun.get("trackingId"):
        return
    MappingJob.objects.filter(table=table, tracking_id=str(begun["trackingId"]), job_id="").update(
        job_id=str(output["idMappingJobId"]), status=MappingJob.Status.QUEUED, seen_at=now
    )


def claim_refresh(table: MappingTable, run: Run, now: datetime) -> None:
    """Take the one refresh of these 14 days for a run; inside a transaction. Raises Fix where it isn't free.

    The row is locked, so that of two who ask at the same moment one waits and then sees what the other did.
    """
    row = locked(MappingTable).get(pk=table.pk)
    claimant = row.refresh_claim
    if row.next_refresh_at is not None and now < row.next_refresh_at and row.refresh_claim_id != run.pk:
        raise Fix(
            f"The mapping table was refreshed on {row.refreshed_at:%-d %B %Y}.",
            why="AMC allows one refresh in 14 days.",
            who="Analyst",
            todo=f"Try again from {row.next_refresh_at:%-d %B %Y, %H:%M} UTC on.",
            code="RefreshedAlready",
        )
    if claimant is not None and claimant.pk != run.pk and claimant.ended_at is None:
        raise Fix(
            "Somebody else is refreshing this mapping table.",
            who="Analyst",
            todo="Wait for its end.",
            code="RefreshUnderWay",
        )
    row.refresh_claim = run
    row.save(update_fields=["refresh_claim"])


# What errorDetails look like, the likely cause, who can mend it and how. The first that fits counts.
_CAUSES: tuple[tuple[str, str, str, str], ...] = (
    (
        r"lower.?case",
        "A column of the data has capital letters in its name.",
        "Analyst",
        "Prepare the file anew (the portal writes lower case names), then replace the data.",
    ),
    (
        r"reserved",
        "A column has a name that Entity Resolution keeps for itself.",
        "Analyst",
        "Rename the column in the file, prepare it anew, then replace the data.",
    ),
    (
        r"access.?denied|not authorized|AccessDenied|assume|permission|kms",
        "The role of the ID namespace may not read the data any more.",
        "AWS administrator",
        "Compare the role with the step “Role that reads the identity data”: its trust, its bucket, its Glue "
        "database. If the bucket is encrypted with a key of your own, the role must be allowed to decrypt with it. "
        "Then try again.",
    ),
    (
        r"no files|does not exist|not found|NoSuch|no such",
        "Something that the ID namespace points to is no longer there: the files, the table or the schema mapping.",
        "Analyst",
        "Look at the table's location in S3 and whether the Glue table and the schema mapping exist, then try again.",
    ),
    (
        r"column|header|field",
        "The columns of the files, of the Glue table and of the schema mapping do not agree.",
        "Analyst",
        "Compare names and their order, prepare the file anew if need be, then replace the data.",
    ),
    (
        r"match rule|match key",
        "The data has no field that Amazon could match by.",
        "Analyst",
        "Add e-mail, telephone, or name with address to the file, prepare it anew, then replace the data.",
    ),
    (
        r"can't be read|corrupt|parse|decode|format",
        "A file can't be read.",
        "Analyst",
        "Check that the files at the table's location are what the Glue table says (CSV or Parquet), then try again.",
    ),
)


def likely_cause(error_details: str) -> dict[str, str]:
    """What a failed job most likely failed of: `what`, `who` can mend it, `todo`; Amazon's own words are the `why`."""
    for pattern, cause, who, todo in _CAUSES:
        if re.search(pattern, error_details, re.IGNORECASE):
            return {"what": f"The mapping job failed. {cause}", "who": who, "todo": todo}
    return {
        "what": "The mapping job failed.",
        "who": "Analyst",
        "todo": "Try again: the portal asks AMC to fill the table anew. If it happens twice, ask your Amazon contact, "
        "with the technical details below.",
    }
