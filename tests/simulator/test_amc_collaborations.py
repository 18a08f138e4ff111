"""Collaborations, ID namespaces, mapping tables and their jobs, seen from AMC."""

import threading

import pytest

from simulator.amc.collaborations import QUERY_SUBMITTER
from simulator.aws import collaborations as cleanrooms
from simulator.matching import job as matching
from simulator.people import HARBOUR
from simulator.server import Simulator
from tests.simulator.asking import Asking, dump

AWS, PARTNER = HARBOUR.aws_accounts
METRICS = {
    "inputRecords": 10,
    "totalRecordsProcessed": 9,
    "recordsNotProcessed": 1,
    "totalMappedRecords": 4,
    "totalMappedSourceRecords": 4,
    "totalMappedTargetRecords": 3,
    "uniqueRecordsLoaded": 3,
}


def join(simulator, collaboration, account):
    """What CreateMembership of Clean Rooms does."""
    with simulator.world.change():
        document = cleanrooms.collaboration(simulator.world, collaboration)
        number = f"00000000-0000-0000-0000-{account}"
        return cleanrooms.join(simulator.world, simulator.clock, document, account, number, {})


def associate(simulator, membership, name):
    """What CreateIdNamespaceAssociation of Clean Rooms does."""
    arn = f"arn:aws:entityresolution:us-east-1:{membership['account']}:idnamespace/{name}"
    with simulator.world.change():
        cleanrooms.add_namespace_association(
            simulator.world,
            simulator.clock,
            membership,
            name=name,
            namespace_arn=arn,
            namespace_type="SOURCE",
            manage_policies=True,
        )
    return arn


@pytest.fixture
def jobs(monkeypatch):
    """The namespaces that mapping jobs were run for; a job waits for `go`."""

    class Jobs(list):
        go = threading.Event()

    ran = Jobs()
    ran.go = threading.Event()
    ran.go.set()

    def run(world, clock, aws, *, namespace_arn):
        ran.append(namespace_arn)
        assert ran.go.wait(120)
        if namespace_arn.endswith("broken"):
            return matching.MappingOutcome(False, "The role can't be assumed.")
        return matching.MappingOutcome(True, None, METRICS)

    monkeypatch.setattr(matching, "run_mapping_job", run, raising=False)
    return ran


def settled(simulator):
    """Wait until no mapping job is under way."""
    simulator.progress.settle()
    for thread in list(simulator.progress._running.values()):
        thread.join(120)


@pytest.fixture
def active(simulator, ask):
    """The path of an instance whose customer has joined, and the customer's membership."""
    path = f"/amc/instances/{ask.create()}"
    collaboration = ask("GET", f"{path}/collaboration").json["collaboration"]["id"]
    return f"{path}/collaboration", join(simulator, collaboration, AWS)


def table(ask, path, name, arn, status=200):
    body = {"idMappingTableName": name, "sourceIdNamespaceArn": arn}
    return ask("POST", f"{path}/idmappingtables", body, status=status).json


def test_the_eight_kinds_of_member_and_the_partners(simulator, ask):
    partners = [
        {"awsAccountId": PARTNER, "displayName": "Shop", "abilities": ["CAN_RECEIVE_RESULTS"]},
        {"awsAccountId": "999988887777", "displayName": "Call centre"},
    ]
    instance = ask.create(acrCustomerPartners=partners)
    shown = ask("GET", f"/amc/instances/{instance}/collaboration").json["collaboration"]
    assert shown["status"] == "PENDING_ACCEPTANCE" and shown["id"] in shown["customerAcceptanceLink"]
    assert [one["displayName"] for one in shown["amcDataProviders"]] == [
        "Amazon Advertising Data Provider",
        "Lookalike Audience Generator",
        "Advertiser Uploaded Data Provider",
        "Third-party Paid Data Provider",
    ]
    assert shown["customer"] == {"accountId": AWS, "displayName": "Advertiser", "status": "INVITED"}
    assert [one["displayName"] for one in shown["customerPartners"]] == ["Shop", "Call centre"]
    assert [one["displayName"] for one in shown["resultsReceivers"]] == ["Advertiser", "AMC Results Receiver", "Shop"]
    assert shown["creator"]["displayName"] == "AMC service"
    assert shown["querySubmitter"]["displayName"] == "Query Submitter"
    joined = [shown["creator"], shown["querySubmitter"], *shown["amcDataProviders"], shown["resultsReceivers"][1]]
    assert all(one["status"] == "ACTIVE" and one["membershipId"] for one in joined)
    members = cleanrooms.members(simulator.world, shown["id"])
    assert len(members) == 10
    assert [one["accountId"] for one in members if one["pays"]] == [QUERY_SUBMITTER]


def test_the_customer_pays_when_told_so(simulator, ask):
    ask.control("POST", "settings", {"customer_pays": True})
    instance = ask.create()
    collaboration = ask("GET", f"/amc/instances/{instance}/collaboration").json["collaboration"]["id"]
    members = cleanrooms.members(simulator.world, collaboration)
    assert [one["accountId"] for one in members if one["pays"]] == [AWS]


def test_it_is_active_some_time_after_the_customer_joined(simulator, ask):
    simulator.pace.set({"collaboration_active": 420})
    path = f"/amc/instances/{ask.create()}/collaboration"
    collaboration = ask("GET", path).json["collaboration"]["id"]
    join(simulator, collaboration, AWS)
    shown = ask("GET", path).json["collaboration"]
    assert (shown["status"], shown["customer"]["status"]) == ("PENDING_ACCEPTANCE", "ACTIVE")
    assert ask("POST", f"{path}/idnamespaces/list", {}).status_code == 400
    simulator.clock.advance(421)
    assert ask("GET", path).json["collaboration"]["status"] == "ACTIVE"
    assert ask("POST", f"{path}/idnamespaces/list", {}).status_code == 200


def test_who_leaves_can_never_use_it_again(simulator, ask, active):
    path, membership = active
    arn = associate(simulator, membership, "people")
    cleanrooms.remove_member(simulator.world, simulator.clock, membership["collaborationId"], AWS, "LEFT")
    shown = ask("GET", path).json["collaboration"]
    assert (shown["status"], shown["customer"]["status"]) == ("DELETED", "LEFT")
    table(ask, path, "people", arn, 400)
    simulator.clock.advance(10**8)
    assert ask.control("GET", "clock")["ahead"] == 10**8


def test_a_failed_instance_never_gets_a_collaboration(simulator, ask):
    action = {"kind": "fail", "code": "QUOTA", "reason": "No room"}
    ask.control("POST", "rules", {"operation": "amc:createInstance", "action": action})
    instance = ask.create()
    assert ask("GET", f"/amc/instances/{instance}").json["instance"]["creationStatus"] == "FAILED"
    assert ask("GET", f"/amc/instances/{instance}/collaboration").json["collaboration"]["id"] == ""
    assert ask("DELETE", f"/amc/instances/{instance}").status_code == 204


def test_a_mapping_table_is_filled_by_a_job(simulator, ask, active, jobs):
    simulator.pace.set({"job_started": 10, "job_finished": 10})
    path, membership = active
    arn = associate(simulator, membership, "people")
    free = ask("POST", f"{path}/idnamespaces/list", {}, status=200).json
    assert [one["idNamespaceArn"] for one in free["collaborationIdNamespaceAssociations"]] == [arn]
    made = table(ask, path, "people", arn)
    assert made["collaborationId"] == membership["collaborationId"] and "trackingId" not in made
    shown = made["idMappingTable"]
    assert (shown["name"], shown["queryable"], shown["sourceAwsAccount"]) == ("people", False, AWS)
    assert ask("POST", f"{path}/idnamespaces/list", {}).json["collaborationIdNamespaceAssociations"] == []
    where = f"{path}/idmappingtables/{shown['id']}"
    job = f"{where}/jobs/{made['idMappingWorkflowJobId']}"
    assert ask("GET", job).json["idMappingJob"] == {"jobId": made["idMappingWorkflowJobId"], "status": "QUEUED"}
    jobs.go.clear()
    simulator.clock.advance(11)
    assert ask("GET", job).json["idMappingJob"]["status"] == "RUNNING"
    simulator.clock.advance(100)
    assert ask("GET", job).json["idMappingJob"]["status"] == "RUNNING"
    jobs.go.set()
    settled(simulator)
    done = ask("GET", job).json["idMappingJob"]
    assert done["status"] == "SUCCEEDED" and done["metrics"] == METRICS and done["startTime"] < done["endTime"]
    assert jobs == [arn]
    assert ask("POST", f"{path}/idmappingtables/list", {}).json["idMappingTables"][0]["queryable"] is True
    listed = ask("POST", f"{where}/jobs/list", {}).json
    assert listed["idMappingTableId"] == shown["id"]
    assert [one["status"] for one in listed["idMappingJobs"]] == ["SUCCEEDED"]
    assert len(simulator.world.table("amc.due")) == 0


def test_every_other_job_is_named_by_a_tracking_id_first(simulator, ask, active, jobs):
    simulator.pace.set({"job_tracking": 60})
    path, membership = active
    answers = [table(ask, path, name, associate(simulator, membership, name)) for name in ("a1", "a2", "a3", "a4")]
    assert ["trackingId" in one for one in answers] == [False, True, False, True]
    assert ["idMappingWorkflowJobId" in one for one in answers] == [True, False, True, False]
    where = f"{path}/idmappingtables/{answers[1]['idMappingTable']['id']}"
    tracker = f"{where}/jobTracker/{answers[1]['trackingId']}"
    assert ask("GET", tracker, status=200).json == {}
    assert ask("POST", f"{where}/jobs/list", {}).json["idMappingJobs"] == []
    simulator.clock.advance(61)
    job = ask("GET", tracker).json["idMappingJobId"]
    settled(simulator)
    assert ask("GET", f"{where}/jobs/{job}").json["idMappingJob"]["status"] == "SUCCEEDED"
    assert ask("GET", f"{where}/jobTracker/{job}").status_code == 404
    assert ask("GET", f"{where}/jobs/other").status_code == 404


def test_a_job_fails_with_the_reason(simulator, ask, active, jobs):
    path, membership = active
    made = table(ask, path, "people", associate(simulator, membership, "broken"))
    settled(simulator)
    where = f"{path}/idmappingtables/{made['idMappingTable']['id']}"
    failed = ask("GET", f"{where}/jobs/{made['idMappingWorkflowJobId']}").json["idMappingJob"]
    assert (failed["status"], failed["errorDetails"]) == ("FAILED", "The role can't be assumed.")
    action = {"kind": "fail", "reason": "Told so"}
    ask.control("POST", "rules", {"operation": "amc:refreshCollaborationIdMappingTable", "action": action})
    tracking = ask("POST", f"{where}/refresh", status=200).json["trackingId"]
    settled(simulator)
    job = ask("GET", f"{where}/jobTracker/{tracking}").json["idMappingJobId"]
    assert ask("GET", f"{where}/jobs/{job}").json["idMappingJob"]["errorDetails"] == "Told so"
    assert jobs == [f"arn:aws:entityresolution:us-east-1:{AWS}:idnamespace/broken"]


def test_five_tables_and_no_sixth(simulator, ask, active, jobs):
    path, membership = active
    arns = [associate(simulator, membership, f"people{number}") for number in range(6)]
    tables = [table(ask, path, f"t{number}", arns[number])["idMappingTable"]["id"] for number in range(5)]
    settled(simulator)
    before = dump(simulator)
    assert "at most 5" in table(ask, path, "t5", arns[5], 400)["details"]
    assert dump(simulator) == before
    assert ask("DELETE", f"{path}/idmappingtables/{tables[0]}", status=200).json == {}
    assert ask("DELETE", f"{path}/idmappingtables/{tables[0]}").status_code == 404
    table(ask, path, "t5", arns[5])
    pages = ask("POST", f"{path}/idmappingtables/list", {"maxResults": 3}).json
    rest = ask("POST", f"{path}/idmappingtables/list", {"maxResults": 3, "nextToken": pages["nextToken"]}).json
    names = [one["name"] for one in pages["idMappingTables"] + rest["idMappingTables"]]
    assert names == ["t1", "t2", "t3", "t4", "t5"] and rest["nextToken"] is None


@pytest.mark.parametrize(
    ("name", "arn"),
    [
        ("", None),
        ("with-dash", None),
        ("n" * 129, None),
        ("people2", "arn:aws:entityresolution:us-west-2:111122223333:idnamespace/people"),
        ("people2", "arn:aws:entityresolution:us-east-1:111122223333:idnamespace/unknown"),
        ("people2", "people"),
    ],
)
def test_a_wrong_table_is_refused(simulator, ask, active, jobs, name, arn):
    path, membership = active
    known = associate(simulator, membership, "people")
    before = dump(simulator)
    table(ask, path, name, arn or known, 400)
    assert dump(simulator) == before


def test_a_name_and_a_namespace_are_used_once(simulator, ask, active, jobs):
    path, membership = active
    arn, other = associate(simulator, membership, "people"), associate(simulator, membership, "others")
    table(ask, path, "people", arn)
    table(ask, path, "people", other, 400)
    table(ask, path, "again", arn, 400)


def test_a_refresh_once_in_fourteen_days(simulator, ask, active, jobs):
    path, membership = active
    made = table(ask, path, "people", associate(simulator, membership, "people"))
    where = f"{path}/idmappingtables/{made['idMappingTable']['id']}"
    settled(simulator)
    assert ask("POST", f"{where}/refresh").status_code == 200
    settled(simulator)
    simulator.clock.advance(14 * 86400 - 60)
    fresh = type(ask)(simulator)
    early = fresh("POST", f"{where}/refresh", status=400)
    assert "every 14 days" in early.json["details"]
    simulator.clock.advance(61)
    assert fresh("POST", f"{where}/refresh").status_code == 200
    settled(simulator)
    assert len(fresh("POST", f"{where}/jobs/list", {}).json["idMappingJobs"]) == 3
    assert len(jobs) == 3


def test_no_refresh_while_a_job_is_under_way(simulator, ask, active, jobs):
    simulator.pace.set({"job_started": 60})
    path, membership = active
    made = table(ask, path, "people", associate(simulator, membership, "people"))
    refused = ask("POST", f"{path}/idmappingtables/{made['idMappingTable']['id']}/refresh", status=400)
    assert "under way" in refused.json["details"]


def test_lists_take_their_limits(simulator, ask, active):
    path, _ = active
    assert ask("POST", f"{path}/idmappingtables/list", {"maxResults": 101}).status_code == 400
    assert ask("POST", f"{path}/idmappingtables/list", {"maxResults": 0}).status_code == 400
    assert ask("POST", f"{path}/idmappingtables/list", {"nextToken": 3}).status_code == 400
    assert ask("POST", f"{path}/idmappingtables/list", {"nextToken": "x"}).status_code == 400
    assert ask("POST", f"{path}/idnamespaces/list", {"nextToken": None}).status_code == 200
    assert ask("POST", f"{path}/idnamespaces/list").status_code == 400


def test_what_is_due_outlasts_a_restart(tmp_path, jobs):
    """A collaboration that is to come, and a mapping job that is to run."""
    first = Simulator(tmp_path, seeded=0)
    first.pace.set({"collaboration_pending": 60, "job_started": 60})
    path = f"/amc/instances/{Asking(first).create()}/collaboration"
    assert Asking(first)("GET", path).json["collaboration"]["status"] == "IN_PROGRESS"
    first.close()

    second = Simulator(tmp_path, seeded=0)
    second.clock.advance(61)
    ask = Asking(second)
    collaboration = ask("GET", path).json["collaboration"]
    assert collaboration["status"] == "PENDING_ACCEPTANCE"
    made = table(ask, path, "people", associate(second, join(second, collaboration["id"], AWS), "people"))
    where = f"{path}/idmappingtables/{made['idMappingTable']['id']}/jobs/{made['idMappingWorkflowJobId']}"
    second.close()

    third = Simulator(tmp_path, seeded=0)
    assert Asking(third)("GET", where).json["idMappingJob"]["status"] == "QUEUED" and jobs == []
    third.clock.advance(61)
    settled(third)
    assert Asking(third)("GET", where).json["idMappingJob"]["status"] == "SUCCEEDED" and len(jobs) == 1
    third.close()
