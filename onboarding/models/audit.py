"""The audit log: who did, asked and approved what; append-only and hash-chained."""

from __future__ import annotations

from typing import Any

from django.db import models

from onboarding.models.account import AmcAccount
from onboarding.models.person import Person


class OnlyAdded(models.QuerySet["AuditEntry"]):
    """Entries are added, one by one or many at once, and nothing else."""

    def update(self, **values: Any) -> int:
        raise TypeError("an audit entry is never changed")

    def delete(self) -> tuple[int, dict[str, int]]:
        raise TypeError("an audit entry is never deleted")


class AuditEntry(models.Model):
    """One act. `hash` covers the entry and the hash of the one before, so that nothing can be changed unseen."""

    number = models.PositiveBigIntegerField(unique=True)
    at = models.DateTimeField()
    actor = models.ForeignKey(Person, on_delete=models.PROTECT, null=True, related_name="+")
    actor_name = models.CharField(max_length=200)
    act = models.CharField(max_length=48)
    account = models.ForeignKey(AmcAccount, on_delete=models.PROTECT, null=True, related_name="+")
    subject = models.CharField(max_length=200)
    subject_ref = models.CharField(max_length=100, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    details = models.JSONField(default=dict)
    previous = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    objects = OnlyAdded.as_manager()

    class Meta:
        ordering = ["number"]
        indexes = [
            models.Index(fields=["account", "-number"], name="audit_by_account"),
            models.Index(fields=["subject_ref", "-number"], name="audit_by_subject"),
            models.Index(fields=["actor", "-number"], name="audit_by_actor"),
            models.Index(fields=["act", "-number"], name="audit_by_act"),
            models.Index(fields=["at"], name="audit_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.number}: {self.actor_name} {self.act} {self.subject}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("an audit entry is never changed")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise TypeError("an audit entry is never deleted")


class AuditHead(models.Model):
    """The end of the chain: one row, locked while an entry is added."""

    number = models.PositiveBigIntegerField(default=0)
    hash = models.CharField(max_length=64, default="0" * 64)

    def __str__(self) -> str:
        return f"{self.number}"


class AuditCheck(models.Model):
    """A walk along the whole chain, kept after each part so that a worker can go on where another stopped.

    `number` and `hash` are how far it is; `head_number` and `head_hash` where the chain ended when it was asked for.
    """

    asked_by = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="+")
    asked_at = models.DateTimeField()
    head_number = models.PositiveBigIntegerField()
    head_hash = models.CharField(max_length=64)
    number = models.PositiveBigIntegerField(default=0)
    hash = models.CharField(max_length=64, default="0" * 64)
    moved_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    problem = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(models.Value(1), condition=models.Q(ended_at=None), name="one_audit_check_at_once")
        ]

    def __str__(self) -> str:
        return f"{self.number} of {self.head_number}"


class AuditCursor(models.Model):
    """How far the log was shipped to one target (AUDIT_SHIP): every entry up to `number` is there."""

    target = models.CharField(max_length=300, unique=True)
    number = models.PositiveBigIntegerField(default=0)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True)
    # Set while a clock is at it: whoever moved it forward ships.
    leased_until = models.DateTimeField(null=True)
    problem = models.CharField(max_length=200, blank=True)

    def __str__(self) -> str:
        return f"{self.target}: {self.number}"
