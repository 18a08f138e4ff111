"""What people do with identity data: stop work, begin it again, retire a data set, bring a new version of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import DatabaseError, InterfaceError, transaction

from onboarding import audit
from onboarding.clients.aws import FileSessions
from onboarding.clients.failures import Reconnect, RemoteFailure
from onboarding.engine import aws_health, queue
from onboarding.engine.authority import MAY_ASK
from onboarding.engine.identity_jobs import log_mistake, wake
from onboarding.engine.situations import situation_of
from onboarding.guide.aws_access import CheckAwsAccess
from onboarding.guide.data_bucket import ChooseDataBucket, as_it_is_now
from onboarding.guide.identity_questions import KEY, look_settings
from onboarding.guide.identity_work import OPEN, ask_for, end, work_of
from onboarding.identity.errors import IdentityError
from onboarding.models import Dataset, DatasetVersion, IdentityJob, Instance, Person, Run, Step, StepState
from onboarding.services.access import authorize
from onboarding.services.errors import Refused
from onboarding.services.lifecycle import why_not
from onboarding.services.runs import begin

SAMPLES = 3


def _require(person: Person, run: Run | None) -> Run:
    if run is None:
        raise Refused("The run that this belongs to is no longer there.")
    authorize(person, run.account, *MAY_ASK)
    return run


def cancel(*, person: Person, job: IdentityJob, now: datetime) -> None:
    """Stop a piece of work; nothing of it is published. Raises NotAllowed, or Refused when it has ended."""
    run = _require(person, job.version.run)
    with transaction.atomic():
        if not end(job, now):
            raise Refused("It has ended already.")
        if job.kind == IdentityJob.Kind.PREPARE:
            DatasetVersion.objects.filter(pk=job.version_id, state=DatasetVersion.State.PREPARING).update(
                state=DatasetVersion.State.CANCELLED
            )
            wake(run, now=now)
        audit.record(
            "identity.cancelled",
            actor=person,
            account=run.account,
            subject=f"{job.get_kind_display()}: {job.version}",
            subject_ref=f"run:{run.pk}",
            now=now,
        )


def again(*, person: Person, step: Step, kind: str, now: datetime) -> None:
    """Look at, or check, the files of a step once more, such as after they were corrected.

    Raises NotAllowed, or Refused when nothing was asked for yet or it is under way.
    """
    run = _require(person, step.run)
    with transaction.atomic():
        situation = situation_of(run)
        work = work_of(situation)
        job = next((one for one in work.jobs if one.kind == kind), None)
        if work.version is None or job is None or kind == IdentityJob.Kind.PREPARE:
            raise Refused("There is nothing to do again yet.")
        if job.state in OPEN:
            raise Refused("It is under way.")
        if step.state not in (StepState.READY, StepState.FAILED):
            raise Refused("This step can no longer be changed.")
        # A done piece of work with these settings would be taken for the answer.
        IdentityJob.objects.filter(version=work.version, kind__in=_after(kind), state=IdentityJob.State.DONE).update(
            state=IdentityJob.State.CANCELLED
        )
        settings = look_settings(situation, situation.answers.get(KEY, {})) if kind == "look" else job.settings
        made = ask_for(work.version, kind, settings, person, now)
        if made is not None:
            queue.put_identity_on_commit(made.pk)


def _after(kind: str) -> list[str]:
    return ["look", "check"] if kind == IdentityJob.Kind.LOOK else [kind]


def samples(*, person: Person, step: Step) -> Mapping[str, list[str]]:
    """The shapes of the first values of each column, read from the files now and kept nowhere.

    Raises NotAllowed, or Refused when the files can't be read.
    """
    run = _require(person, step.run)
    situation = situation_of(run)
    version = work_of(situation).version
    source = version.files.order_by("key").first() if version else None
    if version is None or source is None:
        raise Refused("No files are chosen yet.")
    try:
        connection = aws_health.working(run.account, version.dataset.aws_account_id)
        sessions = FileSessions(connection, session_name=str(run.pk), reading=True)
        return _shapes(f"s3://{source.bucket}/{source.key}", sessions)
    except Reconnect as failure:
        raise Refused(failure.what) from None
    except (RemoteFailure, IdentityError):
        raise Refused("The file can't be read just now.") from None
    except (DatabaseError, InterfaceError):
        raise
    except Exception as error:
        # Such as Arrow's, whose messages quote what they could not read: nothing of it may reach a log or a page.
        log_mistake(error)
        raise Refused("The file can't be shown: the portal made a mistake, and has logged where.") from None


def _shapes(place: str, sessions: FileSessions) -> dict[str, list[str]]:
    from onboarding.identity.shapes import shapes

    return shapes(place, most=SAMPLES, s3=sessions)


def new_version(*, person: Person, dataset: Dataset, now: datetime) -> Run:
    """Begin the procedure that brings a new version of a data set. Raises NotAllowed, or Refused."""
    account = dataset.instance.account
    authorize(person, account, *MAY_ASK)
    if dataset.retired_at is not None:
        raise Refused("This data set was retired.")
    return _bring(person, dataset.instance, now, {"dataset": {"name": dataset.name}})


def why_not_another(instance: Instance) -> str:
    """Why no further data set can be brought to an instance now, or an empty text if one can."""
    reason = why_not("dataset", instance)
    if not reason and not Run.objects.filter(instance=instance, steps__key=KEY, steps__state=StepState.DONE).exists():
        return "The onboarding brings the first data set."
    return reason


def another(*, person: Person, instance: Instance, now: datetime) -> Run:
    """Begin the procedure that brings one more data set to an instance. Raises NotAllowed, or Refused."""
    authorize(person, instance.account, *MAY_ASK)
    reason = why_not_another(instance)
    if reason:
        raise Refused(reason)
    return _bring(person, instance, now, {})


def _bring(person: Person, instance: Instance, now: datetime, answers: dict[str, Any]) -> Run:
    """Begin to bring data; who acts, and where the data lie, is proposed as it was the last time."""
    with transaction.atomic():
        run = begin("dataset", person=person, instance=instance, now=now)
        Step.objects.filter(run=run, key=KEY).update(answers=answers)
        for key in (CheckAwsAccess.key, ChooseDataBucket.key):
            before = Step.objects.filter(run__instance=instance, key=key, state=StepState.DONE)
            known = before.exclude(answers={}).order_by("-since").first()
            if known is not None:
                Step.objects.filter(run=run, key=key).update(answers=as_it_is_now(known.answers))
    return run


def retire(*, person: Person, dataset: Dataset, now: datetime) -> None:
    """Take a data set out of use in the portal; what lies in S3 stays. Raises NotAllowed, or Refused."""
    account = dataset.instance.account
    authorize(person, account, *MAY_ASK)
    with transaction.atomic():
        if IdentityJob.objects.filter(version__dataset=dataset, state__in=OPEN).exists():
            raise Refused("It is being prepared: cancel that first.")
        if not Dataset.objects.filter(pk=dataset.pk, retired_at=None).update(retired_at=now):
            raise Refused("It was retired already.")
        audit.record(
            "dataset.retired",
            actor=person,
            account=account,
            subject=f"Data set {dataset} of {dataset.instance}",
            now=now,
        )
