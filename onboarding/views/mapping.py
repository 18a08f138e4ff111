"""Mapping tables of an instance: the list, one of them with its history, what can be done, and the page to keep."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from onboarding.engine.authority import MAY_ASK
from onboarding.guide.mapping_job import ENDED, likely_cause
from onboarding.guide.procedure import PROCEDURE_TITLES
from onboarding.guide.refresh import changed_since
from onboarding.models import MappingJob, MappingTable, Run
from onboarding.models.mapping import MOST_TABLES
from onboarding.selectors import drift, results
from onboarding.selectors import mapping as selector
from onboarding.selectors.mapping import Funnel, Keep, TableLine
from onboarding.services import mapping, mapping_looks
from onboarding.services.errors import Refused
from onboarding.views.access_control import get_visible, person_of, require_role
from onboarding.views.chart import shares_over_time
from onboarding.views.components import Row
from onboarding.views.instances import InstancePage, account_number, instance_page
from onboarding.views.links import list_url, run_url
from onboarding.views.polling import next_look
from onboarding.views.shell import render_page_or_part

_TONES = {
    "TRACKED": "waiting",
    "QUEUED": "waiting",
    "RUNNING": "running",
    "SUCCEEDED": "done",
    "FAILED": "failed",
    "UNKNOWN": "waiting",
}


@dataclass(frozen=True)
class Bar:
    """One bar of the picture of a job: a number, and its share of the widest, 0 to 100."""

    label: str
    number: int
    share: float
    tone: str = ""
    hint: str = ""


def bars(funnel: Funnel) -> list[Bar]:
    """In the files → processed → matched, with what was left out."""
    widest = max(funnel.records, funnel.customers, 1)
    found = [
        Bar("Records read", funnel.records, 100 * funnel.records / widest),
        Bar("Processed", funnel.processed, 100 * funnel.processed / widest),
        Bar("Not processed", funnel.skipped, 100 * funnel.skipped / widest, "bad" if funnel.skipped else ""),
        Bar("Customers matched", funnel.matched, 100 * funnel.matched / widest, "good"),
    ]
    return found


MAPPING_STEPS = ("mapping-table", "refresh")


def mapping_picture(run: Run) -> dict[str, Any] | None:
    """The table that a run fills and the numbers of its job, for the progress page of the step."""
    line = selector.of_run(run)
    if line is None:
        return None
    last = line.last
    mine = last if last is not None and last.run_id == run.pk else None
    funnel = selector.funnel_of(mine)
    return {"table": line.table, "job": mine, "funnel": funnel, "bars": bars(funnel) if funnel else []}


@dataclass(frozen=True)
class JobRow:
    """One job in the history."""

    job: MappingJob
    tone: str
    word: str
    rate: float | None
    took: float | None
    run_url: str = ""


def _job_rows(line: TableLine) -> list[JobRow]:
    rows = []
    for job in line.jobs:
        funnel = selector.funnel_of(job)
        begun = job.started_at or job.asked_at
        took = (job.ended_at - begun).total_seconds() if job.ended_at and job.ended_at >= begun else None
        rows.append(
            JobRow(
                job,
                _TONES.get(job.status, ""),
                job.get_status_display(),
                funnel.rate if funnel else None,
                took,
                run_url(job.run) if job.run else "",
            )
        )
    return rows


def stands(line: TableLine) -> tuple[str, str]:
    """How a table stands: a tone and a word."""
    last = line.last
    if line.table.deleted_at is not None:
        return "withdrawn", "Deleted"
    if last is not None and last.status not in ENDED:
        return _TONES[last.status], "Being filled"
    if last is not None and last.status == MappingJob.Status.FAILED:
        return "failed", "The last job failed"
    return ("done", "Ready") if line.table.queryable else ("waiting", "Not queryable yet")


@require_safe
def tables(request: HttpRequest, pk: int) -> HttpResponse:
    """GET /instances/N/mapping-tables/: every mapping table, and what is not offered and why."""
    page = instance_page(request, pk)
    lines = selector.tables_of(page.instance)
    there = [line for line in lines if line.table.deleted_at is None]
    under_way = selector.open_runs(page.instance)
    return render(
        request,
        "mapping/tables.html",
        {
            **page.context("instance-mapping"),
            "lines": [(line, *stands(line)) for line in lines],
            "count": len(there),
            "most": MOST_TABLES,
            "several": len(there) > 1,
            "why_not": mapping.why_not_another(
                page.instance, tables=len(there), under_way=[run.procedure for run in under_way]
            ),
            "runs": [run for run in under_way if run.procedure == "mapping-table"],
        },
    )


@require_POST
def another(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /instances/N/mapping-tables/new: begin one more mapping table."""
    page = instance_page(request, pk)
    require_role(page.person, page.instance.account, *MAY_ASK)
    try:
        run = mapping.start_another(person=page.person, instance=page.instance, now=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
        return redirect("instance-mapping", pk)
    return redirect("run", run.pk)


def _table(request: HttpRequest, pk: int, table: int) -> tuple[InstancePage, MappingTable]:
    page = instance_page(request, pk)
    rows = MappingTable.objects.visible_to(person_of(request)).select_related(
        "namespace", "version__dataset", "policy_by", "instance__account"
    )
    return page, get_visible(rows, page.person, pk=table, instance=page.instance)


@require_safe
def table(request: HttpRequest, pk: int, table: int) -> HttpResponse:
    """GET /instances/N/mapping-tables/M/: numbers, dates, history; with HX-Request only what changes."""
    page, row = _table(request, pk, table)
    line, now = selector.table_of(row), timezone.now()
    funnel, jobs = line.funnel, _job_rows(line)
    busy = line.last is not None and line.last.status not in ENDED and row.deleted_at is None
    tone, word = stands(line)
    state, seen = f"{word}.{len(jobs)}", request.GET.get("seen", "")
    return render_page_or_part(
        request,
        "mapping/table.html",
        "mapping/_table.html",
        {
            **page.context("instance-mapping"),
            "table": row,
            "tone": tone,
            "word": word,
            "funnel": funnel,
            "bars": bars(funnel) if funnel else [],
            "jobs": jobs,
            "last": line.last,
            "cause": likely_cause(line.last.error_details)
            if line.last is not None and line.last.status == MappingJob.Status.FAILED
            else None,
            "chart": shares_over_time(
                [(job.job.ended_at or job.job.asked_at, job.rate) for job in jobs if job.rate is not None]
            ),
            "facts": _facts(row),
            "refresh": _refresh_words(row, line, now),
            "offers": _offers(row, line, now),
            "open_runs": [(run, PROCEDURE_TITLES[run.procedure], run_url(run)) for run in line.runs],
            "policies": MappingTable.Policy.choices,
            "can_look": page.may_ask and row.deleted_at is None and row.namespace is not None,
            "newer": selector.newest_version(row),
            "poll_seconds": next_look(now - line.last.asked_at) if busy and line.last else None,
            "since": line.last.asked_at if busy and line.last else None,
            "state": state,
            "news": word if seen and seen != state else "",
        },
    )


def _facts(row: MappingTable) -> list[Row]:
    rows = [
        Row("Name in queries", row.name, mono=True, copy=True),
        Row("Table id", row.table_id, mono=True, copy=True),
        Row("ARN", row.arn, mono=True, copy=True),
        Row("ID namespace", row.namespace.name if row.namespace else "", mono=True),
        Row("Data set", f"{row.version.dataset}, version {row.version.number}" if row.version else ""),
        Row("AWS account of the data", account_number(row.source_account_id), mono=True),
    ]
    return [one for one in rows if one.value]


def _refresh_words(row: MappingTable, line: TableLine, now: datetime) -> dict[str, Any]:
    """When the table may be refreshed, and whether its input changed."""
    next_at = row.next_refresh_at
    return {
        "next_at": next_at if next_at is not None and next_at > now else None,
        "days": -(-int((next_at - now).total_seconds()) // 86_400) if next_at is not None and next_at > now else 0,
        "changed": changed_since(row) if line.jobs else None,
        "looked_at": row.looked_at,
    }


_OFFERS = (
    ("refresh", "Refresh", "AMC reads the same data again. For files that changed where they are."),
    (
        "replace-dataset",
        "Replace the data",
        "A new table is made from newer data and checked; only then the old one is deleted.",
    ),
    ("delete-mapping-table", "Delete", "Queries that use this table no longer run."),
)


def _offers(row: MappingTable, line: TableLine, now: datetime) -> list[dict[str, str]]:
    found = []
    for procedure, title, hint in _OFFERS:
        why = mapping.why_not(procedure, row, selector.open_runs(row.instance), line.jobs, now=now)
        found.append({"procedure": procedure, "title": title, "hint": hint, "why_not": why})
    return found


@require_POST
def start(request: HttpRequest, pk: int, table: int) -> HttpResponse:
    """POST /instances/N/mapping-tables/M/start: begin a refresh, a replacement or the deletion."""
    page, row = _table(request, pk, table)
    require_role(page.person, page.instance.account, *MAY_ASK)
    try:
        run = mapping.start(
            person=page.person, table=row, procedure=request.POST.get("procedure", ""), now=timezone.now()
        )
    except Refused as refusal:
        messages.error(request, str(refusal))
        return redirect("mapping-table", pk, table)
    first = run.steps.order_by("position").first()
    # A procedure of one step begins with that step.
    return redirect("step", run.pk, first.key) if first and run.steps.count() == 1 else redirect("run", run.pk)


@require_POST
def policy(request: HttpRequest, pk: int, table: int) -> HttpResponse:
    """POST /instances/N/mapping-tables/M/policy: when the table is refreshed."""
    page, row = _table(request, pk, table)
    require_role(page.person, page.instance.account, *MAY_ASK)
    try:
        changed = mapping.set_policy(
            person=page.person, table=row, policy=request.POST.get("policy", ""), now=timezone.now()
        )
    except Refused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, "Saved." if changed else "It was so already.")
    return redirect("mapping-table", pk, table)


@require_POST
def look(request: HttpRequest, pk: int, table: int) -> HttpResponse:
    """POST /instances/N/mapping-tables/M/look: have a worker look whether the files changed."""
    page, row = _table(request, pk, table)
    require_role(page.person, page.instance.account, *MAY_ASK)
    if mapping_looks.put_look(row.pk):
        messages.success(request, "The portal looks at the files now. Load this page again in a moment.")
    else:
        messages.error(request, "The queue is out of reach just now. Try again in a minute.")
    return redirect("mapping-table", pk, table)


# --- the page to keep


@require_safe
def ready(request: HttpRequest, pk: int) -> HttpResponse:
    """GET /instances/N/ready/: what an analyst keeps beside the query editor; made to be printed."""
    page = instance_page(request, pk)
    keep = selector.keep_of(page.instance)
    return render(
        request,
        "mapping/ready.html",
        {
            **page.context("instance-ready"),
            "keep": keep,
            "names": _names(keep),
            "sql": example(keep),
            "limits": LIMITS,
            "differences": drift.open_count(page.instance),
            "results": results.next_end(page.instance, now=timezone.now()),
            "results_url": list_url("results", instance=page.instance.pk),
        },
    )


def _names(keep: Keep) -> list[Row]:
    results = keep.results
    rows = [
        Row("AMC instance", keep.instance.instance_id, mono=True, copy=True),
        *(Row("Mapping table", line.table.name, mono=True, copy=True) for line in keep.tables),
        Row("Your key column", keep.key_column, mono=True, hint="The unique key of your identity data."),
        Row("Your events join by", "customer_user_id", mono=True, hint="It holds the same values as the key column."),
    ]
    if results is not None:
        place = f"s3://{results.results_bucket}/{results.results_prefix}".rstrip("/") + "/"
        rows.append(Row("Results land in", place, mono=True, copy=True, hint=f"As {results.results_format}."))
    return [row for row in rows if row.value]


LIMITS = (
    "Results of a query can be fetched for 90 days. What lies in your own bucket stays until you delete it.",
    "Every query needs a date range: the parameters of the time window bound which events are read.",
    "There is no synthetic data in a collaboration instance: a query runs on the real rows or not at all.",
    "Identity joins work while the instance has exactly one mapping table.",
    "A mapping table can be refreshed once in 14 days.",
    "Results are aggregated; rows below AMC's thresholds come back empty.",
)


def example(keep: Keep) -> str:
    """A query that joins a table of the customer's own with Amazon's events by way of the mapping table."""
    name = keep.tables[0].table.name if keep.tables else "your_mapping_table"
    word = name if name.replace("_", "").isalnum() and " " not in name else f'"{name}"'
    key = keep.key_column or "your key"
    return (
        f"-- your_events: a table of yours in this collaboration; customer_user_id holds the values of {key}.\n"  # nosec B608 - text for a person to copy
        "-- The names of the mapping table's two columns are in AMC's schema explorer.\n"
        "SELECT\n"
        "  i.campaign,\n"
        "  COUNT(DISTINCT i.user_id) AS people_reached,\n"
        "  COUNT(DISTINCT e.customer_user_id) AS customers_reached\n"
        "FROM dsp_impressions AS i\n"
        f"JOIN {word} AS m ON m.target_id = i.user_id\n"
        "JOIN your_events AS e ON e.customer_user_id = m.source_id\n"
        "GROUP BY i.campaign"
    )


def _place(keep: Keep) -> dict[str, str] | None:
    found = keep.results
    if found is None:
        return None
    return {"bucket": found.results_bucket, "prefix": found.results_prefix, "format": found.results_format}


@require_safe
def ready_json(request: HttpRequest, pk: int) -> HttpResponse:
    """GET /instances/N/ready.json: the same as a document to download."""
    page = instance_page(request, pk)
    keep = selector.keep_of(page.instance)
    document = {
        "instance": {"name": page.instance.name, "id": page.instance.instance_id},
        "collaboration": {"id": page.instance.collaboration_id, "name": page.instance.collaboration_name},
        "ready": keep.ready,
        "checked_at": keep.checked_at,
        "differences_since": drift.open_count(page.instance),
        "checks": [{"what": check.title, "good": check.good, "at": check.at} for check in keep.checks],
        "mapping_tables": [
            {
                "name": line.table.name,
                "id": line.table.table_id,
                "queryable": line.table.queryable,
                "match_rate": line.funnel.rate if line.funnel else None,
                "next_refresh_at": line.table.next_refresh_at,
            }
            for line in keep.tables
        ],
        "identity_tables": [
            {
                "namespace": namespace.name,
                "tables": [
                    {"database": one.database, "name": one.glue_table, "columns": one.columns}
                    for one in namespace.tables.all()
                ],
            }
            for namespace in keep.namespaces
        ],
        "key_column": keep.key_column,
        "events_join_by": "customer_user_id",
        "results": _place(keep),
        "next_results_end_at": results.next_end(page.instance, now=timezone.now()).ends_at,
        "limits": list(LIMITS),
        "example": example(keep),
    }
    name = f"ready-{page.instance.instance_id or page.instance.pk}.json"
    return JsonResponse(
        document,
        json_dumps_params={"indent": 2, "ensure_ascii": False},
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )
