"""`amc-portal` against the API: what each command writes, its exit code, and what it keeps."""

from __future__ import annotations

import io
import json
import stat

import httpx
import pytest
from django.test import Client as Browser

from amc_portal import config
from amc_portal.client import Client
from amc_portal.commands import main
from amc_portal.errors import Away, Usage
from onboarding.models import AuditEntry, Run, Step
from tests.api.test_requests import FILE

pytestmark = pytest.mark.django_db


class Portal(httpx.BaseTransport):
    """The portal of the test, in this process; what is in `first` is answered before it."""

    def __init__(self) -> None:
        self.first: list[httpx.Response | Exception] = []
        self.sent: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        if self.first:
            answer = self.first.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        names = ("Authorization", "Idempotency-Key", "Accept")
        headers = {name: request.headers[name] for name in names if name in request.headers}
        found = Browser(headers=headers).generic(
            request.method,
            request.url.raw_path.decode(),
            request.read(),
            content_type=request.headers.get("Content-Type", "application/json"),
        )
        return httpx.Response(found.status_code, headers=dict(found.items()), content=found.content)


@pytest.fixture
def portal() -> Portal:
    return Portal()


@pytest.fixture
def run_as(portal, program, monkeypatch, capsys, tmp_path):
    """`run_as(person)("accounts")`: the exit code and what was written."""
    monkeypatch.setenv(config.FILE, str(tmp_path / "none.json"))
    monkeypatch.setenv(config.URL, "http://localhost")
    slept: list[float] = []

    def somebody(person, **scopes):
        token = program(person, **scopes).token

        def command(*arguments: str):
            monkeypatch.setenv(config.TOKEN, token)
            code = main(arguments, lambda found: Client(found, transport=portal, sleep=slept.append))
            written = capsys.readouterr()
            assert token not in written.out + written.err
            return code, written.out, written.err

        return command

    return somebody


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "acme.yaml"
    path.write_text(FILE)
    return str(path)


def test_from_a_file_to_the_approval(run_as, analyst, approver, pages, file, account, monkeypatch):
    asker, signer = run_as(analyst), run_as(approver)
    code, out, _ = asker("start", file, "--draft", "--json")
    run = json.loads(out)
    assert code == 0 and run["instance_name"] == "Acme DE" and Run.objects.filter(pk=run["id"]).exists()
    code, _, _ = asker("follow", run["id"])
    assert code == 6
    code, out, _ = asker("status", "Acme DE")
    assert code == 0 and "requirements" in out and "create-instance" in out

    pages.until_asked()
    asked = Step.objects.get(run__instance=pages.pk, key="create-instance").requests.get()
    code, out, _ = signer("requests")
    assert code == 0 and str(asked.pk) in out and "Mia Analyst" in out
    assert signer("approve", str(asked.pk))[0] == 2  # nobody is there to read it
    assert signer("approve", str(asked.pk), "--digest", "0" * 64)[0] == 1
    code, out, _ = signer("approve", str(asked.pk), "--digest", asked.digest, "--json")
    assert code == 0 and json.loads(out)["state"] == "approved"
    pages.work("create-instance")
    _, _, err = asker("follow", str(asked.step.run_id), "--timeout", "0.001")
    assert "Paul Approver approved it" in err

    code, out, _ = asker("instances", "-q", "Acme")
    assert code == 0 and "Acme US" in out and "Acme DE" in out
    assert json.loads(asker("accounts", "--json")[1])[0]["name"] == account.name


def test_a_failed_step_is_told_and_tried_again(run_as, analyst, pages):
    pages.until_asked()
    step = pages.step("create-instance")
    failure = {"what": "AMC refused it.", "why": "The name is taken.", "todo": "Choose another."}
    step.requests.update(state="approved")
    Step.objects.filter(pk=step.pk).update(state="failed", failure=failure)
    asker = run_as(analyst)
    code, _, err = asker("follow", str(step.run_id))
    assert code == 7 and "AMC refused it." in err and "Choose another." in err
    code, _, err = asker("retry", str(step.run_id))
    assert code == 0 and "create-instance: tried again" in err
    assert asker("retry", str(step.run_id))[0] == 1


def test_a_file_with_mistakes_names_the_lines(run_as, analyst, account, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(FILE.replace("1111-2222-3333", "12"))
    code, _, err = run_as(analyst)("start", str(path))
    assert code == 1 and "line 7" in err and not Run.objects.exists()
    path.write_text(FILE.replace("1111-2222-3333", "12").replace("Acme DE", "Ac!me").replace("parties", "partys"))
    code, _, err = run_as(analyst)("start", str(path))
    first, *lines = err.splitlines()
    assert code == 1 and first == "amc-portal: 3 things in the file have to be corrected."
    assert [line.split(":")[0] for line in lines] == ["  line 5", "  line 7", "  line 8"]
    other = tmp_path / "wrong.json"
    other.write_text(json.dumps({"account": "ENTITY1", "steps": {"create-instance": {"nome": {}}}}))
    code, _, err = run_as(analyst)("start", str(other))
    assert code == 1 and "  /steps/create-instance/nome: there is no question" in err
    assert run_as(analyst)("start", str(tmp_path / "none.yaml"))[0] == 2


def test_what_the_token_may_not_do(run_as, analyst, pages, file):
    reader = run_as(analyst, act=False)
    code, _, err = reader("start", file)
    assert code == 3 and "scope" in err
    assert reader("audit", "export")[0] == 3
    assert reader("status", "999")[0] == 4
    assert reader("status", "No such thing")[0] == 4


def test_the_audit_log_is_exported_whole(run_as, admin, pages, tmp_path):
    pages.until_asked()
    exporter = run_as(admin)
    path = tmp_path / "audit.jsonl"
    assert exporter("audit", "export", "-o", str(path))[0] == 0
    numbers = [json.loads(line)["number"] for line in path.read_text().splitlines()]
    mine = AuditEntry.objects.filter(account__isnull=False).order_by("number").values_list("number", flat=True)
    assert numbers == list(mine) and not path.with_name("audit.jsonl.part").exists()
    code, out, _ = exporter("audit", "export", "--after", str(numbers[-2]))
    assert code == 0 and [json.loads(line)["number"] for line in out.splitlines()] == numbers[-1:]


def test_signing_in_keeps_the_token_for_oneself(portal, program, analyst, monkeypatch, tmp_path, capsys):
    path = tmp_path / "below" / "config.json"
    monkeypatch.setenv(config.FILE, str(path))
    monkeypatch.delenv(config.URL, raising=False)
    monkeypatch.delenv(config.TOKEN, raising=False)
    token = program(analyst).token
    connect = lambda found: Client(found, transport=portal, sleep=lambda _: None)  # noqa: E731
    assert main(["accounts"], connect) == 2
    monkeypatch.setattr("sys.stdin", io.StringIO(f"http://localhost/\n{token[:-1]}x\n"))
    assert main(["login"], connect) == 3 and not path.exists()
    monkeypatch.setattr("sys.stdin", io.StringIO(f"http://localhost/\n{token}\n"))
    assert main(["login"], connect) == 0
    written = capsys.readouterr()
    assert "You are Mia Analyst" in written.out and token not in written.out + written.err
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert main(["accounts"], connect) == 0
    path.chmod(0o644)
    assert main(["accounts"], connect) == 2
    assert "chmod 600" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://portal.example.com", "ftp://localhost", "portal.example.com", ""])
def test_a_token_goes_over_no_open_line(url, tmp_path):
    with pytest.raises(Usage):
        config.checked(url)
    path = tmp_path / "c.json"
    config.save(config.Config("https://one.example.com", "t"), {config.FILE: str(path)})
    with pytest.raises(Usage, match="is for https://one"):
        config.load({config.FILE: str(path), config.URL: "https://two.example.com"})


def test_what_can_be_repeated_is_repeated_with_the_same_key(portal, program, analyst, account):
    slept: list[float] = []
    found = config.Config("http://localhost", program(analyst).token)
    portal.first = [httpx.ConnectError("away"), httpx.Response(503), httpx.Response(429, headers={"Retry-After": "7"})]
    with Client(found, transport=portal, sleep=slept.append) as client:
        made = client.post_file("runs", FILE.encode(), "application/yaml")
    assert made["run"]["instance_name"] == "Acme DE" and slept == [1, 2, 7]
    assert len({request.headers["Idempotency-Key"] for request in portal.sent}) == 1
    portal.first = [httpx.Response(502)] * 4
    with Client(found, transport=portal, sleep=slept.append) as client, pytest.raises(Away):
        client.get("me")
