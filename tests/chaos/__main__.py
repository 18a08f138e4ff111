"""`python -m tests.chaos`: see the package."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.chaos import lane as lanes
from tests.chaos import matrix, schedule


def _say(text: str) -> None:
    # At once and with its end: several processes say something to the same pipe.
    os.write(1, f"{text}\n".encode())


def _drawn(seeds: list[int], drawn: Any) -> Iterator[int]:
    """The seeds that no other lane has drawn, one after the other: one is over in a second, another in twenty."""
    while True:
        with drawn.get_lock():
            place = drawn.value
            drawn.value += 1
        if place >= len(seeds):
            return
        yield seeds[place]


def _in_lane(folder: Path, empty: Path, seeds: Iterator[int]) -> int:
    lane = lanes.Lane(folder, empty)
    try:
        return schedule.run(lane, seeds, _say)
    finally:
        lane.close()


def _child(folder: Path, empty: Path, seeds: list[int], drawn: Any, failed: Any) -> None:
    count = _in_lane(folder, empty, _drawn(seeds, drawn))
    with failed.get_lock():
        failed.value += count


def _sweep(folder: Path, empty: Path, point: str, options: argparse.Namespace, answer: Any) -> None:
    lane = lanes.Lane(folder, empty)
    try:
        only = {("onboard", options.operation)} if options.operation else None
        answer.send(matrix.run(lane, point, _say, only, wait=options.wait))
    finally:
        lane.close()


def _matrix(folder: Path, empty: Path, options: argparse.Namespace) -> int:
    """The three points of the matrix side by side; how many of them failed."""
    context = multiprocessing.get_context("fork")
    answers, children = [], []
    for number, point in enumerate(matrix.POINTS):
        receiver, sender = context.Pipe(duplex=False)
        children.append(
            context.Process(target=_sweep, args=(folder / f"point-{number}", empty, point, options, sender))
        )
        children[-1].start()
        sender.close()
        answers.append(receiver)
    killed = []
    for receiver in answers:
        try:
            killed.append(receiver.recv())
        except EOFError:
            killed.append(None)
    for child in children:
        child.join()
    failed = killed.count(None)
    calls = set().union(*(one or set() for one in killed))
    # A call that is made in any case is made on each of the ways.
    for call in sorted(calls):
        for point, one in zip(matrix.POINTS, killed, strict=True):
            if one is not None and call not in one:
                _say(f"note    {' '.join(call)} was not made on the way with kills {point}")
    crashes = sum(len(one or ()) for one in killed)
    _say(f"matrix: {len(calls)} calls, {crashes} crashes, {failed} of {len(matrix.POINTS)} sweeps failed")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--from", dest="first", type=int, default=1)
    # A schedule waits for much of its time.
    parser.add_argument("--lanes", type=int, default=(os.cpu_count() or 1) + 1)
    parser.add_argument("--matrix", action="store_true", help="the crash matrix instead of schedules")
    parser.add_argument("--operation", default="", help="with --matrix: only this call, such as amc:createInstance")
    parser.add_argument("--wait", action="store_true", help="with --matrix: leases run out by themselves")
    options = parser.parse_args()
    # In the matrix a lease that is to run out does so at once: with the times of production no call that is held is
    # given up while a busy machine comes to look at it.
    lanes.load_django(**({"CALL_TIMEOUT": "10", "LEASE_SECONDS": "20"} if options.matrix else {}))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = Path(name)
        empty = lanes.template(folder)
        if options.matrix:
            return 1 if _matrix(folder, empty, options) else 0
        seeds = list(range(options.first, options.first + options.seeds))
        failed, drawn = multiprocessing.Value("i", 0), multiprocessing.Value("i", 0)
        number = min(options.lanes, len(seeds))
        context = multiprocessing.get_context("fork")
        children = [
            context.Process(target=_child, args=(folder / f"lane-{index}", empty, seeds, drawn, failed))
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
