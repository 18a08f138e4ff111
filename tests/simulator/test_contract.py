"""The project's own description of the API against the published one, and the simulator against either."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from simulator import contract
from simulator.amc import description
from simulator.amc.api import HANDLERS
from simulator.people import CLIENT_ID, HARBOUR
from simulator.testing import ROOT

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
# The administration API, and the reporting API.
FILES = [Path(one) for one in os.environ.get("AMC_OPENAPI", "").split(os.pathsep) if one]
FILES += [REFERENCE / f"amc-{name}.openapi.json" for name in ("administration", "reporting")][len(FILES) :]
PUBLISHED, REPORTING = FILES[:2]


def published(file=PUBLISHED):
    """The vendor's file if it is here, else our own description: then at least nothing contradicts itself."""
    return json.loads(file.read_bytes()) if file.exists() else description.document()


def test_our_description_is_sound():
    validate(description.document())
    ids = [one.id for one in description.operations()]
    assert len(ids) == len(set(ids)) == 22
    assert set(ids) == {*HANDLERS, "AmcpLinkListAmcAccounts"}


@pytest.mark.parametrize("file", FILES[:2], ids=["administration", "reporting"])
def test_nothing_published_is_missing_from_our_description(file):
    assert contract.compared(published(file))
    assert contract.differences(published(file), description.document()) == []


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        (lambda d: d["paths"].pop("/amc/accounts"), "GET /amc/accounts: missing"),
        (lambda d: d["paths"]["/amc/instances"].pop("post"), "POST /amc/instances: missing"),
        (
            lambda d: d["paths"].pop("/amc/reporting/{instanceId}/workflowExecutions"),
            "GET /amc/reporting/{instanceId}/workflowExecutions: missing",
        ),
        (lambda d: d["components"]["schemas"]["Instance"]["properties"].pop("entities"), ".entities: missing"),
        (lambda d: d["components"]["schemas"]["Instance"]["required"].remove("instanceId"), "instanceId: is required"),
        (lambda d: d["components"]["schemas"]["AdvertiserType"]["enum"].remove("SAS"), "enum has SAS"),
        (lambda d: d["components"]["schemas"]["AdvertiserType"]["enum"].append("TV"), "enum has no TV"),
        (
            lambda d: d["components"]["schemas"]["AmcCreateInstanceRequest"]["properties"][
                "acrCustomerPartners"
            ].update(maxItems=3),
            "maxItems is 2",
        ),
        (
            lambda d: d["components"]["schemas"]["ListCollaborationIdMappingJobsPayload"]["properties"][
                "maxResults"
            ].update(maximum=100),
            "maximum is 25",
        ),
        (lambda d: d["components"]["parameters"]["AdvertiserId"].pop("required"), "required is True"),
        (lambda d: d["components"]["parameters"]["UpdateId"]["schema"].update(type="string"), "type is integer"),
        (lambda d: d["paths"]["/amc/instances"]["get"]["responses"].pop("422"), "no response 422"),
        (lambda d: d["components"]["responses"]["BadRequest"]["content"].clear(), "no application/vnd"),
    ],
)
def test_the_comparison_finds_what_is_missing(harm, complaint):
    # YAML's anchors share parts; JSON has none.
    original = json.loads(json.dumps(description.document()))
    harmed = copy.deepcopy(original)
    harm(harmed)
    found = contract.differences(original, harmed)
    assert found and all(complaint in one for one in found), found


def test_the_command_says_what_differs(tmp_path, capsys):
    other = json.loads(json.dumps(description.document()))
    other["paths"]["/amc/more"] = {"get": {"operationId": "more", "responses": {}}}
    file = tmp_path / "published.json"
    file.write_text(json.dumps(other))
    assert contract.main([str(file)]) == 1
    assert "GET /amc/more: missing" in capsys.readouterr().out
    file.write_text(json.dumps(description.document()))
    assert contract.main([str(file)]) == 0


# The running simulator against the specification

CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")


@pytest.mark.parametrize(
    ("file", "reporting", "operations", "answered"),
    [(PUBLISHED, False, 20, 15), (REPORTING, True, 1, 1)],
    ids=["administration", "reporting"],
)
def test_schemathesis_finds_no_answer_outside_the_specification(http, tmp_path, file, reporting, operations, answered):
    """The command of docs/simulator.md on the published file, with few examples for each operation that is there."""
    http.post("/_simulator/reset")
    specification, document, kept = tmp_path / "specification.json", json.loads(json.dumps(published(file))), {}
    for method, path, operation in contract.compared(document):
        if path.startswith("/amc/") and path.startswith(contract.REPORTING) is reporting:
            kept.setdefault(path, {})[method] = operation
    specification.write_text(json.dumps({**document, "paths": kept}))
    token = http.get("/_simulator/token", params={"person": "admin"}).json()["access_token"]
    headers = {
        "Authorization": f"Bearer {token}",
        "Amazon-Advertising-API-ClientId": CLIENT_ID,
        "Amazon-Advertising-API-AdvertiserId": HARBOUR.id,
        "Amazon-Advertising-API-MarketplaceId": HARBOUR.marketplace,
    }
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        str(specification),
        f"--url={http.base_url}",
        f"--checks={','.join(CHECKS)}",
        "--phases=coverage,fuzzing",
        "--max-examples=5",
        "--seed=20",
        "--no-color",
    ]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.simulator.published_hooks"}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert f"{operations} selected / {operations} total" in result.stdout
    asked = http.get("/_simulator/exchanges").json()
    assert len({one["operation"] for one in asked if one["status"] not in (404, 405)}) >= answered
