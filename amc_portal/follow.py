"""Follows a run: its log as it grows, until nothing more happens by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from amc_portal.client import Client
from amc_portal.errors import Failed, NeedsSomebody, Stopped
from amc_portal.output import Output, plain

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0
AT_WORK = ("queued", "running", "waiting")


def follow(
    client: Client,
    output: Output,
    run: str,
    *,
    submit: bool = False,
    wait: bool = False,
    timeout: float = 0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Write the run's log until the run ends; returns the run as it is then.

    With `submit` every step that has all its answers is submitted; with `wait` it also waits for people. Raises
    NeedsSomebody, Stopped, or Failed when `timeout` seconds have passed.
    """
    last, shown, pause, began = 0, "", FIRST_PAUSE, clock()
    while True:
        found = client.get(f"runs/{run}")
        # After the state, so that a line which belongs to it is not missed.
        lines = client.get(f"runs/{run}/log", after=last)
        for line in lines:
            last = line["id"]
            output.say(f"{line['at'][11:19]} {plain(line['text'])}")
        now = progress(found)
        if now != shown:
            output.say(now)
        changed, shown = bool(lines) or now != shown, now
        if found["ended_at"] is not None and not lines:
            return _end(found)
        if submit and _submitted(client, found):
            continue
        if not wait and not changed:
            _raise_if_stuck(found)
        if timeout and clock() - began > timeout:
            raise Failed(f"Not finished after {timeout:g} s. {now}")
        pause = FIRST_PAUSE if changed else min(pause * 1.5, LONGEST_PAUSE)
        sleep(pause)


def progress(run: dict[str, Any]) -> str:
    """Where the run stands, in a line."""
    done = sum(step["state"] == "done" for step in run["steps"])
    return f"[{done}/{len(run['steps'])}] {plain(run['status_text'])}: {plain(run['status_detail'])}"


def _submitted(client: Client, run: dict[str, Any]) -> bool:
    ready = [step["key"] for step in run["steps"] if step["state"] == "ready"]
    if not ready:
        return False
    after = client.post(f"runs/{run['id']}/submit")["run"]
    return ready != [step["key"] for step in after["steps"] if step["state"] == "ready"]


def _end(run: dict[str, Any]) -> dict[str, Any]:
    if any(step["state"] == "cancelled" for step in run["steps"]):
        raise Stopped(f"{plain(run['title'])} of {plain(run['instance_name'])} was cancelled.")
    return run


def _raise_if_stuck(run: dict[str, Any]) -> None:
    states = {step["state"] for step in run["steps"]}
    if states & set(AT_WORK) and "failed" not in states:
        return
    for step in run["steps"]:
        if step["state"] == "failed":
            failure = step["failure"] or {}
            words = [plain(failure.get(name)) for name in ("what", "why", "todo") if failure.get(name)]
            raise Stopped("\n".join([f"{plain(step['title'])}: there is a problem.", *words]))
    raise NeedsSomebody(f"{plain(run['status_text'])}: {plain(run['status_detail'])} ({plain(run['waiting_on'])})")
