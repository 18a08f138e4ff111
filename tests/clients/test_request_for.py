"""The requests of the administration API, compared with the published specification."""

import json
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest

from onboarding.clients.amc import OPERATIONS, request_for
from simulator.amc import description

ACCOUNT = SimpleNamespace(entity_id="ENTITY1", marketplace_id="ATVPDKIKX0DER")
PUBLISHED = {operation.id: operation for operation in description.operations()}
NAMES = {"inviteUsers": "createUserInvitations"}


def params_for(operation: str) -> dict:
    spec = OPERATIONS[operation]
    return {name: f"{name}-1" for name in (*spec.path_names, *spec.query)}


def test_every_published_operation_is_there():
    assert len(OPERATIONS) == 22
    assert {NAMES.get(name, name) for name in OPERATIONS} == set(PUBLISHED)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_method_path_headers_and_media_type_are_as_published(operation):
    published = PUBLISHED[NAMES.get(operation, operation)]
    request = request_for(operation, params_for(operation), ACCOUNT)
    assert request.method == published.method
    found, values, _ = description.route(request.method, urlsplit(request.path).path)
    assert found is published
    assert values == {name: f"{name}-1" for name in OPERATIONS[operation].path_names}
    without_secrets = {"Amazon-Advertising-API-ClientId", "Authorization"}
    assert set(published.headers) - without_secrets <= set(request.headers)
    assert request.headers["Accept"] == published.media
    assert (request.body is not None) == (published.body is not None)
    if request.body is not None:
        assert request.headers["Content-Type"] == published.media
    assert set(parse_qs(urlsplit(request.path).query)) == set(OPERATIONS[operation].query)
    said = description.document()["paths"][published.path][published.method.lower()].get("parameters", ())
    names = {description.resolve(description.document(), one)["name"] for one in said}
    assert set(OPERATIONS[operation].query) <= names


def test_what_has_no_other_place_is_the_body():
    params = {"instanceId": "amc1", "idMappingTableName": "t", "sourceIdNamespaceArn": "arn:x", "nothing": None}
    request = request_for("createCollaborationIdMappingTable", params, ACCOUNT)
    assert request.path == "/amc/instances/amc1/collaboration/idmappingtables"
    assert request.body == {"idMappingTableName": "t", "sourceIdNamespaceArn": "arn:x"}
    assert json.loads(request.content) == request.body


def test_a_value_cannot_leave_its_place_in_the_path():
    assert (
        request_for("getInstance", {"instanceId": "a/b?c=d#é"}, ACCOUNT).path == "/amc/instances/a%2Fb%3Fc%3Dd%23%C3%A9"
    )
    for dots in (".", ".."):
        with pytest.raises(ValueError, match="no identifier"):
            request_for("getInstance", {"instanceId": dots}, ACCOUNT)


@pytest.mark.parametrize(
    ("operation", "params", "account", "words"),
    [
        ("getInstance", {}, ACCOUNT, "needs instanceId"),
        ("getInstance", {"instanceId": ""}, ACCOUNT, "needs instanceId"),
        ("getInstance", {"instanceId": "amc1", "limit": 3}, ACCOUNT, "no parameter limit"),
        ("listInstances", {}, None, "needs an AMC account"),
    ],
)
def test_what_cannot_be_sent_is_refused(operation, params, account, words):
    with pytest.raises(ValueError, match=words):
        request_for(operation, params, account)
