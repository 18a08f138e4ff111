"""AMC instances and the members of their collaborations."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models
from django.db.models.functions import Lower

from onboarding.models.account import AmcAccount
from onboarding.models.person import Person

if TYPE_CHECKING:
    from django.db.models.query import QuerySet


class InstanceStatus(models.TextChoices):
    """Where an instance stands, in the few words that every page uses."""

    IMPORTED = "imported", "Not onboarded"
    DRAFT = "draft", "Not started"
    IN_PROGRESS = "in_progress", "In progress"
    YOUR_TURN = "your_turn", "Waiting for an answer"
    APPROVAL = "approval", "Waiting for approval"
    AMAZON = "amazon", "Waiting for Amazon"
    RECONNECT = "reconnect", "Waiting for a connection"
    PROBLEM = "problem", "There is a problem"
    DONE = "done", "Completed"
    CANCELLED = "cancelled", "Cancelled"
    LEFT = "left", "Left the collaboration"
    DELETED = "deleted", "Deleted"


class InstanceQuerySet(models.QuerySet["Instance"]):
    """Instances as people may see them."""

    def visible_to(self, person: Person) -> QuerySet[Instance]:
        """The instances of the accounts on which the person holds any role."""
        if person.is_superuser:
            return self
        return self.filter(account__in=person.roles.values("account"))


class Instance(models.Model):
    """An AMC instance: imported from AMC, or wished for and not yet made (then `instance_id` is empty)."""

    class Kind(models.TextChoices):
        STANDARD = "STANDARD", "Standard"
        SANDBOX = "SANDBOX", "Sandbox"
        COLLABORATION = "COLLABORATION", "Collaboration"

    account = models.ForeignKey(AmcAccount, on_delete=models.PROTECT, related_name="instances")
    instance_id = models.CharField("AMC instance id", max_length=64, blank=True)
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=16, choices=Kind, default=Kind.COLLABORATION)
    creation_status = models.CharField(max_length=16, blank=True)
    aws_account_id = models.CharField("AWS account id", max_length=12, blank=True)
    advertiser_name = models.CharField(max_length=200, blank=True)
    data_upload_aws_account_id = models.CharField(max_length=12, blank=True)
    api_endpoint = models.CharField(max_length=500, blank=True)
    created_in_amc_at = models.DateTimeField(null=True, blank=True)
    collaboration_id = models.CharField(max_length=64, blank=True)
    collaboration_name = models.CharField(max_length=200, blank=True)
    collaboration_status = models.CharField(max_length=32, blank=True)
    acceptance_link = models.CharField(max_length=1000, blank=True)
    # Kept by the engine beside every move of a step, so that lists need no joins.
    status = models.CharField(max_length=16, choices=InstanceStatus, default=InstanceStatus.IMPORTED)
    status_detail = models.CharField(max_length=300, blank=True)
    waiting_on = models.CharField("who acts next", max_length=200, blank=True)
    status_since = models.DateTimeField()
    steps_done = models.PositiveSmallIntegerField(default=0)
    steps_all = models.PositiveSmallIntegerField(default=0)
    owner = models.ForeignKey(Person, on_delete=models.SET_NULL, null=True, blank=True, related_name="instances")
    seen_at = models.DateTimeField("last seen in AMC", null=True, blank=True)
    gone_at = models.DateTimeField("no longer in AMC since", null=True, blank=True)

    objects: ClassVar[InstanceQuerySet] = InstanceQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["account", "instance_id"], condition=~models.Q(instance_id=""), name="amc_instance_once"
            ),
            models.CheckConstraint(condition=models.Q(status__in=InstanceStatus.values), name="instance_status_known"),
        ]
        indexes = [
            # The list shows what is still there: its numbers by status come from this index alone.
            models.Index(fields=["account", "status"], condition=models.Q(gone_at=None), name="instance_by_status"),
            models.Index("account", Lower("name"), name="instance_by_name"),
            models.Index(fields=["status_since"], condition=models.Q(gone_at=None), name="instance_by_since"),
        ]

    def __str__(self) -> str:
        return self.name


class CollaborationMember(models.Model):
    """A member of an instance's collaboration as AMC describes it (guide 4 lists the kinds)."""

    class Kind(models.TextChoices):
        CUSTOMER = "customer", "Advertiser"
        PARTNER = "partner", "Customer partner"
        CREATOR = "creator", "AMC service"
        QUERY_SUBMITTER = "query_submitter", "Query submitter"
        DATA_PROVIDER = "data_provider", "AMC data provider"
        RESULTS_RECEIVER = "results_receiver", "Results receiver"

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="members")
    kind = models.CharField(max_length=20, choices=Kind)
    account_id = models.CharField("AWS account id", max_length=12)
    display_name = models.CharField(max_length=200, blank=True)
    membership_id = models.CharField(max_length=64, blank=True)
    status = models.CharField(max_length=16, blank=True)
    position = models.PositiveSmallIntegerField(default=0)
    seen_at = models.DateTimeField()

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["instance", "kind", "account_id"], name="member_once_an_instance")
        ]

    def __str__(self) -> str:
        return self.display_name or self.account_id
