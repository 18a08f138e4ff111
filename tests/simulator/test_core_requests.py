"""Whatever is asked: no request breaks the simulator, and a refused one changes nothing."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.amc import description
from simulator.aws import collaborations as cleanrooms
from simulator.people import HARBOUR, MARKETPLACES
from simulator.server import Simulator
from tests.simulator.asking import INSTANCES, Asking, dump

AWS = HARBOUR.aws_accounts[0]
ARN = f"arn:aws:entityresolution:us-east-1:{AWS}:idnamespace/people"


@pytest.fixture(scope="module")
def grown():
    """A simulator in which there is something of everything: what it takes to get past the first checks."""
    simulator = Simulator(seeded=0)
    ask = Asking(simulator)
    instance = ask.create(advertiserName="Pine", idempotencyToken="token")
    path = f"/amc/instances/{instance}"
    collaboration = ask("GET", f"{path}/collaboration").json["collaboration"]["id"]
    with simulator.world.change():
        document = cleanrooms.collaboration(simulator.world, collaboration)
        membership = cleanrooms.join(simulator.world, simulator.clock, document, AWS, "membership", {})
        for name in ("people", "others"):
            cleanrooms.add_namespace_association(
                simulator.world,
                simulator.clock,
                membership,
                name=name,
                namespace_arn=ARN.replace("people", name),
                namespace_type="SOURCE",
                manage_policies=True,
            )
    simulator.pace.preset("real")
    body = {"advertisersToAdd": [{"id": "1", "type": "DISPLAY"}]}
    ask("POST", f"{path}/advertisers/updates", body, status=200)
    simulator.clock.advance(1000)
    made = ask(
        "POST",
        f"{path}/collaboration/idmappingtables",
        {"idMappingTableName": "others", "sourceIdNamespaceArn": ARN.replace("people", "others")},
        status=200,
    ).json
    ids = {
        "instanceId": [instance, "amc00000000"],
        "idMappingTableId": [made["idMappingTable"]["id"]],
        "jobId": [made["idMappingWorkflowJobId"]],
        "trackingId": ["nothing"],
        "updateId": ["0", "1"],
    }
    yield ask, ids
    simulator.close()


WORDS = st.sampled_from(
    ["", "Pine", "12", AWS, ARN, "DISPLAY", "SPONSORED_ADS", "ENTITYPINE", "token", MARKETPLACES["US"], "a-bucket"]
) | st.text(max_size=60)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)


def _instance_of(schema):
    """Values that mostly fit a schema of our description, and sometimes don't."""
    schema = description.resolve(description.document(), schema)
    if "enum" in schema:
        right = st.sampled_from(schema["enum"])
    elif schema.get("type") == "object":
        fields = {name: _instance_of(field) for name, field in schema.get("properties", {}).items()}
        required = {name: fields.pop(name) for name in schema.get("required", ())}
        right = st.fixed_dictionaries(required, optional=fields)
    elif schema.get("type") == "array":
        right = st.lists(_instance_of(schema["items"]), max_size=4)
    else:
        right = {"string": WORDS, "boolean": st.booleans(), "integer": st.integers(-2, 120)}.get(
            schema.get("type"), WORDS | st.none()
        )
    return st.one_of(right, right, right, right, right, right, VALUES)


def _bodies(operation):
    found = description.document()["paths"][operation.path][operation.method.lower()]
    content = found.get("requestBody", {}).get("content", {})
    return _instance_of(next(iter(content.values()))["schema"]) if content else st.none()


OPERATIONS = {one.id: one for one in description.operations()}
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "Amazon-Advertising-API-AdvertiserId",
            "Amazon-Advertising-API-MarketplaceId",
            "Amazon-Ads-AccountId",
            "Accept",
            "Amazon-Advertising-API-Scope",
        ]
    ),
    st.sampled_from([HARBOUR.id, HARBOUR.marketplace, "*/*", "x", ""]),
    max_size=1,
)
QUERY = st.dictionaries(
    st.sampled_from(["limit", "nextToken", "type", "minCreationTime", "timeZone", "sortAscending"]),
    st.sampled_from(["1", "100", "0", "SAS", "ѣ", "2026-01-01T00:00:00", "0001-01-01T00:00:00", "Asia/Tokyo", "true"]),
    max_size=3,
)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_request_breaks_it_and_a_refused_one_changes_nothing(grown, name, data):
    ask, ids = grown
    operation = OPERATIONS[name]
    path = operation.path
    for parameter, known in ids.items():
        if f"{{{parameter}}}" in path:
            value = data.draw(st.sampled_from(known * 3 + ["%00", "..", "x" * 300, "%F0%9F%8C%B2"]))
            path = path.replace(f"{{{parameter}}}", value)
    if name == "deleteInstance" and ids["instanceId"][0] in path:
        path += "0"  # the one instance that the other operations need
    headers = data.draw(HEADERS)
    if name == "createUserInvitations":
        headers = {"Amazon-Ads-AccountId": HARBOUR.id, **headers}
    body = data.draw(_bodies(operation))
    media = data.draw(st.sampled_from([operation.media] * 9 + [INSTANCES, "text/plain"]))
    before = dump(ask.simulator)
    response = ask.client.open(
        path,
        method=operation.method,
        query_string=data.draw(QUERY),
        headers={**ask.headers, **headers},
        data=None if body is None else json.dumps(body),
        content_type=media,
    )
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert dump(ask.simulator) == before
    if response.status_code < 300 and response.data:
        found = description.document()["paths"][operation.path][operation.method.lower()]
        content = found["responses"][str(response.status_code)]["content"]
        assert response.content_type in content
        problems = list(description.validator(content[response.content_type]["schema"]).iter_errors(response.json))
        assert not problems, problems


PATHS = ["/ap/oa", "/auth/o2/token", "/auth/o2/tokeninfo", "/user/profile", "/", "/openapi.json", "/amc", "/x"]
TEXTS = st.dictionaries(
    st.sampled_from(
        [
            "client_id",
            "redirect_uri",
            "scope",
            "state",
            "response_type",
            "request",
            "nonce",
            "person",
            "answer",
            "grant_type",
            "code",
            "refresh_token",
            "client_secret",
            "code_verifier",
            "code_challenge",
            "access_token",
        ]
    ),
    st.sampled_from(["code", "amzn1.application-oa2-client.demo", "http://localhost/", "profile", "allow"])
    | st.sampled_from(["authorization_code", "refresh_token", "amzn1.oa2-cs.v1.demo-secret", "http://[", "a=b&c"])
    | st.text(max_size=20),
    max_size=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    path=st.sampled_from(PATHS),
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS"]),
    query=TEXTS,
    form=TEXTS,
    authorization=st.sampled_from(["", "Bearer", "Bearer Atza|x", "Basic !", "Basic YTpi", "AWS4-HMAC-SHA256 x"]),
)
def test_login_and_pages_never_break(grown, path, method, query, form, authorization):
    ask, _ = grown
    before = dump(ask.simulator)
    sent = {"data": form} if method in ("POST", "PUT") else {}
    response = ask.client.open(
        path, method=method, query_string=query, headers={"Authorization": authorization}, **sent
    )
    assert response.status_code < 500, response.text
    assert dump(ask.simulator) == before


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    path=st.sampled_from(["rules", "clock", "pace", "settings", "seed-instances", "holds/1/release", "token"]),
    body=VALUES
    | st.dictionaries(
        st.sampled_from(["operation", "nth", "times", "account", "action", "advance", "preset", "count", "page_size"]),
        VALUES | st.fixed_dictionaries({"kind": st.sampled_from(["slow", "throttle", "error"])}),
        max_size=3,
    ),
)
def test_control_never_breaks(path, body):
    simulator = Simulator(seeded=0)
    try:
        response = Asking(simulator).client.post(f"/_simulator/{path}", json=body)
        assert response.status_code < 500, response.text
    finally:
        simulator.close()
