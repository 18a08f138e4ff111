"""Runs and their steps: the rows that say what has been done, what is being done and what comes next.

The database is the truth. A worker, a queue or a whole machine may vanish at any moment; from these rows alone the
work goes on. Only `onboarding.engine.moves` changes a step's state.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, ClassVar

from django.db import models

from onboarding.models.account import AmcAccount
from onboarding.models.document import DocumentField
from onboarding.models.instance import Instance
from onboarding.models.person import Person

if TYPE_CHECKING:
    from django.db.models.query import QuerySet


class RunQuerySet(models.QuerySet["Run"]):
    """Runs as people may see them."""

    def visible_to(self, person: Person) -> QuerySet[Run]:
        """The runs of the accounts on which the person holds any role."""
        if person.is_superuser:
            return self
        return self.filter(account__in=person.roles.values("account"))


class Run(models.Model):
    """One procedure carried out for one instance, such as its onboarding."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    procedure = models.CharField(max_length=32, default="onboard")
    # What of the instance it is about, where there may be several: such as the id of a mapping table.
    subject = models.CharField(max_length=64, blank=True, default="", db_default="")
    account = models.ForeignKey(AmcAccount, on_delete=models.PROTECT, related_name="runs")
    instance = models.ForeignKey(Instance, on_delete=models.PROTECT, related_name="runs")
    owner = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="runs")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    # The first step that is not completed, and since when it has been: kept beside every move, for lists and numbers.
    at = models.CharField("step where it stands", max_length=48, blank=True, default="", db_default="")
    at_since = models.DateTimeField(null=True)

    objects: ClassVar[RunQuerySet] = RunQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["instance", "procedure", "subject"],
                condition=models.Q(ended_at=None),
                name="one_open_run_a_procedure",
            )
        ]
        indexes = [
            models.Index(
                fields=["account", "procedure", "at", "at_since"],
                condition=models.Q(ended_at=None),
                name="run_by_place",
            ),
            models.Index(fields=["account", "-started_at"], name="run_by_start"),
        ]

    def __str__(self) -> str:
        return f"{self.procedure} {self.instance}"

    @property
    def address(self) -> int | uuid.UUID:
        """What stands for the run in addresses: its instance for the onboarding, else its own id."""
        return self.instance_id if self.procedure == "onboard" else self.pk


class StepState(models.TextChoices):
    """The states of a step. `onboarding.engine.moves.TABLE` says which may follow which."""

    BLOCKED = "blocked", "Cannot start yet"
    READY = "ready", "Not started"
    AWAITING_APPROVAL = "awaiting_approval", "Waiting for approval"
    QUEUED = "queued", "Queued"
    RUNNING = "running", "In progress"
    WAITING = "waiting", "Waiting"
    DONE = "done", "Completed"
    FAILED = "failed", "There is a problem"
    CANCELLED = "cancelled", "Cancelled"


# What a waiting step may wait for besides a connection that has to be renewed (`amc:7`, `aws:111122223333`).
NO_CONNECTION = ("", "amazon", "retry", "paused", "released", "worker")


class Step(models.Model):
    """One step of a run: its answers, its frozen plan, its lease and the time of its next attempt."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="steps")
    key = models.CharField(max_length=48)
    position = models.PositiveSmallIntegerField()
    state = models.CharField(max_length=20, choices=StepState, default=StepState.BLOCKED)
    since = models.DateTimeField()
    # Moves are compare-and-set on this number.
    version = models.PositiveIntegerField(default=0)
    answers = models.JSONField(default=dict, blank=True)
    plan = DocumentField(default=list, blank=True)
    digest = models.CharField(max_length=64, blank=True)
    # Which try after an end that Amazon itself reported; part of idempotency tokens.
    generation = models.PositiveSmallIntegerField(default=0)
    asked_by = models.ForeignKey(Person, on_delete=models.SET_NULL, null=True, related_name="+")
    lease_owner = models.CharField(max_length=64, blank=True)
    lease_until = models.DateTimeField(null=True)
    next_attempt_at = models.DateTimeField(null=True)
    # The clock does not put the row on the queue again before this time.
    enqueued_until = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    troubled_since = models.DateTimeField(null=True)
    waiting_for = models.CharField(max_length=16, blank=True)
    waiting_text = models.CharField(max_length=300, blank=True)
    polls = models.PositiveIntegerField(default=0)
    failure = models.JSONField(null=True, blank=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["run", "key"], name="step_once_a_run"),
            models.CheckConstraint(condition=models.Q(state__in=StepState.values), name="step_state_known"),
            models.CheckConstraint(
                condition=~models.Q(state="running") | models.Q(lease_until__isnull=False),
                name="running_step_has_a_lease",
            ),
        ]
        indexes = [
            models.Index("next_attempt_at", condition=models.Q(state__in=["queued", "waiting"]), name="step_due"),
            models.Index("lease_until", condition=models.Q(state="running"), name="step_lease"),
            models.Index("finished_at", condition=models.Q(state="done"), name="step_finished"),
            models.Index(
                "state",
                condition=models.Q(state__in=["queued", "running", "waiting", "failed"]),
                name="step_in_hand",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.key} of {self.run_id}"

    @property
    def waits_for_connection(self) -> bool:
        """Whether it goes on only once somebody has renewed a connection."""
        return self.state == StepState.WAITING and self.waiting_for not in NO_CONNECTION

    @property
    def put_down(self) -> bool:
        """Whether a worker has left it because an admin has paused what it needs."""
        return self.state == StepState.WAITING and self.waiting_for == "paused"


class CallRecord(models.Model):
    """What became of one call of a step's plan. A call that has a finished record is not made again."""

    class Outcome(models.TextChoices):
        STARTED = "started", "Started"
        MADE = "made", "Made"
        ADOPTED = "adopted", "Found and adopted"
        READ = "read", "Read"

    step = models.ForeignKey(Step, on_delete=models.CASCADE, related_name="calls")
    key = models.CharField(max_length=48)
    outcome = models.CharField(max_length=16, choices=Outcome, default=Outcome.STARTED)
    output = models.JSONField(default=dict)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["step", "key"], name="call_once_a_step")]

    def __str__(self) -> str:
        return f"{self.key}: {self.outcome}"


class StepFailure(models.Model):
    """One time that a step stopped with a problem, or was paused for a broken connection; kept when it goes on."""

    step = models.ForeignKey(Step, on_delete=models.CASCADE, related_name="failures")
    account = models.ForeignKey(AmcAccount, on_delete=models.CASCADE, related_name="+")
    at = models.DateTimeField()
    # `fix` or `reconnect`, and what Amazon (or the portal) calls the cause.
    kind = models.CharField(max_length=16)
    code = models.CharField(max_length=80, blank=True)
    what = models.CharField(max_length=300)

    class Meta:
        ordering = ["-at"]
        indexes = [
            models.Index(fields=["account", "at"], name="failure_by_account"),
        ]

    def __str__(self) -> str:
        return f"{self.code} of step {self.step_id}"


class LogLine(models.Model):
    """A line of the live log of a step, in plain words."""

    class Level(models.TextChoices):
        INFO = "info", "Info"
        GOOD = "good", "Done"
        WAIT = "wait", "Waiting"
        BAD = "bad", "Problem"

    step = models.ForeignKey(Step, on_delete=models.CASCADE, related_name="log")
    at = models.DateTimeField()
    level = models.CharField(max_length=8, choices=Level, default=Level.INFO)
    text = models.CharField(max_length=500)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.text
