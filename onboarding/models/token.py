"""Personal tokens of the API, and the answers that are kept so that a repeated request does nothing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models

from onboarding.models.person import Person, Role, RoleName

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models.query import QuerySet


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    """Tokens as people may see them."""

    def visible_to(self, person: Person) -> QuerySet[ApiToken]:
        """One's own, and for an admin those of everybody with a role on an account that they administer."""
        if person.is_superuser:
            return self
        administered = person.roles.filter(name=RoleName.ADMIN).values("account")
        theirs = Role.objects.filter(account__in=administered).values("person")
        return self.filter(models.Q(person=person) | models.Q(person__in=theirs))


class ApiToken(models.Model):
    """A token with which a program acts as one person, never with more than that person has.

    Only a hash of it is kept: the token itself is shown once. `hint` is its beginning, to tell tokens apart.
    """

    person = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    token_hash = models.CharField(max_length=64, unique=True)
    hint = models.CharField(max_length=16)
    # Every token reads; these say what it may do besides.
    may_act = models.BooleanField(default=False)
    may_approve = models.BooleanField(default=False)
    made_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    revoked_by = models.ForeignKey(Person, on_delete=models.SET_NULL, null=True, related_name="+")

    objects: ClassVar[ApiTokenQuerySet] = ApiTokenQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["-made_at", "-pk"]

    def __str__(self) -> str:
        return self.name

    @property
    def scopes(self) -> list[str]:
        """What the token may do: `read`, and `act` and `approve` if they were chosen."""
        return ["read", *(["act"] if self.may_act else []), *(["approve"] if self.may_approve else [])]

    def works_at(self, now: datetime) -> bool:
        """Whether it opens anything at `now`, as far as the token itself goes."""
        return self.revoked_at is None and self.expires_at > now


class KeptAnswer(models.Model):
    """What a request with an `Idempotency-Key` was answered, written in the transaction of what it did."""

    token = models.ForeignKey(ApiToken, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    # Of method, address and body: the same key with something else is refused.
    fingerprint = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(default=0)
    headers = models.JSONField(default=dict)
    body = models.TextField(blank=True)
    made_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["token", "key"], name="one_answer_a_key")]
        indexes = [models.Index(fields=["expires_at"], name="kept_answer_expires")]

    def __str__(self) -> str:
        return f"Answer {self.pk}"
