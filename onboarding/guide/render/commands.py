"""Each call of a plan as one command, for reading and for copying."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings

from onboarding.clients.amc import CLIENT_HEADER, Account, ApiRequest
from onboarding.guide.plan import Call
from onboarding.guide.render import files
from onboarding.guide.render.identity import IDENTITY, command
from onboarding.guide.render.names import Names, as_json


@dataclass(frozen=True)
class Command:
    """One call as a command. `payload` is its file's name and text; both empty when there is none.

    `account` is the AWS account whose credentials it needs; empty for the AMC API.
    """

    key: str
    title: str
    text: str
    payload_name: str = ""
    payload: str = ""
    account: str = ""


def commands(calls: Iterable[Call], account: Account) -> list[Command]:
    """Each call as a curl or aws command and its payload file.

    No secret is ever in them: AMC_TOKEN and AMC_CLIENT_ID are read from the environment, and the AWS command line has
    its own credentials.
    """
    calls = list(calls)
    names = Names(calls)
    payloads = files.payload_names(calls)
    found = []
    for call in calls:
        name = payloads.get(call.key, "")
        sent = files.sent_by(call, account, names) if name else None
        if call.service == IDENTITY:
            found.append(Command(call.key, call.title, command(call), account=call.account))
            continue
        text = _amc(call, account, names, name) if call.service == files.AMC else _aws(call, names, name)
        payload = "" if sent is None else names.shown(as_json(sent))
        found.append(Command(call.key, call.title, text, name if payload else "", payload, call.account))
    return found


def _amc(call: Call, account: Account, names: Names, payload: str) -> str:
    operation, params = call.operation, call.params
    if call.effect == "read" and call.look is not None:
        operation, params = call.look.operation, call.look.params
    request = files.request_of(call, operation, params, account, names)
    if payload and request.body is not None:
        data = f"--data @{payload}"
    else:
        data = "" if request.body is None else f"--data {names.quoted(json.dumps(request.body))}"
    lines = [f"curl --fail-with-body -sS -X {request.method} {names.quoted(settings.AMC_URL + request.path)}"]
    lines += [*_headers(request, names), *([data] if data else [])]
    return " \\\n  ".join(lines)


def _headers(request: ApiRequest, names: Names) -> list[str]:
    words = ['-H "Authorization: Bearer $AMC_TOKEN"', f'-H "{CLIENT_HEADER}: $AMC_CLIENT_ID"']
    return words + [f"-H {names.quoted(f'{name}: {value}')}" for name, value in request.headers.items()]


def _aws(call: Call, names: Names, payload: str) -> str:
    operation, params = call.operation, call.params
    if call.effect == "read" and call.look is not None:
        operation, params = call.look.operation, call.look.params
    words = files.cli(call.service, operation)
    if not params:
        return words
    if not payload:
        return f"{words} \\\n  --cli-input-json {names.quoted(json.dumps(names.filled(params)))}"
    documents = files.as_text(params)
    if not documents:
        return f"{words} \\\n  --cli-input-json file://{payload}"
    # AWS takes a policy document as text; in the file it is a document, so that people can read it.
    return f'{words} \\\n  --cli-input-json "$(jq {files.jq_word(documents)} {payload})"'
