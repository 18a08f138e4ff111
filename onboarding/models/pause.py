"""What admins have paused: the engine leaves it alone until it is resumed."""

from __future__ import annotations

from django.db import models

from onboarding.models.person import Person


class Pause(models.Model):
    """One pause in force. `target` is `all`, `queue:default`, `account:5`, `amc:7` or `aws:9` (keys of rows)."""

    target = models.CharField(max_length=64, unique=True)
    # What it is, in words, as it was called when it was paused.
    name = models.CharField(max_length=200)
    reason = models.CharField(max_length=300, blank=True)
    paused_by = models.ForeignKey(Person, on_delete=models.SET_NULL, null=True, related_name="+")
    paused_at = models.DateTimeField()

    class Meta:
        ordering = ["paused_at", "pk"]

    def __str__(self) -> str:
        return self.name
