"""Requests for approval: the frozen calls, who must sign, who did, and what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models

from onboarding.models.account import AmcAccount
from onboarding.models.document import DocumentField
from onboarding.models.person import Person
from onboarding.models.run import Step

if TYPE_CHECKING:
    from django.db.models.query import QuerySet


class RequestState(models.TextChoices):
    """Where a request stands."""

    OPEN = "open", "Waiting for approval"
    APPROVED = "approved", "Approved"
    SENT_BACK = "sent_back", "Sent back"
    WITHDRAWN = "withdrawn", "Withdrawn"
    VOID = "void", "No longer valid"
    EXPIRED = "expired", "Expired"


def waits_for(person: Person) -> models.Q:
    """What makes a request one that this person may decide now: open, not their own, not decided by them already."""
    decided = Decision.objects.filter(request=models.OuterRef("pk"), person=person)
    return (
        models.Q(state=RequestState.OPEN, account__in=AmcAccount.objects.with_role(person, "approver"))
        & ~models.Q(asked_by=person)
        & models.Q(~models.Exists(decided))
    )


class RequestQuerySet(models.QuerySet["Request"]):
    """Requests as people may see them."""

    def visible_to(self, person: Person) -> QuerySet[Request]:
        """The requests of the accounts on which the person holds any role."""
        if person.is_superuser:
            return self
        return self.filter(account__in=person.roles.values("account"))

    def waiting_for(self, person: Person) -> QuerySet[Request]:
        """The requests that wait for this person's decision."""
        return self.filter(waits_for(person))


class Request(models.Model):
    """A step's plan, asked to be carried out. What was read is what is approved: `plan` and `digest` never change."""

    account = models.ForeignKey(AmcAccount, on_delete=models.PROTECT, related_name="requests")
    step = models.ForeignKey(Step, on_delete=models.CASCADE, related_name="requests")
    title = models.CharField(max_length=300)
    plan = DocumentField()
    findings = models.JSONField(default=list)
    digest = models.CharField(max_length=64)
    approvers_needed = models.PositiveSmallIntegerField(default=1)
    state = models.CharField(max_length=16, choices=RequestState, default=RequestState.OPEN)
    asked_by = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="requests")
    asked_at = models.DateTimeField()
    note = models.TextField(max_length=2000, blank=True)
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    objects: ClassVar[RequestQuerySet] = RequestQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["-asked_at"]
        constraints = [
            models.UniqueConstraint(fields=["step"], condition=models.Q(state="open"), name="one_open_request_a_step"),
            models.CheckConstraint(condition=models.Q(state__in=RequestState.values), name="request_state_known"),
        ]
        indexes = [models.Index("account", "state", name="request_by_state")]

    def __str__(self) -> str:
        return self.title


class Decision(models.Model):
    """One person's decision on one request; the asker can't make one."""

    request = models.ForeignKey(Request, on_delete=models.CASCADE, related_name="decisions")
    person = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="+")
    approved = models.BooleanField()
    digest = models.CharField(max_length=64)
    comment = models.TextField(max_length=2000, blank=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["request", "person"], name="one_decision_a_person")]

    def __str__(self) -> str:
        return f"{self.person} {'approved' if self.approved else 'sent back'} {self.request}"


class RequestComment(models.Model):
    """A remark on a request that decides nothing."""

    request = models.ForeignKey(Request, on_delete=models.CASCADE, related_name="comments")
    person = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="+")
    text = models.TextField(max_length=2000)
    at = models.DateTimeField()

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.text[:60]
