"""One lane: a simulator, a Redis and a database of its own, with worker and clock processes that can be killed."""

from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import httpx
import psutil
import redis

from scripts.stack import begin_database, free_port, redis_ping, redis_server
from simulator.testing import start_simulator

_FORK = multiprocessing.get_context("fork")
PEOPLE = {"analyst": "mia@example.com", "approver": "paul@example.com"}
ENTITY, MARKETPLACE = "ENTITYHARBOURPINE", "ATVPDKIKX0DER"
UNTIL_MADE = ("requirements", "amc-access", "create-instance", "collaboration")
# What runs that bring no identity data leave out, from this step on.
BEYOND = ("identity-files",)
AWS_ACCOUNT, PARTNER = "111122223333", "222233334444"
PORTAL_ACCOUNT = "999988887777"
PORTAL_PRINCIPAL = f"arn:aws:iam::{PORTAL_ACCOUNT}:root"
FILE = f"""
account: {ENTITY}
steps:
  requirements:
    eligibility: {{agreement: yes, campaigns: yes, advertisers: yes}}
    aws: {{aws_account: yes, aws_services: yes, two_buckets: yes}}
  create-instance:
    name: {{name: Chaos}}
    advertiser: {{name: Acme}}
    aws-account: {{account_id: 1111-2222-3333}}
    parties: {{multi: no}}
  advertisers:
    when: {{when: later}}
"""
WHOLE_FILE = f"""{FILE}
  aws-access:
    who: {{who: portal}}
  join:
    bucket: {{kind: new, name: chaos-results}}
    shape: {{format: CSV, prefix: amc}}
    logging: {{logging: DISABLED}}
  data-bucket:
    where: {{where: files}}
    bucket: {{kind: new, name: chaos-data}}
    folder: {{prefix: amc-data}}
"""
PARTNER_FILE = WHOLE_FILE.replace(
    "    parties: {multi: no}\n",
    f"    parties: {{multi: yes}}\n    partners: {{account_1: '{PARTNER}', name_1: Source Data 1}}\n",
).replace("    where: {where: files}\n", f"    where: {{where: files}}\n    account: {{account: '{AWS_ACCOUNT}'}}\n")
# With the identity files and all that follows from them, to the mapping table and the proof that it answers.
DATA_FILE = f"""{PARTNER_FILE}
  identity-files:
    dataset: {{name: crm}}
    source: {{origin: s3}}
    places: {{places: "s3://chaos-data/amc-data/in/people.csv"}}
    columns: {{columns: guessed}}
    country: {{country: US}}
    report: {{read: yes}}
    hashing: {{rules: amazon-ads-1}}
  source-role:
    tables: {{}}
    role: {{kind: new}}
  catalogue:
    how: {{how: manifest}}
  schema-mapping: {{}}
  id-namespace:
    namespace: {{}}
  mapping-table:
    name: {{name: customers}}
"""
PEOPLE_KEY = "amc-data/in/people.csv"
PREPARED_KEYS = ("amc-data/crm/v1/crm/part-00000.parquet", "amc-data/crm/v1/manifest.json")
PEOPLE_FILE = """customer_id,first_name,last_name,email,phone,zip,country,tcf
c1,Ann,First,ann.first@example.com,206-555-0100,98101,US,CPx
c2,Bea,Second,bea.second@example.com,206-555-0101,98102,US,CPy
"""
# How far a run goes: to the instance, the joined collaboration, with a partner, the mapping table.
FILES = {"made": FILE, "joined": WHOLE_FILE, "partner": PARTNER_FILE, "data": DATA_FILE}
# How many requests are approved on the way there.
APPROVED = {"made": 1, "joined": 3, "partner": 4, "data": 10}
OF_TABLES = ("refresh", "replace-dataset", "delete-mapping-table")


class Failed(AssertionError):
    """Something that must always hold did not."""


def load_django(**times: str) -> None:
    """Load Django once; nothing connects to anything yet. Times are short, so that a lost worker is soon missed."""
    short = {
        "CALL_TIMEOUT": "1.2",
        "LEASE_SECONDS": "2.4",
        "CLOCK_SECONDS": "0.2",
        "PUT_AGAIN_SECONDS": "1",
        "POLL_SCALE": "0.01",
        "RETRY_SCALE": "0.05",
        "LOG_LEVEL": "WARNING",
        # What is read at night does not come in between.
        "NIGHT_BEGINS": str((datetime.now(UTC).hour + 12) % 24),
    }
    for name, value in {**short, **times}.items():
        os.environ.setdefault(name, value)
    os.environ.update(
        DJANGO_SETTINGS_MODULE="tests.settings",
        AWS_ACCESS_KEY_ID=PORTAL_ACCOUNT,
        AWS_SECRET_ACCESS_KEY="any",
        AWS_EC2_METADATA_DISABLED="true",
        PORTAL_AWS_PRINCIPAL=PORTAL_PRINCIPAL,
    )
    import django

    django.setup()
    # What workers and clocks would otherwise import after every fork.
    import django_rq  # noqa: F401
    import rq.worker  # noqa: F401

    import onboarding.engine.clock
    import onboarding.engine.identity_jobs
    import onboarding.jobs
    import onboarding.services.drift
    import onboarding.services.from_file
    import onboarding.services.lifecycle
    import onboarding.services.requests
    import tests.aws_roles
    import tests.hanging  # noqa: F401

    # The matrix crashes one piece of work about as often as it is tried; on a busy machine a try may be lost besides.
    onboarding.engine.identity_jobs.MOST_TRIES *= 4


def template(folder: Path) -> Path:
    """An empty portal's database, made once, and with it what a worker builds at its start, for those forked from here.

    Nothing is connected afterwards: an open SQLite connection must not be carried across a fork.
    """
    from django.core.management import call_command
    from django.db import connection

    from onboarding.engine.worker import warm_up

    database = folder / "template.sqlite3"
    connection.settings_dict["NAME"] = str(database)
    begin_database(database, partial(call_command, "migrate", verbosity=0))
    # The last connection to close writes everything into the one file that is copied.
    warm_up()
    _warm_people(database, folder / "warm.sqlite3")
    return database


def _warm_people(empty: Path, scratch: Path) -> None:
    """Do once what people do, in a portal of nobody, so that their forks need not build the forms and queries anew."""
    from django.db import connection, connections

    from onboarding.engine import queue
    from onboarding.models import AmcAccount, AmcConnection

    shutil.copyfile(empty, scratch)
    connection.settings_dict["NAME"] = str(scratch)
    login = AmcConnection.objects.create(label="Login", amazon_id="amzn1.account.NOBODY", refresh_token="none")
    _team(AmcAccount.objects.create(entity_id=ENTITY, marketplace_id=MARKETPLACE, name="Harbour", connection=login))
    with mock.patch.object(queue, "put", return_value=True):
        ask("made")
        approve()
    _verify()
    connections.close_all()
    connection.settings_dict["NAME"] = str(empty)


_FAILURES = "SELECT key, failure FROM onboarding_step WHERE state = 'failed'"


def rule(operation: str, kind: str, nth: int = 1, times: int | None = 1, **values: Any) -> dict[str, Any]:
    """A rule by which the simulator misbehaves at the nth matching call."""
    return {"operation": operation, "nth": nth, "times": times, "action": {"kind": kind, **values}}


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Look until `condition` is true and return what it gave. Raises Failed after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise Failed(f"not within {seconds:g} s: {what}")


class Lane:
    """Starts its servers once; `fresh()` gives an empty portal with one account and its people."""

    def __init__(self, folder: Path, empty: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.template, self.database = empty, folder / "portal.sqlite3"
        self.log = (folder / "log.txt").open("ab")
        self.simulator = start_simulator(pace="fast")
        self.http = httpx.Client(base_url=self.simulator.url, timeout=60)
        self.port = free_port()
        command = [redis_server(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        self.redis_process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: redis_ping(self.port), 10, "Redis answers")
        self.redis = redis.Redis(port=self.port)
        self.upto = "joined"
        self.hung: Any = None
        self.processes: dict[str, multiprocessing.process.BaseProcess] = {}
        self._reader: multiprocessing.process.BaseProcess | None = None
        self._seen: list[tuple[Any, ...]] = []
        self._look_at = 0.0
        # The empty portal and Amazon with or without a partner, made once: a database, and a snapshot of the simulator.
        self._begun: dict[bool, tuple[Path, int]] = {}

    def close(self) -> None:
        """Stop everything."""
        self.stop_all()
        self._stop_reading()
        self.redis_process.terminate()
        self.redis_process.wait(5)
        self.http.close()
        self.simulator.stop()
        self.log.close()

    def said(self) -> str:
        """The last that the lane's processes wrote, for a failure."""
        return (self.folder / "log.txt").read_text(encoding="utf-8", errors="replace")[-4000:]

    # -- processes

    def _enter(self) -> None:
        """In a forked child: become part of this lane."""
        os.setsid()
        os.dup2(self.log.fileno(), 1)
        os.dup2(self.log.fileno(), 2)
        from django.conf import settings
        from django.db import connection, connections

        # Threads that a process starts make connections of their own.
        connection.settings_dict["NAME"] = connections.settings["default"]["NAME"] = str(self.database)
        settings.REDIS_URL = f"redis://127.0.0.1:{self.port}/0"
        for queue in settings.RQ_QUEUES.values():
            queue["URL"] = settings.REDIS_URL
        settings.AMC_URL = settings.AWS_ENDPOINT_URL = self.simulator.url
        settings.LOGIN_TOKEN_URL = f"{self.simulator.url}/auth/o2/token"
        from simulator.people import CLIENT_ID, CLIENT_SECRET

        settings.LOGIN_CLIENT_ID, settings.LOGIN_CLIENT_SECRET = CLIENT_ID, CLIENT_SECRET

    def start(self, name: str, target: Callable[[], None]) -> None:
        """Fork a worker or a clock."""

        def body() -> None:
            self._enter()
            target()

        process = _FORK.Process(target=body, name=name, daemon=True)
        process.start()
        self.processes[name] = process

    def kill(self, name: str) -> None:
        """SIGKILL a process and all its children, as a power cut would."""
        process = self.processes.pop(name, None)
        if process is None or process.pid is None:
            return
        # A worker's child is in a process group of its own, so each is killed by its number; the parent stops first.
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(process.pid)
            parent.suspend()
            for child in parent.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        process.kill()
        process.join(5)

    def carriers(self, name: str) -> list[psutil.Process]:
        """The processes that carry out a worker's job: its children, or itself while it has none."""
        try:
            worker = psutil.Process(self.processes[name].pid)
            return worker.children(recursive=True) or [worker]
        except psutil.NoSuchProcess:
            return []

    def stop_all(self) -> None:
        """Kill every process of the lane."""
        for name in list(self.processes):
            self.kill(name)

    def act(self, function: Callable[..., Any], *args: Any) -> Any:
        """Do something with the database in a forked child and return its result; its exception comes back as Failed.

        This process never opens the database itself: an open SQLite connection must not be carried across a fork.
        """
        return self.begin(function, *args)()

    def begin(self, function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        """Like `act`, but at once returns a function that waits for the result: for two people at the same time."""
        receiver, sender = _FORK.Pipe(duplex=False)

        def body() -> None:
            self._enter()
            try:
                sender.send(("ok", function(*args)))
            except BaseException as error:
                sender.send((type(error).__name__, str(error)))

        process = _FORK.Process(target=body, daemon=True)
        process.start()
        sender.close()

        def wait() -> Any:
            try:
                kind, value = receiver.recv()
            except EOFError:
                raise Failed(f"{function.__name__} ended without a result") from None
            finally:
                process.join(10)
                receiver.close()
            if kind != "ok":
                raise Failed(f"{function.__name__}: {kind}: {value}")
            return value

        return wait

    # -- the world

    def fresh(self, pace: dict[str, float] | None = None, *, upto: str = "joined") -> None:
        """An empty portal, queue and Amazon; `upto`: how far the run goes, a key of `FILES`."""
        self.upto = upto
        self.stop_all()
        self._stop_reading()
        self.redis.flushall()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.database}{suffix}").unlink(missing_ok=True)
        partner = upto == "partner"
        if partner in self._begun:
            database, snapshot = self._begun[partner]
            self.control("POST", f"snapshots/{snapshot}/restore")
            shutil.copyfile(database, self.database)
        else:
            self._begun[partner] = self._begin(partner)
        self.control("POST", "pace", {"preset": "fast", **(pace or {})})
        self._start_reading()

    def _begin(self, partner: bool) -> tuple[Path, int]:
        """Make an empty portal with its people, and Amazon with the roles; what they can be had from again."""
        self.control("POST", "reset")
        shutil.copyfile(self.template, self.database)
        tokens = self.control("GET", "token?person=admin")
        self.act(_people, tokens["refresh_token"], partner)
        kept = self.folder / f"begun-{int(partner)}.sqlite3"
        with contextlib.closing(sqlite3.connect(self.database)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copyfile(self.database, kept)
        return kept, self.control("POST", "snapshots")["id"]

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Call the simulator's control API."""
        answer = self.http.request(method, f"/_simulator/{path}", json=body)
        answer.raise_for_status()
        return answer.json()

    def misbehave(self, operation: str, kind: str, nth: int = 1, times: int | None = 1, **values: Any) -> None:
        """Set a rule: the nth matching call from now on."""
        self.control("POST", "rules", rule(operation, kind, nth, times, **values))

    def misbehave_only(self, rules: list[dict[str, Any]]) -> None:
        """Set these rules instead of all others, at once: the first that fits a call is the one that acts."""
        self.control("PUT", "rules", {"rules": rules})

    def release(self, held: dict[str, Any]) -> bool:
        """Let a held call go on; False if its client has gone away."""
        answer = self.http.post(f"/_simulator/holds/{held['id']}/release")
        if answer.status_code != 404:
            answer.raise_for_status()
        return answer.status_code != 404

    def exchanges(self, since: int = 0) -> list[dict[str, Any]]:
        """What the simulator was asked and answered since it was reset, after the exchange with that number."""
        found: list[dict[str, Any]] = self.control("GET", f"exchanges?since={since}")
        return found

    @contextlib.contextmanager
    def database_held(self) -> Iterator[None]:
        """Nobody can commit to the portal's database inside this block."""
        connection = sqlite3.connect(self.database, isolation_level=None, timeout=20)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")
            connection.close()

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Read the portal's database, without Django.

        In a process that keeps it open: opening it for each of thousands of looks takes longer than they do.
        """
        self._asked.send(statement)
        found: list[tuple[Any, ...]] = self._asked.recv()
        return found

    def _start_reading(self) -> None:
        self._asked, asked = _FORK.Pipe()
        self._reader = _FORK.Process(target=_read, args=(self.database, asked), daemon=True)
        self._reader.start()
        asked.close()

    def _stop_reading(self) -> None:
        if self._reader is not None:
            self._reader.kill()
            self._reader.join(5)
            self._reader = None
            self._asked.close()

    def news(self) -> bool:
        """Whether somebody has written into the database since this was asked last, or half a second has passed."""
        version, now = self.sql("PRAGMA data_version"), time.monotonic()
        if version == self._seen and now < self._look_at:
            return False
        self._seen, self._look_at = version, now + 0.5
        return True

    def states(self) -> dict[str, str]:
        """The state of every step of the latest run by key, as far as the run goes here."""
        latest = "SELECT id FROM onboarding_run ORDER BY started_at DESC LIMIT 1"
        rows = self.sql(f"SELECT key, state FROM onboarding_step WHERE run_id = ({latest}) ORDER BY position")
        return dict(itertools.takewhile(lambda row: self.upto == "data" or row[0] not in BEYOND, rows))

    def phase_done(self, procedure: str, but: str = "", at: str = "ready") -> bool:
        """Whether the latest run is of this procedure and has ended, but for the step `but`, which has come to `at`."""
        kinds = self.sql("SELECT procedure FROM onboarding_run ORDER BY started_at DESC LIMIT 1")
        if kinds != [(procedure,)]:
            return False
        states = self.states()
        if "failed" in states.values():
            raise Failed(f"a step failed: {self.sql(_FAILURES)}")
        if work := self.sql("SELECT kind, failure FROM onboarding_identityjob WHERE state = 'failed'"):
            raise Failed(f"work on files failed: {work}")
        # What comes after the step that is to begin is not open yet.
        rest = {but: ("done", at)}
        return all(
            state in rest.get(key, ("done",)) or (state == "blocked" and states.get(but) == at)
            for key, state in states.items()
        )

    def moves(self) -> int:
        """A number that grows with every move of a step, and whenever a worker takes work on files."""
        steps = "SELECT COALESCE(SUM(version), 0) FROM onboarding_step"
        work = "SELECT COALESCE(SUM(attempts), 0) FROM onboarding_identityjob"
        return int(self.sql(f"SELECT ({steps}) + ({work})")[0][0])

    def files_in_work(self) -> bool:
        """Whether work on identity files is asked for and has not ended."""
        return self.sql("SELECT 1 FROM onboarding_identityjob WHERE state IN ('queued', 'running')") != []

    def leases_run_out(self) -> None:
        """The time passes after which whoever was killed counts as lost: there is nobody left to renew a lease."""
        connection = sqlite3.connect(self.database, isolation_level=None, timeout=20)
        try:
            for table in ("onboarding_step", "onboarding_identityjob"):
                connection.execute(
                    f"UPDATE {table} SET lease_until = started_at, enqueued_until = NULL WHERE lease_until IS NOT NULL"
                )
        finally:
            connection.close()

    def ended(self) -> bool:
        """Whether the run is as far as it should come; raises Failed when a step has failed."""
        states = self.states()
        if "failed" in states.values():
            raise Failed(f"a step failed: {self.sql(_FAILURES)}")
        wanted = UNTIL_MADE if self.upto == "made" else states
        return bool(states) and all(states[key] == "done" for key in wanted)

    def check(self) -> None:
        """What must hold at the end, whatever happened on the way."""
        self.ended() or _fail("the run is not done")
        self.control("DELETE", "rules")
        made = self.instances()
        if len(made) != 1:
            _fail(f"{len(made)} instances exist where one was asked for")
        mine = self.sql("SELECT instance_id FROM onboarding_instance WHERE name = 'Chaos'")
        if mine != [(made[0]["instanceId"],)]:
            _fail(f"the portal knows {mine}, Amazon has {made[0]['instanceId']}")
        approved = "SELECT step_id, count(*) FROM onboarding_request WHERE state = 'approved' GROUP BY step_id"
        if (counts := [count for _, count in self.sql(approved)]) != [1] * APPROVED[self.upto]:
            _fail(f"there is not exactly one approved request for each step that makes something: {counts}")
        if self.upto != "made":
            self._check_aws("chaos-data", "chaos-results")
        if self.upto == "data":
            self._check_data()
            self.check_tables(customers=1)
        self._check_audit()

    def check_so_far(self) -> None:
        """What must hold while partners are still to join."""
        self.control("DELETE", "rules")
        if len(self.instances()) != 1:
            _fail(f"{len(self.instances())} instances exist where one was asked for")
        self._check_aws("chaos-results")
        self._check_audit()

    def check_end(self) -> None:
        """What must hold after everything was taken away again: each thing once, and nothing twice."""
        if self.instances():
            _fail("the instance is still there")
        statuses = [one["status"] for one in self.aws("cleanrooms").list_memberships()["membershipSummaries"]]
        if statuses not in (["REMOVED"], ["COLLABORATION_DELETED"]):
            _fail(f"the memberships are {statuses}")
        if self.sql("SELECT count(*) FROM onboarding_membership WHERE left_at IS NULL") != [(0,)]:
            _fail("the portal knows of a membership that has not ended")
        done: dict[tuple[str, str], int] = {}
        for one in self.exchanges():
            service, _, name = one["operation"].partition(":")
            # What was cut off after its effect has no status. S3 takes the deletion of what is not there, too.
            effective = service != "s3" and 200 <= (one["status"] or 0) < 300
            if effective and name.lower().startswith(("delete", "createadvertiser")):
                call = (one["operation"], one["path"])
                done[call] = done.get(call, 0) + 1
        if twice := {name: count for name, count in done.items() if count > 1}:
            _fail(f"carried out more than once: {twice}")
        self._check_audit()

    def _check_audit(self) -> None:
        doubled = self.sql(
            "SELECT act, subject, subject_ref, count(*) FROM onboarding_auditentry WHERE act IN ('step.done', "
            "'call.made', 'call.adopted', 'run.started') GROUP BY act, subject, subject_ref HAVING count(*) > 1 "
            "UNION SELECT act, subject, '', count(*) FROM onboarding_auditentry WHERE act IN ('request.approved', "
            "'run.started') GROUP BY act, subject HAVING count(*) > 1"
        )
        if doubled:
            _fail(f"told twice in the audit log: {doubled}")
        verdict = self.act(_verify)
        if verdict:
            _fail(f"the audit chain is broken: {verdict}")

    def instances(self) -> list[dict[str, Any]]:
        """The instances of the run's name that AMC has."""
        answer = self.http.get("/amc/instances?limit=100", headers=self._headers())
        answer.raise_for_status()
        return [instance for instance in answer.json()["instances"] if instance["instanceName"] == "Chaos"]

    def _headers(self) -> dict[str, str]:
        token = self.control("GET", "token?person=admin")["access_token"]
        return {
            "Authorization": f"Bearer {token}",
            "Amazon-Advertising-API-ClientId": "amzn1.application-oa2-client.demo",
            "Amazon-Advertising-API-AdvertiserId": ENTITY,
            "Amazon-Advertising-API-MarketplaceId": MARKETPLACE,
            "Content-Type": "application/vnd.amcinstances.v1+json",
        }

    def aws(self, service: str) -> Any:
        """A client that acts as the administrator of the AWS account."""
        return boto3.client(
            service,
            endpoint_url=self.simulator.url,
            region_name="us-east-1",
            aws_access_key_id=AWS_ACCOUNT,
            aws_secret_access_key="any",
        )

    def bring_files(self) -> None:
        """Somebody puts a file of people into the data bucket."""
        self.aws("s3").put_object(Bucket="chaos-data", Key=PEOPLE_KEY, Body=PEOPLE_FILE.encode())

    def hang(self) -> None:
        """Everything that can stand in the way of a membership's end, made by hand; its ID namespace is free."""
        from tests.hanging import Hanging

        self.hung = Hanging(self.simulator.url, AWS_ACCOUNT, self._membership(), lambda namespace: None)

    def spoil(self) -> None:
        """Somebody opens the results bucket and lets everybody use the role; then the night comes."""
        self.aws("s3").delete_public_access_block(Bucket="chaos-results")
        role = self._results_role()
        trust = role["AssumeRolePolicyDocument"]
        trust["Statement"] = trust["Statement"][:1]
        self.aws("iam").update_assume_role_policy(RoleName=role["RoleName"], PolicyDocument=json.dumps(trust))
        if (found := self.act(_compare)) != 2:
            _fail(f"the comparison found {found} differences instead of both")

    def check_put_right(self) -> None:
        """What was spoilt is as it was."""
        closed = self.aws("s3").get_public_access_block(Bucket="chaos-results")["PublicAccessBlockConfiguration"]
        trust = self._results_role()["AssumeRolePolicyDocument"]
        if not all(closed.values()) or len(trust["Statement"]) != 2:
            _fail("the bucket and the role were not put right")

    def _results_role(self) -> Any:
        roles = self.aws("iam").list_roles(PathPrefix="/service-role/")["Roles"]
        return next(role for role in roles if role["RoleName"].startswith("amc-cleanrooms-results"))

    def map_what_hangs(self) -> None:
        """An ID mapping table of that namespace, made by hand."""
        instance = self.instances()[0]["instanceId"]
        answer = self.http.post(
            f"/amc/instances/{instance}/collaboration/idmappingtables",
            json={"idMappingTableName": "people", "sourceIdNamespaceArn": self.hung.namespace},
            headers=self._headers(),
        )
        answer.raise_for_status()

    def _membership(self) -> str:
        return str(self.aws("cleanrooms").list_memberships()["membershipSummaries"][0]["id"])

    def check_tables(self, **wanted: int) -> None:
        """AMC has mapping tables of exactly these names, each with so many jobs, and the portal knows them so."""
        base = f"/amc/instances/{self.instances()[0]['instanceId']}/collaboration/idmappingtables"
        found = {}
        for table in self._ask_amc(f"{base}/list", "idMappingTables"):
            jobs = self._ask_amc(f"{base}/{table['id']}/jobs/list", "idMappingJobs")
            found[table["name"]] = len(jobs)
            if not table["queryable"] or {job["status"] for job in jobs} != {"SUCCEEDED"}:
                _fail(f"mapping table {table['name']} can't be queried: {jobs}")
        known = dict(
            self.sql(
                "SELECT t.name, count(j.id) FROM onboarding_mappingtable t LEFT JOIN onboarding_mappingjob j ON "
                "j.table_id = t.id WHERE t.deleted_at IS NULL GROUP BY t.name"
            )
        )
        if not found == known == wanted:
            _fail(f"mapping tables and their jobs: {wanted} wanted, AMC has {found}, the portal knows {known}")

    def _ask_amc(self, path: str, items: str) -> list[dict[str, Any]]:
        answer = self.http.post(path, json={"maxResults": 25}, headers=self._headers())
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()[items]
        return found

    def _check_data(self) -> None:
        """The identity steps have made each thing once, and left nothing unfinished."""
        s3, glue, resolution = self.aws("s3"), self.aws("glue"), self.aws("entityresolution")
        keys = sorted(one["Key"] for one in s3.list_objects_v2(Bucket="chaos-data")["Contents"])
        # Amazon Athena's answer to the one query that proves the table.
        answers = [key for key in keys if key.startswith("amc-data/uploads/athena/")]
        if len(answers) != 1 or set(keys) != {PEOPLE_KEY, *PREPARED_KEYS, *answers}:
            _fail(f"in the data bucket lie {keys}")
        if uploads := s3.list_multipart_uploads(Bucket="chaos-data").get("Uploads"):
            _fail(f"uploads that nobody ended: {uploads}")
        databases = [one["Name"] for one in glue.get_databases()["DatabaseList"]]
        summaries = self.aws("cleanrooms").list_id_namespace_associations(membershipIdentifier=self._membership())
        counts = {
            "databases": len(databases),
            "tables": sum(len(glue.get_tables(DatabaseName=name)["TableList"]) for name in databases),
            "schema mappings": len(resolution.list_schema_mappings()["schemaList"]),
            "ID namespaces": len(resolution.list_id_namespaces()["idNamespaceSummaries"]),
            "associations": len(summaries["idNamespaceAssociationSummaries"]),
        }
        if set(counts.values()) != {1}:
            _fail(f"not one of each: {counts}")

    def _check_aws(self, *wanted: str) -> None:
        client = self.aws
        memberships = client("cleanrooms").list_memberships()["membershipSummaries"]
        if [one["status"] for one in memberships] != ["ACTIVE"]:
            _fail(f"{len(memberships)} memberships where there should be one that is active")
        roles = client("iam").list_roles(PathPrefix="/service-role/")["Roles"]
        trusts = [json.dumps(role["AssumeRolePolicyDocument"]) for role in roles]
        mine = sum(memberships[0]["arn"] in trust for trust in trusts)
        reads = sum("entityresolution.amazonaws.com" in trust for trust in trusts)
        if (mine, reads, len(roles)) != ((1, 1, 2) if self.upto == "data" else (1, 0, 1)):
            _fail(f"the roles are not as they should be: {[role['RoleName'] for role in roles]}")
        buckets = [bucket["Name"] for bucket in client("s3").list_buckets()["Buckets"]]
        if sorted(buckets) != list(wanted):
            _fail(f"the buckets are {buckets}")
        if "chaos-data" not in wanted:
            return
        for rules, count in (
            (client("s3").get_bucket_cors(Bucket="chaos-data")["CORSRules"], 1),
            (client("s3").get_bucket_lifecycle_configuration(Bucket="chaos-data")["Rules"], 2),
        ):
            if len(rules) != count:
                _fail(f"the data bucket has the rules {rules}")


def _fail(text: str) -> None:
    raise Failed(text)


# -- what the forked children do


def _read(database: Path, asked: Any) -> None:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=20)
    while True:
        asked.send(connection.execute(asked.recv()).fetchall())


def work() -> None:
    """A worker, as `manage.py rqworker default` runs it; it finds warm what `template` has warmed up."""
    import django_rq

    from onboarding.engine import worker

    worker.warm_up = lambda: None
    django_rq.get_worker("default", "identity").work(logging_level="ERROR")


def tick() -> None:
    """A clock, as `manage.py clock` runs it."""
    from django.core.management import call_command

    call_command("clock")


def _people(refresh_token: str, partner: bool) -> None:
    from django.conf import settings
    from django.utils import timezone

    from onboarding.models import AmcAccount, AmcConnection, AwsConnection
    from tests.aws_roles import make_portal_roles

    connection = AmcConnection.objects.create(
        label="Login", amazon_id="amzn1.account.DEMOADMIN00000000000000003", refresh_token=refresh_token
    )
    account = AmcAccount.objects.create(
        entity_id=ENTITY,
        marketplace_id=MARKETPLACE,
        name="Harbour",
        connection=connection,
        # Neither the list of instances nor the health of the role is due to be read.
        instances_read_at=timezone.now(),
    )
    _team(account)
    for number in (AWS_ACCOUNT, PARTNER) if partner else (AWS_ACCOUNT,):
        aws = AwsConnection(account=account, aws_account_id=number, state=AwsConnection.State.WORKING)
        aws.save()
        url = settings.AWS_ENDPOINT_URL
        aws.provisioner_role_arn, aws.reader_role_arn = make_portal_roles(url, number, aws.external_id)
        aws.next_check_at = timezone.now() + timedelta(days=1)
        aws.save()


def _team(account: Any) -> None:
    from onboarding.models import Person, Role

    for role, email in PEOPLE.items():
        person = Person.objects.create_user(f"amzn1.account.{role}", name=role.title(), email=email)
        Role.objects.create(person=person, account=account, name=role)


def _person(role: str) -> Any:
    from onboarding.models import Person

    return Person.objects.get(email=PEOPLE[role])


def ask(upto: str) -> str:
    """The analyst starts (or goes on) from a file, a key of `FILES`, and submits whatever is ready."""
    from django.utils import timezone

    from onboarding.services import from_file
    from onboarding.services.errors import Refused

    run = from_file.onboard(
        from_file.read(FILES[upto]),
        person=_person("analyst"),
        now=timezone.now(),
    )
    try:
        from_file.submit_ready(run, person=_person("analyst"), now=timezone.now())
    except Refused as error:
        return str(error)
    return str(run.pk)


def ask_for(procedure: str) -> str:
    """The analyst starts (or goes on with) something that comes after the onboarding, and submits what is ready."""
    from django.utils import timezone

    from onboarding.models import Instance, MappingTable, Run
    from onboarding.services import lifecycle, mapping, runs
    from onboarding.services.errors import Refused

    analyst, now = _person("analyst"), timezone.now
    try:
        run = Run.objects.filter(procedure=procedure).first()
        if run is None and procedure in OF_TABLES:
            table = MappingTable.objects.get(deleted_at=None)
            run = mapping.start(person=analyst, table=table, procedure=procedure, now=now())
        elif run is None:
            instance = Instance.objects.get(name="Chaos")
            run = lifecycle.start(person=analyst, instance=instance, procedure=procedure, now=now())
        for step in run.steps.filter(state="ready"):
            guide_step = runs.step_of(procedure, step.key)
            for question in guide_step.asked(runs.situation_of(run)):
                situation = runs.situation_of(run)
                form = question(_answer(question.slug, run), situation=situation)
                if not form.is_valid():
                    raise Failed(f"{step.key} {question.slug}: {form.errors}")
                runs.answer_save(person=analyst, step=step, form=form, now=now())
            runs.submit(person=analyst, step=step, now=now())
    except Refused as error:
        return str(error)
    return str(run.pk)


def _compare() -> int:
    from django.utils import timezone

    from onboarding.models import Instance
    from onboarding.services import drift

    return drift.compare(Instance.objects.get(name="Chaos"), now=timezone.now())


def _answer(slug: str, run: Any) -> dict[str, Any]:
    from onboarding.models import Difference, MappingTable

    answers: dict[str, dict[str, Any]] = {
        "add": {"dsp": "101"},
        "remove": {},
        "who": {"who": "portal"},
        "confirm": {"understood": "on", "typed": "Chaos"},
        # Of the membership.
        "bucket": {"kind": "keep"},
        "shape": {"format": "PARQUET", "prefix": "amc/moved"},
        "role": {"kind": "portal"},
        "logging": {"logging": "DISABLED"},
        # Of mapping tables.
        "unchanged": {"anyway": "on"},
        "name": {"name": "replaced"},
    }
    if (run.procedure, slug) == ("put-right", "which"):
        return {"which": [str(pk) for pk in Difference.objects.open().values_list("pk", flat=True)]}
    if slug == "which":
        return {"which": run.instance.memberships.get(aws_account_id=AWS_ACCOUNT).membership_id}
    if slug == "confirm" and run.procedure in OF_TABLES:
        return {**answers[slug], "typed": MappingTable.objects.get(pk=run.subject).name}
    return answers[slug]


def approve() -> str:
    """The approver approves what waits."""
    from django.utils import timezone

    from onboarding.models import Request
    from onboarding.services import requests
    from onboarding.services.errors import Refused

    said = []
    for request in Request.objects.filter(state="open"):
        try:
            requests.approve(person=_person("approver"), request=request, digest=request.digest, now=timezone.now())
            said.append("approved")
        except Refused as error:
            said.append(str(error))
    return json.dumps(said)


def _verify() -> str:
    from onboarding import audit

    return audit.verify().problem


def sleeps(processes: Iterable[psutil.Process]) -> bool:
    """Whether one of the processes sleeps in a timer, as SQLite does while it waits for a lock."""
    numbers = {"x86_64": {"35", "230"}, "aarch64": {"101", "115"}}.get(os.uname().machine, set())
    for process in processes:
        try:
            current = Path(f"/proc/{process.pid}/syscall").read_text(encoding="ascii").split()[0]
        except (OSError, IndexError):
            continue
        if current in numbers:
            return True
    return not sys.platform.startswith("linux")
