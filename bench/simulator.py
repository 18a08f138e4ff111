"""The local Amazon beside bare programs, in processor time and in one run: its start, a read, and a sample file.

- Starting until it answers, against an interpreter that loads the same server, templates and validators.
- A read of an instance, against the same server program answering the same bytes from memory.
- A sample of a million rows with known truth, against Polars reading that file and writing it again; and its memory.

What people want to know beside that is printed: seconds to start, reads a second, seconds and memory for the file.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil

from simulator.people import CLIENT_ID, HARBOUR
from simulator.testing import ROOT, start_simulator

MOST_START, MOST_READ, MOST_SAMPLE, MOST_MB = 3.0, 6.0, 12.0, 1024
READS, ROUNDS, ROWS = 400, 5, 1_000_000
LOAD = "import cheroot.wsgi, jinja2, jsonschema, referencing, sqlite3, werkzeug.wrappers, yaml"
SERVER = """
import sys
from cheroot import wsgi
body = sys.stdin.buffer.read()
def app(environ, start):
    start("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
server = wsgi.Server(("127.0.0.1", 0), app, numthreads=48)
server.prepare()
print(server.bind_addr[1], flush=True)
server.serve()
"""
COPY = "import polars, sys; polars.scan_csv(sys.argv[1], infer_schema=False).sink_csv(sys.argv[2])"


def main() -> int:
    """Print the figures; 1 if any ratio is too high."""
    held = [_start(), _read(), _sample()]
    return 0 if all(held) else 1


def _said(name: str, ratio: float, most: float, more: str) -> bool:
    print(f"simulator, {name}: {ratio:.1f} times the bare one (at most {most:g}); {more}")
    return ratio <= most


def _processor(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _run(*words: str) -> tuple[float, float, float]:
    """Processor seconds, seconds and MiB at most of one Python program."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, words
    return used.ru_utime + used.ru_stime, time.perf_counter() - began, used.ru_maxrss / 1024


def _start() -> bool:
    bare, own, seconds = [], [], []
    for _ in range(ROUNDS):
        bare.append(_run("-c", LOAD)[0])
        began = time.perf_counter()
        running = start_simulator()
        seconds.append(time.perf_counter() - began)
        own.append(_processor(psutil.Process(running.process.pid)))
        running.stop()
    ratio = statistics.median(own) / statistics.median(bare)
    return _said("start", ratio, MOST_START, f"{statistics.median(seconds):.2f} s until it answers")


def _reads(url: str, headers: dict[str, str], pid: int) -> tuple[float, float]:
    """Processor seconds of the server for a read, and reads a second that one client had."""
    process = psutil.Process(pid)
    with httpx.Client(headers=headers) as http:
        http.get(url)
        before, began = _processor(process), time.perf_counter()
        for _ in range(READS):
            assert http.get(url).status_code == 200
        return (_processor(process) - before) / READS, READS / (time.perf_counter() - began)


def _read() -> bool:
    running = start_simulator()
    token = httpx.get(f"{running.url}/_simulator/token").json()["access_token"]
    headers = {
        "Authorization": f"Bearer {token}",
        "Amazon-Advertising-API-ClientId": CLIENT_ID,
        "Amazon-Advertising-API-AdvertiserId": HARBOUR.id,
        "Amazon-Advertising-API-MarketplaceId": HARBOUR.marketplace,
    }
    listed = httpx.get(f"{running.url}/amc/instances", headers=headers).json()["instances"]
    url = f"{running.url}/amc/instances/{listed[0]['instanceId']}"
    httpx.get(f"{running.url}/_simulator/world")  # the AWS side, which loads beside it, is there from now on
    bare = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert bare.stdin is not None and bare.stdout is not None
    try:
        bare.stdin.write(httpx.get(url, headers=headers).content)
        bare.stdin.close()
        plain = f"http://127.0.0.1:{int(bare.stdout.readline())}/"
        pairs = [(_reads(plain, headers, bare.pid), _reads(url, headers, running.process.pid)) for _ in range(ROUNDS)]
    finally:
        bare.kill()
        bare.wait()
        bare.stdout.close()
        running.stop()
    own = statistics.median(ours[0] for _, ours in pairs)
    ratio = own / statistics.median(bare[0] for bare, _ in pairs)
    rate = statistics.median(ours[1] for _, ours in pairs)
    return _said(
        "read", ratio, MOST_READ, f"{own * 1000:.2f} ms of a processor, {rate:.0f} reads a second by one client"
    )


def _sample() -> bool:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        file = Path(name) / "people.csv"
        own, seconds, memory = _run(
            "-m", "simulator", "sample", "--rows", str(ROWS), "--country", "US", "--messy", "0.3", str(file)
        )
        bare = _run("-c", COPY, str(file), str(Path(name) / "copy.csv"))[0]
    fits = _said("sample", own / bare, MOST_SAMPLE, f"{ROWS:,} rows in {seconds:.0f} s and {memory:.0f} MiB")
    return fits and memory <= MOST_MB


if __name__ == "__main__":
    sys.exit(main())
