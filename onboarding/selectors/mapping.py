"""What the pages of mapping tables read, in a bounded number of queries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Prefetch

from onboarding.models import (
    CallRecord,
    DatasetVersion,
    IdNamespace,
    Instance,
    MappingJob,
    MappingTable,
    Membership,
    NamespaceTable,
    Run,
    Step,
    StepState,
)
from onboarding.models.mapping import match_rate

MOST_JOBS = 60


@dataclass(frozen=True)
class Funnel:
    """The numbers of one job: records that went in, were processed, were not, and customers that were matched.

    Shares are of `customers` (the different keys of the data, as far as known, else the records that went in), 0 to 1.
    """

    records: int
    processed: int
    skipped: int
    matched: int
    people: int
    customers: int
    rate: float
    foreseen: float | None

    @property
    def low(self) -> bool:
        """Whether far fewer were matched than is usual, or than the files let expect."""
        return self.rate < 0.3 or (self.foreseen is not None and self.rate < 0.4 * self.foreseen)


def funnel_of(job: MappingJob | None) -> Funnel | None:
    """The numbers of a job that succeeded, or None."""
    if job is None or job.status != MappingJob.Status.SUCCEEDED:
        return None
    metrics, foreseen = job.metrics, job.forecast or {}
    records = int(metrics.get("inputRecords") or 0)
    customers = int(foreseen.get("customers") or 0) or records
    rate = match_rate(metrics, customers)
    if rate is None:
        return None
    rows, matchable = foreseen.get("rows"), foreseen.get("matchable")
    return Funnel(
        records=records,
        processed=int(metrics.get("totalRecordsProcessed") or 0),
        skipped=int(metrics.get("recordsNotProcessed") or 0),
        matched=int(metrics.get("totalMappedSourceRecords") or 0),
        people=int(metrics.get("totalMappedTargetRecords") or 0),
        customers=customers,
        rate=rate,
        foreseen=matchable / rows if rows and matchable is not None else None,
    )


@dataclass(frozen=True)
class TableLine:
    """A mapping table with its jobs, the newest first, and the open runs about it."""

    table: MappingTable
    jobs: list[MappingJob]
    runs: list[Run]

    @property
    def last(self) -> MappingJob | None:
        """The newest job."""
        return self.jobs[0] if self.jobs else None

    @property
    def funnel(self) -> Funnel | None:
        """The numbers of the newest job that succeeded."""
        return funnel_of(next((job for job in self.jobs if job.status == MappingJob.Status.SUCCEEDED), None))


def tables_of(instance: Instance) -> list[TableLine]:
    """The mapping tables of an instance, those that are gone last (three queries)."""
    tables = MappingTable.objects.filter(instance=instance).select_related(
        "namespace", "version__dataset", "policy_by", "instance__account"
    )
    runs = open_runs(instance)
    jobs = MappingJob.objects.select_related("run", "version").order_by("-asked_at", "-pk")
    lines = [
        TableLine(table, list(table.jobs.all()), [run for run in runs if run.subject == str(table.pk)])
        for table in tables.prefetch_related(Prefetch("jobs", jobs))
    ]
    return sorted(lines, key=lambda line: line.table.deleted_at is not None)


def open_runs(instance: Instance) -> list[Run]:
    """The runs of an instance that are under way."""
    return list(Run.objects.filter(instance=instance, ended_at=None).order_by("started_at"))


def table_of(table: MappingTable) -> TableLine:
    """One mapping table (two queries)."""
    jobs = table.jobs.select_related("run", "version").order_by("-asked_at", "-pk")[:MOST_JOBS]
    runs = [run for run in open_runs(table.instance) if run.subject == str(table.pk)]
    return TableLine(table, list(jobs), runs)


def newest_version(table: MappingTable) -> DatasetVersion | None:
    """The newest prepared version of the table's data set, if it is newer than the one in the table."""
    if table.version is None:
        return None
    newest = DatasetVersion.objects.filter(dataset=table.version.dataset_id, state="ready").order_by("-number").first()
    return newest if newest is not None and newest.number > table.version.number else None


def of_run(run: Run) -> TableLine | None:
    """The mapping table that a run made or is about, for its progress page (at most two queries)."""
    rows = MappingTable.objects.select_related("instance__account", "version__dataset", "namespace")
    table = rows.filter(pk=int(run.subject)).first() if run.subject.isdigit() else None
    made = rows.filter(run=run).order_by("-pk").first()
    table = made or table
    return TableLine(table, list(table.jobs.order_by("-asked_at", "-pk")[:5]), []) if table else None


# --- the page to keep


@dataclass(frozen=True)
class Check:
    """One link of the chain: what was looked at, when, and whether it was as it has to be (None: not looked at yet)."""

    title: str
    good: bool | None
    at: datetime | None
    detail: str = ""


@dataclass(frozen=True)
class Keep:
    """What an analyst needs to write queries."""

    instance: Instance
    tables: list[TableLine]
    memberships: list[Membership]
    namespaces: list[IdNamespace]
    checks: list[Check]
    checked_at: datetime | None

    @property
    def ready(self) -> bool:
        """Whether a table can be queried and every check that was made is good."""
        checked = [check.good for check in self.checks]
        return any(line.table.queryable for line in self.tables) and bool(checked) and all(checked)

    @property
    def results(self) -> Membership | None:
        """The membership that receives the results."""
        return next((one for one in self.memberships if one.receives_results), None)

    @property
    def key_column(self) -> str:
        """The name of the unique key in the identity data."""
        keys = (table.key_column for namespace in self.namespaces for table in namespace.tables.all())
        return next(filter(None, keys), "")


def keep_of(instance: Instance) -> Keep:
    """Everything on the page to keep (seven queries at most)."""
    lines = [line for line in tables_of(instance) if line.table.deleted_at is None]
    mapped = {line.table.namespace_id for line in lines}
    namespaces = IdNamespace.objects.filter(instance=instance, pk__in=[pk for pk in mapped if pk])
    step = Step.objects.filter(run__instance=instance, key="ready").order_by("-run__started_at").first()
    return Keep(
        instance=instance,
        tables=lines,
        memberships=list(Membership.objects.filter(instance=instance, left_at=None).order_by("pk")),
        namespaces=list(
            namespaces.prefetch_related(Prefetch("tables", NamespaceTable.objects.order_by("position"))).order_by("pk")
        ),
        checks=_checks(step) if step else [],
        checked_at=step.finished_at if step else None,
    )


def _checks(step: Step) -> list[Check]:
    """What became of each look: the first without a record is the one that failed, if the step has failed."""
    records = {row.key: row for row in CallRecord.objects.filter(step=step, finished_at__isnull=False)}
    found: list[Check] = []
    stopped = False
    for call in step.plan:
        record = records.get(call["key"])
        if record is not None:
            found.append(Check(call["title"], True, record.finished_at))
        elif step.state == StepState.FAILED and not stopped:
            stopped = True
            found.append(Check(call["title"], False, step.since, str((step.failure or {}).get("what") or "")))
        else:
            found.append(Check(call["title"], None, None))
    return found
