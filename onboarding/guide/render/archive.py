"""A plan as one file to download: scripts, payload files, what is looked for, the plan itself, and how to use them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

from onboarding.clients.amc import Account
from onboarding.guide.plan import Call, dump
from onboarding.guide.render import files
from onboarding.guide.render.identity import IDENTITY
from onboarding.guide.render.names import Names, as_json
from onboarding.guide.render.script import Script, one_line, scripts

# The same plan gives the same bytes.
_TIME = (2026, 1, 1, 0, 0, 0)


def contents(calls: Sequence[Call], account: Account, title: str) -> dict[str, str]:
    """File name → text of everything in the archive."""
    names = Names(calls)
    payloads = files.payload_names(calls)
    made = scripts(calls, account, title)
    found = {script.name: script.text for script in made}
    for call in calls:
        name = payloads.get(call.key)
        content = files.sent_by(call, account, names) if name else None
        if name and content is not None:
            found[name] = files.file_text(content, names)
        if call.service != IDENTITY and (not call.changes or call.look is not None):
            found[f"looks/{call.key}.json"] = files.file_text(files.look_file(call, account, names), names)
    found["plan.json"] = as_json(dump(calls)) + "\n"
    found["README.txt"] = _readme(calls, made, payloads, title)
    return found


def archive(calls: Sequence[Call], account: Account, title: str) -> bytes:
    """The archive as a zip."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in contents(calls, account, title).items():
            entry = zipfile.ZipInfo(name, _TIME)
            entry.external_attr = (0o100755 if name.endswith(".sh") else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(entry, text)
    return content.getvalue()


def _readme(calls: Sequence[Call], made: Sequence[Script], payloads: dict[str, str], title: str) -> str:
    lines = [one_line(title), "", "The same calls that the portal makes, for whoever makes them alone.", ""]
    for script in made:
        lines += [f"{script.name}", *(f"  {line}" for line in _needs(script)), ""]
    lines += ["What is done, in this order:"]
    lines += [
        f"  {number}. {one_line(call.title)}" + (f" ({payloads[call.key]})" if call.key in payloads else "")
        for number, call in enumerate(calls, 1)
    ]
    lines += [
        "",
        "A script looks before it makes anything. What is there and as it should be is used as it is; what is there",
        "and different stops the script, which says where. It stops at the first error. It can be started again at",
        "any time and never makes a second one. What Amazon answered is kept in the folder answers; the files in the",
        "folder looks say what is looked for. Where a file has ${NAME}, the script puts in what an earlier call",
        "answered.",
        "",
        "  WAIT_SECONDS   how long a script waits for Amazon at most, before it says so and ends with status 2 (3600)",
        "  POLL_SECONDS   seconds between two looks, in place of those of the plan",
        "  AMC_URL        another address of the AMC API",
        "",
        "When it says Done, go back to the step in the portal and choose “I have done this: check”. The portal looks",
        "at what is really there.",
    ]
    return "\n".join(lines) + "\n"


def _needs(script: Script) -> list[str]:
    lines = []
    if script.account:
        lines += [
            f"Makes calls in AWS account {script.account}, in us-east-1. It needs aws and jq, and credentials of an",
            "administrator of that account: those that the AWS command line finds by itself, or the profile named in",
            f"  AWS_PROFILE_{script.account}",
            "Without a shell of your own, AWS CloudShell in that account has all of them.",
        ]
    if script.amc:
        lines += [
            "It needs curl and jq, and for the AMC API"
            if script.amc_needed
            else "To wait for AMC too, set (else the portal does)",
            "  AMC_TOKEN      an access token of Login with Amazon, scope advertising::campaign_management",
            "  AMC_CLIENT_ID  the client id of the Login with Amazon application",
        ]
    for name in script.variables:
        lines.append(f"  {name}  what the earlier step made")
    return lines
