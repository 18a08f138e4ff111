"""What is kept about an instance after it was made: its advertisers, and who was invited to its AMC account."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models
from django.db.models.functions import Lower

from onboarding.models.account import AmcAccount
from onboarding.models.instance import Instance
from onboarding.models.person import Person

if TYPE_CHECKING:
    from django.db.models.query import QuerySet


class InstanceAdvertiser(models.Model):
    """An advertiser whose signals an instance holds, as AMC last listed it."""

    class Type(models.TextChoices):
        DISPLAY = "DISPLAY", "Amazon DSP"
        SPONSORED_ADS = "SPONSORED_ADS", "Sponsored Ads"
        SAS = "SAS", "Sizmek Ad Suite"

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="advertisers")
    type = models.CharField(max_length=16, choices=Type)
    advertiser_id = models.CharField(max_length=64)
    # Empty for Amazon DSP, which has no marketplace.
    marketplace_id = models.CharField(max_length=64, blank=True)
    name = models.CharField(max_length=200, blank=True)
    seen_at = models.DateTimeField()

    class Meta:
        ordering = ["type", "advertiser_id", "marketplace_id"]
        constraints = [
            models.UniqueConstraint(
                fields=["instance", "type", "advertiser_id", "marketplace_id"], name="advertiser_once_an_instance"
            )
        ]

    def __str__(self) -> str:
        return self.name or self.advertiser_id


class UserInvitationQuerySet(models.QuerySet["UserInvitation"]):
    """Invitations as people may see them: they hold e-mail addresses, so admins alone do."""

    def visible_to(self, person: Person) -> QuerySet[UserInvitation]:
        """The invitations to the AMC accounts that the person administers."""
        return self.filter(account__in=AmcAccount.objects.with_role(person, "admin"))


class UserInvitation(models.Model):
    """Somebody who was invited to an AMC account: the portal's record, since AMC has no call that lists or revokes."""

    class Role(models.TextChoices):
        VIEWER = "viewer", "Viewer"
        ADMIN = "admin", "Admin"

    class State(models.TextChoices):
        SENDING = "sending", "Being sent"
        INVITED = "invited", "Invited"
        REFUSED = "refused", "Refused by Amazon"
        UNKNOWN = "unknown", "Not known"
        REVOKED = "revoked", "Revoked"

    account = models.ForeignKey(AmcAccount, on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField("e-mail address")
    name = models.CharField(max_length=200)
    role = models.CharField(max_length=16, choices=Role)
    state = models.CharField(max_length=16, choices=State, default=State.SENDING)
    problem = models.CharField(max_length=500, blank=True)
    amazon_id = models.CharField("invitation id", max_length=64, blank=True)
    invited_by = models.ForeignKey(Person, on_delete=models.SET_NULL, null=True, related_name="+")
    invited_at = models.DateTimeField()
    # When a call was last begun; whoever moves it forward makes the call.
    tried_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)

    objects: ClassVar[UserInvitationQuerySet] = UserInvitationQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["-invited_at", "-pk"]
        constraints = [
            models.UniqueConstraint(
                "account", Lower("email"), condition=~models.Q(state="revoked"), name="invited_once_an_account"
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=["sending", "invited", "refused", "unknown", "revoked"]),
                name="invitation_state_known",
            ),
        ]

    def __str__(self) -> str:
        # Never the address: this may end in a log.
        return f"Invitation {self.pk}"
