"""Filters of lists that people keep under a name."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Lower

from onboarding.models.person import Person


class SavedView(models.Model):
    """One list with its filters and order, as one person has named it."""

    person = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="views")
    # The URL name of the list, and the query of its address.
    page = models.CharField(max_length=32)
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=1000, blank=True)
    made_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint("person", "page", Lower("name"), name="view_once_a_person")]

    def __str__(self) -> str:
        return self.name
