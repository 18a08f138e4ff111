"""`python -m bench.at_size`: the pages that everybody uses, with years of data, beside a bare list on the same server.

PostgreSQL and gunicorn with two workers, as in production; one browser and eight at a time, in turns with the bare
list; medians are compared. Queries are counted in this process on the same data. It ends with 1 if a page takes more
than its share, asks more than its ceiling, or a worker has grown beyond its memory.
"""

from __future__ import annotations

import http.client
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bench.bare import redis, report
from scripts.stack import ROOT, free_port
from tests.postgres import postgres

WORKERS = 2
MOST_WORKER_MB = 120
ROUNDS, EACH = 15, 16
"""Rounds, and requests of each page in a round."""
CONCURRENCY = (1, 8)


class Page:
    """A page, what it may cost beside the bare list, and how many queries it may ask."""

    def __init__(self, name: str, address: str, most_ratio: float, most_queries: int) -> None:
        self.name, self.address = name, address
        self.most_ratio, self.most_queries = most_ratio, most_queries


def pages(instance: int) -> list[Page]:
    """What is measured, with the ceilings."""
    return [
        Page("instance list", "/instances/", 2, 8),
        Page("instance page", f"/instances/{instance}/", 2, 20),
        Page("inbox", "/requests/", 2, 10),
        Page("dashboard", "/dashboard/", 4, 30),
    ]


@contextmanager
def _gunicorn(port: int) -> Iterator[int]:
    environment = {**os.environ, "BIND": f"127.0.0.1:{port}", "WEB_WORKERS": str(WORKERS)}
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "bench.at_size.site:application"]
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        try:
            for _ in range(1200):
                try:
                    _get(http.client.HTTPConnection("127.0.0.1", port, timeout=5), "/healthz", "")
                    break
                except OSError:
                    if process.poll() is not None:
                        raise RuntimeError("the server did not start") from None
                    time.sleep(0.1)
            else:
                raise RuntimeError("the server did not start")
            yield process.pid
        finally:
            process.terminate()


def _get(connection: http.client.HTTPConnection, address: str, cookie: str) -> float:
    """Seconds until the whole answer is here."""
    began = time.perf_counter()
    connection.request("GET", address, headers={"Cookie": cookie, "Host": "localhost"})
    answer = connection.getresponse()
    body = answer.read()
    took = time.perf_counter() - began
    if answer.status != 200:
        raise RuntimeError(f"{address} answered {answer.status}: {body[:200]!r}")
    return took


def _measure(port: int, address: str, cookie: str, at_once: int) -> list[float]:
    """Seconds of each of `EACH` requests (at least 2 a browser), by so many browsers at a time."""
    rounds = max(2, EACH // at_once)

    def browser(_: int) -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            return [_get(connection, address, cookie) for _ in range(rounds)]
        finally:
            connection.close()

    with ThreadPoolExecutor(at_once) as pool:
        return [took for one in pool.map(browser, range(at_once)) for took in one]


def _memory(parent: int) -> list[float]:
    """Resident megabytes of each worker of gunicorn."""
    found = []
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    for child in children:
        lines = Path(f"/proc/{child}/status").read_text().splitlines()
        found.append(next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")))
    return found


def _cookie(person: int) -> str:
    """A session of the person, as signing in would begin it."""
    from django.conf import settings
    from django.test import Client

    from onboarding.models import Person

    client = Client()
    client.force_login(Person.objects.get(pk=person))
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


def _queries(address: str, cookie: str) -> int:
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client(headers={"cookie": cookie})
    client.cookies.load(cookie)
    with CaptureQueriesContext(connection) as asked:
        answer = client.get(address, headers={"host": "localhost"})
    if answer.status_code != 200:
        raise RuntimeError(f"{address} answered {answer.status_code}")
    return len(asked)


def main() -> int:
    """Print the figures; 1 if a page, a count or the memory is beyond its limit."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, postgres() as database, redis(name) as queue:
        os.environ.update(
            DJANGO_SETTINGS_MODULE="bench.at_size.settings", DATABASE_URL=database, REDIS_URL=queue, LOG_LEVEL="ERROR"
        )
        import django

        django.setup()
        figures = _run()
    report("at_size", figures)
    return 1 if figures["failed"] else 0


def _run() -> dict[str, object]:
    from django.core.management import call_command
    from django.db import connection, connections
    from django.utils import timezone

    from bench.at_size.fill import fill

    call_command("migrate", verbosity=0)
    began = time.perf_counter()
    filled = fill(timezone.now())
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    words = ", ".join(f"{count:,} {name}" for name, count in filled.rows.items())
    print(f"at size: {words}; made in {time.perf_counter() - began:.0f} s")
    cookie = _cookie(filled.admin)
    asked = {page.name: _queries(page.address, cookie) for page in pages(filled.instance)}
    connections.close_all()
    port, failed, found = free_port(), [], []
    with _gunicorn(port) as parent:
        for page in pages(filled.instance):
            for at_once in CONCURRENCY:
                ours: list[float] = []
                theirs: list[float] = []
                _measure(port, page.address, cookie, at_once), _measure(port, "/bare", cookie, at_once)
                for _ in range(ROUNDS):
                    ours += _measure(port, page.address, cookie, at_once)
                    theirs += _measure(port, "/bare", cookie, at_once)
                mine, bare = statistics.median(ours) * 1000, statistics.median(theirs) * 1000
                ratio, queries = mine / bare, asked[page.name]
                held = ratio <= page.most_ratio and queries <= page.most_queries
                failed += [] if held else [f"{page.name} at {at_once}"]
                found.append(
                    {
                        "page": page.name,
                        "at_once": at_once,
                        "ms": round(mine, 1),
                        "bare_ms": round(bare, 1),
                        "ratio": round(ratio, 2),
                        "most_ratio": page.most_ratio,
                        "queries": queries,
                        "most_queries": page.most_queries,
                    }
                )
                print(
                    f"at size: {page.name:<14} {at_once} at a time: {mine:6.1f} ms, bare {bare:5.1f} ms: {ratio:.2f}× "
                    f"(at most {page.most_ratio:g}×), {queries} queries (at most {page.most_queries})"
                )
        memory = _memory(parent)
    print(f"at size: workers have {', '.join(f'{one:.0f}' for one in memory)} MB, at most {MOST_WORKER_MB}")
    failed += [f"memory {one:.0f} MB" for one in memory if one > MOST_WORKER_MB]
    return {"rows": filled.rows, "pages": found, "worker_mb": [round(one) for one in memory], "failed": failed}


if __name__ == "__main__":
    raise SystemExit(main())
