"""`python -m tests.chaos`: see the package."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.chaos import lane as lanes
from tests.chaos import matrix, schedule

# The phases of the matrix whose crashes one lane of the sample makes.
_EARLY = ("onboard", "join-partners", "look", "prepare")
SAMPLE = (_EARLY, tuple(phase.name for phase in matrix.PHASES if phase.name not in _EARLY))


def _say(text: str) -> None:
    print(text, flush=True)


def _in_lane(folder: Path, seeds: list[int]) -> int:
    lane = lanes.Lane(folder)
    try:
        return schedule.run(lane, seeds, _say)
    finally:
        lane.close()


def _child(folder: Path, seeds: list[int], failed: Any) -> None:
    count = _in_lane(folder, seeds)
    with failed.get_lock():
        failed.value += count


def _sweep(folder: Path, points: dict[matrix.Call, str], wait: bool, failed: Any) -> None:
    lane = lanes.Lane(folder)
    try:
        count = matrix.run(lane, _say, points, wait=wait)
    finally:
        lane.close()
    with failed.get_lock():
        failed.value += count


def _calls(folder: Path, found: Any) -> None:
    lane = lanes.Lane(folder)
    try:
        found.send(matrix.calls_made(lane))
    except lanes.Failed as error:
        _say(f"FAILED  undisturbed: {error}")
        found.send([])
    finally:
        lane.close()


def _matrix(folder: Path, options: argparse.Namespace) -> int:
    """The three points of the matrix side by side, or the sample's parts; how many failed."""
    failed, context = multiprocessing.Value("i", 0), multiprocessing.get_context("fork")
    calls: list[matrix.Call] = [("onboard", options.operation)] if options.operation else []
    if not calls:
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_calls, args=(folder / "undisturbed", sender))
        child.start()
        calls = receiver.recv()
        child.join()
        if not calls:
            return 1
    if options.sample:
        calls = matrix.sample(calls)
        points = matrix.in_turn(calls)
        shares = [{call: points[call] for call in calls if call[0] in part} for part in SAMPLE]
    else:
        shares = [dict.fromkeys(calls, point) for point in matrix.POINTS]
    children = [
        context.Process(target=_sweep, args=(folder / f"share-{number}", points, options.wait, failed))
        for number, points in enumerate(shares)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    crashes = sum(map(len, shares))
    _say(f"matrix: {len(calls)} calls, {crashes} crashes, {failed.value} of {len(shares)} sweeps failed")
    return failed.value + sum(child.exitcode != 0 for child in children)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--from", dest="first", type=int, default=1)
    parser.add_argument("--lanes", type=int, default=2)
    parser.add_argument("--matrix", action="store_true", help="the crash matrix instead of schedules")
    parser.add_argument(
        "--sample", action="store_true", help="with --matrix: each call that changes something, at one of the points"
    )
    parser.add_argument("--operation", default="", help="with --matrix: only this call, such as amc:createInstance")
    parser.add_argument("--wait", action="store_true", help="with --matrix: leases run out by themselves")
    options = parser.parse_args()
    lanes.load_django()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = Path(name)
        if options.matrix:
            return 1 if _matrix(folder, options) else 0
        seeds = list(range(options.first, options.first + options.seeds))
        failed = multiprocessing.Value("i", 0)
        number = min(options.lanes, len(seeds))
        context = multiprocessing.get_context("fork")
        children = [
            context.Process(target=_child, args=(folder / f"lane-{index}", seeds[index::number], failed))
            for index in range(number)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join()
        crashed = sum(child.exitcode != 0 for child in children)
        took = time.monotonic() - began
        _say(f"chaos: {len(seeds)} schedules in {took:.0f} s, {failed.value} failed, {crashed} lanes lost")
        return 1 if failed.value or crashed else 0


if __name__ == "__main__":
    sys.exit(main())
