"""Identity data sets: the files a customer chose, what they hold, and the tables that were prepared from them.

Only counts, names of columns and numbers of rows are kept here; no value of an identity column ever is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models

from onboarding.models.instance import Instance
from onboarding.models.person import Person
from onboarding.models.run import Run

if TYPE_CHECKING:
    from django.db.models.query import QuerySet


class DatasetQuerySet(models.QuerySet["Dataset"]):
    """Data sets as people may see them."""

    def visible_to(self, person: Person) -> QuerySet[Dataset]:
        """The data sets of the accounts on which the person holds any role."""
        if person.is_superuser:
            return self
        return self.filter(instance__account__in=person.roles.values("account"))


class Dataset(models.Model):
    """An identity data set of an instance: the same kind of file, time after time, under one name."""

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="datasets")
    aws_account_id = models.CharField("AWS account id", max_length=12)
    # Part of the names of everything made from it; Amazon's names take no underscores here.
    name = models.CharField(max_length=60)
    bucket = models.CharField(max_length=63)
    # Where everything of the data set lies below the bucket; no slash at either end.
    prefix = models.CharField(max_length=512, blank=True)
    made_by = models.ForeignKey(Person, on_delete=models.SET_NULL, null=True, related_name="+")
    made_at = models.DateTimeField()
    retired_at = models.DateTimeField(null=True)

    objects: ClassVar[DatasetQuerySet] = DatasetQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["instance", "name"], condition=models.Q(retired_at=None), name="dataset_once_an_instance"
            )
        ]

    def __str__(self) -> str:
        return self.name


class DatasetVersion(models.Model):
    """One delivery of a data set: its files, which column is what, the check report and the prepared tables."""

    class State(models.TextChoices):
        CHOOSING = "choosing", "Files are being chosen"
        CHECKED = "checked", "Checked"
        PREPARING = "preparing", "Being prepared"
        READY = "ready", "Ready"
        FAILED = "failed", "There is a problem"
        CANCELLED = "cancelled", "Cancelled"

    class Origin(models.TextChoices):
        S3 = "s3", "Already in S3"
        UPLOAD = "upload", "From a computer"
        GLUE = "glue", "Already in AWS Glue"
        OWN = "own", "Prepared with the command"

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    run = models.ForeignKey(Run, on_delete=models.SET_NULL, null=True, related_name="dataset_versions")
    state = models.CharField(max_length=16, choices=State, default=State.CHOOSING)
    origin = models.CharField(max_length=8, choices=Origin)
    # Name of a column → kind (`onboarding.identity.columns.Kind`).
    columns = models.JSONField(default=dict, blank=True)
    country = models.CharField(max_length=2, blank=True)
    # Empty for clear data, which Entity Resolution standardises by itself.
    rule_table = models.CharField(max_length=40, blank=True)
    # `Overview.as_dict()`, `CheckReport.as_dict()`, `Preparation.as_dict()` of the identity library: counts only.
    overview = models.JSONField(null=True)
    report = models.JSONField(null=True)
    manifest = models.JSONField(null=True)
    made_by = models.ForeignKey(Person, on_delete=models.SET_NULL, null=True, related_name="+")
    made_at = models.DateTimeField()
    ready_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-number"]
        indexes = [models.Index(fields=["run", "-number"], name="version_of_run")]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "number"], name="version_once_a_dataset"),
            models.CheckConstraint(
                condition=models.Q(state__in=["choosing", "checked", "preparing", "ready", "failed", "cancelled"]),
                name="version_state_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.dataset} {self.number}"

    @property
    def shown(self) -> str:
        """The state as a status draws it: one that is ready looks like what is completed."""
        return "done" if self.state == self.State.READY else self.state


class SourceFile(models.Model):
    """A file of a version: where it lies in S3, and how far its upload is if it comes from a computer."""

    class State(models.TextChoices):
        UPLOADING = "uploading", "Being uploaded"
        THERE = "there", "In the bucket"
        GONE = "gone", "No longer there"

    version = models.ForeignKey(DatasetVersion, on_delete=models.CASCADE, related_name="files")
    bucket = models.CharField(max_length=63)
    key = models.CharField(max_length=1024)
    size = models.BigIntegerField()
    etag = models.CharField(max_length=80, blank=True)
    state = models.CharField(max_length=12, choices=State, default=State.THERE)
    # A multipart upload: its id, the size of a part in bytes, what tells the same file again, when it expires.
    upload_id = models.CharField(max_length=1024, blank=True)
    part_size = models.PositiveIntegerField(default=0)
    fingerprint = models.CharField(max_length=64, blank=True)
    begun_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)
    there_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["key"]
        constraints = [models.UniqueConstraint(fields=["version", "bucket", "key"], name="file_once_a_version")]

    def __str__(self) -> str:
        return f"File {self.pk}"

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]


class IdentityJob(models.Model):
    """One long piece of work on a version's files, done by a worker in bounded memory; its row is the truth.

    A worker takes a lease, renews it with its progress, and stops when the row is cancelled. If its lease ran out,
    another worker takes it up again, from the start: what it writes is published only at its end.
    """

    class Kind(models.TextChoices):
        LOOK = "look", "Look at the files"
        CHECK = "check", "Check the files"
        PREPARE = "prepare", "Prepare the files"

    class State(models.TextChoices):
        QUEUED = "queued", "Queued"
        RUNNING = "running", "In progress"
        DONE = "done", "Completed"
        FAILED = "failed", "There is a problem"
        CANCELLED = "cancelled", "Cancelled"

    version = models.ForeignKey(DatasetVersion, on_delete=models.CASCADE, related_name="jobs")
    kind = models.CharField(max_length=8, choices=Kind)
    state = models.CharField(max_length=12, choices=State, default=State.QUEUED)
    # What the work was asked for: mapping, country, rules, places. A change asks for another job.
    settings = models.JSONField(default=dict)
    lease_owner = models.CharField(max_length=64, blank=True)
    lease_until = models.DateTimeField(null=True)
    next_attempt_at = models.DateTimeField(null=True)
    enqueued_until = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    bytes_done = models.BigIntegerField(default=0)
    bytes_all = models.BigIntegerField(default=0)
    rows_done = models.BigIntegerField(default=0)
    # `Progress.stage` of the identity library, and when it began: bytes are counted anew in each.
    stage = models.CharField(max_length=12, blank=True)
    stage_at = models.DateTimeField(null=True)
    failure = models.JSONField(null=True, blank=True)
    asked_by = models.ForeignKey(Person, on_delete=models.SET_NULL, null=True, related_name="+")
    asked_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["version", "kind"],
                condition=models.Q(state__in=["queued", "running"]),
                name="one_open_job_of_a_kind",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=["queued", "running", "done", "failed", "cancelled"]),
                name="identity_job_state_known",
            ),
        ]
        indexes = [
            models.Index("next_attempt_at", condition=models.Q(state="queued"), name="identity_job_due"),
            models.Index("lease_until", condition=models.Q(state="running"), name="identity_job_lease"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of version {self.version_id}"
