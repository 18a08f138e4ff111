"""A plan as shell scripts that look before they make, wait where the worker waits, and can be run again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from onboarding.clients.amc import OPERATIONS, Account
from onboarding.guide.plan import Call, Look, Ref, each_key
from onboarding.guide.render import files
from onboarding.guide.render.identity import IDENTITY, command
from onboarding.guide.render.names import Names
from onboarding.identity.publish import MANIFEST

LIBRARY = Path(__file__).with_name("library.sh").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Script:
    """One script of an archive: whose credentials it needs (`account` empty: none of AWS), and whether AMC's token."""

    name: str
    account: str
    text: str
    amc: bool
    amc_needed: bool
    variables: tuple[str, ...] = ()


def one_line(text: str) -> str:
    """`text` without line breaks, as a comment and a message can hold it."""
    return " ".join(text.split())


def scripts(calls: Sequence[Call], account: Account, title: str) -> list[Script]:
    """The scripts of a plan: `run.sh`, or one for every AWS account and one for AMC when there are several accounts.

    Outputs of steps that are not among `calls` have to be in the environment; a script says so when they are not.
    """
    accounts = list(dict.fromkeys(call.account for call in calls if call.account))
    writer = _Writer(calls, account, title)
    if len(accounts) <= 1:
        return [writer.script("run.sh", accounts[0] if accounts else "", calls)]
    parts = [
        writer.script(_name_of(aws), aws, [call for call in calls if call.account == aws])
        for aws in (*accounts, "")
        if any(call.account == aws for call in calls)
    ]
    return parts


def _name_of(aws_account: str) -> str:
    return f"run-{aws_account}.sh" if aws_account else "run-amc.sh"


class _Writer:
    """Writes the scripts of one plan."""

    def __init__(self, calls: Sequence[Call], account: Account, title: str) -> None:
        self.calls = calls
        self.here = {call.key: call for call in calls}
        self.here |= {each_key(call.key): call for call in calls if call.each is not None}
        # What was there before the script began: read once, or its own doing would count as earlier the next time.
        self.baselines = {
            value.call
            for call in calls
            if call.look is not None
            for value in call.look.ignore.values()
            if isinstance(value, Ref)
        }
        self.account = account
        self.title = one_line(title)
        self.names = Names(calls)
        self.payloads = files.payload_names(calls)

    def script(self, name: str, aws_account: str, calls: Sequence[Call]) -> Script:
        """The script of those calls that one account's administrator makes."""
        mine = {call.key for call in calls} | {each_key(call.key) for call in calls if call.each is not None}
        amc = [call for call in calls if call.service == files.AMC]
        parts = [self._call(number, call, mine) for number, call in enumerate(calls, 1)]
        used = {ref for part in parts for ref in part.refs}
        needed = bool(amc) and (
            not aws_account
            or any(call.changes for call in amc)
            or any(ref.call in {call.key for call in amc} for ref in used)
        )
        foreign = sorted(self.names.of(ref) for ref in used if ref.call not in self.here)
        text = self._head(aws_account, bool(amc), needed, foreign)
        for call, part in zip(calls, parts, strict=True):
            if call.service == files.AMC and not needed:
                text += part.heading + 'if [ -n "${AMC_TOKEN:-}" ]; then\n' + indented(part.text)
                text += 'else\n  say "  AMC_TOKEN is not set: the portal asks AMC itself"\nfi\n'
            else:
                text += part.heading + part.text
        return Script(name, aws_account, text + '\nsay "Done"\n', bool(amc), needed, tuple(foreign))

    def _head(self, aws_account: str, amc: bool, amc_needed: bool, foreign: Sequence[str]) -> str:
        lines = [
            "#!/bin/sh",
            f"# {self.title}",
            "#",
            "# The calls that the portal would make. README.txt says what is needed. It looks before it makes anything",
            "# and stops at the first error, so that it can be started again.",
            "",
        ]
        text = "\n".join(lines) + LIBRARY + "\n# ---- The calls\n\n"
        tools = ["jq", *(["curl"] if amc else []), *(["aws"] if aws_account else [])]
        tools += ["python"] if any(_prepares(call) for call in self.here.values()) else []
        if amc_needed:
            text += ': "${AMC_TOKEN:?Set AMC_TOKEN to an access token of Login with Amazon}"\n'
        if amc:
            client = ': "${AMC_CLIENT_ID:?Set AMC_CLIENT_ID to the client id of the Login with Amazon application}"\n'
            text += client if amc_needed else f'[ -z "${{AMC_TOKEN:-}}" ] ||\n  {client}'
            text += f'[ -n "${{AMC_URL:-}}" ] || AMC_URL={shlex.quote(settings.AMC_URL)}\n'
        for name in foreign:
            text += f': "${{{name}:?Set {name} to what the earlier step made}}"\n'
        text += f"need_tools {' '.join(tools)}\n"
        if aws_account:
            profile = f"AWS_PROFILE_{aws_account}"
            text += f'[ -z "${{{profile}:-}}" ] || export AWS_PROFILE="${profile}"\ncheck_account {aws_account}\n'
        return text

    # -- one call

    def _call(self, number: int, call: Call, mine: set[str]) -> _Part:
        part = _Part(f"\n# {number}. {one_line(call.title)}\nsay {shlex.quote(one_line(call.title))}\n")
        if call.service == IDENTITY:
            part.text += _identity(call)
            return part
        part.text += self._look(call, part)
        ask = self._ask(call, part)
        key = shlex.quote(call.key)
        if call.effect == "wait":
            part.text += f"waits {key} {ask}\n"
        elif call.effect == "read" and call.look is None:
            part.text += f"reads {key} {ask}\n"
        elif call.effect == "read":
            part.text += f"finds {ask} || stop_absent\nis_same || stop_different\nuse {key}\n"
        else:
            part.text += self._change(call, ask, key, part)
        if call.effect == "read" and call.key in self.baselines:
            part.text = (
                f"if [ -s {files.answer(call.key)} ]; then\n"
                + '  say "  known from the first time"\n'
                + f"else\n{indented(part.text)}fi\n"
            )
        part.text = self._each(call, self._conditions(call, part), part)
        needed = (one.call for ref in part.refs for one in ref.chain())
        others = dict.fromkeys(name for name in needed if name in self.here and name not in mine)
        guards = "".join(
            f"[ -s {files.answer(other)} ] || stop 'First run {_name_of(self.here[other].account)} in this folder'\n"
            for other in others
        )
        part.text = guards + part.text
        return part

    def _conditions(self, call: Call, part: _Part) -> str:
        """The lines of a call, made only where `given` and `unless` say so."""
        tests = []
        for ref, word in ((call.given, ""), (call.unless, "! ")):
            if ref is not None:
                part.refs.add(ref)
                tests.append(f"{word}known {_places(ref)}")
        if not tests:
            return part.text
        skipped = f"  echo '{{}}' >{files.answer(call.key)}\n" + '  say "  not needed"\n'
        return f"if {' && '.join(tests)}; then\n{indented(part.text)}else\n{skipped}fi\n"

    def _each(self, call: Call, text: str, part: _Part) -> str:
        """The lines of a call, made for every item of the list that it is made for."""
        if call.each is None:
            return text
        part.refs.add(call.each)
        items = f'"$tmp/{each_key(call.key)}.jsonl"'
        listed = f"jq -c {shlex.quote(f'.[{json.dumps(call.each.path)}] // [] | .[]')} {files.answer(call.each.call)}"
        kept = f"  printf '%s\\n' \"$item\" >{files.answer(each_key(call.key))}\n"
        name = shlex.quote('.name // .id // ""')
        said = f'  say "  $(jq -r {name} {files.answer(each_key(call.key))})"\n'
        # What is made inside must not read from the list.
        loop = f"while IFS= read -r item <&3; do\n{kept}{said}{indented(text)}done 3<{items}\n"
        return f"{listed} >{items}\n{loop}"

    def _look(self, call: Call, part: _Part) -> str:
        """Writes look.json and ask.json; nothing for a change that is made without looking."""
        if call.changes and call.look is None:
            return ""
        content = files.look_file(call, self.account, self.names)
        text = self._fill(f"looks/{call.key}.json", content, [], '"$tmp/look.json"', part)
        documents = files.as_text(content["params"]) if call.service != files.AMC else []
        return text + f'jq {files.jq_word([".params", *documents])} "$tmp/look.json" >"$tmp/ask.json"\n'

    def _fill(
        self, name: str, content: object, more: list[str], to: str, part: _Part, given: Sequence[str] = ()
    ) -> str:
        filters, options = files.fill(content, self.names, self.here)
        options += given
        part.note(content, self.names)
        words = ["jq", f'"$JQ"{files.jq_word([*filters, *more])}' if filters else files.jq_word(more), *options, name]
        return " ".join(words) + f" >{to}\n"

    def _ask(self, call: Call, part: _Part) -> str:
        """The command that looks, or that reads."""
        look = call.look if call.effect != "wait" else None
        if call.changes and look is None:
            return ""
        operation = look.operation if look else call.operation
        params = look.params if look else call.params
        if call.service != files.AMC:
            if look is not None and look.detail:
                words = files.cli(call.service, look.detail)
                part.text += f'detail() {{ {words} --cli-input-json "file://$tmp/detail.json"; }}\n'
            return files.cli(call.service, operation) + (' --cli-input-json "file://$tmp/ask.json"' if params else "")
        if look is not None and look.detail:
            part.text += self._amc_detail(call, look, part)
        command = self._amc(call, operation, dict(params), part)
        if look is not None and look.items:
            return f"amc_list {shlex.quote(look.items)} {command}"
        return "amc " + command + (' --data "@$tmp/ask.json"' if OPERATIONS[operation].body else "")

    def _amc_detail(self, call: Call, look: Look, part: _Part) -> str:
        """A function that asks about one entry of a list; what it asks with is in detail.json."""
        names = {name: Ref("", "detail", name) for name in look.detail_param}
        command = self._amc(call, look.detail, {**look.params, **names}, _Part(""))
        part.refs |= self._refs(look.params)
        lines = "".join(
            f"""  {self.names.of(ref)}=$(jq -r '.{name} | tostring | @uri' "$tmp/detail.json")\n"""
            for name, ref in names.items()
        )
        return f"detail() {{\n{lines}  amc {command}\n}}\n"

    def _refs(self, value: object) -> set[Ref]:
        refs = {name: ref for ref, name in self.names.taken.items()}
        return {refs[name] for _, name in files.marked(self.names.filled(value), self.names)}

    def _amc(self, call: Call, operation: str, params: Mapping[str, object], part: _Part) -> str:
        """METHOD, address and headers of a call of the AMC API, with references in the address as shell variables."""
        request = files.request_of(call, operation, params, self.account, self.names)
        refs = {name: ref for ref, name in self.names.taken.items()}
        for name in self.names.found_in(request.path):
            ref = refs[name]
            if ref.step:
                part.refs.add(ref)
            if ref.step and ref.call in self.here:
                part.text += f"{name}=$(part {_places(ref)})\n"
        headers = [f"-H {self.names.quoted(f'{name}: {value}')}" for name, value in request.headers.items()]
        address = '"$AMC_URL"' + self.names.quoted(request.path)
        return " \\\n  ".join([f"{request.method} {address}", *headers])

    # -- changes

    def _change(self, call: Call, ask: str, key: str, part: _Part) -> str:
        make, before = self._make(call, key, part)
        if call.look is None:
            return before + make
        if call.effect == "create":
            return (
                f"if finds {ask}; then\n  is_same || stop_different\n  use {key}\n"
                + '  say "  found, and used as it is"\nelse\n'
                + indented(before + make)
                + "fi\n"
            )
        if call.effect == "update":
            return (
                f'if finds {ask} && is_same; then\n  use {key}\n  say "  is so already"\nelse\n'
                + indented(before + make)
                + "fi\n"
            )
        gone = f"  echo '{{}}' >{files.answer(call.key)}\n"
        return f"if finds {ask}; then\n{indented(before + make)}else\n{gone}" + '  say "  not there any more"\nfi\n'

    def _make(self, call: Call, key: str, part: _Part) -> tuple[str, str]:
        """The call itself, and what has to be prepared for it."""
        words = {"create": "made", "update": "changed", "delete": "removed"}[call.effect]
        said = f'say "  {words}"\n'
        payload = self.payloads.get(call.key, "")
        content = files.sent_by(call, self.account, self.names) if payload else None
        before, source = "", payload
        if payload and content is not None:
            more = files.as_text(content) if call.service != files.AMC else []
            if call.token_param:
                more.append(f".{call.token_param} = $token")
            filters, _ = files.fill(content, self.names, self.here)
            if filters or more:
                given = ['--arg token "$(cat "$tmp/token.txt")"'] if call.token_param else []
                before = f'token {key} >"$tmp/token.txt"\n' if call.token_param else ""
                before += self._fill(payload, content, more, '"$tmp/sent.json"', part, given)
                source = "$tmp/sent.json"
        if call.service != files.AMC:
            file = f'"file://{source}"' if source.startswith("$") else f"file://{source}"
            command = files.cli(call.service, call.operation) + (f" --cli-input-json {file}" if source else "")
            return f"make {key} {command}\n{said}", before
        inner = _Part("")
        command = "amc " + self._amc(call, call.operation, dict(call.params), inner)
        part.refs |= inner.refs
        if content is not None:
            command += f' \\\n  --data "@{source}"'
        return f"make {key} {command}\n{said}", inner.text + before


def _prepares(call: Call) -> bool:
    return call.service == IDENTITY and call.operation == "start"


def _identity(call: Call) -> str:
    """The lines of work on identity files; what this very script has prepared, and is still there, is not made anew."""
    if not _prepares(call):
        return f"{command(call)}\n"
    bucket, _, folder = str(call.params["to"]).removeprefix("s3://").partition("/")
    there = (
        files.cli("s3", "HeadObject") + f" --bucket {shlex.quote(bucket)} --key {shlex.quote(f'{folder}/{MANIFEST}')}"
    )
    answer = files.answer(call.key)
    return (
        f"if [ -s {answer} ] && {there} >/dev/null 2>&1; then\n"
        + '  say "  is there already"\nelse\n'
        + indented(command(call))
        + f"  echo '{{}}' >{answer}\n"
        + '  say "  made"\nfi\n'
    )


def _places(ref: Ref) -> str:
    """Where a value is looked for: the names of calls and the paths in their answers, as words of a shell."""
    return " ".join(f"{shlex.quote(one.call)} {shlex.quote(one.path)}" for one in ref.chain())


class _Part:
    """The lines of one call, and the references that they use."""

    def __init__(self, heading: str) -> None:
        self.heading = heading
        self.text = ""
        self.refs: set[Ref] = set()

    def note(self, content: object, names: Names) -> None:
        """Remember which references are in `content`."""
        refs = {name: ref for ref, name in names.taken.items()}
        self.refs |= {refs[name] for _, name in files.marked(content, names)}


def indented(text: str) -> str:
    """`text` two blanks further in."""
    return "".join(f"  {line}\n" for line in text.splitlines())
