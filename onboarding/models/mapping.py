"""ID namespaces, ID mapping tables and the jobs that fill them (guide 7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from django.db import models

from onboarding.models.dataset import DatasetVersion
from onboarding.models.instance import Instance
from onboarding.models.person import Person
from onboarding.models.run import Run

if TYPE_CHECKING:
    from django.db.models.query import QuerySet

MOST_TABLES = 5
"""Mapping tables that an instance may have; identity joins work with exactly one."""
REFRESH_EVERY = timedelta(days=14)
"""A mapping table can be refreshed once in this time."""


class IdNamespace(models.Model):
    """A SOURCE ID namespace in the customer's AWS account, and its association with the collaboration.

    One row an ARN; a namespace that others made is kept as well, without a data set.
    """

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="id_namespaces")
    version = models.ForeignKey(DatasetVersion, on_delete=models.SET_NULL, null=True, related_name="id_namespaces")
    run = models.ForeignKey(Run, on_delete=models.SET_NULL, null=True, related_name="+")
    aws_account_id = models.CharField("AWS account id", max_length=12)
    name = models.CharField(max_length=255)
    arn = models.CharField(max_length=300)
    role_arn = models.CharField(max_length=300, blank=True)
    # The association in the collaboration; empty while there is none.
    membership_id = models.CharField(max_length=64, blank=True)
    association_id = models.CharField(max_length=64, blank=True)
    association_name = models.CharField(max_length=100, blank=True)
    association_arn = models.CharField(max_length=300, blank=True)
    made_at = models.DateTimeField()
    associated_at = models.DateTimeField(null=True)
    gone_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField()

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["instance", "arn"], name="id_namespace_once_an_instance")]

    def __str__(self) -> str:
        return self.name


class NamespaceTable(models.Model):
    """An input of an ID namespace: a Glue table and the schema mapping that describes it."""

    namespace = models.ForeignKey(IdNamespace, on_delete=models.CASCADE, related_name="tables")
    position = models.PositiveSmallIntegerField(default=0)
    database = models.CharField(max_length=255)
    glue_table = models.CharField(max_length=255)
    location = models.CharField(max_length=2048, blank=True)
    rows = models.BigIntegerField(null=True)
    # `mappedInputFields` of the schema mapping (`fieldName`, `type`, `matchKey`, `hashed`); never a value.
    fields = models.JSONField(default=list)
    schema_name = models.CharField(max_length=255, blank=True)
    schema_arn = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["namespace", "database", "glue_table"], name="glue_table_once_a_namespace")
        ]

    def __str__(self) -> str:
        return f"{self.database}.{self.glue_table}"

    @property
    def columns(self) -> list[str]:
        """The names of the columns that the schema mapping uses."""
        return [str(field.get("fieldName", "")) for field in self.fields]

    @property
    def key_column(self) -> str:
        """The name of the column that identifies a customer; empty if the schema mapping is not known."""
        return next((str(field["fieldName"]) for field in self.fields if field.get("type") == "UNIQUE_ID"), "")


class MappingTableQuerySet(models.QuerySet["MappingTable"]):
    """Mapping tables as people may see them."""

    def visible_to(self, person: Person) -> QuerySet[MappingTable]:
        """The mapping tables of the accounts on which the person holds any role."""
        if person.is_superuser:
            return self
        return self.filter(instance__account__in=person.roles.values("account"))


class MappingTable(models.Model):
    """An ID mapping table of an instance, as AMC last described it, and when it is refreshed."""

    class Policy(models.TextChoices):
        BY_HAND = "by_hand", "When somebody asks for it"
        WHEN_CHANGED = "when_changed", "When the files change, at the earliest time allowed"

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="mapping_tables")
    namespace = models.ForeignKey(IdNamespace, on_delete=models.SET_NULL, null=True, related_name="mapping_tables")
    # The version whose rows the last job was given.
    version = models.ForeignKey(DatasetVersion, on_delete=models.SET_NULL, null=True, related_name="mapping_tables")
    run = models.ForeignKey(Run, on_delete=models.SET_NULL, null=True, related_name="+")
    table_id = models.CharField("ID mapping table id", max_length=64)
    name = models.CharField(max_length=128)
    arn = models.CharField(max_length=300, blank=True)
    workflow_arn = models.CharField(max_length=300, blank=True)
    source_account_id = models.CharField("AWS account of the source", max_length=12, blank=True)
    queryable = models.BooleanField(default=False)
    created_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField()
    deleted_at = models.DateTimeField(null=True)
    # When Amazon last began a refresh. The run that may ask for the next one holds the claim.
    refreshed_at = models.DateTimeField(null=True)
    refresh_claim = models.ForeignKey(Run, on_delete=models.SET_NULL, null=True, related_name="+")
    policy = models.CharField(max_length=16, choices=Policy, default=Policy.BY_HAND)
    policy_by = models.ForeignKey(Person, on_delete=models.SET_NULL, null=True, related_name="+")
    policy_at = models.DateTimeField(null=True)
    # What lay in the bucket: a digest of names, sizes and entity tags, when it was last looked at, and when next.
    input_digest = models.CharField(max_length=64, blank=True)
    looked_at = models.DateTimeField(null=True)
    next_look_at = models.DateTimeField(null=True)

    objects: ClassVar[MappingTableQuerySet] = MappingTableQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["created_at", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["instance", "table_id"], name="mapping_table_once_an_instance"),
            models.CheckConstraint(
                condition=models.Q(policy__in=["by_hand", "when_changed"]), name="refresh_policy_known"
            ),
        ]
        indexes = [
            models.Index(
                "next_look_at",
                condition=models.Q(policy="when_changed", deleted_at=None),
                name="mapping_table_look_due",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def next_refresh_at(self) -> datetime | None:
        """The earliest time of the next refresh, or None where it may be at any time."""
        return self.refreshed_at + REFRESH_EVERY if self.refreshed_at else None


def match_rate(metrics: Mapping[str, Any], customers: int | None = None) -> float | None:
    """Which share of the customers was matched, 0 to 1; of the records that went in where customers are not known."""
    matched, base = metrics.get("totalMappedSourceRecords"), customers or metrics.get("inputRecords")
    if matched is None or not base:
        return None
    return float(min(1.0, matched / base))


class MappingJob(models.Model):
    """A job that fills a mapping table: at its creation, or at a refresh."""

    class Kind(models.TextChoices):
        CREATE = "create", "Creation"
        REFRESH = "refresh", "Refresh"

    class Status(models.TextChoices):
        """As AMC has them; before a job has an id it is only tracked."""

        TRACKED = "TRACKED", "Being queued"
        QUEUED = "QUEUED", "Queued"
        RUNNING = "RUNNING", "Running"
        SUCCEEDED = "SUCCEEDED", "Succeeded"
        FAILED = "FAILED", "Failed"
        UNKNOWN = "UNKNOWN", "Not known by AMC at the moment"

    table = models.ForeignKey(MappingTable, on_delete=models.CASCADE, related_name="jobs")
    run = models.ForeignKey(Run, on_delete=models.SET_NULL, null=True, related_name="mapping_jobs")
    version = models.ForeignKey(DatasetVersion, on_delete=models.SET_NULL, null=True, related_name="mapping_jobs")
    kind = models.CharField(max_length=8, choices=Kind)
    job_id = models.CharField(max_length=128, blank=True)
    tracking_id = models.CharField(max_length=128, blank=True)
    status = models.CharField(max_length=12, choices=Status, default=Status.QUEUED)
    asked_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    error_details = models.TextField(blank=True)
    # `metrics` of the job, numbers of records; and what was foreseen from the files.
    metrics = models.JSONField(default=dict)
    forecast = models.JSONField(null=True)
    # Which share of the customers was matched, 0 to 1: kept beside the metrics, for the dashboard.
    rate = models.FloatField(null=True)
    # What lay in the bucket when the job was asked for.
    input_digest = models.CharField(max_length=64, blank=True)
    seen_at = models.DateTimeField()

    class Meta:
        ordering = ["-asked_at", "-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["table", "job_id"], condition=~models.Q(job_id=""), name="mapping_job_once_a_table"
            ),
            models.UniqueConstraint(
                fields=["table", "tracking_id"],
                condition=~models.Q(tracking_id=""),
                name="mapping_tracking_once_a_table",
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=["TRACKED", "QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "UNKNOWN"]),
                name="mapping_job_status_known",
            ),
            models.CheckConstraint(condition=models.Q(kind__in=["create", "refresh"]), name="mapping_job_kind_known"),
        ]
        indexes = [
            models.Index("ended_at", condition=models.Q(rate__isnull=False), name="mapping_job_rated"),
        ]

    def __str__(self) -> str:
        return self.job_id or f"Job tracked as {self.tracking_id}"

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        customers = int((self.forecast or {}).get("customers") or 0)
        self.rate = match_rate(self.metrics, customers) if self.status == self.Status.SUCCEEDED else None
        if update_fields is not None:
            update_fields = {*update_fields, "rate"}
        super().save(*args, update_fields=update_fields, **kwargs)
