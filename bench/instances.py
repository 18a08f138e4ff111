"""The list of instances with 4,000 rows against a bare Django view of the same table, in the same process and run.

Both are asked through Django's test client, in turns, and the medians are compared: the list may take at most twice as
long, with at most eight queries, whichever page is asked for.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from bench.bare import add_bare_list

MOST_RATIO, MOST_QUERIES = 2.0, 8
INSTANCES, ROUNDS = 4000, 60
PAGES = ("", "?page=40", "?page=80", "?q=12", "?sort=name", "?status=under-way")


def main() -> int:
    """Print the figures; 1 if the list is too slow or asks too much."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        os.environ.update(
            DJANGO_SETTINGS_MODULE="tests.settings",
            DATABASE_URL=f"sqlite:///{Path(name) / 'portal.sqlite3'}",
            LOG_LEVEL="ERROR",
        )
        import django

        django.setup()
        return _measure()


def _measure() -> int:
    import datetime
    import random

    from django.core.management import call_command
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext
    from django.utils import timezone

    from onboarding.models import AmcAccount, AmcConnection, Instance, InstanceStatus, Person, Role

    call_command("migrate", verbosity=0)
    rng, now = random.Random(1), timezone.now()
    login = AmcConnection.objects.create(label="Bench", amazon_id="bench", refresh_token="-")
    accounts = [
        AmcAccount.objects.create(entity_id=f"ENTITY{n}", marketplace_id="M", name=f"Account {n}", connection=login)
        for n in range(4)
    ]
    people = [Person.objects.create_user(f"p{n}", name=f"Person {n}", email=f"p{n}@example.com") for n in range(20)]
    for account in accounts:
        Role.objects.create(person=people[0], account=account, name="analyst")
    Instance.objects.bulk_create(
        Instance(
            account=rng.choice(accounts),
            instance_id=f"amc{n:07}",
            name=f"Instance {n}",
            status=rng.choice(InstanceStatus.values),
            status_detail="Create the instance",
            waiting_on="Amazon",
            status_since=now - datetime.timedelta(minutes=rng.randrange(100_000)),
            steps_done=rng.randrange(8),
            steps_all=8,
            owner=rng.choice(people),
        )
        for n in range(INSTANCES)
    )
    add_bare_list()
    client = Client()
    client.force_login(people[0])

    def once(address: str) -> float:
        began = time.process_time()
        answer = client.get(address)
        took = time.process_time() - began
        if answer.status_code != 200:
            raise RuntimeError(f"{address} answered {answer.status_code}")
        return took

    worst, failed = 0.0, False
    for query in PAGES:
        bare_query = query if query.startswith("?page") else ""
        once(f"/instances/{query}"), once(f"/bare{bare_query}")
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(once(f"/instances/{query}"))
            theirs.append(once(f"/bare{bare_query}"))
        with CaptureQueriesContext(connection) as asked:
            once(f"/instances/{query}")
        mine, bare_time = statistics.median(ours) * 1000, statistics.median(theirs) * 1000
        ratio, worst = mine / bare_time, max(worst, mine / bare_time)
        failed = failed or ratio > MOST_RATIO or len(asked) > MOST_QUERIES
        print(
            f"instances {query or '(first page)':<18} {mine:6.1f} ms, bare {bare_time:5.1f} ms: {ratio:.2f}×, "
            f"{len(asked)} queries"
        )
    print(f"instances: at most {worst:.2f}× a bare list, may be {MOST_RATIO}×; {MOST_QUERIES} queries at most")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
