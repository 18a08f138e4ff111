"""The results of the queries (workflow executions) that were run in an instance, as far as they end soon."""

from __future__ import annotations

from datetime import timedelta

from django.db import models

from onboarding.models.instance import Instance

KEPT = timedelta(days=90)
"""For how long the results of a query can be fetched."""
AHEAD = timedelta(days=14)
"""What ends within this time is known; where nothing does, what ends next."""


class ResultsReading(models.Model):
    """When the executions of an instance are listed next, when they were last, and why not where that failed."""

    instance = models.OneToOneField(Instance, on_delete=models.CASCADE, related_name="results_reading")
    # Whoever moves this forward has a worker read; a second clock finds it moved.
    next_at = models.DateTimeField()
    read_at = models.DateTimeField(null=True)
    unread = models.CharField(max_length=300, blank=True)

    class Meta:
        indexes = [models.Index(fields=["next_at"], name="results_reading_due")]

    def __str__(self) -> str:
        return f"Reading of the results of {self.instance_id}"


class QueryResult(models.Model):
    """The results of one execution that succeeded: which workflow's, and until when they can be fetched."""

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="query_results")
    execution_id = models.CharField("workflow execution id", max_length=128)
    workflow_id = models.CharField(max_length=200)
    created_at = models.DateTimeField()
    ends_at = models.DateTimeField()

    class Meta:
        ordering = ["ends_at", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["instance", "execution_id"], name="query_result_once_an_instance")
        ]
        indexes = [models.Index(fields=["ends_at"], name="query_result_ends")]

    def __str__(self) -> str:
        return self.workflow_id
