"""Onboarding from a file: the same rules as the browser, and errors that name the line."""

import re
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from onboarding.engine import executor
from onboarding.guide.procedure import PROCEDURES
from onboarding.models import AuditEntry, Instance, Request, Run, Step
from onboarding.services import from_file, runs
from onboarding.services.errors import NotAllowed

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def text(name: str = "single-party") -> str:
    return (EXAMPLES / f"{name}.yaml").read_text().replace("ENTITYHARBOURPINE", "ENTITY1")


def lines_of(error: from_file.FileProblems) -> list[tuple[int, str]]:
    return [(problem.line, problem.text) for problem in error.problems]


@pytest.fixture
def file(tmp_path):
    def write(content: str) -> str:
        path = tmp_path / "onboard.yaml"
        path.write_text(content)
        return str(path)

    return write


def command(*args: str) -> str:
    out = StringIO()
    call_command(*args, stdout=out)
    return out.getvalue()


def work_all() -> None:
    for step in Step.objects.filter(state__in=["queued", "waiting"]):
        executor.work(step.pk)


def test_the_status_says_nothing_twice(analyst, amazon, queued, file):
    command("onboard", file(text()), "--as", analyst.email)
    assert ": Check access to AMC" in command("status")
    runs.run_cancel(person=analyst, run=Run.objects.get(), now=timezone.now())
    said = command("status")
    assert said.endswith("  Cancelled\n") and said.count("Cancelled") == 1
    # An AWS account's number, and others that are no row's.
    for number in ("9" * 25, "²"):
        with pytest.raises(CommandError, match="No run"):
            command("status", number)


@pytest.mark.parametrize("name", ["single-party", "multi-party"])
def test_the_examples_go_from_file_to_a_collaboration(name, analyst, approver, amazon, queued, clock, file):
    path = file(text(name))
    assert command("status") == "No instance is being onboarded yet.\n"
    said = command("onboard", path, "--as", analyst.email)
    assert "submitted" in said and "Run this again" in said
    work_all()
    assert "waits for approval" in command("onboard", path, "--as", analyst.email)
    number = Request.objects.get().pk
    assert str(number) in command("requests", "--as", approver.email)
    assert command("requests", "--as", analyst.email) == "No request waits for a decision.\n"
    shown = command("approve", str(number), "--as", approver.email)
    assert "createInstance" in shown and "approved" in shown
    work_all()
    work_all()
    done = set(Step.objects.filter(state="done").values_list("key", flat=True))
    assert {"requirements", "amc-access", "create-instance", "collaboration"} <= done
    assert command("status", "amc000000").count("Completed") == len(done)
    assert f"of {len(PROCEDURES['onboard'])}" in command("status")
    # What the file says of the later steps is kept until their turn comes.
    assert Step.objects.get(key="join").answers["shape"] == {"format": "PARQUET", "prefix": "amc"}
    body = dict(amazon.sent)["createInstance"]
    assert ("acrCustomerPartners" in body) == (name == "multi-party")
    if name == "multi-party":
        assert body["acrCustomerPartners"][1] == {"awsAccountId": "777788889999", "displayName": "Source Data 2"}


def test_the_same_file_twice_is_one_run(analyst, amazon, queued, clock, file):
    path = file(text())
    command("onboard", path, "--as", analyst.email)
    command("onboard", path, "--as", analyst.email)
    assert Run.objects.count() == Instance.objects.count() == 1


@pytest.mark.parametrize(
    ("name", "words"), [("AB", "at least 3"), ("A" * 51, "50 characters at most"), ("A&B", "digits and spaces only")]
)
def test_the_advertisers_name_is_what_the_specification_takes(analyst, amazon, queued, file, name, words):
    content = text()
    assert content.count("      name: Acme\n") == 1
    with pytest.raises(CommandError, match=rf"line \d+: name: .*{words}"):
        command("onboard", file(content.replace("      name: Acme\n", f"      name: {name}\n")), "--as", analyst.email)


def test_all_or_nothing(analyst, amazon, queued, file):
    path = file(text().replace("1111-2222-3333", "12345"))
    with pytest.raises(CommandError) as caught:
        command("onboard", path, "--as", analyst.email)
    assert "line 22: account_id: An AWS account id has exactly 12 digits" in str(caught.value)
    assert not Run.objects.exists() and not Instance.objects.exists()


def test_every_wrong_line_is_named_at_once(analyst, amazon, queued, clock):
    wrong = (
        text()
        .replace("name: Acme US", "name: Ac!me")
        .replace("agreement: yes", "agreement: no")
        .replace("account_id: 1111-2222-3333", "account_id: 11")
    )
    with pytest.raises(from_file.FileProblems) as caught:
        from_file.onboard(from_file.read(wrong), person=analyst, now=clock())
    assert [line for line, _ in lines_of(caught.value)] == [6, 18, 22]


def test_what_is_not_understood_does_not_hide_what_is_wrong_besides(analyst, amazon, queued, file):
    path = file(text().replace("  aws-access:", "  aws-acess:").replace("1111-2222-3333", "12345"))
    with pytest.raises(CommandError) as caught:
        command("onboard", path, "--as", analyst.email)
    account, step = str(caught.value).splitlines()
    assert "line 22: account_id: An AWS account id has exactly 12 digits" in account
    assert "line 28: there is no step “aws-acess”; did you mean “aws-access”?" in step
    assert not Run.objects.exists()


def test_an_instance_without_a_name_does_not_hide_what_is_wrong_besides(analyst, amazon, queued, clock):
    wrong = text().replace("name: Acme US", "name: ").replace("1111-2222-3333", "12345")
    with pytest.raises(from_file.FileProblems) as caught:
        from_file.onboard(from_file.read(wrong), person=analyst, now=clock())
    assert [line for line, _ in lines_of(caught.value)] == [18, 22]
    assert caught.value.problems[0].text == "the instance has no name"
    assert not Run.objects.exists()


def test_checking_looks_at_the_answers_and_keeps_nothing(analyst, amazon, queued, file):
    path = file(text())
    assert command("onboard", path, "--as", analyst.email, "--check") == f"{path}: fine\n"
    with pytest.raises(CommandError, match=r"line 18: name: .*\n.*line 22: account_id: "):
        wrong = text().replace("name: Acme US", "name: Ac!me").replace("1111-2222-3333", "12345")
        command("onboard", file(wrong), "--as", analyst.email, "--check")
    assert not Run.objects.exists() and not Instance.objects.exists() and not queued
    assert not AuditEntry.objects.exists()


def test_the_documentation_names_every_question_and_field():
    step = question = ""
    said: set[tuple[str, str, str]] = set()
    for line in (EXAMPLES.parent / "docs" / "from-a-file.md").read_text().splitlines():
        if not line.startswith("| `") and not line.startswith("| |"):
            continue
        cells = line.split("|")[1:4]
        step = next(iter(re.findall("`([^`]+)`", cells[0])), step)
        question = next(iter(re.findall("`([^`]+)`", cells[1])), question)
        said |= {(step, question, name) for name in re.findall("`([^`]+)`", cells[2])}
    asked = {
        (step.key, re.sub(r"table-\d+", "table-1", kind.slug), name)
        for step in PROCEDURES["onboard"]
        for kind in step.questions
        for name, field in kind.base_fields.items()
        # The second page of the requirements carries the first one's answers along.
        if not (kind.slug == "aws" and name in step.questions[0].base_fields)
    }
    assert said == asked


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("", 1, "empty"),
        ("- a\n- b", 1, "names with values"),
        ("account: [a", 1, "not YAML"),
        ("account: a\nsteps:\n  create-instanse: {}", 3, "did you mean “create-instance”"),
        ("account: a\nsteps:\n  create-instance:\n    nam: {}", 4, "did you mean “name”"),
        ("account: a\nsteps:\n  create-instance:\n    name:\n      nome: x", 5, "did you mean “name”"),
        ("account: a\naccount: b", 2, "twice"),
        ("accounts: a", 1, "did you mean “account”"),
        ("account: a\nsteps:\n  requirements:\n    aws:\n      legal: perhaps", 5, "yes or no"),
        ("account: a\nsteps: x", 2, "names with values"),
        ("steps: {}\naccount:", 2, "“account” is missing"),
        ("steps: {}", 1, "“account” is missing"),
        ("account: [a]", 1, "“account” must be one value"),
        ("account: a\nsteps:\n  [create-instance]: {}", 3, "before the colon here, not a list"),
        ("account: a\n{steps: x}: {}", 2, "before the colon here, not names with values"),
        ("account: a\nsteps:\n  create-instance:\n    ? - name\n    : x", 4, "not a list"),
    ],
)
def test_what_can_not_be_understood_is_named_with_its_line(content, line, words):
    with pytest.raises(from_file.FileProblems) as caught:
        from_file.read(content)
    assert any(number == line and words in said for number, said in lines_of(caught.value)), lines_of(caught.value)
    assert "Node(" not in str(lines_of(caught.value))


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(content):
    try:
        from_file.read(content)
    except from_file.FileProblems as problems:
        assert all(problem.line >= 1 for problem in problems.problems)


def test_an_account_id_keeps_its_leading_zero(analyst, amazon, queued, clock):
    content = text().replace("1111-2222-3333", "012345678901")
    run = from_file.onboard(from_file.read(content), person=analyst, now=clock())
    assert run.steps.get(key="create-instance").answers["aws-account"] == {"account_id": "012345678901"}


def test_roles_hold_here_too(approver, amazon, queued, file):
    with pytest.raises(CommandError, match="to onboard for"):
        command("onboard", file(text()), "--as", approver.email)


def test_nobody_approves_their_own_from_the_command_line(onboarding, account):
    from onboarding.models import Role

    Role.objects.create(person=onboarding.analyst, account=account, name="approver")
    request = onboarding.until_asked()
    with pytest.raises(CommandError, match="of their own"):
        command("approve", str(request.pk), "--as", onboarding.analyst.email)
    with pytest.raises(NotAllowed):
        onboarding.approver = onboarding.analyst
        onboarding.approve(request)


def test_what_was_sent_back_is_not_asked_again_unchanged(onboarding, file):
    request = onboarding.until_asked()
    command("approve", str(request.pk), "--as", onboarding.approver.email, "--send-back", "--comment", "Other name")
    content = text()
    with pytest.raises(CommandError, match="was sent back"):
        command("onboard", file(content), "--as", onboarding.analyst.email)
    changed = content.replace("name: Acme\n", "name: Acme Corp\n")
    assert "waits for approval" in command("onboard", file(changed), "--as", onboarding.analyst.email)


def test_following_takes_what_became_ready_in_the_meantime_for_the_next_look(
    analyst, approver, amazon, queued, clock, file, monkeypatch
):
    class Enough(Exception):
        pass

    submit = from_file.submit_ready

    def the_world_goes_on() -> None:
        for request in Request.objects.filter(state="open"):
            command("approve", str(request.pk), "--as", approver.email)
        for _ in range(3):
            work_all()

    def submitting(run, **who):
        submitted = submit(run, **who)
        the_world_goes_on()
        return submitted

    def sleep(seconds: float) -> None:
        if Step.objects.get(key="advertisers").state not in ("blocked", "ready"):
            raise Enough
        the_world_goes_on()

    path = file(text())
    command("onboard", path, "--as", analyst.email)
    monkeypatch.setattr(from_file, "submit_ready", submitting)
    monkeypatch.setattr("onboarding.management.commands.onboard.time.sleep", sleep)
    with pytest.raises(Enough):
        command("onboard", path, "--as", analyst.email, "--follow")
    assert Step.objects.get(key="advertisers").state == "done"
