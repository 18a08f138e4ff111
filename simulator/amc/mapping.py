"""ID mapping tables and the jobs that fill them (guide 7)."""

from __future__ import annotations

import re
import uuid

from simulator.amc import collaborations, instances
from simulator.amc.context import Amc, Answer, Call, page, stamp
from simulator.amc.errors import bad_request, not_found
from simulator.aws import collaborations as cleanrooms
from simulator.store import Document

QUOTA = 5
"""Mapping tables an instance may have."""
REFRESH_SECONDS = 14 * 86400
"""A table can be refreshed once in this time."""
NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_ ]{0,126}[A-Za-z0-9_])?")
NAMESPACE = re.compile(r"arn:aws:entityresolution:us-east-1:[0-9]{12}:idnamespace/[A-Za-z0-9_-]{1,255}")


def _table(amc: Amc, call: Call, instance: Document) -> tuple[str, Document]:
    key = f"{instances.key_of(call.account_id, instance['id'])}/{call.path['idMappingTableId']}"
    table = amc.table("mapping_tables").get(key)
    if table is None:
        raise not_found(f"ID mapping table {call.path['idMappingTableId'][:60]}")
    return key, table


def _under(amc: Amc, name: str, prefix: str) -> list[str]:
    return amc.table(name).under(f"{prefix}/")


def _limit(call: Call, most: int) -> int:
    wanted = call.body.get("maxResults", most)
    if wanted < 1:
        raise bad_request(f"maxResults must be from 1 to {most}.")
    return int(wanted)


def list_namespaces(amc: Amc, call: Call) -> Answer:
    """listCollaborationIdNamespaces: SOURCE associations of the customer that no mapping table uses."""
    instance = collaborations.find_active(amc, call)
    _limit(call, 100)
    place = instances.key_of(call.account_id, instance["id"])
    used = {amc.table("mapping_tables")[key]["namespace"] for key in _under(amc, "mapping_tables", place)}
    free = [one for one in _sources(amc, instance) if one["idNamespaceArn"] not in used]
    places, token = page(
        amc, [str(number) for number in range(len(free))], call.body.get("nextToken"), 100, f"namespaces {place}"
    )
    return 200, {
        "collaborationId": instance["collaboration_id"],
        "collaborationIdNamespaceAssociations": [free[int(number)] for number in places],
        "nextToken": token,
    }


def _sources(amc: Amc, instance: Document) -> list[Document]:
    wanted = ("id", "creatorAccountId", "idNamespaceArn", "idNamespaceType", "createTime", "updateTime")
    found = cleanrooms.id_namespace_associations(amc.world, instance["collaboration_id"])
    sources = [one for one in found if one["idNamespaceType"] == "SOURCE"]
    return [{key: one[key] for key in wanted} for one in sources]


def create(amc: Amc, call: Call) -> Answer:
    """createCollaborationIdMappingTable; every other job answers with a tracking id in place of its id."""
    call.may_change()
    instance = collaborations.find_active(amc, call)
    name, namespace = call.body["idMappingTableName"], call.body["sourceIdNamespaceArn"]
    if not NAME.fullmatch(name):
        raise bad_request("idMappingTableName must be 1 to 128 English letters, digits, underscores or inner spaces.")
    if not NAMESPACE.fullmatch(namespace):
        raise bad_request("sourceIdNamespaceArn is not the ARN of an ID namespace in us-east-1.")
    place = instances.key_of(call.account_id, instance["id"])
    tables = [amc.table("mapping_tables")[key] for key in _under(amc, "mapping_tables", place)]
    source = next((one for one in _sources(amc, instance) if one["idNamespaceArn"] == namespace), None)
    if source is None:
        raise bad_request("The ID namespace is not associated to the collaboration as a SOURCE.")
    if any(table["namespace"] == namespace for table in tables):
        raise bad_request("The ID namespace is already connected to an ID mapping table.")
    if any(table["name"] == name for table in tables):
        raise bad_request("The collaboration already has an ID mapping table with this name.")
    if len(tables) >= QUOTA:
        raise bad_request(f"An instance can have at most {QUOTA} ID mapping tables.")
    table_id = str(uuid.uuid4())
    owner = collaborations.DATA_PROVIDER
    workflow = f"arn:aws:entityresolution:us-east-1:{owner}:idmappingworkflow/amc-{table_id}"
    recorded = cleanrooms.record_id_mapping_table(
        amc.world,
        amc.clock,
        instance["collaboration_id"],
        owner_account=owner,
        name=name,
        source_association_id=source["id"],
        table_id=table_id,
        workflow_arn=workflow,
    )
    table = {
        "id": table_id,
        "instance": instance["id"],
        "name": name,
        "namespace": namespace,
        "source_account": source["creatorAccountId"],
        "arn": recorded["arn"],
        "workflow_arn": workflow,
        "created_at": amc.now,
        "refreshed_at": None,
    }
    key = f"{place}/{table_id}"
    amc.table("mapping_tables").put(key, table)
    started = _start(amc, call, key, namespace)
    shown = _shown(amc, key, table)
    return 200, {"collaborationId": instance["collaboration_id"], "idMappingTable": shown, **started}


def refresh(amc: Amc, call: Call) -> Answer:
    """refreshCollaborationIdMappingTable; once in 14 days, and not while a job is under way."""
    call.may_change()
    instance = collaborations.find_active(amc, call)
    key, table = _table(amc, call, instance)
    last = table["refreshed_at"]
    if last is not None and amc.now < last + REFRESH_SECONDS:
        raise bad_request(
            f"The ID mapping table was refreshed on {stamp(last)}; only one refresh every 14 days is allowed."
        )
    jobs = amc.table("mapping_jobs")
    if any(status(jobs[job], amc.now) in ("QUEUED", "RUNNING") for job in _under(amc, "mapping_jobs", key)):
        raise bad_request("A job of this ID mapping table is still under way.")
    amc.table("mapping_tables").put(key, {**table, "refreshed_at": amc.now})
    return 200, {"collaborationId": instance["collaboration_id"], **_start(amc, call, key, table["namespace"])}


def _start(amc: Amc, call: Call, key: str, namespace: str) -> Document:
    number = amc.world.next_number("amc.job", start=1)
    tracked = number % 2 == 0
    queued = amc.now + (amc.pace.seconds("job_tracking") if tracked else 0)
    started = queued + amc.pace.seconds("job_started")
    job = uuid.uuid4().hex
    amc.table("mapping_jobs").put(
        f"{key}/{job}",
        {
            "id": job,
            "namespace": namespace,
            "queued_at": queued,
            "started_at": started,
            "earliest_end": started + amc.pace.seconds("job_finished"),
            "fail": call.fail,
            "outcome": None,
        },
    )
    amc.later("job", started, key=f"{key}/{job}")
    if not tracked:
        return {"idMappingWorkflowJobId": job}
    tracking = str(uuid.uuid4())
    amc.table("trackings").put(f"{key}/{tracking}", {"job": job, "at": queued})
    return {"trackingId": tracking}


def status(job: Document, now: float) -> str:
    """The status of a job at `now`."""
    if now < job["started_at"]:
        return "QUEUED"
    outcome = job["outcome"]
    if outcome is None or now < job["earliest_end"]:
        return "RUNNING"
    return "SUCCEEDED" if outcome["error"] is None else "FAILED"


def _times(job: Document, now: float) -> Document:
    times = {}
    if now >= job["started_at"]:
        times["startTime"] = stamp(job["started_at"])
    if status(job, now) in ("SUCCEEDED", "FAILED"):
        times["endTime"] = stamp(max(job["earliest_end"], job["outcome"]["at"]))
    return times


def _visible_jobs(amc: Amc, key: str) -> list[str]:
    jobs = amc.table("mapping_jobs")
    return [job for job in _under(amc, "mapping_jobs", key) if jobs[job]["queued_at"] <= amc.now]


def list_jobs(amc: Amc, call: Call) -> Answer:
    """listCollaborationIdMappingJobs; newest first."""
    instance = collaborations.find(amc, call)
    key, table = _table(amc, call, instance)
    keys = list(reversed(_visible_jobs(amc, key)))
    chosen, token = page(amc, keys, call.body.get("nextToken"), _limit(call, 25), f"jobs {key}")
    jobs = [amc.table("mapping_jobs")[job] for job in chosen]
    shown = [{"jobId": job["id"], "status": status(job, amc.now), **_times(job, amc.now)} for job in jobs]
    return 200, {"idMappingTableId": table["id"], "idMappingJobs": shown, "nextToken": token}


def get_job(amc: Amc, call: Call) -> Answer:
    """getCollaborationIdMappingJob."""
    instance = collaborations.find(amc, call)
    key, _ = _table(amc, call, instance)
    job = amc.table("mapping_jobs").get(f"{key}/{call.path['jobId']}")
    if job is None or job["queued_at"] > amc.now:
        raise not_found(f"ID mapping job {call.path['jobId'][:60]}")
    state = status(job, amc.now)
    answer = {"jobId": job["id"], "status": state, **_times(job, amc.now)}
    if state == "SUCCEEDED":
        answer["metrics"] = job["outcome"]["metrics"]
    elif state == "FAILED":
        answer["errorDetails"] = job["outcome"]["error"]
    return 200, {"idMappingJob": answer}


def track(amc: Amc, call: Call) -> Answer:
    """getCollaborationIdMappingJobForTrackingId; no job id in the answer while there is none."""
    instance = collaborations.find(amc, call)
    key, _ = _table(amc, call, instance)
    tracking = amc.table("trackings").get(f"{key}/{call.path['trackingId']}")
    if tracking is None:
        raise not_found(f"tracking id {call.path['trackingId'][:60]}")
    return 200, {"idMappingJobId": tracking["job"]} if tracking["at"] <= amc.now else {}


def _shown(amc: Amc, key: str, table: Document) -> Document:
    jobs = [amc.table("mapping_jobs")[job] for job in _under(amc, "mapping_jobs", key)]
    done = [job for job in jobs if status(job, amc.now) == "SUCCEEDED"]
    updated = max([table["created_at"], *(max(job["earliest_end"], job["outcome"]["at"]) for job in done)])
    return {
        "id": table["id"],
        "arn": table["arn"],
        "name": table["name"],
        "description": f"ID mapping table of AMC instance {table['instance']}",
        "queryable": bool(done),
        "sourceAwsAccount": table["source_account"],
        "workflowArn": table["workflow_arn"],
        "createTime": stamp(table["created_at"]),
        "updateTime": stamp(updated),
    }


def list_tables(amc: Amc, call: Call) -> Answer:
    """listCollaborationIdMappingTables; oldest first."""
    instance = collaborations.find(amc, call)
    place = instances.key_of(call.account_id, instance["id"])
    keys = _under(amc, "mapping_tables", place)
    chosen, token = page(amc, keys, call.body.get("nextToken"), _limit(call, 100), f"tables {place}")
    return 200, {
        "collaborationId": instance["collaboration_id"],
        "idMappingTables": [_shown(amc, key, amc.table("mapping_tables")[key]) for key in chosen],
        "nextToken": token,
    }


def delete(amc: Amc, call: Call) -> Answer:
    """deleteCollaborationIdMappingTable, with its jobs."""
    call.may_change()
    instance = collaborations.find(amc, call)
    key, table = _table(amc, call, instance)
    for name in ("mapping_jobs", "trackings"):
        for row in _under(amc, name, key):
            amc.table(name).delete(row)
    amc.table("mapping_tables").delete(key)
    cleanrooms.delete_id_mapping_table(amc.world, table["id"])
    return 200, {}
