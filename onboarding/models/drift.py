"""What the portal believes of an instance, compared each night with what is there; and what was accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models

from onboarding.models.instance import Instance
from onboarding.models.person import Person

if TYPE_CHECKING:
    from django.db.models.query import QuerySet


class Comparison(models.Model):
    """When an instance is compared next, when it was last, and what could not be read then."""

    instance = models.OneToOneField(Instance, on_delete=models.CASCADE, related_name="comparison")
    # Whoever moves this forward has a worker compare; a second clock finds it moved.
    next_at = models.DateTimeField()
    compared_at = models.DateTimeField(null=True)
    # Parts that could not be read: {"part", "why"} in words.
    unread = models.JSONField(default=list, blank=True)

    class Meta:
        indexes = [models.Index(fields=["next_at"], name="comparison_due")]

    def __str__(self) -> str:
        return f"Comparison of {self.instance_id}"


class Kind(models.TextChoices):
    """What a difference, or an accepted value, is about."""

    COLLABORATION = "collaboration", "Collaboration"
    MEMBERSHIP = "membership", "Membership"
    ROLE = "role", "Results role"
    BUCKET = "bucket", "Results bucket"
    ADVERTISERS = "advertisers", "Advertisers"
    NAMESPACE = "namespace", "ID namespace"
    MAPPING = "mapping", "ID mapping tables"


class DifferenceQuerySet(models.QuerySet["Difference"]):
    """Differences as people may see them."""

    def visible_to(self, person: Person) -> QuerySet[Difference]:
        """The differences of the instances of the accounts on which the person holds any role."""
        if person.is_superuser:
            return self
        return self.filter(instance__account__in=person.roles.values("account"))

    def open(self) -> QuerySet[Difference]:
        """Those that are still there."""
        return self.filter(ended_at=None)


class Difference(models.Model):
    """One thing that is otherwise in Amazon than the portal believes."""

    class Ended(models.TextChoices):
        GONE = "gone", "No longer there"
        ACCEPTED = "accepted", "Accepted as it is"
        PUT_RIGHT = "put_right", "Put right"

    Kind = Kind
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="differences")
    kind = models.CharField(max_length=16, choices=Kind)
    # Which one: a membership's id, a role's ARN, a bucket's name; empty where there is one only.
    subject = models.CharField(max_length=300, blank=True)
    aspect = models.CharField(max_length=160)
    expected = models.JSONField(null=True)
    found = models.JSONField(null=True)
    since = models.DateTimeField()
    seen_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    ended = models.CharField(max_length=16, choices=Ended, blank=True)
    ended_by = models.ForeignKey(Person, on_delete=models.SET_NULL, null=True, related_name="+")

    objects: ClassVar[DifferenceQuerySet] = DifferenceQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["kind", "subject", "aspect", "pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["instance", "kind", "subject", "aspect"],
                condition=models.Q(ended_at=None),
                name="open_difference_once",
            )
        ]
        indexes = [models.Index(fields=["since"], condition=models.Q(ended_at=None), name="difference_open")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.aspect}"


class Expectation(models.Model):
    """A value that is not the portal's own idea: seen when something made elsewhere was taken over, or accepted."""

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="expectations")
    kind = models.CharField(max_length=16, choices=Kind)
    subject = models.CharField(max_length=300, blank=True)
    aspect = models.CharField(max_length=160)
    value = models.JSONField(null=True)
    # Nobody, when it was taken over at first sight.
    set_by = models.ForeignKey(Person, on_delete=models.SET_NULL, null=True, related_name="+")
    set_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["instance", "kind", "subject", "aspect"], name="expectation_once")
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.aspect}"
