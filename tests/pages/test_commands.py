"""The same step as a script and payload files: valid, complete, without secrets, and equal to the plan."""

from __future__ import annotations

import io
import json
import os
import subprocess
import threading
import uuid
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from onboarding.guide import render
from onboarding.guide.plan import Call, Look, Ref, Until, dump
from onboarding.guide.roles import cleanrooms_trust, results_policy
from tests.pages.conftest import text_of

KEY = "create-instance"
NASTY = 'Acme\'; touch /tmp/pwned; echo "$(id)" `id` REF-X-REF'


@pytest.fixture
def download(pages):
    pages.until_ready()
    pages.describe()

    def download() -> dict[str, str]:
        answer = pages.client.get(pages.url(KEY, "commands/"))
        assert answer["Content-Type"] == "application/zip"
        assert "acme-us-create-instance.zip" in answer["Content-Disposition"]
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert archive.getinfo("run.sh").external_attr >> 16 & 0o100
            return {name: archive.read(name).decode() for name in archive.namelist()}

    return download


def test_it_holds_the_script_the_payload_and_the_plan(download, pages):
    files = download()
    assert set(files) == {
        "run.sh",
        "README.txt",
        "create-instance.json",
        "looks/instance.json",
        "looks/created.json",
        "plan.json",
    }
    asked = pages.ask()
    assert json.loads(files["create-instance.json"]) == asked.plan[0]["params"]
    assert json.loads(files["plan.json"]) == asked.plan
    assert download() == files


def test_the_shell_accepts_it(download, tmp_path):
    (tmp_path / "run.sh").write_text(download()["run.sh"])
    done = subprocess.run(["sh", "-n", tmp_path / "run.sh"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_there_is_no_secret_in_it(download, pages, account):
    everything = "".join(download().values())
    for page in ("commands/", "steps/create-instance/review/"):
        everything += pages.client.get(f"/instances/{pages.pk}/{page}").content.decode()
    for secret in ("Atza|", "Atzr|", "secret", account.connection.refresh_token):
        assert secret not in everything


def test_a_step_without_calls_has_nothing_to_download(pages):
    assert pages.client.get(pages.url("requirements", "commands/")).status_code == 404
    assert pages.client.get(pages.url(KEY, "commands/")).status_code == 404


def test_the_review_shows_the_call_and_its_curl(download, pages):
    text = text_of(pages.client.get(pages.url(KEY, "review/")))
    for words in (
        '"instanceName": "Acme US"',
        '"acrBacked": true',
        "Authorization: Bearer $AMC_TOKEN",
        "Amazon-Advertising-API-AdvertiserId: ENTITY1",
        "Amazon-Advertising-API-MarketplaceId: ATVPDKIKX0DER",
        "Content-Type: application/vnd.amcinstances.v1+json",
        "--data @create-instance.json",
    ):
        assert words in text, words
    assert "s3BucketName" not in text


class Fake(BaseHTTPRequestHandler):
    """An AMC that notes what it is asked."""

    def log_message(self, *args):
        pass

    def _answer(self, status: int, body: dict) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        world = self.server.world
        world["asked"].append(("GET", self.path, dict(self.headers)))
        if self.path.startswith("/amc/instances?") or self.path == "/amc/instances":
            second = "nextToken=page%202" in self.path
            page = world["instances"][1:] if second else world["instances"][:1]
            more = None if second or len(world["instances"]) < 2 else "page 2"
            self._answer(200, {"instances": page, "nextToken": more})
        else:
            world["polls"] += 1
            status = "COMPLETED" if world["polls"] > 1 else world["first"]
            self._answer(200, {"instance": {"instanceId": "amc7", "creationStatus": status}})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.world["asked"].append(("POST", self.path, dict(self.headers), json.loads(body)))
        if self.server.world["refuse"]:
            self._answer(400, {"code": "400", "details": "Not that name"})
        else:
            self._answer(200, {"instance": {"instanceId": "amc7", "creationStatus": "REQUESTED"}})


@pytest.fixture
def fake(settings):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    server.world = {"asked": [], "instances": [], "polls": 0, "refuse": False, "first": "COMPLETED"}
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    settings.AMC_URL = f"http://127.0.0.1:{server.server_port}"
    yield server.world
    server.shutdown()
    thread.join()
    server.server_close()


def start(files: dict[str, str], folder, **environment) -> subprocess.CompletedProcess:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    known = {"PATH": os.environ["PATH"], "AMC_TOKEN": "Atza|mine", "AMC_CLIENT_ID": "client-1", **environment}
    env = {name: value for name, value in known.items() if value}
    return subprocess.run(["sh", folder / "run.sh"], env=env, capture_output=True, text=True, timeout=60, check=False)


def test_it_does_what_the_portal_would_do(fake, download, tmp_path):
    fake["instances"] = [{"instanceName": "Other"}, {"instanceName": "Acme US", "creationStatus": "FAILED"}]
    done = start(download(), tmp_path)
    assert done.returncode == 0, done.stderr
    posts = [one for one in fake["asked"] if one[0] == "POST"]
    assert len(posts) == 1
    _, path, headers, body = posts[0]
    assert path == "/amc/instances"
    assert uuid.UUID(body.pop("idempotencyToken"))
    assert body == {
        "instanceName": "Acme US",
        "awsAccountId": "111122223333",
        "acrBacked": True,
        "advertiserName": "Acme",
    }
    assert headers["Authorization"] == "Bearer Atza|mine"
    assert headers["Amazon-Advertising-API-ClientId"] == "client-1"
    assert headers["Amazon-Advertising-API-AdvertiserId"] == "ENTITY1"
    assert headers["Content-Type"] == "application/vnd.amcinstances.v1+json"
    gets = [one[1] for one in fake["asked"] if one[0] == "GET"]
    assert gets == ["/amc/instances", "/amc/instances?nextToken=page%202", "/amc/instances/amc7"]


def test_what_is_there_already_is_used(fake, download, tmp_path):
    fake["instances"] = [
        {"instanceName": "Acme US", "instanceId": "amc7", "awsAccountId": "111122223333", "creationStatus": "COMPLETED"}
    ]
    done = start(download(), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "found, and used as it is" in done.stderr
    assert not [one for one in fake["asked"] if one[0] == "POST"]


def test_what_is_there_but_different_stops_it(fake, download, tmp_path):
    fake["instances"] = [{"instanceName": "Acme US", "instanceId": "amc7", "awsAccountId": "999999999999"}]
    done = start(download(), tmp_path)
    assert done.returncode != 0 and "exists already, but is different" in done.stderr
    assert not [one for one in fake["asked"] if one[0] == "POST"]


def test_it_stops_at_the_first_refusal_and_says_what_amazon_said(fake, download, tmp_path):
    fake["refuse"] = True
    done = start(download(), tmp_path)
    assert done.returncode != 0 and "Not that name" in done.stderr
    assert fake["asked"][-1][0] == "POST"


def test_it_says_what_ended_badly(fake, download, tmp_path):
    fake["first"] = "FAILED"
    done = start(download(), tmp_path)
    assert done.returncode != 0 and "AMC could not create the instance." in done.stderr


@pytest.mark.parametrize("name", ["AMC_TOKEN", "AMC_CLIENT_ID"])
def test_it_says_what_has_to_be_set(fake, download, tmp_path, name):
    done = start(download(), tmp_path, **{name: ""})
    assert done.returncode != 0 and f"Set {name}" in done.stderr
    assert not fake["asked"]


class Account:
    entity_id, marketplace_id = "ENTITY1", "M"


def nasty_calls() -> list[Call]:
    """Values that a shell would act on, and references to earlier outputs in a path."""
    look = Look(operation="listInstances", items="instances", where={"instanceName": NASTY}, wrap="instance")
    made = Ref("create-instance", "instance", "instance.instanceId")
    return [
        Call(
            "instance",
            f"AMC instance {NASTY}\nrm -rf /",
            "amc",
            "createInstance",
            {"instanceName": NASTY},
            "create",
            look=look,
        ),
        Call(
            "wait",
            "Wait",
            "amc",
            "getInstance",
            {"instanceId": made},
            "wait",
            until=Until("instance.creationStatus", ("COMPLETED",), {"FAILED": NASTY}),
        ),
        Call("other", "Other", "amc", "getInstance", {"instanceId": Ref("elsewhere", "thing", "a.otherId")}, "read"),
    ]


def test_no_value_becomes_a_command(fake, tmp_path):
    calls = nasty_calls()
    files = render.contents(calls, Account(), f"Title {NASTY}\nid")
    done = start(files, tmp_path, THING_OTHER_ID="amc9")
    assert done.returncode == 0, done.stderr
    assert "uid=" not in done.stderr + done.stdout
    posts = [one for one in fake["asked"] if one[0] == "POST"]
    assert posts[0][3]["instanceName"] == NASTY
    assert [one[1] for one in fake["asked"] if one[0] == "GET"][-2:] == ["/amc/instances/amc7", "/amc/instances/amc9"]
    missing = start(files, tmp_path)
    assert missing.returncode != 0 and "Set THING_OTHER_ID" in missing.stderr


def test_references_are_shown_as_variables():
    commands = render.commands(nasty_calls(), Account())
    assert '/amc/instances/${INSTANCE_ID}"' in commands[1].text
    assert '/amc/instances/${THING_OTHER_ID}"' in commands[2].text


def test_rows_say_make_adopt_change_and_delete():
    calls = [
        Call("a", "AMC instance “A”", "amc", "createInstance", {"instanceName": "A", "acrBacked": True}, "create"),
        Call("b", "Change it", "amc", "updateInstance", {"instanceId": Ref("s", "a", "x.id")}, "update"),
        Call("c", "Delete it", "amc", "deleteInstance", {"instanceId": "amc1"}, "delete"),
        Call("d", "Read it", "amc", "getInstance", {"instanceId": "amc1"}),
    ]
    assert [row.effect for row in render.rows(calls)] == ["make", "change", "remove", "read"]
    first = render.rows(calls, {"a": "adopt"})[0]
    assert (first.effect, first.name) == ("exists", "“A”")
    assert list(first.facts) == [("Name", "A"), ("Backed by AWS Clean Rooms", "Yes")]
    assert list(render.rows(calls)[1].facts) == [("Instance", "known once it is made")]
    assert render.rows(calls)[1].body == {"instanceId": "${A_ID}"}


def test_a_policy_is_read_statement_by_statement():
    trust = cleanrooms_trust("11-22", [Ref("join", "membership", "membership.arn")])
    policy = results_policy("results", "amc", "111122223333")
    tags = [{"Key": "amc-portal-run", "Value": "7"}]
    made, allowed, trusted = render.rows(
        [
            Call("a", "Role", "iam", "CreateRole", {"AssumeRolePolicyDocument": trust, "Tags": tags}, "create"),
            Call("b", "Policy", "iam", "PutRolePolicy", {"RoleName": "r", "PolicyDocument": policy}, "update"),
            Call("c", "Trust", "iam", "UpdateAssumeRolePolicy", {"PolicyDocument": trust}, "update"),
        ]
    )
    submitter, membership = (
        f"Allows sts:AssumeRole\nto cleanrooms.amazonaws.com\nonly if {condition}"
        for condition in (
            "sts:ExternalId is like arn:aws:*:us-east-1:*:dbuser:*/11-22*",
            "aws:SourceArn is known once it is made",
        )
    )
    who = [("Who may use it 1", submitter), ("Who may use it 2", membership)]
    assert list(made.facts) == [*who, ("Tag: amc-portal-run", "7")]
    assert list(trusted.facts) == who
    owner = "only if s3:ResourceAccount is 111122223333"
    assert list(allowed.facts) == [
        ("Role", "r"),
        ("What it may do 1", f"Allows s3:GetBucketLocation, s3:ListBucket\non arn:aws:s3:::results\n{owner}"),
        ("What it may do 2", f"Allows s3:PutObject\non arn:aws:s3:::results/amc/*\n{owner}"),
    ]


def test_what_a_statement_leaves_out_is_not_read_as_allowed():
    denied = {
        "Effect": "Deny",
        "NotAction": ["s3:GetObject"],
        "NotPrincipal": {"AWS": "arn:aws:iam::111122223333:root"},
        "NotResource": "*",
        "Condition": {"NumericLessThan": {"aws:MultiFactorAuthAge": "9"}},
    }
    call = Call("a", "P", "s3", "PutBucketPolicy", {"Policy": {"Statement": denied}}, "update")
    assert dict(render.rows([call])[0].facts)["Policy"] == (
        "Forbids all but s3:GetObject\nto all but arn:aws:iam::111122223333:root\non all but *"
        "\nonly if aws:MultiFactorAuthAge NumericLessThan 9"
    )


def test_what_has_no_name_for_people_is_read_out_and_their_own_names_stay():
    params = {
        "ServerSideEncryptionConfiguration": {
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"KMSMasterKeyID": "k"}}]
        },
        "queryLogStatus": "ENABLED",
    }
    facts = render.rows([Call("a", "A", "s3", "Put", params, "update")])[0].facts
    assert list(facts) == [("Encryption: rule 1: KMS master key ID", "k"), ("Query log status", "ENABLED")]
    columns = {"table": "people", "columns": {"customerId": "key", "country": "country"}}
    prepared = render.rows([Call("a", "A", "identity", "start", columns, "create")])[0].facts
    assert list(prepared) == [("Table", "people"), ("Column: customerId", "key"), ("Column: country", "country")]
    table = {"TableInput": {"Name": "t", "StorageDescriptor": {"Columns": [{"Name": "emailHash", "Type": "string"}]}}}
    made = render.rows([Call("a", "A", "glue", "CreateTable", table, "create")])[0].facts
    assert list(made) == [("Name", "t"), ("Column: emailHash", "string")]
    fields = [
        {"fieldName": "email", "type": "EMAIL_ADDRESS", "matchKey": "Email", "hashed": True},
        {"fieldName": "maid", "type": "STRING", "hashed": False},
    ]
    mapped = render.rows([Call("a", "A", "entityresolution", "Create", {"mappedInputFields": fields}, "create")])[
        0
    ].facts
    assert list(mapped) == [
        ("Field: email", "EMAIL_ADDRESS · Email · hashed"),
        ("Field: maid", "STRING · not hashed"),
    ]


def test_differences_between_two_plans():
    def plan(**params):
        return dump([Call("a", "A", "amc", "createInstance", params, "create")])

    before = plan(instanceName="A", acrCustomerPartners=[{"awsAccountId": "1", "displayName": "x"}])
    after = plan(instanceName="B", acrCustomerPartners=[], advertiserName="Z")
    assert render.differences(before, before) == []
    assert render.differences(before, after) == [
        ("createInstance: Name", "A", "B"),
        ("createInstance: Partner 1: AWS account", "1", None),
        ("createInstance: Partner 1: display name", "x", None),
        ("createInstance: Advertiser", None, "Z"),
    ]
