"""AMC accounts, the Login with Amazon grant through which the portal reaches them, and their approval policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models

from onboarding.models.person import Person
from onboarding.models.secret import SecretField

if TYPE_CHECKING:
    from django.db.models.query import QuerySet


class AmcConnection(models.Model):
    """One grant of the advertising scope by one Amazon login; its tokens are encrypted at rest."""

    class State(models.TextChoices):
        WORKING = "working", "Working"
        BROKEN = "broken", "Has to be reconnected"

    label = models.CharField(max_length=200)
    amazon_id = models.CharField(max_length=128, unique=True)
    refresh_token = SecretField()
    access_token = SecretField(blank=True)
    access_expires_at = models.DateTimeField(null=True)
    # Whoever moves this forward refreshes the token; everybody else waits for the result.
    refreshing_until = models.DateTimeField(null=True)
    state = models.CharField(max_length=16, choices=State, default=State.WORKING)
    state_since = models.DateTimeField(auto_now_add=True)
    broken_reason = models.TextField(blank=True)
    connected_by = models.ForeignKey(Person, on_delete=models.SET_NULL, null=True, related_name="+")
    connected_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.label


class AccountQuerySet(models.QuerySet["AmcAccount"]):
    """AMC accounts as people may see them."""

    def visible_to(self, person: Person) -> QuerySet[AmcAccount]:
        """The accounts on which the person holds any role."""
        if person.is_superuser:
            return self
        return self.filter(pk__in=person.roles.values("account"))

    def with_role(self, person: Person, *names: str) -> QuerySet[AmcAccount]:
        """The accounts on which the person holds one of these roles."""
        if person.is_superuser:
            return self
        return self.filter(pk__in=person.roles.filter(name__in=names).values("account"))


class AmcAccount(models.Model):
    """An AMC account (`ENTITY…`) as `GET /amc/accounts` lists it."""

    entity_id = models.CharField("AMC account id", max_length=64)
    marketplace_id = models.CharField("marketplace id", max_length=64)
    name = models.CharField(max_length=200)
    connection = models.ForeignKey(AmcConnection, on_delete=models.PROTECT, related_name="accounts")
    added_at = models.DateTimeField(auto_now_add=True)
    instances_read_at = models.DateTimeField(null=True)
    # When they were last to be read: whoever moves this forward has it done.
    instances_asked_at = models.DateTimeField(null=True)

    objects: ClassVar[AccountQuerySet] = AccountQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["entity_id", "marketplace_id"], name="amc_account_once")]

    def __str__(self) -> str:
        return self.name


class AccountPolicy(models.Model):
    """What needs a sign-off on one AMC account, and by how many people. Without a row the defaults hold."""

    account = models.OneToOneField(AmcAccount, on_delete=models.CASCADE, related_name="policy")
    approvers_needed = models.PositiveSmallIntegerField(default=1)
    approvers_needed_to_delete = models.PositiveSmallIntegerField(default=1)
    steps_without_approval = models.JSONField(default=list, blank=True)
    request_days = models.PositiveSmallIntegerField("days until a request expires", default=14)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(approvers_needed__gte=1, approvers_needed__lte=5), name="approvers_needed_1_to_5"
            ),
            models.CheckConstraint(
                condition=models.Q(approvers_needed_to_delete__gte=1, approvers_needed_to_delete__lte=5),
                name="approvers_needed_to_delete_1_to_5",
            ),
        ]

    def __str__(self) -> str:
        return f"Policy of {self.account}"

    @classmethod
    def of(cls, account: AmcAccount) -> AccountPolicy:
        """The account's policy, or the safe defaults: everything that changes anything needs one approver."""
        return cls.objects.filter(account=account).first() or cls(account=account)
