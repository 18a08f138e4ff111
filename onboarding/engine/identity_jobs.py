"""Work on identity files: rows that a worker takes by lease, carries out in bounded memory, and reports on in counts.

The files stream through the worker from and to the customer's bucket. Nothing of what a column holds may leave it: no
message of an exception that is not the identity library's own is kept or logged, only its kind and the lines of code.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.models import F, Q
from django.utils import timezone

from onboarding.clients.aws import AwsClient, FileSessions
from onboarding.clients.failures import Fix, Later, Reconnect, RemoteFailure
from onboarding.engine import aws_health, queue
from onboarding.engine.authority import check_authority
from onboarding.engine.backoff import delay
from onboarding.engine.checked_files import must_be, rows_of
from onboarding.engine.executor import worker_name
from onboarding.engine.pauses import not_paused
from onboarding.guide import plan as plans
from onboarding.guide.identity_questions import KEY
from onboarding.identity.errors import BadDestination, BadMapping, Cancelled, IdentityError, Unreadable
from onboarding.models import AwsConnection, DatasetVersion, IdentityJob, Run, SourceFile, Step, StepState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onboarding.identity.work import Progress

log = structlog.get_logger(__name__)
Now = Callable[[], datetime]
_Kind, _State = IdentityJob.Kind, IdentityJob.State
# After so many tries without an end a person has to look.
MOST_TRIES = 12
# How often the row learns how far the work is, at most.
TELL_SECONDS = 1.0
# Rows of files written by one statement.
BATCH = 500
_LATER_CODES = frozenset(
    {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "NoAnswer", "500", "503"}
)
_EXPIRED_CODES = frozenset({"ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidToken"})
_DENIED_CODES = frozenset({"AccessDenied", "403", "AllAccessDisabled"})
_ABSENT_CODES = frozenset({"NoSuchBucket", "NoSuchKey", "404"})


class Taken(Exception):
    """Somebody else has the row now, or it has ended; whoever gets this stops and changes nothing."""


def due(now: datetime) -> Q:
    """The work that a worker may take at `now`: its time has come, or its worker's lease ran out; its run is there."""
    ours = Q(version__run__isnull=False)
    return ours & (Q(state=_State.QUEUED, next_attempt_at__lte=now) | Q(state=_State.RUNNING, lease_until__lt=now))


def put_due(now: datetime) -> int:
    """Put everything that is due on the queue; returns how much it was."""
    waiting = Q(enqueued_until=None) | Q(enqueued_until__lt=now)
    ids = list(
        not_paused(IdentityJob.objects.filter(due(now)), "version__run")
        .filter(waiting)
        .values_list("pk", flat=True)[:1000]
    )
    if ids and queue.put_identity(ids):
        again = now + timedelta(seconds=settings.PUT_AGAIN_SECONDS)
        IdentityJob.objects.filter(pk__in=ids).update(enqueued_until=again)
    return len(ids)


def resume(connection: str, *, now: datetime) -> None:
    """Make the work that was paused for a connection (`aws:111122223333`) due at once."""
    paused = IdentityJob.objects.filter(state=_State.QUEUED, next_attempt_at=None, failure__connection=connection)
    ids = list(paused.values_list("pk", flat=True))
    IdentityJob.objects.filter(pk__in=ids, state=_State.QUEUED).update(
        next_attempt_at=now, enqueued_until=None, failure=None, attempts=0
    )
    queue.put_identity(ids)


def wake(run: Run, *, now: datetime) -> None:
    """Let the step of the run that waits for work on files look at once."""
    waiting = Step.objects.filter(run=run, key=KEY, state=StepState.WAITING, waiting_for="worker")
    step_id = waiting.values_list("pk", flat=True).first()
    if step_id is not None:
        waiting.update(next_attempt_at=now, enqueued_until=None)
        queue.put_on_commit(step_id)


def work(job_id: int, *, now: Now = timezone.now, beside: bool = True) -> None:
    """Carry out a piece of work. Does nothing if it isn't due, or if somebody else has it.

    Every failure ends in the row. `beside`: the lease is renewed by a thread of its own, which a database within one
    transaction does not allow. Only a failing database leaves this function.
    """
    job = _claim(job_id, worker_name(), now())
    if job is None:
        return
    with structlog.contextvars.bound_contextvars(identity_job=job.pk):
        carried = _Carried(job, now)
        try:
            with carried.heart(beside):
                carried.out()
        except (Taken, Cancelled):
            log.info("the work was cancelled or taken over")
        except (DatabaseError, InterfaceError):
            raise
        except Exception as error:
            carried.fail(_sorted_out(error, job))


def _claim(job_id: int, owner: str, now: datetime) -> IdentityJob | None:
    job = (
        not_paused(IdentityJob.objects.filter(due(now), pk=job_id), "version__run")
        .select_related("version__dataset", "version__run__account", "version__run__instance", "asked_by")
        .first()
    )
    if job is None:
        return None
    until = now + timedelta(seconds=settings.LEASE_SECONDS)
    changed = IdentityJob.objects.filter(
        pk=job.pk, state=job.state, lease_owner=job.lease_owner, lease_until=job.lease_until, attempts=job.attempts
    ).update(
        state=_State.RUNNING,
        lease_owner=owner,
        lease_until=until,
        attempts=F("attempts") + 1,
        started_at=job.started_at or now,
        next_attempt_at=None,
        enqueued_until=None,
        failure=None,
        stage="",
        stage_at=None,
        bytes_done=0,
        rows_done=0,
    )
    if not changed:
        return None
    job.state, job.lease_owner, job.lease_until, job.attempts = _State.RUNNING, owner, until, job.attempts + 1
    return job


class _Carried:
    """One worker's go at one piece of work."""

    def __init__(self, job: IdentityJob, now: Now) -> None:
        self.job, self.now = job, now
        self.version: DatasetVersion = job.version
        self.settings: dict[str, Any] = job.settings
        self._stopped = threading.Event()
        self._over = threading.Event()
        self._at: Progress | None = None
        self._stage_at = now()
        self._told = now()
        self._beside = False
        assert self.version.run is not None  # see `due`
        self.run = self.version.run

    # -- the lease

    @contextmanager
    def heart(self, beside: bool) -> Iterator[None]:
        """Renews the lease while the body runs."""
        self._beside = beside
        thread = threading.Thread(target=self._beats, name="identity-lease", daemon=True) if beside else None
        if thread is not None:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            if thread is not None:
                thread.join()

    def _beats(self) -> None:
        pause = min(TELL_SECONDS, settings.LEASE_SECONDS / 4)
        try:
            while not self._over.wait(pause):
                try:
                    self._beat()
                except (DatabaseError, InterfaceError) as error:
                    # The lease still lasts a while; if the database stays away it runs out, and then the work stops.
                    log.warning("database out of reach", error=type(error).__name__)
                    connections.close_all()
                    if self.job.lease_until is not None and self.job.lease_until < self.now():
                        self._stopped.set()
        finally:
            connections.close_all()

    def _beat(self) -> None:
        """Renew the lease and tell how far the work is; a row that is no longer ours stops the work."""
        if self._stopped.is_set():
            return
        now, at = self.now(), self._at
        until = now + timedelta(seconds=settings.LEASE_SECONDS)
        told: dict[str, Any] = {"lease_until": until}
        if at is not None:
            told |= {
                "stage": at.stage,
                "stage_at": self._stage_at,
                "bytes_done": at.done,
                "bytes_all": at.total,
                "rows_done": at.rows,
            }
        if not self._mine().update(**told) or not self._wanted():
            self._stopped.set()
        self.job.lease_until, self._told = until, now

    def _mine(self) -> Any:
        return IdentityJob.objects.filter(pk=self.job.pk, state=_State.RUNNING, lease_owner=self.job.lease_owner)

    def _wanted(self) -> bool:
        """Whether the run still wants it: nobody has cancelled the step."""
        cancelled = Step.objects.filter(run=self.run, key=KEY, state=StepState.CANCELLED).exists()
        if cancelled:
            self._mine().update(
                state=_State.CANCELLED, finished_at=self.now(), lease_owner="", lease_until=None, failure=None
            )
        return not cancelled

    def progress(self, at: Progress) -> None:
        """Called by the library after each batch."""
        if self._at is None or self._at.stage != at.stage:
            self._stage_at = self.now()
            if at.stage == "publish" and self.job.kind == _Kind.PREPARE:
                # Nothing is visible yet: the last moment to ask again whether it may be.
                self._at = at
                self._beat()
                self.cancelled_or_lost()
                self._may_write()
        self._at = at
        self._beat_seldom()

    def cancelled(self) -> bool:
        """Asked by the library before each batch."""
        self._beat_seldom()
        return self._stopped.is_set()

    def cancelled_or_lost(self) -> None:
        if self._stopped.is_set():
            raise Taken

    def _beat_seldom(self) -> None:
        if not self._beside and (self.now() - self._told).total_seconds() >= min(
            TELL_SECONDS, settings.LEASE_SECONDS / 4
        ):
            self._beat()

    # -- the work

    def out(self) -> None:
        """Do it and write down what came of it."""
        if self.job.attempts > MOST_TRIES:
            raise Fix(
                "The work was begun again and again and never came to its end.",
                why=f"It was tried {MOST_TRIES} times; a worker may be short of memory.",
                who="Admin",
                todo="Look at the workers' memory and at their logs, then try again.",
                code="NeverEnds",
            )
        if self.job.kind == _Kind.LOOK:
            self._look()
        elif self.job.kind == _Kind.CHECK:
            self._check()
        else:
            self._prepare()

    def _sessions(self, *, reading: bool) -> FileSessions:
        return FileSessions(self._connection(), session_name=str(self.run.pk), reading=reading)

    def _connection(self) -> AwsConnection:
        return aws_health.working(self.run.account, str(self.settings["account"]))

    def _places(self) -> list[str]:
        """Where the files are; a table of Glue says it itself."""
        if "glue" not in self.settings:
            return list(self.settings["places"])
        return [self._glue()["location"]]

    def _glue(self) -> dict[str, Any]:
        named = self.settings["glue"]
        client = AwsClient(self._connection(), "glue", session_name=str(self.run.pk), reading=True)
        table = client.call("GetTable", {"DatabaseName": named["database"], "Name": named["table"]})["Table"]
        storage = table.get("StorageDescriptor", {})
        location = str(storage.get("Location") or "")
        if not location.startswith("s3://"):
            raise Fix(
                f"The table {named['table']} has no files in S3.",
                why="AWS Glue names no place in S3 for it.",
                who="Analyst",
                todo="Choose another table.",
                code="NoLocation",
            )
        return {
            "location": location if location.endswith("/") else f"{location}/",
            "columns": [column["Name"] for column in storage.get("Columns", [])],
            "database": named["database"],
            "glue_table": named["table"],
        }

    def _look(self) -> None:
        # Polars and Arrow have threads of their own: they are loaded in this process alone, never before RQ's fork.
        from onboarding.identity.check import look
        from onboarding.identity.storage import find

        sessions = self._sessions(reading=True)
        glue = self._glue() if "glue" in self.settings else None
        places = [glue["location"]] if glue else list(self.settings["places"])
        sources = find(places, sessions)
        seen = look(places, s3=sessions).as_dict()
        layouts: dict[str, dict[str, Any]] = seen["layouts"]
        bare = next((name for name, layout in layouts.items() if layout["header_looks_like_data"]), "")
        if bare or all(guess["reason"] in ("none", "content") for guess in seen["guesses"]):
            # The names may be somebody's data: nothing of them is kept.
            raise Fix(
                "The files have no row with column names, or none of the names is known.",
                why=f"The first row of {bare or sources[0].name} looks like data.",
                who="Analyst",
                todo="Put a row with column names, such as customer_id, email, first_name, on top and choose it again.",
                code="HeaderMissing",
            )
        overview: dict[str, Any] = {
            "header": seen["header"],
            "guesses": seen["guesses"],
            "files": [
                {
                    "name": source.name,
                    "bytes": source.size,
                    **{key: layouts[source.name][key] for key in ("format", "delimiter", "encoding", "gzip")},
                }
                for source in sources[:100]
            ],
            "location": places[0],
        }
        if glue:
            overview["glue"] = {"database": glue["database"], "glue_table": glue["glue_table"]}
        facts: dict[str, Any] = {"overview": overview, "manifest": None}
        # Another worker may have been quicker with the check of the same files.
        checks = IdentityJob.objects.filter(version=self.version, kind=_Kind.CHECK, state=_State.DONE)
        if not checks.filter(pk__gt=self.job.pk).exists():
            facts |= {"report": None, "state": DatasetVersion.State.CHOOSING}
        with self._done(**facts):
            SourceFile.objects.filter(version=self.version, upload_id="", fingerprint="").delete()
            known = {(file.bucket, file.key): file for file in SourceFile.objects.filter(version=self.version)}
            rows = rows_of(sources)
            for row in rows:
                row.version, before = self.version, known.get((row.bucket, row.key))
                if before is not None:
                    before.size, before.etag, before.state = row.size, row.etag, SourceFile.State.THERE
            SourceFile.objects.bulk_create([row for row in rows if (row.bucket, row.key) not in known], BATCH)
            SourceFile.objects.bulk_update(known.values(), ["size", "etag", "state"], BATCH)

    def _check(self) -> None:
        from onboarding.identity.check import check
        from onboarding.identity.mapping import kind_named

        report = check(
            self._places(),
            {column: kind_named(kind) for column, kind in self.settings["columns"].items()},
            country=self.settings["country"] or None,
            rule_table=self.settings["rules"],
            memory=settings.IDENTITY_MEMORY_MB << 20,
            progress=self.progress,
            cancelled=self.cancelled,
            s3=self._sessions(reading=True),
        )
        self.cancelled_or_lost()
        with self._done(
            report=report.as_dict(),
            columns=self.settings["columns"],
            country=self.settings["country"],
            state=DatasetVersion.State.CHECKED,
        ):
            pass

    def _prepare(self) -> None:
        from onboarding.identity.mapping import kind_named
        from onboarding.identity.prepare import prepare
        from onboarding.identity.storage import find

        self._may_write()
        DatasetVersion.objects.filter(pk=self.version.pk).update(state=DatasetVersion.State.PREPARING)
        reading, writing = self._sessions(reading=True), self._sessions(reading=False)
        wanted = self.settings
        must_be(find(wanted["from"], reading), wanted["content"])
        # One factory for both: what may write may read.
        result = prepare(
            wanted["from"],
            {column: kind_named(kind) for column, kind in wanted["columns"].items()},
            wanted["to"],
            country=wanted["country"] or None,
            rule_table=wanted["rules"],
            table=wanted["table"],
            memory=settings.IDENTITY_MEMORY_MB << 20,
            progress=self.progress,
            cancelled=self.cancelled,
            s3=writing,
        )
        with self._done(
            manifest=result.as_dict(),
            columns=wanted["columns"],
            country=wanted["country"] or "",
            rule_table=wanted["rules"] or "",
            state=DatasetVersion.State.READY,
            ready_at=self.now(),
        ):
            pass

    def _may_write(self) -> None:
        """Raises Fix unless the step that asked for this still may do what its plan says."""
        step = Step.objects.select_related("run__account", "asked_by").get(run=self.run, key=KEY)
        calls = plans.load(step.plan)
        asked = next((call for call in calls if call.key == "job"), None)
        if step.state in (StepState.CANCELLED, StepState.READY) or asked is None:
            raise Taken
        if {**asked.params, "account": asked.account} != self.settings:
            raise Fix(
                "What was approved is something else than what was to be prepared.",
                who="Analyst",
                todo="Open the step and ask for approval again.",
                code="NotApproved",
            )
        check_authority(step, calls)

    @contextmanager
    def _done(self, **facts: Any) -> Iterator[None]:
        """Writes the result into the version and ends the work, in one transaction with the body."""
        self._over.set()
        with transaction.atomic():
            if not self._mine().update(
                state=_State.DONE, finished_at=self.now(), lease_owner="", lease_until=None, failure=None
            ):
                raise Taken
            DatasetVersion.objects.filter(pk=self.version.pk).update(**facts)
            yield
            wake(self.run, now=self.now())

    # -- failures

    def fail(self, error: RemoteFailure) -> None:
        """Write a failure into the row: later again, paused until the connection works, or for a person to mend."""
        now, attempts = self.now(), self.job.attempts
        log.warning("identity work failed", kind=error.kind, code=error.code)
        ended: dict[str, Any] = {"lease_owner": "", "lease_until": None, "enqueued_until": None}
        if isinstance(error, Later) and attempts < MOST_TRIES:
            pause = delay(attempts, retry_after=error.retry_after, scale=settings.RETRY_SCALE)
            ended |= {
                "state": _State.QUEUED,
                "next_attempt_at": now + timedelta(seconds=pause),
                "failure": error.as_dict(),
            }
            self._mine().update(**ended)
            return
        with transaction.atomic():
            if isinstance(error, Reconnect):
                ended |= {"state": _State.QUEUED, "failure": {**error.as_dict(), "connection": error.connection}}
                if self._mine().update(**ended):
                    aws_health.note_failure(self.run.account, error, now=now)
                    wake(self.run, now=self.now())
                return
            ended |= {"state": _State.FAILED, "finished_at": now, "failure": error.as_dict()}
            if self._mine().update(**ended):
                DatasetVersion.objects.filter(pk=self.version.pk).exclude(state=DatasetVersion.State.READY).update(
                    state=DatasetVersion.State.FAILED
                )
                wake(self.run, now=self.now())


def log_mistake(error: Exception) -> None:
    """Log a fault that is nobody's but the portal's: its kind and the lines of code; its message may hold a value."""
    where = [
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    log.error("the portal made a mistake", error=type(error).__name__, frames=where)


def _sorted_out(error: Exception, job: IdentityJob) -> RemoteFailure:
    """Any failure as one of the three kinds; of a failure that is not known only its kind is kept, never its text."""
    if isinstance(error, RemoteFailure):
        return error
    if isinstance(error, Unreadable | BadDestination) and error.code:
        return _of_s3(error, job)
    if isinstance(error, BadMapping):
        return Fix(
            "The columns can't be used as they were chosen.",
            why=f"{error}.",
            who="Analyst",
            todo="Change the answers of this step.",
            code="BadMapping",
        )
    if isinstance(error, IdentityError):
        return Fix(
            "A file can't be read." if isinstance(error, Unreadable) else "The prepared files can't be written there.",
            why=f"{error}.",
            who="Analyst",
            todo="Look at the file that is named, export it again, and choose it again."
            if isinstance(error, Unreadable)
            else "Choose another folder, or remove what lies there.",
            code=type(error).__name__,
        )
    log_mistake(error)
    return Fix(
        "The portal made a mistake.",
        why="This is a fault of the portal, not of your files. Nothing was published.",
        who="Admin",
        todo="Try again. If it happens twice, send the technical details below to whoever runs the portal.",
        code=type(error).__name__,
        request_id=f"identity job {job.pk}",
    )


def _of_s3(error: Unreadable | BadDestination, job: IdentityJob) -> RemoteFailure:
    code = error.code
    if code in _LATER_CODES:
        return Later("S3 could not answer just now.", why=f"{error}.", who="Amazon", code=code)
    if code in _EXPIRED_CODES:
        return Later("The AWS session ended.", who="The portal", retry_after=0, code=code)
    if code in _DENIED_CODES:
        return Fix(
            f"AWS account {job.settings.get('account', '')} does not let the portal read or write there.",
            why=f"{error}. The bucket belongs to another account, is encrypted with a key that the portal may not use, "
            "or the portal's role lacks the permission.",
            who="AWS administrator",
            todo="Choose files in a bucket of the connected account, or update the portal's role with the template "
            "under Connections.",
            code=code,
        )
    if code in _ABSENT_CODES:
        return Fix(
            "There is nothing in S3 at one of the places.",
            why=f"{error}.",
            who="Analyst",
            todo="Check the places that you gave.",
            code=code,
        )
    if code == "PreconditionFailed":
        return Fix(
            "A file was changed while it was read.",
            why=f"{error}.",
            who="Analyst",
            todo="Wait until the export is complete, then choose the files again.",
            code=code,
        )
    return Fix(
        "S3 refused it.",
        why=f"{error}.",
        who="AWS administrator",
        todo="Look at what S3 answered, then try again.",
        code=code,
    )
