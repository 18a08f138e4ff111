"""Workflow executions: what the reporting API lists of them, as published, and how they come to be there."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest

from simulator import exchanges
from simulator.people import CATALOGUE, HARBOUR, LUMEN
from simulator.server import Simulator
from tests.simulator.asking import Asking
from tests.simulator.test_contract import REPORTING

MEDIA = "application/vnd.amcworkflowexecutions.v1+json"
DAY = 86_400


def at(simulator, days: float) -> str:
    """The moment so many days ago, as the control API takes it."""
    return datetime.fromtimestamp(simulator.clock.now().timestamp() - days * DAY, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def instance(simulator, ask) -> str:
    """An instance with executions of 1, 10, 89 and 100 days ago; the one of 10 days was cancelled."""
    made = ask.create()
    wanted = [
        {"workflowId": "reach", "createTime": at(simulator, 10), "status": "CANCELLED"},
        {"workflowId": "reach", "createTime": at(simulator, 1), "status": "RUNNING"},
        {"workflowId": "reach", "createTime": at(simulator, 89)},
        {"workflowId": "paths", "createTime": at(simulator, 100)},
    ]
    ask.control("POST", "seed-executions", {"account": HARBOUR.id, "instance": made, "executions": wanted})
    return made


def listed(ask, instance: str, status: int = 200, **query) -> list | str:
    answer = ask(
        "GET", f"/amc/reporting/{instance}/workflowExecutions?" + "&".join(f"{k}={v}" for k, v in query.items())
    )
    assert (answer.status_code, answer.content_type) == (status, MEDIA), answer.text
    return answer.json["executions"] if status == 200 else answer.json["details"]


def times(executions: list) -> list[str]:
    return [one["createTime"] for one in executions]


def test_the_newest_come_first_and_those_that_were_cancelled_only_when_asked_for(simulator, ask, instance):
    least = at(simulator, 200)[:-1]
    every = listed(ask, instance, minCreationTime=least)
    assert times(every) == [at(simulator, days) for days in (1, 89, 100)]
    assert [(one["workflowId"], one["status"]) for one in every] == [
        ("reach", "RUNNING"),
        ("reach", "SUCCEEDED"),
        ("paths", "SUCCEEDED"),
    ]
    assert all(re.fullmatch(r"[0-9a-f-]{36}", one["workflowExecutionId"]) and "sqlQuery" not in one for one in every)
    # Results are kept for 90 days.
    assert [one["outputChannels"][0]["status"] for one in every] == ["PENDING", "AVAILABLE", "UNAVAILABLE"]
    up = listed(ask, instance, minCreationTime=least, sortAscending="true", includeCancelled="true")
    assert times(up) == [at(simulator, days) for days in (100, 89, 10, 1)]
    assert len(listed(ask, instance, workflowId="reach")) == 2
    assert listed(ask, instance, workflowId="paths", includeWorkflow="true")[0]["sqlQuery"]


def test_from_and_to_a_moment_in_a_time_zone(simulator, ask, instance):
    least, most = at(simulator, 89)[:-1], at(simulator, 20)[:-1]
    assert times(listed(ask, instance, minCreationTime=least, maxCreationTime=most)) == [at(simulator, 89)]
    # Nine hours earlier than the same words in UTC.
    ahead = at(simulator, 89 - 8 / 24)[:-1]
    assert len(listed(ask, instance, minCreationTime=ahead, timeZone="UTC")) == 1
    assert len(listed(ask, instance, minCreationTime=ahead, timeZone="Asia/Tokyo")) == 2


def test_page_by_page_and_each_token_for_its_own_list(simulator, ask, instance):
    query = {"minCreationTime": at(simulator, 200)[:-1], "sortAscending": "true"}
    path = f"/amc/reporting/{instance}/workflowExecutions"
    first = ask.client.get(path, query_string={**query, "limit": "2"}, headers=ask.headers).json
    rest = ask.client.get(path, query_string={**query, "nextToken": first["nextToken"]}, headers=ask.headers).json
    assert times(first["executions"] + rest["executions"]) == [at(simulator, days) for days in (100, 89, 1)]
    assert "nextToken" not in rest
    other = {"minCreationTime": at(simulator, 50)[:-1], "nextToken": first["nextToken"]}
    assert ask.client.get(path, query_string=other, headers=ask.headers).status_code == 422


@pytest.mark.parametrize(
    ("query", "status", "complaint"),
    [
        ({}, 400, "minCreationTime is required"),
        ({"minCreationTime": "2026-01-01"}, 422, "minCreationTime must be"),
        ({"minCreationTime": "2026-01-01T00:00:00Z"}, 422, "minCreationTime must be"),
        ({"workflowId": "reach", "maxCreationTime": "2026-13-01T00:00:00"}, 422, "maxCreationTime must be"),
        ({"workflowId": "reach", "timeZone": "Mars/Olympus"}, 422, "timeZone"),
        ({"workflowId": "reach", "timeZone": "../etc"}, 422, "timeZone"),
        ({"workflowId": "reach", "sortAscending": "True"}, 422, "sortAscending must be"),
        ({"workflowId": "reach", "limit": "101"}, 422, "limit must be"),
        ({"workflowId": "reach", "nextToken": "nonsense"}, 422, "nextToken"),
    ],
)
def test_what_is_wrong_is_said(ask, instance, query, status, complaint):
    assert complaint in listed(ask, instance, status, **query)


def test_another_accounts_instance_is_forbidden_and_a_viewer_reads(simulator, ask, instance):
    # The operation is published without a 404.
    assert "access" in listed(ask, "amc00000000", 403, workflowId="reach")
    other = Asking(simulator, account=LUMEN.id, marketplace=LUMEN.marketplace)
    listed(other, instance, 403, workflowId="reach")
    assert listed(Asking(simulator, "analyst"), instance, workflowId="paths")


def test_they_go_with_their_instance(simulator, ask, instance):
    ask("DELETE", f"/amc/instances/{instance}", status=204)
    assert not simulator.amc.table("executions").keys()


@pytest.mark.parametrize(
    "wrong",
    [
        {"instance": "amc00000000"},
        {"executions": "none"},
        {"executions": [{"workflowId": "", "createTime": "2026-01-01T00:00:00Z"}]},
        {"executions": [{"workflowId": "reach", "createTime": "yesterday"}]},
        {"executions": [{"workflowId": "reach", "createTime": "2026-01-01T00:00:00Z", "status": "LOST"}]},
        {"executions": [{"workflowId": "reach", "createTime": "2026-01-01T00:00:00Z", "colour": "red"}]},
    ],
)
def test_the_control_api_refuses_what_can_not_be(simulator, ask, instance, wrong):
    before = len(simulator.amc.table("executions"))
    body = {"account": HARBOUR.id, "instance": instance, "executions": [], **wrong}
    assert ask.control("POST", "seed-executions", body, status=400)["error"]
    assert len(simulator.amc.table("executions")) == before


def test_the_demo_world_has_some_that_end_soon():
    simulator = Simulator(seeded=2)
    ask = Asking(simulator, account=CATALOGUE.id, marketplace=CATALOGUE.marketplace)
    instance = ask("GET", "/amc/instances").json["instances"][1]["instanceId"]
    assert len(listed(ask, instance, minCreationTime=at(simulator, 90)[:-1])) == 4
    simulator.close()


def test_what_was_exchanged_is_held_against_the_published_files(simulator, ask, instance):
    listed(ask, instance, minCreationTime="2020-01-01T00:00:00", sortAscending="true", limit="100")
    listed(ask, instance, 422, workflowId="reach", limit="0")
    captured = [
        one for one in ask.control("GET", "exchanges?since=0") if one["operation"] == "amc:listWorkflowExecutions"
    ]
    reporting = [json.loads(REPORTING.read_bytes())] if REPORTING.exists() else []
    # With the reporting API's own file; and by our description, whether the other file is there or none is.
    for files in (reporting, [{"paths": {"/amc/instances": {}}}], []):
        assert exchanges.check(captured, files) == (2, [])
    wrong = {**captured[0], "query": "sortAscending=yes&minCreationTimes=1"}
    problems = " ".join(exchanges.check([wrong], reporting)[1])
    assert "minCreationTimes" in problems and "'yes' is not of type 'boolean'" in problems
