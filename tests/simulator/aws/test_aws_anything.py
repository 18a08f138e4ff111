"""Whatever is sent: never a 5xx, and what is refused changes nothing."""

import io
import json
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.aws import service

CUSTOMER = "123456789012"
OPERATIONS = [
    (name, operation)
    for name in ("cleanrooms", "entityresolution")
    for operation in service.service_model(name).operation_names
]
COMMON = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture],
    "derandomize": True,
}


def send(aws, method, path, query="", body=b"", *, name="cleanrooms", region="us-east-1", headers=None):
    """Status of one request handed to the front, and its body."""
    environ = {
        "REQUEST_METHOD": method,
        "RAW_URI": path + (f"?{query}" if query else ""),
        "PATH_INFO": "/",
        "QUERY_STRING": query,
        "HTTP_HOST": "127.0.0.1",
        "HTTP_AUTHORIZATION": f"AWS4-HMAC-SHA256 Credential={CUSTOMER}/20260101/{region}/{name}/aws4_request, x",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        **(headers or {}),
    }
    seen = {}

    def start(status, answered, exc_info=None):
        seen["status"] = int(status.split()[0])

    content = b"".join(aws.watched(environ, start))
    return seen["status"], content


@pytest.fixture(scope="module")
def known():
    return {}


@pytest.fixture
def world(aws, known):
    """A world in which things exist, and identifiers that mean something in it."""
    membership = aws.join()
    arn = aws.namespace()
    made = aws.client("cleanrooms").create_id_namespace_association(
        membershipIdentifier=membership["id"],
        name="identity",
        inputReferenceConfig={"inputReferenceArn": arn, "manageResourcePolicies": True},
    )["idNamespaceAssociation"]
    known.clear()
    known["values"] = [
        membership["id"], membership["collaborationId"], made["id"], made["arn"], arn, "mynamespace", "myschema",
        "results-bucket", f"arn:aws:iam::{CUSTOMER}:role/service-role/amc-cleanrooms-results",
        f"arn:aws:glue:us-east-1:{CUSTOMER}:table/amc/identity", CUSTOMER, "identity", "email", "userid",
    ]  # fmt: skip
    return aws


class Values:
    """Values for the shapes of a service model: mostly fitting, sometimes not."""

    def __init__(self, draw, known):
        self.draw, self.known = draw, known

    def of(self, shape, depth=0):
        if self.draw(st.integers(0, 24)) == 0:
            return self.draw(st.sampled_from([None, "", 0, -1, True, [], {}, "x" * 300, "\x00", "😀", [None], 1e300]))
        kind = shape.type_name
        if kind == "structure":
            if depth > 6:
                return {}
            names = list(shape.members)
            if shape.is_tagged_union:
                names = [self.draw(st.sampled_from(names))] if names else []
            else:
                names = [n for n in names if n in shape.required_members or self.draw(st.integers(0, 3)) == 0]
            return {name: self.of(shape.members[name], depth + 1) for name in names}
        if kind == "list":
            return [self.of(shape.member, depth + 1) for _ in range(self.draw(st.integers(0, 3)))]
        if kind == "map":
            return {"key": "value"} if self.draw(st.booleans()) else {}
        if kind == "string":
            if shape.metadata.get("enum"):
                return self.draw(st.sampled_from(shape.metadata["enum"]))
            fitting = [v for v in self.known if not service.breaches(shape, v)]
            if fitting and self.draw(st.integers(0, 5)):
                return self.draw(st.sampled_from(fitting))
            return self.draw(st.text(max_size=40))
        if kind == "boolean":
            return self.draw(st.booleans())
        if kind in ("integer", "long"):
            return self.draw(st.integers(-2, 200))
        return self.draw(st.floats(allow_nan=False, allow_infinity=False))


@settings(max_examples=400, **COMMON)
@given(st.data())
def test_every_operation(world, known, data):
    name, operation = data.draw(st.sampled_from(OPERATIONS))
    model = service.service_model(name).operation_model(operation)
    values = Values(data.draw, known["values"])
    path, query, body = str(model.http["requestUri"]), [], {}
    for member, shape in (model.input_shape.members if model.input_shape else {}).items():
        location, wire = shape.serialization.get("location"), shape.serialization.get("name", member)
        if location is None and member not in model.input_shape.required_members and data.draw(st.booleans()):
            continue
        value = values.of(shape)
        if location == "uri":
            path = path.replace("{" + wire + "}", quote(str(value), safe=""))
        elif location == "querystring":
            query += [(wire, str(one)) for one in (value if isinstance(value, list) else [value])]
        elif location is None:
            body[wire] = value
    before = world.dump()
    status, content = send(world, model.http["method"], path, urlencode(query), json.dumps(body).encode(), name=name)
    assert status < 500, content
    if status >= 400:
        assert world.dump() == before


@settings(max_examples=300, **COMMON)
@given(
    name=st.sampled_from(["s3", "iam", "sts", "glue", "athena", "lakeformation", "cleanrooms", "entityresolution"]),
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD", "PATCH", "OPTIONS"]),
    path=st.one_of(
        st.sampled_from(["/", "/data-bucket", "/data-bucket/key", "/results-bucket/out/x", "/none", "/a//b", "/%00"]),
        st.text(max_size=20).map(lambda text: "/" + quote(text, safe="/")),
    ),
    query=st.one_of(
        st.sampled_from(
            ["uploads", "uploadId=x&partNumber=1", "policy", "cors", "acl", "tagging", "delete", "versions", "website",
             "list-type=2&max-keys=x", "location", "encryption", "lifecycle", "partNumber=0&uploadId=x", "logging"]
        ),
        st.text(max_size=20).map(lambda text: quote(text, safe="=&")),
    ),
    body=st.one_of(
        st.binary(max_size=60),
        st.sampled_from(
            [b"{}", b"<x/>", b"<Delete><Object/></Delete>", b"Action=ListRoles", b"Action=CreateRole&RoleName=",
             b"Action=AssumeRole&RoleArn=x", b"Action=GetRole&RoleName=none", b'{"Name": null}', b'{"Name": {}}',
             b'{"DatabaseName": "amc", "Name": "identity"}', b'{"QueryString": "SELECT 1"}', b"[1]", b'"x"']
        ),
    ),
    target=st.sampled_from(
        ["", "AWSGlue.GetTable", "AWSGlue.CreateTable", "AWSGlue.StartCrawler", "AWSGlue.GetDatabases", "AWSGlue.None",
         "AWSGlue.GetPartitions", "AmazonAthena.StartQueryExecution", "AmazonAthena.GetQueryResults", "x", "AWSGlue."]
    ),
    header=st.sampled_from(
        [{}, {"HTTP_RANGE": "bytes=9-1"}, {"HTTP_X_AMZ_COPY_SOURCE": "x"}, {"HTTP_CONTENT_MD5": "x"},
         {"HTTP_X_AMZ_CONTENT_SHA256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}, {"CONTENT_LENGTH": "999"},
         {"HTTP_ORIGIN": "https://x.example"}, {"CONTENT_TYPE": "application/json"},
         {"CONTENT_TYPE": "multipart/form-data; boundary=x"}, {"HTTP_X_AMZ_SECURITY_TOKEN": "x"}]
    ),
)  # fmt: skip
def test_requests_of_all_sorts(world, name, method, path, query, body, target, header):
    headers = {"CONTENT_TYPE": "application/x-www-form-urlencoded", "HTTP_X_AMZ_TARGET": target, **header}
    before = world.dump()
    status, content = send(world, method, path, query, body, name=name, headers=headers)
    assert status < 500, content
    if status >= 400:
        assert world.dump() == before
