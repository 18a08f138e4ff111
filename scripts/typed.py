"""What a person types behind `make`, such as PORT=8001: read, or refused in one line that names it as it was typed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from scripts.stack import StackError
from simulator.pace import PRESETS

LAST_PORT = 65_535


def port(text: str) -> int:
    """The port of PORT=text. Raises StackError."""
    number = _number(text)
    if not 1 <= number <= LAST_PORT:
        raise StackError(f"PORT={text} is not a port: a number from 1 to {LAST_PORT}")
    return number


def workers(text: str) -> int:
    """How many WORKERS=text are. Raises StackError."""
    number = _number(text)
    if number < 1:
        raise StackError(f"WORKERS={text} is not how many workers to start: a number from 1")
    return number


def pace(text: str) -> str:
    """The name of the pace in PACE=text. Raises StackError."""
    if text not in PRESETS:
        *others, last = sorted(PRESETS)
        raise StackError(f"PACE={text} is not a pace of the local Amazon: {', '.join(others)} or {last}")
    return text


def simulator(text: str) -> bool:
    """Whether SIMULATOR=text asks for the local Amazon. Raises StackError."""
    if text not in ("yes", "no"):
        raise StackError(f"SIMULATOR={text} is neither yes nor no")
    return text == "yes"


def onboarding_file(path: Path) -> dict[str, Any]:
    """What stands in the onboarding file of FILE=path. Raises StackError if it is none; the portal checks the rest."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StackError(f"FILE={path} is not there: a file such as examples/single-party.yaml") from None
    except OSError as error:
        raise StackError(f"FILE={path} can't be read: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError):
        raise StackError(f"FILE={path} is not YAML; docs/from-a-file.md says how it is written") from None
    steps: Any = content.get("steps") if isinstance(content, dict) else None
    shaped = isinstance(steps, dict) and all(
        isinstance(step, dict) and all(isinstance(question, dict) for question in step.values())
        for step in steps.values()
    )
    if not shaped:
        raise StackError(f"FILE={path} is no onboarding file; docs/from-a-file.md says how it is written")
    if not content.get("account") or not steps.get("create-instance", {}).get("aws-account", {}).get("account_id"):
        raise StackError(f"FILE={path} names no account or no AWS account; docs/from-a-file.md says how it is written")
    return dict(content)


def _number(text: str) -> int:
    # Not `int` alone, which takes 1_0 and digits of other scripts too.
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else -1
