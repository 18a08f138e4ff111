"""The control API, the rules of misbehaviour and the capture, over real connections."""

import json
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import boto3
import httpx
import pytest

from simulator.people import CATALOGUE, CLIENT_ID, CLIENT_SECRET, HARBOUR, LUMEN
from simulator.testing import ROOT, start_simulator

AWS = HARBOUR.aws_accounts[0]
# How long a busy machine may take over what is quick; nothing waits that long when all is well.
PATIENCE = 120
MEDIA = "application/vnd.amcinstances.v1+json"
CREATE = {"instanceName": "Controlled", "awsAccountId": AWS, "acrBacked": True}


@pytest.fixture
def clean(http):
    """A client of the running simulator, all as at first."""
    assert http.post("/_simulator/reset").status_code == 200
    yield http
    http.delete("/_simulator/rules")


def headers(http, account=HARBOUR, person="admin"):
    token = http.get("/_simulator/token", params={"person": person}).json()["access_token"]
    return {
        "Authorization": f"Bearer {token}",
        "Amazon-Advertising-API-ClientId": CLIENT_ID,
        "Amazon-Advertising-API-AdvertiserId": account.id,
        "Amazon-Advertising-API-MarketplaceId": account.marketplace,
        "Content-Type": MEDIA,
    }


def rule(http, operation, kind, **more):
    action = {"kind": kind, **more.pop("values", {})}
    response = http.post("/_simulator/rules", json={"operation": operation, "action": action, **more})
    assert response.status_code == 200, response.text
    return response.json()


def names(http, sent):
    return [one["instanceName"] for one in http.get("/amc/instances", headers=sent).json()["instances"]]


def held(http):
    """What is held, once something is."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = http.get("/_simulator/holds").json()
        if found:
            return found
    raise AssertionError("nothing is held")


def met(http):
    """Wait until the one rule has acted."""
    until = time.monotonic() + PATIENCE
    while not http.get("/_simulator/rules").json()[0]["fired"]:
        assert time.monotonic() < until


def test_the_third_call_is_throttled(clean):
    sent = headers(clean)
    rule(clean, "amc:createInstance", "throttle", nth=3, values={"retry_after": 2})
    answers = [clean.post("/amc/instances", headers=sent, json=CREATE) for _ in range(4)]
    assert [one.status_code for one in answers] == [200, 200, 429, 200]
    assert answers[2].headers["Retry-After"] == "2" and answers[2].json()["code"] == "429"
    assert answers[2].headers["Content-Type"] == MEDIA
    assert names(clean, sent).count("Controlled") == 3


def test_an_error_as_often_as_told_and_in_one_account_only(clean):
    rule(clean, "amc:*", "error", times=2, account=LUMEN.id, values={"status": 503})
    ours, theirs = headers(clean), headers(clean, LUMEN)
    assert [clean.get("/amc/instances", headers=ours).status_code for _ in range(3)] == [200] * 3
    assert [clean.get("/amc/instances", headers=theirs).status_code for _ in range(3)] == [503, 503, 200]
    rule(clean, "amc:AmcpLinkListAmcAccounts", "error")
    broken = clean.get("/amc/accounts", headers=ours)
    assert broken.status_code == 500 and set(broken.json()) == {"message", "requestId"}
    rule(clean, "lwa:token", "error")
    assert clean.post("/auth/o2/token", data={"grant_type": "refresh_token"}).status_code == 500
    rule(clean, "lwa:token", "throttle", values={"retry_after": 7})
    assert clean.post("/auth/o2/token", data={"grant_type": "refresh_token"}).headers["Retry-After"] == "7"


@pytest.mark.parametrize(("kind", "made"), [("cut_before", 0), ("cut_after", 1)])
def test_the_connection_is_cut(clean, kind, made):
    sent = headers(clean)
    rule(clean, "amc:createInstance", kind)
    with pytest.raises(httpx.RemoteProtocolError):
        clean.post("/amc/instances", headers=sent, json=CREATE)
    assert names(clean, sent).count("Controlled") == made
    assert clean.post("/amc/instances", headers=sent, json=CREATE).status_code == 200


def test_a_slow_answer_is_slow_and_others_are_not(clean):
    sent = headers(clean)
    rule(clean, "amc:listInstances", "slow", values={"seconds": 1.5})
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        slow = pool.submit(httpx.get, f"{clean.base_url}/amc/instances", headers=sent, timeout=PATIENCE)
        assert clean.get("/amc/accounts", headers=sent).status_code == 200
        assert slow.result().status_code == 200
        assert time.monotonic() - began >= 1.5


@pytest.mark.parametrize(("kind", "made"), [("hold_before", 0), ("hold_after", 1)])
def test_a_request_is_held_until_it_is_released(clean, kind, made):
    sent = headers(clean)
    rule(clean, "amc:createInstance", kind)
    with ThreadPoolExecutor(1) as pool:
        url = f"{clean.base_url}/amc/instances"
        waiting = pool.submit(httpx.post, url, headers=sent, json=CREATE, timeout=PATIENCE)
        (hold,) = held(clean)
        assert (hold["operation"], hold["when"]) == ("amc:createInstance", kind.removeprefix("hold_"))
        assert names(clean, sent).count("Controlled") == made
        assert clean.post(f"/_simulator/holds/{hold['id']}/release").status_code == 200
        assert waiting.result().status_code == 200
    assert names(clean, sent).count("Controlled") == 1
    assert clean.get("/_simulator/holds").json() == []
    assert clean.post(f"/_simulator/holds/{hold['id']}/release").status_code == 404


def test_a_held_request_ends_when_its_client_goes_away(clean):
    sent = headers(clean)
    rule(clean, "amc:createInstance", "hold_before")
    where = urlsplit(str(clean.base_url))
    body = json.dumps(CREATE)
    lines = [f"{name}: {value}" for name, value in {**sent, "Host": "x", "Content-Length": len(body)}.items()]
    with socket.create_connection((where.hostname, where.port)) as connection:
        connection.sendall(("\r\n".join(["POST /amc/instances HTTP/1.1", *lines, "", body])).encode())
        held(clean)
    until = time.monotonic() + PATIENCE
    while clean.get("/_simulator/holds").json():
        assert time.monotonic() < until
    assert names(clean, sent).count("Controlled") == 0


@pytest.mark.parametrize("held", [True, False])
def test_who_asks_for_what_is_held_may_wait_for_it(clean, held):
    rule(clean, "amc:listInstances", "hold_before")
    with ThreadPoolExecutor() as pool:
        began = time.monotonic()
        wait = 9 if held else 0.5
        asked = pool.submit(clean.get, f"/_simulator/holds?wait={wait}")
        if held:
            answer = pool.submit(clean.get, "/amc/instances", headers=headers(clean))
            (one,) = asked.result().json()
            assert one["operation"] == "amc:listInstances"
            assert clean.post(f"/_simulator/holds/{one['id']}/release").status_code == 200
            assert answer.result().status_code == 200
        else:
            assert asked.result().json() == [] and time.monotonic() - began >= wait


@pytest.mark.parametrize("wait", ["10", "-1", "soon", "nan"])
def test_nobody_waits_for_ever(clean, wait):
    assert clean.get("/_simulator/holds", params={"wait": wait}).status_code == 400


def test_rules_are_set_instead_of_all_others(clean):
    rule(clean, "amc:createInstance", "throttle")
    wanted = [
        {"operation": "amc:listInstances", "times": None, "action": {"kind": "slow", "seconds": 0}},
        {"operation": "amc:*", "action": {"kind": "error", "status": 503}},
    ]
    assert clean.put("/_simulator/rules", json={"rules": wanted}).status_code == 200
    assert [one["operation"] for one in clean.get("/_simulator/rules").json()] == ["amc:listInstances", "amc:*"]
    assert clean.get("/amc/instances", headers=headers(clean)).status_code == 200
    assert clean.post("/amc/instances", json=CREATE, headers=headers(clean)).status_code == 503
    # One that is none leaves all as they were.
    for wrong in ([*wanted, {"operation": "none"}], "rules", [1]):
        assert clean.put("/_simulator/rules", json={"rules": wrong}).status_code == 400
    assert len(clean.get("/_simulator/rules").json()) == 2
    assert clean.put("/_simulator/rules", json={"rules": []}).json() == []


def test_a_snapshot_is_gone_back_to_as_often_as_one_likes(clean, running):
    def aws(service):
        return boto3.client(
            service,
            endpoint_url=running.url,
            region_name="us-east-1",
            aws_access_key_id=AWS,
            aws_secret_access_key="any",
        )

    def seen():
        s3, roles = aws("s3"), aws("iam").list_roles()["Roles"]
        bodies = {
            one["Key"]: s3.get_object(Bucket="kept", Key=one["Key"])["Body"].read()
            for one in s3.list_objects_v2(Bucket="kept")["Contents"]
        }
        return bodies, sorted(role["RoleName"] for role in roles), names(clean, headers(clean))

    s3, iam = aws("s3"), aws("iam")
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="one", Body=b"first")
    iam.create_role(RoleName="kept", AssumeRolePolicyDocument="{}")
    clean.post("/amc/instances", json=CREATE, headers=headers(clean))
    clean.post("/_simulator/clock", json={"advance": 86400})
    wanted, ahead = seen(), clean.get("/_simulator/clock").json()["ahead"]
    exchanges = clean.get("/_simulator/exchanges").json()
    number = clean.post("/_simulator/snapshots").json()["id"]
    for reset in (False, True):
        s3.put_object(Bucket="kept", Key="one", Body=b"second")
        s3.put_object(Bucket="kept", Key="two", Body=b"third")
        iam.delete_role(RoleName="kept")
        clean.post("/amc/instances", json={**CREATE, "instanceName": "Later"}, headers=headers(clean))
        clean.post("/_simulator/clock", json={"advance": 86400})
        assert seen() != wanted
        if reset:
            clean.post("/_simulator/reset")
        assert clean.post(f"/_simulator/snapshots/{number}/restore").status_code == 200
        assert clean.get("/_simulator/exchanges").json() == exchanges
        assert (seen(), clean.get("/_simulator/clock").json()["ahead"]) == (wanted, ahead)
    for wrong in (number + 1, "x"):
        assert clean.post(f"/_simulator/snapshots/{wrong}/restore").status_code == 404
    clean.post("/_simulator/reset")


@pytest.mark.parametrize(("kind", "values"), [("hold_before", {}), ("slow", {"seconds": 3600})])
def test_what_is_under_way_at_a_reset_has_no_effect_on_the_new_world(clean, kind, values):
    sent = headers(clean)
    rule(clean, "amc:createInstance", kind, values=values)
    with ThreadPoolExecutor(1) as pool:
        url = f"{clean.base_url}/amc/instances"
        waiting = pool.submit(httpx.post, url, headers=sent, json=CREATE, timeout=PATIENCE)
        met(clean)
        clean.post("/_simulator/reset")
        with pytest.raises(httpx.RemoteProtocolError):
            waiting.result()
    assert names(clean, headers(clean)).count("Controlled") == 0
    assert "amc:createInstance" not in {one["operation"] for one in clean.get("/_simulator/exchanges").json()}


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"operation": "amc:createInstance"},
        {"operation": "createInstance", "action": {"kind": "cut_before"}},
        {"operation": "amc:x", "action": {"kind": "explode"}},
        {"operation": "amc:x", "action": {"kind": "slow", "seconds": "5"}},
        {"operation": "amc:x", "action": {"kind": "slow", "minutes": 5}},
        {"operation": "amc:x", "action": {"kind": "error", "status": 200}},
        {"operation": "amc:x", "nth": 0, "action": {"kind": "cut_before"}},
        {"operation": "amc:x", "nth": "3", "action": {"kind": "cut_before"}},
        {"operation": "amc:x", "often": 3, "action": {"kind": "cut_before"}},
        [],
    ],
)
def test_what_is_no_rule_is_refused(clean, wrong):
    assert clean.post("/_simulator/rules", json=wrong).status_code == 400
    assert clean.get("/_simulator/rules").json() == []


def test_the_clock_and_the_pace(clean):
    before = clean.get("/_simulator/clock").json()["ahead"]
    assert clean.post("/_simulator/clock", json={"advance": 14 * 86400}).json()["ahead"] == before + 14 * 86400
    for wrong in (-1, "10", None, True):
        assert clean.post("/_simulator/clock", json={"advance": wrong}).status_code == 400
    assert clean.post("/_simulator/pace", json={"preset": "demo", "job_started": 9}).json()["job_started"] == 9
    assert clean.post("/_simulator/pace", json={"nothing": 9}).status_code == 400
    assert clean.post("/_simulator/pace", json={"preset": "warp"}).status_code == 400
    assert clean.post("/_simulator/pace", json={"preset": "fast"}).json()["job_started"] == 0
    for wrong in ({"page_size": 0}, {"customer_pays": 1}, {"role_delay": -1}, {"amc_rate": -1}, {"colour": "red"}):
        assert clean.post("/_simulator/settings", json=wrong).status_code == 400
    assert clean.get("/_simulator/settings").json()["page_size"] == 100


def test_an_account_may_make_so_many_calls_a_second(clean):
    assert clean.post("/_simulator/settings", json={"amc_rate": 0.001}).json()["amc_rate"] == 0.001
    try:
        sent = headers(clean)
        answers = [clean.get("/amc/instances", headers=sent) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 429, 429]
        assert 1 <= int(answers[1].headers["Retry-After"]) <= 1000
        # What names no account, and what is not AMC, has no limit here.
        assert clean.get("/_simulator/health").status_code == 200
    finally:
        clean.post("/_simulator/settings", json={"amc_rate": 0})
    assert clean.get("/amc/instances", headers=sent).status_code == 200


def test_reset_brings_back_the_demo_world(clean):
    sent = headers(clean)
    clean.post("/amc/instances", headers=sent, json=CREATE)
    clean.post("/_simulator/clock", json={"advance": 1000})
    clean.post("/_simulator/reset")
    assert clean.get("/amc/instances", headers=sent).status_code == 401
    assert names(clean, headers(clean)) == ["AMC Sandbox"]
    assert clean.get("/_simulator/clock").json()["ahead"] == 0
    assert len(clean.get("/_simulator/exchanges").json()) == 2


def test_unknown_control_requests(clean):
    assert clean.get("/_simulator/nothing").status_code == 404
    assert clean.get("/_simulator/reset").status_code == 405
    assert clean.get("/_simulator/token", params={"person": "nobody"}).status_code == 404
    assert clean.get("/_simulator/token", params={"scope": "everything"}).status_code == 400
    assert clean.post("/_simulator/clock", content=b"{").status_code == 400
    assert clean.get("/_simulator/exchanges", params={"since": "x"}).status_code == 400


def test_exchanges_are_captured_without_secrets(running, clean):
    tokens = clean.get("/_simulator/token", params={"person": "admin"}).json()
    sent = {**headers(clean), "Cookie": "session=crumbs"}
    clean.post("/amc/instances", headers=sent, json=CREATE)
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "client_id": CLIENT_ID}
    clean.post("/auth/o2/token", data={**form, "client_secret": CLIENT_SECRET})
    clean.get("/user/profile", params={"access_token": tokens["access_token"]})
    exchanges = clean.get("/_simulator/exchanges").json()
    assert [one["operation"] for one in exchanges] == ["amc:createInstance", "lwa:token", "lwa:profile"]
    assert [one["number"] for one in exchanges] == [1, 2, 3]
    first = exchanges[0]
    assert (first["method"], first["path"], first["status"]) == ("POST", "/amc/instances", 200)
    assert first["request_body"] == CREATE and first["account"] == HARBOUR.id
    assert first["response_body"]["instance"]["instanceName"] == "Controlled"
    text = json.dumps(exchanges)
    secrets = [sent["Authorization"][7:], "crumbs", tokens["refresh_token"], tokens["access_token"], CLIENT_SECRET]
    assert not [one for one in secrets if one in text] and "Atza" not in text and "Atzr" not in text
    assert len(clean.get("/_simulator/exchanges", params={"since": 2}).json()) == 1


def test_connections_are_kept_open(clean):
    where = urlsplit(str(clean.base_url))
    with socket.create_connection((where.hostname, where.port)) as connection:
        for _ in range(3):
            connection.sendall(b"POST /amc/instances HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            answer = b""
            while b"\r\n\r\n" not in answer or b'"}' not in answer:
                piece = connection.recv(4096)
                assert piece, "the connection was closed"
                answer += piece
            assert answer.startswith(b"HTTP/1.1 401")


def test_no_control_when_it_is_turned_off(tmp_path):
    simulator = start_simulator(tmp_path, control=False)
    try:
        assert httpx.post(f"{simulator.url}/_simulator/reset", timeout=PATIENCE).status_code == 404
        assert httpx.get(f"{simulator.url}/openapi.json", timeout=PATIENCE).status_code == 200
    finally:
        assert simulator.stop() == 0


def test_it_lasts(tmp_path):
    """Stopped or killed, it starts again with everything that was answered."""
    first = start_simulator(tmp_path)
    with httpx.Client(base_url=first.url, timeout=PATIENCE) as http:
        sent = headers(http)
        http.post("/amc/instances", headers=sent, json={**CREATE, "instanceName": "Before the stop"})
        http.post("/_simulator/clock", json={"advance": 100})
        rule(http, "amc:createInstance", "error", nth=2)
    assert first.stop() == 0
    second = start_simulator(tmp_path)
    with httpx.Client(base_url=second.url, timeout=PATIENCE) as http:
        assert "Before the stop" in names(http, sent)
        assert http.get("/_simulator/clock").json()["ahead"] == 100
        answers = [http.post("/amc/instances", headers=sent, json=CREATE) for _ in range(2)]
        assert [one.status_code for one in answers] == [200, 500]
    second.kill()
    third = start_simulator(tmp_path)
    try:
        with httpx.Client(base_url=third.url, timeout=PATIENCE) as http:
            assert {"Before the stop", "Controlled"} <= set(names(http, sent))
            assert len(http.get("/amc/instances", headers=headers(http, CATALOGUE)).json()["instances"]) == 100
        numbers = [json.loads(line)["number"] for line in (tmp_path / "exchanges.jsonl").read_text().splitlines()]
        assert numbers == sorted(set(numbers))
    finally:
        assert third.stop() == 0


def test_a_second_one_says_what_is_in_its_way(tmp_path):
    """It touches nothing of the first one's world."""
    first = start_simulator(tmp_path / "one")
    port = str(urlsplit(first.url).port)
    try:
        for data, others, words in (("one", "0", "keeps its data in"), ("two", port, "Give another --port")):
            command = [sys.executable, "-m", "simulator", "--port", others, "--data", tmp_path / data]
            done = subprocess.run([*command, "--pace", "real"], cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr
        assert httpx.get(f"{first.url}/_simulator/pace", timeout=PATIENCE).json()["job_started"] == 0
    finally:
        assert first.stop() == 0
    again = start_simulator(tmp_path / "one")
    assert again.stop() == 0


@pytest.mark.parametrize(("kind", "values"), [("hold_before", {}), ("slow", {"seconds": 3600})])
def test_a_stop_ends_what_is_under_way(tmp_path, kind, values):
    simulator = start_simulator(tmp_path)
    with httpx.Client(base_url=simulator.url, timeout=PATIENCE) as http, ThreadPoolExecutor(1) as pool:
        sent = headers(http)
        rule(http, "amc:createInstance", kind, values=values)
        url = f"{simulator.url}/amc/instances"
        waiting = pool.submit(httpx.post, url, headers=sent, json=CREATE, timeout=PATIENCE)
        met(http)
        assert simulator.stop() == 0
        with pytest.raises(httpx.TransportError):
            waiting.result()


def test_starting_waits_for_nothing_that_takes_long_to_load():
    """What a first answer does not need is loaded beside it or later; `bench.simulator` measures the start."""
    program = """
import sys
from werkzeug.test import Client
from simulator.server import Simulator
simulator = Simulator()
assert Client(simulator).get("/_simulator/token").status_code == 200
print([name for name in ("moto", "boto3", "duckdb", "polars", "numpy") if name in sys.modules])
simulator.close()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
