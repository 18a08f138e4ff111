"""What is the same for every request: problems, once only, limits, pages, conditional reads."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
import yaml
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from redis.exceptions import ConnectionError as RedisAway

from onboarding.api import limits
from onboarding.models import AuditEntry, Instance, KeptAnswer, Request, RequestComment, Role, Run
from onboarding.services import tokens

pytestmark = pytest.mark.django_db
FILE = """
account: ENTITY1
steps:
  create-instance:
    name: {name: Acme DE}
    advertiser: {name: Acme}
    aws-account: {account_id: 1111-2222-3333}
    parties: {multi: no}
"""


@pytest.fixture
def asked(pages):
    return pages.until_asked()


# --- problems


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("get", "/nowhere", 404, "not-found"),
        ("get", "/instances/", 404, "not-found"),
        ("get", "/instances/x", 404, "not-found"),
        ("get", "/instances/99999999999999999999", 422, "invalid"),
        ("get", "/instances?page=0", 422, "invalid"),
        ("get", "/instances?q=%00", 422, "invalid"),
        ("delete", "/instances", 405, "method"),
    ],
)
def test_whatever_is_wrong_is_a_problem_document(method, path, status, code, program, analyst):
    answer = program(analyst).send(method, path)
    found = answer.json()
    assert (answer.status_code, found["status"], found["code"]) == (status, status, code)
    assert answer["Content-Type"] == "application/problem+json"
    assert found["type"] == f"urn:amc-portal:problem:{code}" and found["title"] and found["detail"]
    assert found["request_id"] == answer["X-Request-Id"]
    assert status != 405 or answer["Allow"] == "GET"


def test_a_fault_is_a_problem_without_its_cause(program, analyst, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("a secret of the database")

    monkeypatch.setattr("onboarding.api.instances.selector.matching", broken)
    caller = program(analyst)
    caller.client.raise_request_exception = False
    answer = caller.get("/instances")
    assert (answer.status_code, answer["Content-Type"]) == (500, "application/problem+json")
    assert answer.json()["code"] == "fault" and "secret" not in answer.content.decode()


def test_fields_are_refused_in_the_words_of_the_forms(program, approver, asked):
    answer = program(approver).post(f"/requests/{asked.pk}/send-back", {"digest": asked.digest, "extra": 1})
    assert answer.json()["errors"] == [
        {
            "detail": "There is no field “extra”; there are digest, comment.",
            "pointer": "/extra",
            "parameter": None,
            "line": None,
        }
    ]
    answer = program(approver).post(f"/requests/{asked.pk}/send-back", {"digest": asked.digest, "comment": " "})
    (error,) = answer.json()["errors"]
    assert answer.status_code == 422 and error["pointer"] == "/comment"
    assert error["detail"] == "Say what has to change, so that it can be asked for again."


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[" * 200_000, "application/json", 400),
        (b'{"text": "\\ud800"}', "application/json", 400),
        (b"[]", "application/json", 422),
        (b'{"text": 3}', "application/json", 422),
        (b'{"text": "a\\u0000b"}', "application/json", 422),
        (b"text=Hello", "application/x-www-form-urlencoded", 415),
        (b'{"text": "' + b"a" * 1_000_000 + b'"}', "application/json", 413),
    ],
)
def test_bodies_that_are_none(body, content_type, status, program, approver, asked):
    caller = program(approver)
    answer = caller.client.post(f"/api/v1/requests/{asked.pk}/comments", body, content_type=content_type)
    assert answer.status_code == status, answer.content
    assert not RequestComment.objects.exists()


# --- once


def test_a_repeated_request_is_answered_again_and_does_nothing(program, approver, asked):
    caller = program(approver)
    path, body = f"/requests/{asked.pk}/comments", {"text": "Why now?"}
    first, second = (caller.post(path, body, key="k-1") for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201) and first.content == second.content
    assert second["Idempotency-Replayed"] == "true" and "Idempotency-Replayed" not in first
    assert RequestComment.objects.count() == 1
    assert caller.post(path, body, key="k-2").status_code == 201 and RequestComment.objects.count() == 2


def test_a_refusal_is_repeated_as_well(program, approver, asked):
    caller = program(approver)
    stale = {"digest": "0" * 64}
    first = caller.post(f"/requests/{asked.pk}/approve", stale, key="k")
    again = caller.post(f"/requests/{asked.pk}/approve", stale, key="k")
    assert (first.status_code, again.status_code) == (409, 409) and again["Idempotency-Replayed"] == "true"
    assert caller.post(f"/requests/{asked.pk}/approve", {"digest": asked.digest}, key="n").status_code == 200


def test_a_key_belongs_to_one_request_of_one_token(program, approver, analyst, asked):
    caller, other = program(approver), program(analyst)
    path = f"/requests/{asked.pk}/comments"
    assert caller.post(path, {"text": "One"}, key="k").status_code == 201
    conflict = caller.post(path, {"text": "Two"}, key="k")
    assert (conflict.status_code, conflict.json()["code"]) == (409, "key-reused")
    assert other.post(path, {"text": "Two"}, key="k").status_code == 201
    assert caller.post(path, {"text": "Three"}, key="with blanks").status_code == 422
    assert RequestComment.objects.count() == 2


def test_a_kept_answer_is_shown_to_nobody_who_may_not_see_it_any_more(program, approver, asked):
    caller = program(approver)
    path, body = f"/requests/{asked.pk}/comments", {"text": "One"}
    assert caller.post(path, body, key="k").status_code == 201
    Role.objects.filter(person=approver).delete()
    assert caller.post(path, body, key="k").status_code == 404


def test_a_kept_answer_is_forgotten_after_a_day(program, approver, asked):
    caller = program(approver)
    path = f"/requests/{asked.pk}/comments"
    caller.post(path, {"text": "One"}, key="k")
    KeptAnswer.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert caller.post(path, {"text": "Two"}, key="k").status_code == 201
    KeptAnswer.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert tokens.forget_answers(now=timezone.now()) == 1 and not KeptAnswer.objects.exists()


def test_what_fails_leaves_neither_an_effect_nor_an_answer(program, approver, asked, monkeypatch):
    caller = program(approver)
    caller.client.raise_request_exception = False
    path, body = f"/requests/{asked.pk}/comments", {"text": "One"}
    with monkeypatch.context() as broken:
        broken.setattr("onboarding.api.requests._detail", lambda *args: 1 / 0)
        assert caller.post(path, body, key="k").status_code == 500
    assert not RequestComment.objects.exists() and not KeptAnswer.objects.exists()
    assert caller.post(path, body, key="k").status_code == 201 and RequestComment.objects.count() == 1


# --- limits


def test_too_many_requests_of_one_token(program, analyst, approver, settings):
    settings.API_TOKEN_LIMIT = 3
    caller, other = program(analyst), program(approver)
    answers = [caller.get("/me") for _ in range(4)]
    assert [answer.status_code for answer in answers[:3]] == [200] * 3
    last = answers[3]
    # The window may have turned between two of them; then the next ones are over.
    while last.status_code == 200:
        last = caller.get("/me")
    assert (last.status_code, last.json()["code"]) == (429, "too-many")
    assert 1 <= int(last["Retry-After"]) <= 60
    assert last["RateLimit-Policy"] == '"token";q=3;w=60' and last["RateLimit"].startswith('"token";r=0;t=')
    assert other.get("/me").status_code == 200


def test_too_many_requests_of_one_address_with_or_without_a_token(settings):
    settings.API_ADDRESS_LIMIT = 2
    client = Client(headers={"Authorization": f"Bearer {tokens.PREFIX}{'x' * 43}"})
    seen = [client.get("/api/v1/me").status_code for _ in range(8)]
    assert set(seen) == {401, 429} and seen[0] == 401
    assert client.get("/api/v1/me", REMOTE_ADDR="192.0.2.7").status_code == 401


def test_limits_hold_while_the_cache_is_away(program, analyst, settings, monkeypatch):
    settings.API_TOKEN_LIMIT = 2

    def away(*args, **kwargs):
        raise RedisAway("away")

    monkeypatch.setattr(limits, "_shared_from", 0.0)
    monkeypatch.setattr(type(cache._connections["default"]), "add", away)
    monkeypatch.setattr(limits, "_own", _Counting())
    caller = program(analyst)
    seen = [caller.get("/me").status_code for _ in range(6)]
    assert set(seen) == {200, 429} and seen[0] == 200


class _Counting:
    """A cache of this process that is no LocMemCache, which is away here."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def add(self, key, value, timeout):
        return False

    def incr(self, key):
        self.numbers[key] = self.numbers.get(key, 0) + 1
        return self.numbers[key]


# --- pages and conditional reads


def test_lists_come_page_by_page(program, analyst, account):
    now = timezone.now()
    Instance.objects.bulk_create(
        Instance(account=account, name=f"I{number}", instance_id=f"amc{number}", status_since=now)
        for number in range(5)
    )
    caller = program(analyst)
    answer = caller.get("/instances", per_page=2, page=2, q="I")
    found = answer.json()
    assert [row["name"] for row in found["items"]] == ["I2", "I3"] and found["total"] == 5
    links = dict(reversed(part.split("; ")) for part in answer["Link"].split(", "))
    assert set(links) == {f'rel="{name}"' for name in ("first", "prev", "next", "last")}
    assert "page=3" in links['rel="next"'] and "per_page=2" in links['rel="next"'] and "q=I" in links['rel="next"']
    last = caller.client.get(links['rel="last"'][1:-1])
    assert [row["name"] for row in last.json()["items"]] == ["I4"] and 'rel="next"' not in last["Link"]
    beyond = caller.get("/instances", page=99)
    assert beyond.status_code == 200 and beyond.json()["items"] == []


def test_a_read_that_would_say_the_same_says_304(program, analyst, account):
    caller = program(analyst)
    first = caller.get("/accounts")
    assert caller.client.get("/api/v1/accounts", headers={"If-None-Match": first["ETag"]}).status_code == 304
    type(account).objects.filter(pk=account.pk).update(name="Other")
    assert caller.client.get("/api/v1/accounts", headers={"If-None-Match": first["ETag"]}).status_code == 200
    assert first["Cache-Control"] == "private, no-cache" and "Authorization" in first["Vary"]


@pytest.mark.parametrize(
    "path",
    [
        *("/instances", "/runs", "/requests", "/people", "/audit"),
        *("/connections", "/connections/aws", "/notices", "/results"),
    ],
)
def test_a_list_asks_the_database_as_often_for_many_rows_as_for_few(
    path, program, admin, analyst, pages, account, django_assert_max_num_queries
):
    from onboarding.services import runs

    for number in range(6):
        runs.run_start(person=analyst, account=account, name=f"More {number}", now=timezone.now())
    pages.until_asked()
    caller = program(admin)
    caller.get("/me")
    with django_assert_max_num_queries(9):
        assert caller.get(path).status_code == 200


# --- the audit log


def test_the_audit_log_names_the_token(program, approver, asked):
    caller = program(approver)
    caller.post(f"/requests/{asked.pk}/approve", {"digest": asked.digest}, key="k")
    entry = AuditEntry.objects.get(act="request.approved")
    assert entry.actor == approver and entry.details["token"] == {"id": caller.row.pk, "name": "Nightly job"}
    assert not AuditEntry.objects.filter(act="answer.saved", details__has_key="token").exists()


def test_the_audit_log_is_read_whole_while_it_grows(program, admin, analyst, asked):
    caller = program(admin)
    found, address = [], "/api/v1/audit?order=oldest&limit=3"
    while address:
        answer = caller.client.get(address)
        found += [entry["number"] for entry in answer.json()["items"]]
        program(analyst).post(f"/requests/{asked.pk}/comments", {"text": "More"}) if len(found) < 9 else None
        address = answer["Link"].split(";")[0][1:-1] if "Link" in answer else ""
    mine = AuditEntry.objects.filter(account=asked.account).order_by("number").values_list("number", flat=True)
    assert found == list(mine) and len(found) > 6
    newest = caller.get("/audit", limit=2, act="answer.saved").json()["items"]
    assert {entry["act"] for entry in newest} == {"answer.saved"} and newest[0]["number"] > newest[1]["number"]


# --- from a file


@pytest.mark.parametrize("kind", ["yaml", "json"])
def test_an_onboarding_from_a_file_to_its_request(kind, program, analyst, account, amazon, queued):
    caller = program(analyst)
    if kind == "yaml":
        text, content_type = FILE, "application/yaml"
    else:
        text, content_type = json.dumps(yaml.safe_load(FILE)), "application/json"
    answer = caller.client.post("/api/v1/runs?submit=true", text, content_type=content_type)
    assert answer.status_code == 201, answer.content
    run = Run.objects.get()
    assert answer["Location"] == f"http://testserver/api/v1/runs/{run.pk}"
    assert answer.json()["run"]["instance_name"] == "Acme DE"
    assert run.steps.get(key="create-instance").answers["parties"] == {"multi": False}


def test_a_file_with_mistakes_starts_nothing(program, analyst, account):
    caller = program(analyst)
    wrong = FILE.replace("1111-2222-3333", "12")
    answer = caller.client.post("/api/v1/runs", wrong, content_type="application/yaml")
    (error,) = answer.json()["errors"]
    assert error["pointer"] == "/steps/create-instance/aws-account/account_id" and error["line"] == 7
    assert answer.json()["detail"] == error["detail"]
    deep = caller.client.post("/api/v1/runs", "[" * 10_000, content_type="application/yaml")
    long = caller.client.post("/api/v1/runs", FILE + "#" * 100_000, content_type="application/yaml")
    assert (deep.status_code, long.status_code) == (422, 413) and not Run.objects.exists()


WRONG = FILE.replace("Acme DE", "Ac!me").replace("1111-2222-3333", "12").replace("parties", "partys")
WHERE = [(5, "name/name"), (7, "aws-account/account_id"), (8, "partys")]


@pytest.mark.parametrize("kind", ["yaml", "json"])
def test_everything_wrong_with_a_file_is_said_at_once_by_the_code_of_the_command(
    kind, program, analyst, account, tmp_path
):
    caller = program(analyst)
    body = WRONG if kind == "yaml" else json.dumps(yaml.safe_load(WRONG))
    answer = caller.client.post("/api/v1/runs?submit=true", body, content_type=f"application/{kind}")
    found = answer.json()
    assert answer.status_code == 422 and answer["Content-Type"] == "application/problem+json"
    assert (found["code"], found["detail"]) == ("invalid", "3 things in the file have to be corrected.")
    assert [error["pointer"] for error in found["errors"]] == [f"/steps/create-instance/{where}" for _, where in WHERE]
    assert [error["line"] for error in found["errors"]] == [line if kind == "yaml" else None for line, _ in WHERE]
    assert "did you mean “parties”" in found["errors"][2]["detail"]
    assert not Run.objects.exists() and not AuditEntry.objects.filter(act__startswith="run.").exists()
    path = tmp_path / "wrong.yaml"
    path.write_text(WRONG)
    with pytest.raises(CommandError) as caught:
        call_command("onboard", str(path), "--as", analyst.email, "--check")
    same = [f"{path}: line {line}: {error['detail']}" for (line, _), error in zip(WHERE, found["errors"], strict=True)]
    assert str(caught.value).splitlines() == same


def test_an_account_that_is_not_ones_own_hides_nothing_else_of_the_file(program, outsider, account):
    wrong = FILE.replace("parties", "partys")
    answer = program(outsider).client.post("/api/v1/runs", wrong, content_type="application/yaml")
    assert [(error["line"], error["pointer"]) for error in answer.json()["errors"]] == [
        (2, "/account"),
        (8, "/steps/create-instance/partys"),
    ]


def test_the_description_is_served_and_says_that_a_file_is_answered_at_once(program, analyst):
    answer = program(analyst).get("/openapi.json")
    assert answer.status_code == 200, answer.content
    document = answer.json()
    start = document["paths"]["/api/v1/runs"]["post"]
    assert "`errors` has each thing to correct" in start["description"]
    schema = start["responses"]["422"]["content"]["application/problem+json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/Problem"}
    assert {"line", "pointer", "detail"} <= set(document["components"]["schemas"]["FieldError"]["properties"])


# --- answering and following


def test_the_main_path_by_the_api_alone(program, analyst, approver, pages):
    asker, signer = program(analyst), program(approver)
    pages.until_ready()
    run = str(pages.step("create-instance").run_id)
    path = f"/runs/{run}/steps/create-instance"
    step = asker.get(path).json()
    assert step["state"] == "ready" and [one["slug"] for one in step["questions"] if not one["answered"]]
    for slug, answer in {
        "name": {"name": "Acme US"},
        "advertiser": {"name": "Acme"},
        "aws-account": {"account_id": "1111-2222-3333"},
        "parties": {"multi": False},
    }.items():
        saved = asker.put(f"{path}/answers/{slug}", answer)
        assert saved.status_code == 200, saved.content
    wrong = asker.put(f"{path}/answers/aws-account", {"account_id": "12"}).json()
    assert wrong["errors"][0]["pointer"] == "/account_id"
    assert asker.put(f"{path}/answers/nothing", {}).status_code == 404
    submitted = asker.post(f"{path}/submit", {"note": "For Monday"}, key="s").json()
    assert submitted["state"] == "awaiting_approval" and submitted["plan"][0]["effect"] == "make"
    asked = signer.get("/requests", show="waiting").json()["items"][0]
    assert asked["id"] == submitted["request"] and asked["note"] == "For Monday"
    own = asker.post(f"/requests/{asked['id']}/approve", {"digest": asked["digest"]})
    assert own.status_code == 403
    detail = signer.get(f"/requests/{asked['id']}").json()
    assert detail["why_not"] == "" and detail["plan"] == submitted["plan"]
    approved = signer.post(f"/requests/{asked['id']}/approve", {"digest": detail["digest"]}, key="a")
    assert approved.json()["state"] == "approved"
    pages.work("create-instance")
    lines = asker.get(f"/runs/{run}/log", step="create-instance").json()
    assert "Paul Approver approved it" in [line["text"] for line in lines]
    after = asker.get(f"/runs/{run}/log", after=lines[-1]["id"]).json()
    assert all(line["id"] > lines[-1]["id"] for line in after)
    cancelled = asker.post(f"/runs/{run}/cancel", {"typed": "Acme US"})
    assert cancelled.status_code == 200 and cancelled.json()["status"] == "cancelled"
    assert Request.objects.get().state == "approved"
