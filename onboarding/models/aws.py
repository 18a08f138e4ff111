"""AWS accounts that the portal may act in, through roles that their owners made for it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, ClassVar

from django.db import models

from onboarding.models.account import AmcAccount
from onboarding.models.person import Person

if TYPE_CHECKING:
    from django.db.models.query import QuerySet


def new_external_id() -> str:
    """An external id that nobody can guess; the portal makes it, a person never chooses one."""
    return f"amc-{secrets.token_hex(20)}"


class AwsConnectionQuerySet(models.QuerySet["AwsConnection"]):
    """AWS connections as people may see them."""

    def visible_to(self, person: Person) -> QuerySet[AwsConnection]:
        """The connections of the AMC accounts on which the person holds any role."""
        if person.is_superuser:
            return self
        return self.filter(account__in=person.roles.values("account"))

    def working(self, account: AmcAccount) -> QuerySet[AwsConnection]:
        """The AWS accounts in which the portal can act for an AMC account."""
        return self.filter(account=account, state=AwsConnection.State.WORKING)


class AwsConnection(models.Model):
    """One AWS account, connected for one AMC account: the two roles, and whether they work."""

    class State(models.TextChoices):
        NEW = "new", "Not connected yet"
        WORKING = "working", "Working"
        BROKEN = "broken", "Has to be reconnected"
        DISABLED = "disabled", "Disabled"

    account = models.ForeignKey(AmcAccount, on_delete=models.PROTECT, related_name="aws_connections")
    aws_account_id = models.CharField("AWS account id", max_length=12)
    label = models.CharField(max_length=200, blank=True)
    external_id = models.CharField(max_length=64, default=new_external_id, unique=True, editable=False)
    # What can be changed is done with the provisioner, everything else with the reader where there is one.
    provisioner_role_arn = models.CharField(max_length=300, blank=True)
    reader_role_arn = models.CharField(max_length=300, blank=True)
    state = models.CharField(max_length=16, choices=State, default=State.NEW)
    state_since = models.DateTimeField(auto_now_add=True)
    broken_reason = models.TextField(blank=True)
    checks = models.JSONField(default=list, blank=True)
    checked_at = models.DateTimeField(null=True)
    # Whoever moves this forward checks; a second clock finds it moved.
    next_check_at = models.DateTimeField(null=True)
    made_by = models.ForeignKey(Person, on_delete=models.SET_NULL, null=True, related_name="+")
    made_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[AwsConnectionQuerySet] = AwsConnectionQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["aws_account_id"]
        constraints = [
            models.UniqueConstraint(fields=["account", "aws_account_id"], name="aws_account_once_an_amc_account"),
        ]

    def __str__(self) -> str:
        return self.label or f"AWS account {self.aws_account_id}"


class PartnerInvitation(models.Model):
    """A link for a partner of a multi-party instance: its own person connects its AWS account, and sees nothing else.

    Only a hash of the link's token is kept. Whoever accepts it first holds it; from then on the link opens nothing.
    """

    connection = models.ForeignKey(AwsConnection, on_delete=models.CASCADE, related_name="invitations")
    instance = models.ForeignKey("onboarding.Instance", on_delete=models.CASCADE, related_name="partner_invitations")
    partner_name = models.CharField(max_length=200)
    token_hash = models.CharField(max_length=64, unique=True)
    made_by = models.ForeignKey(Person, on_delete=models.SET_NULL, null=True, related_name="+")
    made_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    accepted_by = models.ForeignKey(
        Person, on_delete=models.SET_NULL, null=True, blank=True, related_name="partner_invitations"
    )
    accepted_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField("withdrawn", null=True, blank=True)

    class Meta:
        ordering = ["-made_at"]

    def __str__(self) -> str:
        return f"Invitation of {self.partner_name} to {self.instance}"


class Membership(models.Model):
    """A membership of a customer's AWS account in the collaboration of an instance."""

    instance = models.ForeignKey("onboarding.Instance", on_delete=models.CASCADE, related_name="memberships")
    aws_account_id = models.CharField("AWS account id", max_length=12)
    membership_id = models.CharField(max_length=64)
    arn = models.CharField(max_length=200, blank=True)
    status = models.CharField(max_length=32)
    receives_results = models.BooleanField(default=False)
    results_bucket = models.CharField(max_length=63, blank=True)
    # The KMS key of the customer's with which that bucket is encrypted, if it is one: its ARN.
    results_key = models.CharField(max_length=300, blank=True, default="", db_default="")
    results_prefix = models.CharField(max_length=512, blank=True)
    results_format = models.CharField(max_length=16, blank=True)
    results_role_arn = models.CharField(max_length=300, blank=True)
    query_logging = models.BooleanField(default=False)
    joined_at = models.DateTimeField(null=True)
    left_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["membership_id"], name="membership_once")]

    def __str__(self) -> str:
        return f"Membership {self.membership_id}"
