"""`python -m tests.chaos.identity [--sample]`: workers killed in the middle of work on identity files.

Each kill is at a call that the simulator holds: while a check reads, while files are written aside, and at each moment
of their publication. Prints a line for each, and one at the end; exits with 1 where something does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos import lane as lanes
from tests.chaos.lane import AWS_ACCOUNT, Failed, Lane, tick, until, work

BUCKET, SOURCE, ROWS = "chaos-data", "in/people.csv", 12_000
BELOW = "amc-data/people/v1/"
COLUMNS = {name: name for name in ("first_name", "last_name", "email", "phone")} | {"id": "key"}
SOON = 120.0


@dataclass(frozen=True)
class Kill:
    """Where a worker dies: the call that it is at, and whether S3 has carried that call out already."""

    operation: str
    when: str
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.operation} number {self.nth}, {self.when.removeprefix('hold_')} its effect"


CHECKING = (Kill("s3:GetObject", "hold_before", nth=3),)
PREPARING = (
    Kill("s3:GetObject", "hold_after", nth=3),
    Kill("s3:UploadPart", "hold_after"),
    # The mark is there, nothing else is.
    Kill("s3:CompleteMultipartUpload", "hold_before"),
    # One of two tables is visible, and no manifest.
    Kill("s3:CompleteMultipartUpload", "hold_after"),
    # The manifest is written, the row does not know it yet.
    Kill("s3:PutObject", "hold_after", nth=2),
)


SAMPLE = (PREPARING[1], PREPARING[3])
SHORT = {"IDENTITY_MEMORY_MB": "64", "CALL_TIMEOUT": "2.5", "LEASE_SECONDS": "3"}


def people() -> bytes:
    """A file whose keys repeat up to eight times, so that it becomes two tables."""
    lines = ["id,first_name,last_name,email,phone"]
    for number in range(ROWS):
        key = number if number % 100 > 7 else number - number % 100
        lines.append(f"k{key},Ann{number},Lee{number},ann{number}@example.com,+1206555{number % 10_000:04}")
    return "\n".join(lines).encode()


# -- what the forked children do


def _stand_before() -> None:
    """A run whose steps before its identity files are done."""
    from django.utils import timezone

    from onboarding.models import AmcAccount, Instance, Step
    from onboarding.services import runs
    from tests.chaos.lane import _person

    run = runs.run_start(person=_person("analyst"), account=AmcAccount.objects.get(), name="Chaos", now=timezone.now())
    Instance.objects.filter(pk=run.instance_id).update(
        instance_id="amcchaos", aws_account_id=AWS_ACCOUNT, creation_status="COMPLETED"
    )
    answers: dict[str, Any] = {
        "create-instance": {"name": {"name": "Chaos"}, "aws-account": {"account_id": AWS_ACCOUNT}},
        "aws-access": {"who": {"who": "portal"}},
        "data-bucket": {
            "where": {"where": "files"},
            "bucket": {"kind": "new", "name": BUCKET},
            "folder": {"prefix": "amc-data"},
        },
    }
    for step in run.steps.order_by("position"):
        if step.key == "identity-files":
            Step.objects.filter(pk=step.pk).update(state="ready")
            return
        Step.objects.filter(pk=step.pk).update(state="done", answers=answers.get(step.key, {}))


def _answer(answers: dict[str, dict[str, Any]]) -> None:
    from django.utils import timezone

    from onboarding.models import Step
    from onboarding.services import runs
    from tests.chaos.lane import _person

    for slug, values in answers.items():
        step = Step.objects.select_related("run__account__connection", "run__instance").get(key="identity-files")
        situation = runs.situation_of(step.run)
        form = runs.question_of(runs.step_of("onboard", step.key), situation, slug)(values, situation=situation)
        if not form.is_valid():
            raise Failed(f"{slug}: {form.errors}")
        runs.answer_save(person=_person("analyst"), step=step, form=form, now=timezone.now())


def _ask() -> None:
    from django.utils import timezone

    from onboarding.models import Step
    from onboarding.services import runs
    from tests.chaos.lane import _person, approve

    step = Step.objects.select_related("run__account__connection", "run__instance").get(key="identity-files")
    runs.submit(person=_person("analyst"), step=step, now=timezone.now())
    approve()


def _alone(source: str, folder: str) -> dict[str, Any]:
    """What the library makes of the file when nobody disturbs it: report and manifest; the tables go to the folder."""
    from onboarding.identity.check import check
    from onboarding.identity.mapping import kind_named
    from onboarding.identity.prepare import prepare

    columns = {column: kind_named(kind) for column, kind in COLUMNS.items()}
    report = check([source], columns, country="US")
    made = prepare([source], columns, folder, country="US", table="people")
    return {"report": report.as_dict(), "manifest": made.as_dict()}


# -- the test itself


class Run:
    """One identity file on its way, with a worker that dies again and again."""

    def __init__(self, lane: Lane, folder: Path, say: Callable[[str], None]) -> None:
        self.lane, self.folder, self.say = lane, folder, say
        self.workers = 0
        source = folder / "people.csv"
        source.write_bytes(people())
        lane.fresh()
        self.s3 = lane.aws("s3")
        self.s3.create_bucket(Bucket=BUCKET)
        self.s3.put_object(Bucket=BUCKET, Key=SOURCE, Body=source.read_bytes())
        self.wanted = lane.act(_alone, str(source), str(folder / "out"))
        self.tables = {
            f"{BELOW}{path.relative_to(folder / 'out')}": path.read_bytes()
            for path in (folder / "out").rglob("*.parquet")
        }
        if len(self.tables) != 2:
            raise Failed(f"the file became {len(self.tables)} tables, not two")
        lane.act(_stand_before)
        lane.start("clock", tick)

    def worker(self) -> None:
        """Start another worker."""
        self.workers += 1
        self.lane.start(f"worker-{self.workers}", work)

    def state(self, kind: str) -> str:
        """State of the only work of a kind; empty while there is none."""
        rows = self.lane.sql(f"SELECT state, failure FROM onboarding_identityjob WHERE kind = '{kind}'")
        if len(rows) > 1:
            raise Failed(f"{kind} was asked for {len(rows)} times")
        if rows and rows[0][0] == "failed":
            raise Failed(f"{kind} failed: {rows[0][1]}")
        return str(rows[0][0]) if rows else ""

    def killed(self, kind: str, kills: tuple[Kill, ...], begin: Callable[[], None]) -> None:
        """Begin work of a kind and kill the worker that has it at each of these calls; then let one finish it."""
        for number, kill in enumerate(kills):
            self.lane.misbehave(kill.operation, kill.when, nth=kill.nth)
            if not number:
                begin()
            self.worker_if_none()
            until(lambda: self.state(kind) and self.lane.control("GET", "holds"), SOON, f"{kind} comes to {kill}")
            tries = self.tries(kind)
            self.lane.kill(f"worker-{self.workers}")
            gone = time.monotonic()
            self.lane.control("DELETE", "rules")
            until(lambda: not self.lane.control("GET", "holds"), 10, "the held call ends with its worker")
            self.nothing_half()
            self.worker()
            until(lambda before=tries: self.tries(kind) > before, SOON, f"another worker takes the {kind} up")
            self.say(f"ok      {kind:<8} killed at {kill!s:<56} taken up after {time.monotonic() - gone:.1f} s")
        until(lambda: self.state(kind) == "done", SOON, f"the {kind} is done")

    def worker_if_none(self) -> None:
        """Have one worker."""
        if f"worker-{self.workers}" not in self.lane.processes:
            self.worker()

    def tries(self, kind: str) -> int:
        """How often workers have begun the work."""
        return int(self.lane.sql(f"SELECT attempts FROM onboarding_identityjob WHERE kind = '{kind}'")[0][0])

    def visible(self) -> dict[str, bytes]:
        """What everybody sees below the folder of the version."""
        listed = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=BELOW).get("Contents", [])
        return {entry["Key"]: self.s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read() for entry in listed}

    def nothing_half(self) -> None:
        """Whatever is visible as a table is whole, and what a manifest names is there."""
        seen = self.visible()
        for key, body in seen.items():
            if key.endswith(".parquet") and body != self.tables.get(key):
                raise Failed(f"{key} is visible and is not what it should become")
        if f"{BELOW}manifest.json" in seen and not set(self.tables) <= set(seen):
            raise Failed("a manifest names files that are not there")

    def verdict(self) -> None:
        """Everything once, and byte by byte as if nobody had died."""
        step = "SELECT state FROM onboarding_step WHERE key = 'identity-files'"
        until(lambda: self.lane.sql(step) == [("done",)], SOON, "the step is done")
        seen = self.visible()
        if set(seen) != {*self.tables, f"{BELOW}manifest.json"}:
            raise Failed(f"there is {sorted(seen)}")
        self.nothing_half()
        if self.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads"):
            raise Failed("unfinished uploads are left")
        ((manifest, report, number),) = self.lane.sql(
            "SELECT manifest, report, number FROM onboarding_datasetversion WHERE state = 'ready'"
        )
        for kind, told, wanted in (("manifest", manifest, "manifest"), ("report", report, "report")):
            if _without_places(json.loads(told)) != _without_places(self.wanted[wanted]):
                raise Failed(f"the {kind} is another one than without the kills")
        if number != 1 or self.lane.sql("SELECT count(*) FROM onboarding_sourcefile") != [(1,)]:
            raise Failed("something was written twice")
        self.lane._check_audit()


def _without_places(document: Any) -> Any:
    """A report or a manifest without the places of files, which differ between S3 and a folder."""
    if isinstance(document, dict):
        return {key: _without_places(value) for key, value in document.items() if key not in ("destination", "files")}
    if isinstance(document, list):
        return [_without_places(value) for value in document]
    return document.rpartition("/")[2] if isinstance(document, str) else document


def carry_out(lane: Lane, folder: Path, preparing: tuple[Kill, ...], say: Callable[[str], None]) -> None:
    """Look, check and prepare, with these kills. Raises Failed."""
    run = Run(lane, folder, say)
    place = f"s3://{BUCKET}/{SOURCE}"
    run.worker()
    lane.act(_answer, {"dataset": {"name": "people"}, "source": {"origin": "s3"}, "places": {"places": place}})
    until(lambda: run.state("look") == "done", SOON, "the look is done")
    columns = ",".join(f"{column}={kind}" for column, kind in COLUMNS.items())
    run.killed(
        "check", CHECKING, lambda: lane.act(_answer, {"columns": {"columns": columns}, "country": {"country": "US"}})
    )

    def ask() -> None:
        lane.act(_answer, {"report": {"read": "on"}, "hashing": {"rules": "amazon-ads-1"}})
        lane.act(_ask)

    run.killed("prepare", preparing, ask)
    run.verdict()


def main() -> int:
    """Carry it out in a lane of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.identity", description=__doc__)
    parser.add_argument("--sample", action="store_true", help="two of the kills while files are prepared")
    preparing = SAMPLE if parser.parse_args().sample else PREPARING
    for name, value in SHORT.items():
        os.environ.setdefault(name, value)
    lanes.load_django()
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        lane = Lane(Path(name) / "lane", lanes.template(Path(name)))
        try:
            carry_out(lane, Path(name), preparing, lambda text: print(text, flush=True))
        except Failed as error:
            print(f"FAILED  {error}\n{lane.said()}")
            return 1
        finally:
            lane.close()
    kills = len(CHECKING) + len(preparing)
    print(f"identity: {kills} workers killed, one result")
    return 0


if __name__ == "__main__":
    sys.exit(main())
