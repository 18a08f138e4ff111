"""Carries out one step: takes the lease, makes the calls that were not made yet, and writes down what became of each.

Look before you make: a call that creates something first looks for it. Found and equal, it is adopted; found and
different, the step stops and shows the difference; not found, it is made. That is why a crash between Amazon's doing
it and our writing it down never makes a second one.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from onboarding import audit
from onboarding.clients.failures import Fix, Later, Reconnect, RemoteFailure
from onboarding.engine import aws_health, notices, pauses
from onboarding.engine.authority import check_authority
from onboarding.engine.backoff import GIVE_UP_AFTER, delay
from onboarding.engine.explain import explain
from onboarding.engine.leases import claim, renew
from onboarding.engine.moves import Overtaken, move, write_log
from onboarding.engine.outbound import Client, Outbound
from onboarding.engine.situations import situation_of
from onboarding.guide import plan as plans
from onboarding.guide.plan import MISSING, Call, Look, dig
from onboarding.guide.procedure import step_of
from onboarding.guide.step import GuideStep, Situation
from onboarding.models import AmcConnection, CallRecord, Step, StepFailure, StepState

log = structlog.get_logger(__name__)
Now = Callable[[], datetime]
_Outcome = CallRecord.Outcome
_ECHO_SECONDS = 1800.0
_EXISTS = 409
# Longer than any call can be under way; what exists for another reason is said then.
_UNDER_WAY_SECONDS = 60.0


def worker_name() -> str:
    """A name for this process, unique among all that ever work."""
    return f"{socket.gethostname()[:24]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def work(step_id: int, *, now: Now = timezone.now) -> None:
    """Take step `step_id` as far as it goes now. Does nothing if it isn't due, or if somebody else has it.

    Every failure ends in the row: later, fix or reconnect. Only a database out of reach leaves this function; then the
    lease runs out and another worker goes on. What it refuses, such as a second row of what may be there once, it would
    refuse for ever: that ends in the row too.
    """
    step = claim(step_id, worker_name(), now=now())
    if step is None:
        return
    with structlog.contextvars.bound_contextvars(run=str(step.run_id), step=step.key):
        attempt = _Attempt(step, now)
        try:
            attempt.carry_out()
        except Overtaken:
            log.info("somebody else has the step")
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            _end(attempt, error)


def _end(attempt: _Attempt, error: Exception) -> None:
    try:
        attempt.fail(error)
    except Overtaken:
        log.info("somebody else has the step")


@dataclass
class _Waiting(Exception):
    """A call that waits has not seen enough yet."""

    call: Call
    seen: Any


class _Attempt:
    """One worker's go at one step."""

    def __init__(self, step: Step, now: Now) -> None:
        self.step = step
        self.owner = step.lease_owner
        self.now = now
        self.guide_step: GuideStep = step_of(step.run.procedure, step.key)
        self.outbound = Outbound(step.run)
        self.calls: list[Call] = []
        self.call: Call | None = None
        self.outputs: dict[str, dict[str, Any]] = {}

    def carry_out(self) -> None:
        """Make every call that has no finished record, in order; then the step is done."""
        step, situation = self.step, situation_of(self.step.run)
        calls = self.calls = self._plan(situation)
        check_authority(step, calls)
        self._check_connection()
        outputs = self.outputs = {key: dict(value) for key, value in situation.outputs.items()}
        mine = outputs.setdefault(step.key, {})
        self._ask_objection(situation, [call for call in calls if call.changes and call.key not in mine])
        situation.outputs = outputs
        for call in calls:
            if call.key in mine:
                continue
            if not self._is_needed(call, situation):
                mine[call.key] = self._skip(call)
                continue
            self.call = call
            try:
                mine[call.key] = self._make(call, situation)
            except _Waiting as waiting:
                self._wait(waiting)
                return
            except pauses.Paused as paused:
                self._put_down(paused)
                return
        self._done()

    def _ask_objection(self, situation: Situation, to_make: list[Call]) -> None:
        """What was not so when the plan was submitted may be so now."""
        objection = self.guide_step.objection(situation) if to_make else ""
        if objection:
            raise Fix(
                objection,
                why="This came to be after the plan was submitted.",
                who="Analyst",
                todo="Choose “Change the answers instead” and ask again.",
                code="Objection",
            )

    def _plan(self, situation: Situation) -> list[Call]:
        step = self.step
        if self.guide_step.automatic and not step.digest:
            documents = plans.dump(self.guide_step.plan(situation))
            step.plan, step.digest = documents, plans.digest(documents)
            if documents:
                step.save(update_fields=["plan", "digest"])
        return plans.load(step.plan)

    def _check_connection(self) -> None:
        connection = self.step.run.account.connection
        if connection.state == AmcConnection.State.BROKEN:
            raise Reconnect(
                f"The login “{connection}” no longer works.",
                connection=f"amc:{connection.pk}",
                why=connection.broken_reason,
                who="Admin",
                todo="Reconnect it under Connections. Every run of it then goes on by itself.",
            )

    # -- one call

    @staticmethod
    def _is_needed(call: Call, situation: Situation) -> bool:
        known = situation.outputs
        return (call.given is None or plans.is_known(call.given, known)) and (
            call.unless is None or not plans.is_known(call.unless, known)
        )

    def _skip(self, call: Call) -> dict[str, Any]:
        now = self.now()
        done = {"outcome": _Outcome.READ, "output": {}, "finished_at": now}
        CallRecord.objects.update_or_create(
            step=self.step, key=call.key, defaults=done, create_defaults={**done, "started_at": now}
        )
        return {}

    def _make(self, call: Call, situation: Situation) -> Any:
        pauses.check(self.step.run, call.account)
        client = self.outbound.client(call.service, call.account, reading=not call.changes)
        params = plans.resolve(call.params, situation.outputs)
        if call.effect == "wait":
            return self._look_and_wait(call, client, params, situation)
        if call.effect == "read":
            return self._read(call, client, params, situation)
        if call.look is not None:
            look = _resolved(call.look, situation)
            found = find(client, look, self._renew)
            if call.effect == "delete" and found is MISSING:
                self._record(call, situation, {}, _Outcome.ADOPTED, "good", f"{call.title}: not there any more")
                return {}
            differences = [] if found is MISSING else different(found, look)
            if call.effect == "update" and found is not MISSING and not differences:
                self._record(call, situation, found, _Outcome.ADOPTED, "good", f"{call.title}: is so already")
                return found
            if call.effect == "create" and found is not MISSING:
                if differences and look.differs:
                    raise Fix(
                        look.differs.format(found=differences[0][1]),
                        who="Analyst",
                        todo=look.todo or "Change the answers so that they fit what exists, or choose another one.",
                        code="Different",
                        details=self._told(call, found, differences),
                    )
                if differences:
                    raise Fix(
                        f"{call.title} exists already, but is different.",
                        why="; ".join(f"{path} is {is_!r}, wanted {wanted!r}" for path, is_, wanted in differences),
                        who="Analyst",
                        todo="Change the answers so that they fit what exists, or choose another name.",
                        code="Different",
                        details=self._told(call, found, differences),
                    )
                output = {look.wrap: found} if look.wrap else found
                self._record(
                    call, situation, output, _Outcome.ADOPTED, "good", f"{call.title}: found, and used as it is"
                )
                return output
        again = self._starting(call, situation)
        if call.token_param:
            params = {**params, call.token_param: self._token(call)}
        try:
            output = client.call(call.operation, params)
        except Fix as refusal:
            echo = call.look is not None and says(refusal, call.look.echo)
            # The call of a worker that was killed may still have been under way when this one looked.
            under_way = call.look is not None and refusal.status == _EXISTS
            if again and (echo or under_way):
                raise Later(
                    f"{call.title}: Amazon refuses a repetition; an earlier try may have done it already.",
                    why=refusal.why,
                    todo=refusal.todo,
                    give_up=_ECHO_SECONDS if echo else _UNDER_WAY_SECONDS,
                    code=refusal.code,
                    status=refusal.status,
                    request_id=refusal.request_id,
                    details=refusal.details,
                ) from refusal
            raise
        self._record(call, situation, output, _Outcome.MADE, "good", f"{call.title}: made")
        return output

    def _renew(self) -> None:
        renew(self.step, now=self.now())

    def _told(self, call: Call, found: Any, differences: list[tuple[str, Any, Any]]) -> dict[str, Any]:
        told = [{"path": path, "is": is_, "wanted": wanted} for path, is_, wanted in differences]
        return {"differences": self.guide_step.told(call.key, found, told)}

    def _token(self, call: Call) -> str:
        """The same for every try of the same call, so that Amazon, too, can tell a repetition."""
        return plans.token(self.step.run_id, self.step.key, call, self.step.generation)

    def _read(self, call: Call, client: Client, params: Mapping[str, Any], situation: Situation) -> Any:
        if call.look is None:
            self._renew()
            output = client.call(call.operation, params)
        else:
            look = _resolved(call.look, situation)
            found = find(client, look, self._renew)
            if found is MISSING:
                raise Fix(
                    look.absent or f"{call.title}: not found.",
                    why="Amazon answered, but what was looked for is not there.",
                    who="AWS administrator" if call.account else "Admin",
                    todo=look.todo
                    or (
                        f"Make it in AWS account {call.account}, with the commands of this step, then try again."
                        if call.account
                        else "Check under Connections that the right login is connected and can see this account."
                    ),
                    code="NotFound",
                )
            differences = different(found, look)
            if differences:
                raise Fix(
                    look.differs.format(found=differences[0][1])
                    if look.differs
                    else f"{call.title}: it is not as it has to be.",
                    why="; ".join(f"{path} is {is_!r}, wanted {wanted!r}" for path, is_, wanted in differences),
                    who="Analyst",
                    todo=look.todo or "Change the answers, or what exists, then try again.",
                    code="Different",
                    details=self._told(call, found, differences),
                )
            output = {look.wrap: found} if look.wrap else found
        self._record(call, situation, output, _Outcome.READ, "good", f"{call.title}: done")
        return output

    def _look_and_wait(self, call: Call, client: Client, params: Mapping[str, Any], situation: Situation) -> Any:
        until = call.until
        if until is None:
            raise plans.PlanError(f"{call.key} waits for nothing")
        self._renew()
        try:
            output = client.call(call.operation, params)
        except Fix as refusal:
            if not says(refusal, until.gone):
                raise
            self._record(call, situation, {}, _Outcome.READ, "good", f"{call.title}: not there any more")
            return {}
        seen = dig(output, until.path)
        several = seen if "*" in until.path and isinstance(seen, list) else [seen]
        if until.there:
            enough = seen is not MISSING and seen is not None
        else:
            enough = (any if until.one else all)(value in until.done for value in several)
        if enough:
            self._record(call, situation, output, _Outcome.READ, "good", f"{call.title}: done")
            return output
        with transaction.atomic():
            self.guide_step.note(situation, call.key, output, self.now())
        ended = next((value for value in several if value in until.failed), None)
        if ended is not None:
            reason = dig(output, until.reason) if until.reason else MISSING
            better = self.guide_step.explain(call.key, output)
            raise Fix(
                better.get("what") or until.failed[ended],
                why=f"Amazon says: {reason}"
                if reason not in (MISSING, None, "")
                else f"Amazon reports {until.path.rpartition('.')[2]} {ended}.",
                who=better.get("who") or "Analyst",
                todo=better.get("todo")
                or until.todo
                or "Try again. If it happens twice, ask your Amazon contact, with the technical details below.",
                code=str(ended),
                details={"ended": True, "again_from": _first_of_step(call, self.step.key)},
            )
        open_ones = [str(value) for value in several if value is not MISSING and value not in until.done]
        if until.one:
            open_ones = []  # what else is there says nothing
        raise _Waiting(call, ", ".join(sorted(set(open_ones))) or None)

    # -- what is written down

    def _starting(self, call: Call, situation: Situation) -> bool:
        """Write down that a call is about to be made; whether it was about to be made before."""
        now = self.now()
        with transaction.atomic():
            renew(self.step, now=now)
            self.guide_step.before(situation, call.key, now)
            _, first = CallRecord.objects.get_or_create(step=self.step, key=call.key, defaults={"started_at": now})
            write_log(self.step, "info", f"{call.title}: being made", now=now)
        return not first

    def _record(self, call: Call, situation: Situation, output: Any, outcome: str, level: str, text: str) -> None:
        now = self.now()
        step = self.step
        with transaction.atomic():
            renew(step, now=now)
            CallRecord.objects.update_or_create(
                step=step,
                key=call.key,
                defaults={"outcome": outcome, "output": output, "finished_at": now},
                create_defaults={"outcome": outcome, "output": output, "finished_at": now, "started_at": now},
            )
            self.guide_step.note(situation, call.key, output, now)
            write_log(step, level, text, now=now)
            if call.changes:
                audit.record(
                    f"call.{outcome}",
                    actor=None,
                    account=step.run.account,
                    subject=f"{call.title} ({call.service} {call.operation})",
                    subject_ref=f"run:{step.run_id}",
                    details={"params": plans.dump([call])[0]["params"], "digest": step.digest},
                    now=now,
                )
            # A success ends a spell of trouble.
            if step.attempts or step.troubled_since:
                step.attempts, step.troubled_since = 0, None
                step.save(update_fields=["attempts", "troubled_since"])

    def _wait(self, waiting: _Waiting) -> None:
        step, now, until = self.step, self.now(), waiting.call.until
        if until is None:
            raise plans.PlanError(f"{waiting.call.key} waits for nothing")
        record, _ = CallRecord.objects.get_or_create(step=step, key=waiting.call.key, defaults={"started_at": now})
        if (now - record.started_at).total_seconds() > until.give_up:
            raise Fix(
                f"{waiting.call.title}: Amazon has taken longer than it should.",
                why=f"It still says {waiting.seen}.",
                who="Analyst",
                todo="Ask your Amazon contact. “Try again” goes on waiting.",
                code="TakesTooLong",
            )
        pause = until.every[min(step.polls, len(until.every) - 1)] * settings.POLL_SCALE
        first = step.polls == 0
        # Work on identity files is the portal's own.
        waits_for = "worker" if waiting.call.service == "identity" else "amazon"
        text = f"Amazon says {waiting.seen}" if waiting.seen else "Amazon has not answered yet"
        if waits_for == "worker":
            text = f"{waiting.seen}"
        usually = f"; usually {until.usually}" if until.usually else ""
        move(
            step,
            StepState.WAITING,
            now=now,
            log=("wait", f"{waiting.call.title}: {text}{usually}") if first or text != step.waiting_text else None,
            next_attempt_at=now + timedelta(seconds=pause),
            polls=step.polls + 1,
            attempts=0,
            troubled_since=None,
            waiting_for=waits_for,
            waiting_text=text,
        )

    def _put_down(self, paused: pauses.Paused) -> None:
        """Leave the step as it is until the pause ends."""
        step, now, pause = self.step, self.now(), paused.pause
        text = f"Paused by {pause.paused_by or 'an admin'}{f': {pause.reason}' if pause.reason else ''}"
        move(
            step,
            StepState.WAITING,
            now=now,
            log=("wait", text) if step.waiting_for != pauses.WAITING_FOR else None,
            next_attempt_at=now + pauses.LOOK_AGAIN,
            waiting_for=pauses.WAITING_FOR,
            waiting_text=text[:300],
        )

    def _done(self) -> None:
        step, now = self.step, self.now()
        with transaction.atomic():
            move(
                step,
                StepState.DONE,
                now=now,
                log=("good", f"{self.guide_step.title}: completed"),
                failure=None,
                waiting_for="",
                waiting_text="",
                troubled_since=None,
                attempts=0,
            )
            audit.record(
                "step.done",
                actor=None,
                account=step.run.account,
                subject=f"{self.guide_step.title} of {step.run.instance}",
                subject_ref=f"run:{step.run_id}",
                now=now,
            )
            notices.step_done(step, now=now)

    # -- failures

    def _read_again(self) -> None:
        # A transaction that was rolled back has left newer numbers in `step` than the row has.
        row = Step.objects.get(pk=self.step.pk)
        if row.state != StepState.RUNNING or row.lease_owner != self.owner:
            raise Overtaken
        self.step.state, self.step.version = row.state, row.version
        self.step.attempts, self.step.troubled_since = row.attempts, row.troubled_since

    def fail(self, error: Exception) -> None:
        """Sort a failure into later, fix or reconnect, and write it into the row."""
        step, now = self.step, self.now()
        self._read_again()
        if isinstance(error, Later) and error.held:
            self._await_turn(error)
            return
        if isinstance(error, Later):
            troubled_since = step.troubled_since or now
            attempts = step.attempts + 1
            if (now - troubled_since).total_seconds() < (error.give_up or GIVE_UP_AFTER):
                pause = delay(attempts, retry_after=error.retry_after, scale=settings.RETRY_SCALE)
                move(
                    step,
                    StepState.WAITING,
                    now=now,
                    log=("wait", f"{error.what} Trying again in {max(1, round(pause))} s"),
                    next_attempt_at=now + timedelta(seconds=pause),
                    attempts=attempts,
                    troubled_since=troubled_since,
                    waiting_for="retry",
                    waiting_text=error.what[:300],
                )
                return
            error = Fix(
                error.what,
                why=f"It was tried again and again for {_span(error.give_up or GIVE_UP_AFTER)}. {error.why}".strip(),
                who="Admin",
                todo=error.todo if error.give_up else "Look at Amazon's service status. Try again when it is well.",
                details=error.details,
                code=error.code,
                status=error.status,
                request_id=error.request_id,
            )
        if isinstance(error, Reconnect):
            with transaction.atomic():
                move(
                    step,
                    StepState.WAITING,
                    now=now,
                    log=("bad", f"{error.what} Paused until an admin reconnects it"),
                    waiting_for=error.connection,
                    waiting_text=error.what[:300],
                    failure=error.as_dict(),
                )
                self._keep(error, now=now)
                aws_health.note_failure(step.run.account, error, now=now)
                notices.connection_broken(step.run.account, error.connection, error.what, path="/connections/", now=now)
            return
        if isinstance(error, Fix) and self.call is not None and self.call.account:
            explain(error, self.call, self.calls, self.outputs, self.outbound, self._renew)
            now = self.now()
        if not isinstance(error, RemoteFailure):
            log.error("the portal made a mistake", exc_info=error)
            error = Fix(
                "The portal made a mistake.",
                why="This is a fault of the portal, not of your answers. Nothing was lost.",
                who="Admin",
                todo="Try again. If it happens twice, send the technical details below to whoever runs the portal.",
                code=type(error).__name__,
                request_id=f"step {step.pk}",
            )
        with transaction.atomic():
            move(
                step,
                StepState.FAILED,
                now=now,
                log=("bad", error.what),
                failure=error.as_dict(),
                waiting_for="",
                waiting_text="",
            )
            self._keep(error, now=now)
            audit.record(
                "step.failed",
                actor=None,
                account=step.run.account,
                subject=f"{self.guide_step.title} of {step.run.instance}",
                subject_ref=f"run:{step.run_id}",
                details={"code": error.code, "kind": error.kind},
                now=now,
            )
            notices.step_failed(step, error.what, now=now)

    def _await_turn(self, held: Later) -> None:
        """No call was made: the step has its turn later, and nothing has gone wrong with it."""
        step, now = self.step, self.now()
        move(
            step,
            StepState.WAITING,
            now=now,
            log=("wait", held.what) if step.waiting_text != held.what[:300] else None,
            next_attempt_at=now + timedelta(seconds=held.retry_after or 0),
            waiting_for="retry",
            waiting_text=held.what[:300],
        )

    def _keep(self, error: RemoteFailure, *, now: datetime) -> None:
        """Remember the failure when the step goes on: what failed most can be counted."""
        StepFailure.objects.create(
            step=self.step,
            account=self.step.run.account,
            at=now,
            kind=error.kind,
            code=error.code[:80],
            what=error.what[:300],
        )


def _first_of_step(call: Call, step: str) -> str:
    """The call of the same step whose output this one waits on: what has to be made anew if that has ended."""
    return next(
        (value.call for value in call.params.values() if isinstance(value, plans.Ref) and value.step == step), ""
    )


def _span(seconds: float) -> str:
    return f"{seconds / 3600:.0f} hours" if seconds >= 3600 else f"{seconds / 60:.0f} minutes"


def _resolved(look: Look, situation: Situation) -> Look:
    known = situation.outputs
    return replace(
        look,
        params=plans.resolve(look.params, known),
        where=plans.resolve(look.where, known),
        ignore=plans.resolve(look.ignore, known),
        same=plans.resolve(look.same, known),
        alike=plans.resolve(look.alike, known),
    )


def find(client: Client, look: Look, before: Callable[[], None] | None = None) -> Any:
    """What the look finds, or MISSING. Raises Fix when more than one of a list fits, unless several are wanted.

    `before` is called ahead of every single call: a look may be many, each of which may take as long as any.
    """
    if not look.items:
        try:
            if before is not None:
                before()
            return client.call(look.operation, look.params)
        except Fix as failure:
            if says(failure, look.missing):
                return MISSING
            raise
    try:
        fitting = list(filter(partial(_fits, look), _candidates(client, look, before)))
    except Fix as failure:
        if not says(failure, look.missing):
            raise
        fitting = []
    if look.several:
        return {look.items: fitting}
    if len(fitting) > 1 and not look.first:
        raise Fix(
            f"There are {len(fitting)} that fit where there should be one.",
            why=", ".join(f"{path} = {value}" for path, value in look.where.items()),
            who="Admin",
            todo="Remove or rename all but one, then try again.",
            code="MoreThanOne",
        )
    return fitting[0] if fitting else MISSING


def says(failure: Fix, codes: tuple[str, ...]) -> bool:
    """Whether a refusal has one of these codes, as its own code or as its HTTP status."""
    return failure.code in codes or str(failure.status) in codes


def _candidates(client: Client, look: Look, before: Callable[[], None] | None) -> Iterator[Any]:
    # Nothing is said of `before` to a client where there is none.
    pages = client.pages if before is None else partial(client.pages, before=before)
    for item in pages(look.operation, look.params, look.items):
        if not look.detail:
            yield item
        # What is ignored by what the list says already is not asked about.
        elif not _ignored(look, item):
            asked = {name: dig(item, path) for name, path in look.detail_param.items()}
            if before is not None:
                before()
            yield client.call(look.detail, {**look.params, **asked})


def _ignored(look: Look, item: Any) -> bool:
    return any(dig(item, path) in values for path, values in look.ignore.items() if not isinstance(values, plans.Ref))


def _fits(look: Look, item: Any) -> bool:
    return all(_equal(dig(item, path), value) for path, value in look.where.items()) and not _ignored(look, item)


def _equal(found: Any, wanted: Any) -> bool:
    if isinstance(found, list) and isinstance(wanted, list) and all(isinstance(one, str) for one in found + wanted):
        return sorted(found) == sorted(wanted)
    return bool(found == wanted)


def different(found: Any, look: Look) -> list[tuple[str, Any, Any]]:
    """Where what was found is not as wanted: path, what it is, what was wanted."""
    # What is not said at all is nothing, as the scripts have it too.
    there = {path: None if (value := dig(found, path)) is MISSING else value for path in look.same}
    unequal = [(path, there[path], wanted) for path, wanted in look.same.items() if there[path] != wanted]
    said = {path: value for path in look.alike if (value := dig(found, path)) not in (MISSING, None, "")}
    return unequal + [
        (path, value, look.alike[path])
        for path, value in said.items()
        if str(value).lower() != look.alike[path].lower()
    ]
