"""`make demo [FILE=…]`: everything on free ports in a temporary folder, and one onboarding from a file to its end.

The administrator connects AMC and gives the roles, a customer puts made-up people into a bucket, the analyst asks, the
approver signs off, the workers do it. Prints the steps with their times, and how many were matched against how many had
to be; the exit code is 0 only if the last step is done and that agrees.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3

from scripts import typed
from scripts.owner import environment_of
from scripts.stack import ROOT, Stack, StackError
from scripts.visitor import VisitFailed, Visitor

SECONDS = 240.0
ROWS = 100_000
# How far the match rate may be from the sample's truth.
HALF_A_POINT = 0.005
ENDED = """
import json
from onboarding.guide.procedure import step_of
from onboarding.models import MappingJob, Run
run = Run.objects.get(pk="{run}")
steps = [
    [step_of(run.procedure, s.key).title, s.state, s.started_at and s.started_at.timestamp(),
     s.finished_at and s.finished_at.timestamp()] for s in run.steps.order_by("position")
]
jobs = [j.metrics for j in MappingJob.objects.filter(table__instance=run.instance, status="SUCCEEDED")]
print(json.dumps([steps, jobs]))
"""


def prepare(stack: Stack, account: str, accounts: list[str], approver: Visitor) -> None:
    """Sign three people in, connect AMC and AWS, give the roles: all by the portal's own pages."""
    from simulator.people import PEOPLE

    email = {person.id: person.email for person in PEOPLE}
    with Visitor(stack.url) as analyst, Visitor(stack.url) as admin:
        admin.sign_in("admin")
        analyst.sign_in("analyst")
        approver.sign_in("approver")
        admin.open("/connections/new")
        admin.send(admin.form(lambda form: form.method == "post" and "connections" in (form.action or "connections")))
        admin.allow("admin")
        form = admin.form(
            lambda form: any(value.startswith(f"{account}/") for v in form.choices.values() for value in v)
        )
        name, key = next((n, v) for n, vs in form.choices.items() for v in vs if v.startswith(f"{account}/"))
        admin.send(form, {name: [key]})
        for person, role in (("analyst", "analyst"), ("approver", "approver")):
            admin.open("/people/")
            form = admin.form(lambda form: {"email", "account", "role"} <= set(form.values) | set(form.choices))
            row = next(value for value in form.choices["account"] if value)
            admin.send(form, {"email": email[person], "account": row, "role": role})
        connect_aws(stack, admin, accounts)


def aws_accounts(file: dict[str, Any]) -> list[str]:
    """The AWS accounts of an onboarding file: the one that joins first, then its partners; 12 digits each."""
    answers = file["steps"]["create-instance"]
    given = [answers["aws-account"]["account_id"]]
    partners = answers.get("partners") or {}
    given += [partners[name] for name in ("account_1", "account_2") if partners.get(name)]
    return [re.sub(r"\D", "", str(account)) for account in given]


def connect_aws(stack: Stack, admin: Visitor, accounts: list[str]) -> None:
    """Connect each AWS account as its owner would: run the commands that its page offers, paste the two roles."""
    pages: list[str] = []
    scripts: list[str] = []
    for account in accounts:
        admin.open("/connections/aws/new")
        form = admin.form(lambda form: "aws_account_id" in form.values)
        choices = {
            name: next(value for value in values if value) for name, values in form.choices.items() if any(values)
        }
        admin.send(form, {**choices, "aws_account_id": account, "label": f"AWS account {account}"})
        if admin.page is None:
            raise StackError("The page of the new connection did not come.")
        pages.append(admin.page.url.path)
        admin.open(f"{admin.page.url.path}template/commands")
        scripts.append(admin.page.text)
    # The owners do not wait for each other.
    with ThreadPoolExecutor() as owners:
        list(owners.map(partial(make_roles, stack), accounts, scripts))
    for account, page in zip(accounts, pages, strict=True):
        roles = {
            "provisioner": f"arn:aws:iam::{account}:role/amc-onboarding-portal-provisioner",
            "reader": f"arn:aws:iam::{account}:role/amc-onboarding-portal-reader",
        }
        admin.open(page)
        admin.send(admin.form(lambda form: "provisioner" in form.values), roles)
        if admin.page is None or "is connected" not in admin.page.text:
            raise StackError(f"AWS account {account} was not connected; its page says why.")


def make_roles(stack: Stack, account: str, commands: str) -> None:
    """Run the commands that a connection's page offers, as the account's owner. Raises StackError when they fail."""
    environment = environment_of(stack.simulator_url, account, stack.environment)
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run(
            ["/bin/sh", "-s"],
            input=commands,
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    if made.returncode:
        raise StackError(f"The roles were not made:\n{made.stdout[-1500:]}{made.stderr[-1500:]}")


@dataclass(frozen=True)
class Sample:
    """Made-up people for one place that the file names, being written by a process of its own."""

    place: str
    people: Path
    truth: Path
    process: subprocess.Popen[str]


def make_samples(folder: Path, file: dict[str, Any], rows: int) -> list[Sample]:
    """Begin to make up people for every place that the file names; it goes on while the rest starts."""
    answers = file["steps"].get("identity-files", {})
    country = str(answers.get("country", {}).get("country") or "US")
    samples = []
    for number, place in enumerate(str(answers.get("places", {}).get("places", "")).split(), 1):
        people, truth = folder / f"people-{number}.csv", folder / f"truth-{number}.json"
        command = [sys.executable, "-m", "simulator", "sample", "--rows", str(rows), "--country", country]
        command += ["--seed", str(number), "--truth", str(truth), str(people)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        samples.append(Sample(place, people, truth, process))
    return samples


def bring_files(stack: Stack, samples: list[Sample], account: str) -> list[dict[str, Any]]:
    """Put the made-up people into the S3 of the local Amazon; what is true of them. Raises StackError."""
    truths: list[dict[str, Any]] = []
    client = boto3.client(
        "s3",
        endpoint_url=stack.simulator_url,
        region_name="us-east-1",
        aws_access_key_id=account,
        aws_secret_access_key="any",  # noqa: S106 - the local Amazon takes any
    )
    for sample in samples:
        said = sample.process.communicate()[1]
        if sample.process.returncode:
            raise StackError(f"The made-up people were not made: {said[-1500:]}")
        bucket, _, key = sample.place.removeprefix("s3://").partition("/")
        truths.append(json.loads(sample.truth.read_text(encoding="utf-8")))
        client.create_bucket(Bucket=bucket)
        place = f"{key}people.csv" if key.endswith("/") else key
        client.put_object(Bucket=bucket, Key=place, Body=sample.people.read_bytes())
    return truths


def judge(jobs: list[dict[str, Any]], truth: dict[str, Any], rules: str) -> tuple[str, bool]:
    """The match rate against the sample's truth, in words, and whether they agree."""
    if not jobs:
        return "No mapping job was seen.", False
    must = truth["must_match"]["clear" if rules == "clear" else f"hashed with {rules}"]["customers"]
    rate, wanted = (count / truth["customers"] for count in (jobs[0]["totalMappedSourceRecords"], must))
    words = f"Matched: {rate:.2%} of {truth['customers']:,} customers; the truth of the sample is {wanted:.2%}."
    return words, abs(rate - wanted) <= HALF_A_POINT


def approve(approver: Visitor, number: str) -> None:
    """Open a request and approve it, on its page. Raises VisitFailed when the page has no such button."""
    approver.open(f"/requests/{number}/")
    approver.send(approver.form(lambda form: form.action.endswith("/approve")))


def onboard(stack: Stack, file: Path, analyst: str, approver: Visitor) -> str:
    """Have the analyst submit the file and the approver approve each request; the id of the run when it ended."""
    command = [sys.executable, str(ROOT / "manage.py"), "onboard", str(file), "--as", analyst]
    command += ["--follow", "--timeout", str(SECONDS)]
    run = ""
    with subprocess.Popen(
        command, env=stack.environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(f"  {line.rstrip()}", flush=True)
            if found := re.match(r"run ([0-9a-f-]{36}) ", line):
                run = found[1]
            if found := re.search(r"waits for approval, request (\d+)", line):
                approve(approver, found[1])
                print(f"  The approver approved request {found[1]}", flush=True)
    if not run:
        raise StackError("The onboarding did not begin.")
    return run


def table(rows: list[list[Any]]) -> str:
    """The steps, how each stands and how many seconds it took."""
    lines = [f"  {'step':<44} {'state':<18} {'seconds':>8}"]
    for title, state, started, finished in rows:
        took = f"{finished - started:8.1f}" if started and finished else f"{'-':>8}"
        lines.append(f"  {title:<44} {state.replace('_', ' '):<18} {took}")
    return "\n".join(lines)


def hold_against_description(stack: Stack) -> tuple[int, list[str]]:
    """How many calls of the AMC API there were, and what the published description (else ours) does not allow."""
    from simulator.exchanges import check, published

    capture = stack.folder / "simulator" / "exchanges.jsonl"
    return check([json.loads(line) for line in capture.read_text(encoding="utf-8").splitlines()], published())


def computed() -> float:
    """Seconds of CPU that this process and those it started and has ended took: what no busy machine can change."""
    taken = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in taken)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=ROOT / "examples" / "single-party.yaml")
    parser.add_argument("--people", type=int, default=ROWS, help=f"how many made-up people ({ROWS})")
    options = parser.parse_args()
    from simulator.people import PEOPLE

    email = {person.id: person.email for person in PEOPLE}
    began = time.monotonic()
    try:
        file = typed.onboarding_file(options.file)
        account, accounts = str(file["account"]), aws_accounts(file)
        with tempfile.TemporaryDirectory(prefix="portal-demo-") as folder:
            print("Starting everything on free ports …", flush=True)
            samples = make_samples(Path(folder), file, options.people)
            with (
                Stack(Path(folder), workers=2, pace="fast", environment={"POLL_SCALE": "0.02"}) as stack,
                Visitor(stack.url) as approver,
            ):
                started = time.monotonic()
                print(f"{stack.url} answers after {started - began:.1f} s.", flush=True)
                prepare(stack, account, accounts, approver)
                truths = bring_files(stack, samples, accounts[0])
                ready = time.monotonic() - started
                print(
                    f"AMC and AWS are connected, the roles are given, after {ready:.1f} s. The onboarding:", flush=True
                )
                run = onboard(stack, options.file.resolve(), email["analyst"], approver)
                rows, jobs = json.loads(stack.manage("shell", "-v", "0", "-c", ENDED.format(run=run)).stdout)
                exchanges, problems = hold_against_description(stack)
    except (StackError, VisitFailed, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\n{table(rows)}\n")
    print(f"{exchanges} exchanges with the AMC API, {len(problems)} outside its description.")
    for problem in problems:
        print(f"  {problem}")
    done = bool(rows) and rows[-1][1] == "done" and not problems
    if truths:
        rules = (file["steps"]["identity-files"].get("hashing") or {}).get("rules", "amazon-ads-1")
        words, agrees = judge(jobs, truths[0], rules)
        print(words)
        done = done and agrees
    words = "Done" if done else "NOT done"
    print(
        f"{words}: {time.monotonic() - started:.1f} s for the onboarding, {time.monotonic() - began:.1f} s in all, "
        f"of which the processes computed {computed():.1f} s."
    )
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
