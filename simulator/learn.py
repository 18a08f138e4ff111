"""The guide's way by hand: the script `templates/learn.sh`, as it is or step by step for a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from simulator import people

FILE = Path(__file__).parent / "templates" / "learn.sh"


@dataclass(frozen=True)
class Step:
    """One step: its title, why it is there, and its commands."""

    title: str
    why: str
    commands: str


def script(address: str) -> str:
    """All of it for `sh`, against the simulator at `address`; it stops where something fails."""
    text = FILE.read_text(encoding="utf-8")
    for name, value in {
        "ADDRESS": address,
        "AWS": people.HARBOUR.aws_accounts[0],
        "CLIENT": people.CLIENT_ID,
        "AMC": people.HARBOUR.id,
        "MARKETPLACE": people.HARBOUR.marketplace,
    }.items():
        text = text.replace(f"@{name}@", value)
    return text


def steps(address: str) -> list[Step]:
    """The same in steps: each begins with `# == ` and its title; the comments below that say why."""
    return [_step(part) for part in script(address).split("\n# == ")[1:]]


def _step(part: str) -> Step:
    title, *lines = part.strip().splitlines()
    first = next(place for place, line in enumerate(lines) if not line.startswith("#"))
    why = " ".join(line.removeprefix("#").strip() for line in lines[:first])
    return Step(title, why, "\n".join(lines[first:]))


def _way_back(address: str) -> str:
    return f"{address}/learn"


def sign_in(address: str) -> str:
    """Where a browser begins to sign in, to come back to the page that explains it."""
    asked = {
        "client_id": people.CLIENT_ID,
        "redirect_uri": _way_back(address),
        "response_type": "code",
        "scope": "profile advertising::campaign_management",
        "state": "by-hand",
    }
    return f"/ap/oa?{urlencode(asked)}"


def exchange(address: str, code: str) -> str:
    """The command with which an application turns a code into tokens."""
    return (
        f"curl -s {address}/auth/o2/token -d grant_type=authorization_code \\\n  -d code={code} \\\n"
        f"  -d redirect_uri={_way_back(address)} \\\n  -d client_id={people.CLIENT_ID} \\\n"
        f"  -d client_secret={people.CLIENT_SECRET}"
    )
