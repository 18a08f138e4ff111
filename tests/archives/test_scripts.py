"""The scripts themselves: that they find and compare as the worker does, and that no value becomes a command."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onboarding.clients.failures import Fix
from onboarding.engine import executor
from onboarding.guide import render
from onboarding.guide.permissions import situations
from onboarding.guide.plan import MISSING, Call, Look, Ref, Until, resolve
from onboarding.guide.procedure import PROCEDURES
from onboarding.guide.render.script import LIBRARY, scripts

ACCOUNT = "111122223333"
# An AWS command line that answers what the test wrote down, and keeps what it was sent.
AWS = r"""#!/bin/sh
operation="$1-$2"
for word in "$@"; do
  case $word in file://*) sent=${word#file://} ;; esac
done
number=$(($(cat "$WORLD/count" 2>/dev/null || echo 0) + 1))
echo "$number" >"$WORLD/count"
[ -z "${sent:-}" ] || cp "$sent" "$WORLD/$number.$operation.json"
if [ "$operation" = sts-get-caller-identity ]; then echo '{"Account": "111122223333"}'
elif [ -e "$WORLD/$operation.answer" ]; then cat "$WORLD/$operation.answer"
else echo "An error occurred (NoSuchThing) when calling it: no" >&2; exit 254
fi
"""


class Entity:
    entity_id, marketplace_id = "ENTITY1", "M"


def play(calls: list[Call], answers: dict[str, object], folder: Path) -> tuple[int, str, dict[str, object]]:
    """Run the script of `calls`: its exit status, what it said, and what it sent by number and operation."""
    world, tools = folder / "world", folder / "tools"
    world.mkdir()
    tools.mkdir()
    (tools / "aws").write_text(AWS)
    (tools / "aws").chmod(0o755)
    for operation, answer in answers.items():
        (world / f"{operation}.answer").write_text(json.dumps(answer))
    for name, text in render.contents(calls, Entity(), "A title").items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    environment = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "WORLD": str(world),
        "HOME": str(folder),
        "POLL_SECONDS": "0",
    }
    done = subprocess.run(
        ["sh", folder / "run.sh"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    sent = {one.name: json.loads(one.read_text()) for one in world.glob("*.json")}
    return done.returncode, done.stdout + done.stderr, sent


class Answers:
    """The same answers for the worker."""

    def __init__(self, answers: dict[str, object]) -> None:
        self.answers = answers

    def call(self, operation, params):
        if operation not in self.answers:
            raise Fix("no", code="NoSuchThing")
        return copy.deepcopy(self.answers[operation])

    def pages(self, operation, params, items):
        yield from self.call(operation, params).get(items) or []


THINGS = [
    {"id": "a", "name": "one", "state": "NEW", "list": ["x", "y"], "deep": [{"n": 1}, {"n": 2}], "no": None},
    {"id": "b", "name": "two", "state": "OLD", "list": [], "deep": []},
]
LISTS, GETS = {"ListThings": {"things": THINGS}}, {"GetThing": THINGS[0]}
LOOKS = {
    "one that fits": (Look("ListThings", items="things", where={"name": "one"}, wrap="thing"), LISTS),
    "none that fits": (Look("ListThings", items="things", where={"name": "three"}), LISTS),
    "more than one": (Look("ListThings", items="things"), LISTS),
    "one is ignored": (Look("ListThings", items="things", ignore={"state": ["OLD", None]}), LISTS),
    "a path that is not there": (Look("ListThings", items="things", where={"none": None}), LISTS),
    "a value that is null": (Look("ListThings", items="things", where={"no": None}), LISTS),
    "texts in any order": (Look("ListThings", items="things", where={"list": ["y", "x"]}), LISTS),
    "every one of a list": (Look("ListThings", items="things", where={"deep.*.n": [1, 2]}), LISTS),
    "by number": (Look("ListThings", items="things", where={"deep.1.n": 2}), LISTS),
    "several": (Look("ListThings", items="things", ignore={"state": ["NEW"]}, several=True), LISTS),
    "several of nothing": (Look("ListThings", items="things", several=True, missing=("NoSuchThing",)), {}),
    "asked one by one": (
        Look(
            "ListThings",
            items="things",
            ignore={"state": ["OLD"]},
            where={"name": "one"},
            detail="GetThing",
            detail_param={"thing": "id"},
        ),
        LISTS | GETS,
    ),
    "not there": (Look("GetThing", missing=("NoSuchThing",)), {}),
    "refused": (Look("GetThing", missing=("Other",)), {}),
    "equal": (Look("GetThing", same={"name": "one", "no": None, "deep.0.n": 1}), GETS),
    "different": (Look("GetThing", same={"name": "two", "id": "a"}), GETS),
    "different in words": (Look("GetThing", same={"name": "two"}, differs="It is {found}, see `id` $(id)."), GETS),
    "alike in capitals": (Look("GetThing", alike={"name": "ONE", "none": "x", "no": "y"}), GETS),
    "alike but not": (Look("GetThing", same={"id": "a"}, alike={"name": "two", "state": ""}), GETS),
    "differently missing": (Look("GetThing", same={"none": None}), GETS),
}


@pytest.mark.parametrize("name", LOOKS)
def test_the_script_finds_and_compares_as_the_worker_does(name, tmp_path):
    look, answers = LOOKS[name]
    by_cli = {f"glue-{'list-things' if key == 'ListThings' else 'get-thing'}": value for key, value in answers.items()}
    calls = [Call("look", "Look", "glue", "GetThing", account=ACCOUNT, look=look)]
    status, said, _ = play(calls, by_cli, tmp_path)
    try:
        found = executor.find(Answers(answers), look)
    except Fix as failure:
        assert status == 1, said
        assert ("Amazon refused" if failure.code == "NoSuchThing" else "where there should be one") in said
        return
    if found is MISSING:
        assert (status, "It was not found" in said) == (1, True), said
        return
    differences = executor.different(found, look)
    if differences:
        assert status == 1
        assert (look.differs.format(found="one") if look.differs else "already, but is different") in said
        for path, _, wanted in differences:
            assert f"{path} is " in said and f"wanted {json.dumps(wanted)}" in said
        return
    assert status == 0, said
    expected = {look.wrap: found} if look.wrap else found
    assert json.loads((tmp_path / "answers" / "look.json").read_text()) == expected


def test_a_wait_ends_as_the_worker_says(tmp_path):
    def wait(seen: object, **more) -> tuple[int, str]:
        until_ = Until("things.*.state", ("READY",), {"BROKEN": "It broke."}, every=(0,), **more)
        calls = [Call("wait", "Wait", "glue", "GetThing", {"id": "x"}, "wait", ACCOUNT, until=until_)]
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        answers = (
            {} if seen is None else {"glue-get-thing": {"why": "rust", "things": [{"state": one} for one in seen]}}
        )
        return play(calls, answers, folder)[:2]

    assert wait(["READY", "READY"])[0] == 0
    assert wait([])[0] == 0
    status, said = wait(["READY", "BROKEN"], reason="why", todo="Mend it.")
    assert (status, "It broke. Amazon says: rust Mend it." in said) == (1, True)
    status, said = wait(["READY", "SLOW"], give_up=0)
    assert (status, "Amazon still says SLOW" in said) == (2, True)
    assert wait(None, gone=("NoSuchThing",))[0] == 0
    assert wait(None)[0] == 1


def calls_with(text: str) -> list[Call]:
    """Calls that have `text` in every place that an answer or an answer of Amazon can reach."""
    made = Ref("step", "made", "id")
    params = {"Name": text, "Policy": {"Statement": [{"Who": text, text: [text, {"a": made}]}]}, "Ref": made}
    look = Look(
        "GetThing", params={"Name": text, "Of": made}, missing=("NoSuchThing",), same={"Name": text}, differs=text
    )
    return [
        Call("made", f"Make {text}", "glue", "CreateThing", {"Name": text}, "create", ACCOUNT, look=Look(
            "ListThings", items="things", where={"Name": text}, ignore={"Name": [text + "x"]}
        )),
        Call("changed", text, "glue", "UpdateThing", params, "update", ACCOUNT, look=look),
        Call("seen", text, "glue", "WatchThing", {"Id": made}, "wait", ACCOUNT, until=Until(
            "state", ("READY", text), {text + "!": text}, todo=text
        )),
    ]  # fmt: skip


NASTY = [
    *("'", '"', "`", "$", "\\", "\n", "\r", "%s", "-n", "*", "&&", "|", "<", "EOF", "\x7f", "é", "漢", "\u2028"),
    *("$(touch pwned)", "${HOME}", "; touch pwned #", "REF-MADE_ID-REF", "${MADE_ID}", "'\"'\"'"),
]
ANYTHING = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@settings(max_examples=12, deadline=None)
@given(text=st.lists(st.one_of(st.sampled_from(NASTY), ANYTHING), min_size=1, max_size=6).map("".join))
def test_no_value_becomes_a_command(text):
    calls = calls_with(text)
    answer = "$(touch pwned)\"'`"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        answers = {
            "glue-list-things": {"things": []},
            "glue-create-thing": {"id": answer},
            "glue-update-thing": {},
            "glue-watch-thing": {"state": "READY"},
        }
        status, said, sent = play(calls, answers, folder)
        assert status == 0, said
        checked = subprocess.run(["sh", "-n", folder / "run.sh"], capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")
        wanted = resolve(calls[1].params, {"step": {"made": {"id": answer}}})
        by_operation = {name.split(".")[1]: body for name, body in sent.items()}
        assert by_operation["glue-create-thing"] == {"Name": text}
        changed = by_operation["glue-update-thing"]
        assert {**changed, "Policy": json.loads(changed["Policy"])} == wanted
        assert by_operation["glue-get-thing"] == {"Name": text, "Of": answer}
        assert not list(folder.rglob("pwned"))


def test_whose_credentials_they_are_is_checked_first(tmp_path):
    calls = [Call("made", "Make", "glue", "CreateThing", {"Name": "x"}, "create", "999988887777")]
    status, said, sent = play(calls, {"glue-create-thing": {}}, tmp_path)
    assert (status, sent) == (1, {})
    assert "belong to account 111122223333; this is for account 999988887777" in said


def test_several_accounts_get_a_script_each():
    calls = [
        Call("a", "A", "cleanrooms", "CreateMembership", {"x": "1"}, "create", ACCOUNT),
        Call("b", "B", "cleanrooms", "CreateMembership", {"x": Ref("s", "a", "id")}, "create", "444455556666"),
        Call("c", "C", "amc", "getInstanceCollaboration", {"instanceId": "amc1"}, "wait", until=Until("a", ("b",))),
    ]
    found = render.contents(calls, Entity(), "T")
    assert {name for name in found if name.endswith(".sh")} == {
        "run-111122223333.sh", "run-444455556666.sh", "run-amc.sh"}  # fmt: skip
    assert {"create-membership-111122223333.json", "create-membership-444455556666.json"} <= set(found)
    assert "First run run-111122223333.sh in this folder" in found["run-444455556666.sh"]
    assert "AMC_TOKEN" not in found["run-444455556666.sh"].partition("# ---- The calls")[2]
    assert "AWS_PROFILE_444455556666" in found["README.txt"]


def test_payloads_have_the_guide_s_names():
    calls = [
        Call("s", "S", "entityresolution", "CreateSchemaMapping", {"schemaName": "x"}, "create", ACCOUNT),
        Call("n", "N", "entityresolution", "CreateIdNamespace", {"idNamespaceName": "x"}, "create", ACCOUNT),
        Call("a", "A", "cleanrooms", "CreateIdNamespaceAssociation", {"name": "x"}, "create", ACCOUNT),
        Call("r", "R", "iam", "CreateRole", {"RoleName": "x", "AssumeRolePolicyDocument": {}}, "create", ACCOUNT),
    ]
    commands = render.commands(calls, Entity())
    assert [one.payload_name for one in commands] == [
        "create-schema-mapping.json",
        "create-source-id-namespace.json",
        "create-source-id-namespace-association.json",
        "create-role.json",
    ]
    assert commands[0].text == (
        "aws entityresolution create-schema-mapping --region us-east-1 \\\n"
        "  --cli-input-json file://create-schema-mapping.json"
    )
    assert "jq '.AssumeRolePolicyDocument |= tojson' create-role.json" in commands[3].text


def test_shellcheck_finds_nothing(tmp_path):
    for name, text in render.contents(calls_with("it's"), Entity(), "T").items():
        if name.endswith(".sh"):
            (tmp_path / name).write_text(text)
    checked(list(tmp_path.iterdir()))


def in_outline(library: str) -> str:
    """The library with functions that do no more than run what they are given: its own lines are judged elsewhere."""
    functions = dict(re.findall(r"^(\w+)\(\) (\{.*?\}$)", library, re.MULTILINE | re.DOTALL))
    assert {"say", "finds", "make", "waits", "part"} <= set(functions)
    head = library.partition("\nsay() {")[0]
    bodies = {name: '"$@"' if re.search(r"\$[@*#1]", body) else ":" for name, body in functions.items()}
    return head + "".join(f"\n{name}() {{ {body}; }}" for name, body in bodies.items()) + '\n: "${JQ:=}"\n'


@pytest.mark.django_db
def test_every_step_has_a_script_that_a_shell_accepts(tmp_path, monkeypatch):
    assert LIBRARY in next(iter(scripts(calls_with("x"), Entity(), "T"))).text
    monkeypatch.setattr("onboarding.guide.render.script.LIBRARY", in_outline(LIBRARY))
    seen = set()
    for steps in PROCEDURES.values():
        for step in steps:
            for situation in situations(step):
                calls = step.full_plan(situation)
                shape = (step.key, *((call.key, call.effect) for call in calls))
                if not calls or shape in seen:
                    continue
                seen.add(shape)
                files = render.contents(calls, Entity(), step.act(situation))
                render.commands(calls, Entity())
                for name, text in files.items():
                    if name.endswith(".json"):
                        json.loads(text)
                    elif name.endswith(".sh"):
                        (tmp_path / f"{len(seen)}-{name}").write_text(text)
    # What is put right is what was found to differ: without that its steps have nothing to do.
    keys = {shape[0] for shape in seen}
    assert all(keys & {step.key for step in steps} for name, steps in PROCEDURES.items() if name != "put-right")
    checked(sorted(tmp_path.iterdir()))


def checked(found: list[Path]) -> None:
    """Have shellcheck read these scripts."""
    assert found
    tool = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([tool, *found], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
