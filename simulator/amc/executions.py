"""Workflow executions: the queries that were run in an instance, as the reporting API lists them.

Nobody's queries run here; executions are put there by the control API. Of the reporting API only the list is there.
"""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from simulator.amc import instances
from simulator.amc.context import PAGE, Amc, Answer, Call, page, stamp, whole_number
from simulator.amc.errors import ApiError, bad_request
from simulator.store import Document

KEPT = 90 * 86_400
"""Seconds for which the results of an execution can be retrieved."""
STATUSES = ("CANCELLED", "FAILED", "PENDING", "RUNNING", "SUCCEEDED")
WORKFLOW = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}")
_DAY = 86_400


def put(amc: Amc, instance: Document, workflow: str, created_at: float, status: str = "SUCCEEDED") -> Document:
    """Have an execution be there; inside a change."""
    execution = {"id": str(uuid.uuid4()), "workflow": workflow, "created_at": created_at, "status": status}
    number = amc.world.next_number("amc.executions")
    key = f"{instances.key_of(instance['account'], instance['id'])}/{number:012d}"
    amc.table("executions").put(key, execution)
    return execution


def list_(amc: Amc, call: Call) -> Answer:
    """listWorkflowExecutions; the newest first unless asked otherwise."""
    instance = _find(amc, call)
    query = call.query
    if not query.get("minCreationTime") and not query.get("workflowId"):
        raise bad_request("minCreationTime is required where no workflowId is given.")
    limit = whole_number(query["limit"], 1, PAGE, "limit", 422) if "limit" in query else PAGE
    zone = _zone(query.get("timeZone") or "UTC")
    least, most = (_moment(query.get(name), zone, name) for name in ("minCreationTime", "maxCreationTime"))
    ascending, cancelled, definition = (
        _yes(query, name) for name in ("sortAscending", "includeCancelled", "includeWorkflow")
    )
    table = amc.table("executions")
    found = {
        key: one
        for key in table.under(f"{instances.key_of(call.account_id, instance['id'])}/")
        if (one := table[key])["workflow"] == query.get("workflowId", one["workflow"])
        and (least is None or one["created_at"] >= least)
        and (most is None or one["created_at"] <= most)
        and (cancelled or one["status"] != "CANCELLED")
    }
    keys = sorted(found, key=lambda key: (found[key]["created_at"], key), reverse=not ascending)
    asked = sorted((name, value) for name, value in query.items() if name not in ("nextToken", "limit"))
    chosen, token = page(amc, keys, query.get("nextToken"), limit, f"executions {instance['id']} {asked}", 422)
    # The file says of nextToken that it is text, and its words that it is null at the end: it is left out.
    more = {} if token is None else {"nextToken": token}
    return 200, {"executions": [_shown(amc, instance, found[key], definition) for key in chosen], **more}


def _find(amc: Amc, call: Call) -> Document:
    try:
        return instances.find(amc, call)
    except ApiError as error:
        # This operation is published without a 404.
        raise ApiError(403, "Forbidden: you do not have access to this instance.") from error


def _shown(amc: Amc, instance: Document, execution: Document, definition: bool) -> Document:
    created, state = execution["created_at"], execution["status"]
    day = created - created % _DAY
    start, end = stamp(day - _DAY), stamp(day)
    channel: Document = {"channel": {"type": "ACR" if instance["acr"] else "DOWNLOAD"}, "status": "PENDING"}
    if state == "SUCCEEDED":
        kept = amc.now < created + KEPT
        channel["status"] = "AVAILABLE" if kept else "UNAVAILABLE"
        if not kept:
            channel["statusReason"] = "The execution was created more than 90 days ago."
    elif state in ("FAILED", "CANCELLED"):
        channel |= {"status": "FAILED", "statusReason": "The execution has not succeeded."}
    shown = {
        "workflowExecutionId": execution["id"],
        "workflowId": execution["workflow"],
        "status": state,
        "createTime": stamp(created),
        "lastUpdatedTime": stamp(created),
        "expireTime": stamp(created + _DAY),
        "timeWindowStart": start,
        "timeWindowEnd": end,
        "timeWindowStartOriginal": start.removesuffix("Z"),
        "timeWindowEndOriginal": end.removesuffix("Z"),
        "timeWindowTimeZoneOriginal": "UTC",
        "workflowExecutionTimeoutSeconds": 21_600,
        "disableAggregationControls": False,
        "requireSyntheticData": False,
        "outputChannels": [channel],
    }
    if instance["acr"] and instance["collaboration_id"]:
        shown["acrCollaborationId"] = instance["collaboration_id"]
    return {**shown, "sqlQuery": "SELECT 1"} if definition else shown


def _yes(query: dict[str, str], name: str) -> bool:
    value = query.get(name, "false")
    if value not in ("true", "false"):
        raise ApiError(422, f"{name} must be true or false.")
    return value == "true"


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (OSError, KeyError, ValueError) as error:
        raise ApiError(422, "timeZone is not the name of a time zone.") from error


def _moment(text: str | None, zone: ZoneInfo, name: str) -> float | None:
    """Seconds since 1970 of a time without an offset; None where it is not given."""
    if not text:
        return None
    try:
        if not _TIME.fullmatch(text):
            raise ValueError("not in the required format")
        return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()
    except (ValueError, OverflowError) as error:
        raise ApiError(422, f"{name} must be a time as yyyy-MM-dd'T'HH:mm:ss.") from error


def moment_of(text: object) -> float:
    """Seconds since 1970 of a time as the API writes it. Raises ValueError for another form."""
    if not isinstance(text, str) or not text.endswith("Z") or not _TIME.fullmatch(text[:-1]):
        raise ValueError("createTime must be a time as yyyy-MM-dd'T'HH:mm:ss'Z'")
    return datetime.fromisoformat(text[:-1]).replace(tzinfo=UTC).timestamp()
