"""Starts the simulator as a program of its own, for tests, demos and benchmarks."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass
class RunningSimulator:
    """A simulator under way: its address and its process."""

    url: str
    process: subprocess.Popen[str]

    def stop(self, seconds: float = 60) -> int:
        """Ask it to stop, wait until it has, and return its exit status. Kills it after `seconds`."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(60)
        finally:
            if self.process.stdout is not None:
                self.process.stdout.close()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.process.kill()
        self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()


def start_simulator(
    data_dir: Path | None = None,
    *,
    port: int = 0,
    pace: str = "fast",
    role_delay: float = 0,
    control: bool = True,
    deadline: float = 90,
) -> RunningSimulator:
    """Start a simulator that keeps its data in `data_dir` and return it once it answers.

    `pace` and `role_delay` are as for the command line. Raises RuntimeError when it does not start within `deadline`
    seconds.
    """
    command = [sys.executable, "-m", "simulator", "--port", str(port), "--pace", pace, "--role-delay", str(role_delay)]
    if data_dir is not None:
        command += ["--data", str(data_dir)]
    if not control:
        command.append("--no-control")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)  # noqa: S603
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_pump, args=(process, lines), daemon=True).start()
    try:
        line = lines.get(timeout=deadline)
    except queue.Empty:
        line = ""
    if "http://" not in line:
        process.kill()
        process.wait(60)
        raise RuntimeError(f"the simulator did not start: {line!r}")
    return RunningSimulator("http://" + line.split("http://", 1)[1].strip().rstrip("/"), process)


@contextlib.contextmanager
def running_simulator(data_dir: Path | None = None, **options: object) -> Iterator[RunningSimulator]:
    """`start_simulator` for the length of a block."""
    simulator = start_simulator(data_dir, **options)  # type: ignore[arg-type]  # handed through as they are
    try:
        yield simulator
    finally:
        simulator.stop()


def _pump(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    """Pass on what the program prints, until its output ends."""
    assert process.stdout is not None
    with contextlib.suppress(ValueError):  # closed by stop() while reading
        for line in process.stdout:
            lines.put(line)
    lines.put("")
