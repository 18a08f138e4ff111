"""Years of data: instances in every state, steps, requests, mapping tables and jobs, people, and the audit log."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

INSTANCES, STEP_ROWS, AUDIT_ROWS, PEOPLE, ACCOUNTS = 4_000, 60_000, 500_000, 300, 12
BATCH = 5_000
STATUSES = {
    "done": 0.45,
    "amazon": 0.2,
    "your_turn": 0.12,
    "approval": 0.06,
    "problem": 0.05,
    "reconnect": 0.02,
    "in_progress": 0.1,
}
_STATES = {
    "done": "done",
    "amazon": "waiting",
    "your_turn": "ready",
    "approval": "awaiting_approval",
    "problem": "failed",
    "reconnect": "waiting",
    "in_progress": "queued",
}


@dataclass(frozen=True)
class Filled:
    """Whom and what the measurement asks for."""

    admin: int
    instance: int
    rows: dict[str, int]


def fill(now: datetime) -> Filled:
    """Fill an empty database; the same rows each time."""
    from onboarding.guide.procedure import steps_of
    from onboarding.models import (
        AmcAccount,
        AmcConnection,
        IdNamespace,
        Instance,
        LogLine,
        MappingJob,
        MappingTable,
        Person,
        Request,
        Role,
        Run,
        Step,
        StepFailure,
    )

    rng = random.Random(7)

    def ago(most_days: float) -> datetime:
        return now - timedelta(days=rng.random() * most_days)

    login = AmcConnection.objects.create(label="Bench", amazon_id="bench", refresh_token="-")
    accounts = AmcAccount.objects.bulk_create(
        AmcAccount(entity_id=f"ENTITY{n}", marketplace_id="M", name=f"Account {n:02}", connection=login)
        for n in range(ACCOUNTS)
    )
    people = Person.objects.bulk_create(
        Person(amazon_id=f"p{n}", name=f"Person {n:03}", email=f"p{n}@example.com", password="!") for n in range(PEOPLE)
    )
    names = ("analyst", "approver", "admin")
    Role.objects.bulk_create(
        [Role(person=people[0], account=account, name=name) for account in accounts for name in ("admin", "approver")]
        + [
            Role(person=person, account=account, name=names[number % 3])
            for number, person in enumerate(people[1:])
            for account in rng.sample(accounts, 2)
        ]
    )
    keys = [step.key for step in steps_of("onboard")]
    each = STEP_ROWS // INSTANCES
    keys = keys[:each]
    status_of = rng.choices(list(STATUSES), weights=list(STATUSES.values()), k=INSTANCES)
    done_of = [each if status == "done" else rng.randrange(each) for status in status_of]
    instances = _many(
        Instance,
        (
            Instance(
                account=rng.choice(accounts),
                instance_id=f"amc{n:07}",
                name=f"Instance {n:04}",
                status=status,
                status_detail="" if status == "done" else f"Step {keys[done_of[n]]}",
                waiting_on="Amazon" if status == "amazon" else "" if status == "done" else "Analyst",
                status_since=ago(700 if status == "done" else 40),
                steps_done=done_of[n],
                steps_all=each,
                owner=rng.choice(people),
                aws_account_id=f"{rng.randrange(10**12):012}",
                creation_status="COMPLETED",
                seen_at=now,
            )
            for n, status in enumerate(status_of)
        ),
    )
    runs = _many(
        Run,
        (
            Run(
                procedure="onboard",
                account_id=instance.account_id,
                instance=instance,
                owner_id=instance.owner_id,
                started_at=instance.status_since - timedelta(days=20),
                ended_at=instance.status_since if instance.status == "done" else None,
                at="" if instance.status == "done" else keys[instance.steps_done],
                at_since=instance.status_since,
            )
            for instance in instances
        ),
    )
    later = now + timedelta(days=2)

    def step_rows() -> Iterable[Any]:
        for run, instance in zip(runs, instances, strict=True):
            for position, key in enumerate(keys):
                here = position == instance.steps_done
                done = position < instance.steps_done
                state = "done" if done else _STATES[instance.status] if here else "blocked"
                yield Step(
                    run=run,
                    key=key,
                    position=position,
                    state=state,
                    since=instance.status_since,
                    next_attempt_at=later if state in ("waiting", "queued") else None,
                    waiting_for=("connection" if instance.status == "reconnect" else "amazon")
                    if state == "waiting"
                    else "",
                    waiting_text="Amazon says IN_PROGRESS" if state == "waiting" else "",
                    failure={"kind": "fix", "what": "A bucket is elsewhere.", "code": "NotThere"}
                    if state == "failed"
                    else None,
                    started_at=instance.status_since if done else None,
                    finished_at=instance.status_since if done else None,
                )

    steps = _many(Step, step_rows())
    _many(
        LogLine,
        (
            LogLine(step=step, at=step.since, level="good", text=f"{step.key} was done")
            for step in steps
            if step.state == "done" and rng.random() < 0.5
        ),
    )
    _many(
        StepFailure,
        (
            StepFailure(
                step=step,
                account_id=step.run.account_id,
                at=ago(20),
                kind="fix",
                code=rng.choice(["NotThere", "AccessDenied", "TakesTooLong"]),
                what="A bucket is elsewhere.",
            )
            for step in steps
            if step.state == "failed" or rng.random() < 0.05
        ),
    )
    requests = _many(
        Request,
        (
            Request(
                account_id=step.run.account_id,
                step=step,
                title=f"{step.key} of {step.run.instance.name}",
                plan=[],
                digest="-",
                state="open" if step.state == "awaiting_approval" else "approved",
                asked_by=rng.choice(people[1:]),
                asked_at=ago(14),
                expires_at=later,
            )
            for step in steps
            if step.state == "awaiting_approval" or (step.state == "done" and rng.random() < 0.2)
        ),
    )
    done = [instance for instance in instances if instance.status == "done"]
    namespaces = _many(
        IdNamespace,
        (
            IdNamespace(
                instance=instance,
                aws_account_id=instance.aws_account_id,
                name=f"customers_{instance.pk}",
                arn=f"arn:aws:entityresolution:us-east-1:{instance.aws_account_id}:idnamespace/c{instance.pk}",
                made_at=instance.status_since,
                seen_at=now,
            )
            for instance in done
        ),
    )
    tables = _many(
        MappingTable,
        (
            MappingTable(
                instance_id=namespace.instance_id,
                namespace=namespace,
                table_id=f"t{namespace.pk}",
                name=f"customers_{namespace.pk}",
                queryable=True,
                created_at=namespace.made_at,
                refreshed_at=ago(20),
                seen_at=now,
            )
            for namespace in namespaces
        ),
    )
    _many(
        MappingJob,
        (
            MappingJob(
                table=table,
                kind="create" if number == 0 else "refresh",
                job_id=f"j{table.pk}-{number}",
                status="SUCCEEDED",
                asked_at=at,
                started_at=at,
                ended_at=at,
                seen_at=at,
                metrics={"inputRecords": 100_000, "totalMappedSourceRecords": matched},
                rate=matched / 100_000,
            )
            for table in tables
            for number in range(3)
            for at, matched in ((ago(80), 70_000 + rng.randrange(9_000)),)
        ),
    )
    _audit(now, [run.pk for run in runs])
    under_way = next(instance for instance in instances if instance.status == "your_turn" and instance.steps_done > 5)
    rows = {
        "instances": len(instances),
        "steps": len(steps),
        "requests": len(requests),
        "mapping tables": len(tables),
        "audit entries": AUDIT_ROWS,
        "people": len(people),
    }
    return Filled(people[0].pk, under_way.pk, rows)


def _many(model: Any, rows: Iterable[Any]) -> list[Any]:
    return list(model.objects.bulk_create(rows, batch_size=BATCH))


def _audit(now: datetime, runs: list[Any]) -> None:
    """The log, made by the database itself; the chain of hashes is not what is measured."""
    acts = ["request.approved", "step.answered", "step.done", "request.made", "person.signed_in", "run.started"]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO onboarding_auditentry
              (number, at, actor_id, actor_name, act, account_id, subject, subject_ref, request_id, details, previous,
               hash)
            SELECT n, %s - make_interval(mins => %s - n), person.id, person.name, (%s::text[])[1 + n %% %s], account.id,
                   'Instance ' || n %% %s, 'run:' || (%s::text[])[1 + n %% %s], '', '{}', '-', '-'
            FROM generate_series(1, %s) AS n
            JOIN (SELECT id, name, row_number() OVER (ORDER BY id) - 1 AS place FROM onboarding_person) AS person
              ON person.place = n %% %s
            JOIN (SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM onboarding_amcaccount) AS account
              ON account.place = n %% %s
            """,
            [
                *(now, AUDIT_ROWS, acts, len(acts), INSTANCES, [str(run) for run in runs], len(runs)),
                *(AUDIT_ROWS, PEOPLE, ACCOUNTS),
            ],
        )
