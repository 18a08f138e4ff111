"""Messages, kept until they are sent; the channels they go by, and each delivery of one."""

from __future__ import annotations

import uuid

from django.db import models

from onboarding.models.account import AmcAccount
from onboarding.models.person import Person
from onboarding.models.secret import SecretField


class Topic(models.TextChoices):
    """What a message is about; people choose by topic what reaches them how."""

    ASKED = "asked", "Approval is asked for"
    DECIDED = "decided", "A request was decided"
    PROBLEM = "problem", "A step needs a person"
    DONE = "done", "A step or an onboarding is completed"
    CONNECTION = "connection", "A connection has to be renewed"
    DIFFERENCE = "difference", "Something was changed outside the portal"
    PEOPLE = "people", "Somebody asks for a role, or was given one"
    OTHER = "other", "Anything else"


# The word before the first colon of a notice's event.
TOPICS = {
    "request": Topic.ASKED,
    "request-ended": Topic.DECIDED,
    "failed": Topic.PROBLEM,
    "schedule": Topic.PROBLEM,
    "done": Topic.DONE,
    "ended": Topic.DONE,
    "broken": Topic.CONNECTION,
    "drift": Topic.DIFFERENCE,
    "role-asked": Topic.PEOPLE,
    "role-given": Topic.PEOPLE,
    "role-declined": Topic.PEOPLE,
}


class Pace(models.TextChoices):
    """How soon messages of a topic go out by a channel."""

    NOW = "now", "At once"
    DAILY = "daily", "Once a day"
    OFF = "off", "Not at all"


class Notice(models.Model):
    """One message to one person, or to the channels of one account, written in the transaction of what it tells of.

    `next_attempt_at` is set until deliveries were made of it; `sent_at` says when that was.
    """

    person = models.ForeignKey(Person, on_delete=models.CASCADE, null=True, related_name="notices")
    account = models.ForeignKey(AmcAccount, on_delete=models.CASCADE, null=True, related_name="+")
    # The same event never makes two messages to one person, or to one account.
    event = models.CharField(max_length=120)
    subject = models.CharField(max_length=200)
    text = models.TextField()
    path = models.CharField(max_length=300, blank=True)
    made_at = models.DateTimeField()
    next_attempt_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)
    read_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["person", "event"], name="one_notice_an_event"),
            models.UniqueConstraint(fields=["account", "event"], name="one_account_notice_an_event"),
            models.CheckConstraint(
                condition=models.Q(person=None, account__isnull=False) | models.Q(person__isnull=False, account=None),
                name="notice_to_a_person_or_an_account",
            ),
        ]
        indexes = [
            models.Index("next_attempt_at", condition=models.Q(sent_at=None), name="notice_due"),
        ]

    def __str__(self) -> str:
        return self.subject

    @property
    def topic(self) -> str:
        """What it is about, by its event."""
        return TOPICS.get(self.event.partition(":")[0], Topic.OTHER)


class Channel(models.Model):
    """A way by which messages reach one person, or everybody who looks after one AMC account.

    `address` (where to post, or an e-mail address) and `key` (signs webhooks) are secrets: never shown again. `topics`
    says the pace of each topic that is not at once.
    """

    class Kind(models.TextChoices):
        EMAIL = "email", "E-mail"
        SLACK = "slack", "Slack"
        TEAMS = "teams", "Microsoft Teams"
        WEBHOOK = "webhook", "Webhook"

    kind = models.CharField(max_length=16, choices=Kind)
    person = models.ForeignKey(Person, on_delete=models.CASCADE, null=True, related_name="channels")
    account = models.ForeignKey(AmcAccount, on_delete=models.CASCADE, null=True, related_name="channels")
    name = models.CharField(max_length=60)
    # Empty for a person's own e-mail: it goes where the person's address is at that time.
    address = SecretField(blank=True, default="")
    host = models.CharField(max_length=255, blank=True)
    key = SecretField(blank=True, default="")
    topics = models.JSONField(default=dict)
    made_by = models.ForeignKey(Person, on_delete=models.SET_NULL, null=True, related_name="+")
    made_at = models.DateTimeField()
    last_sent_at = models.DateTimeField(null=True)
    problem = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(person=None, account__isnull=False) | models.Q(person__isnull=False, account=None),
                name="channel_of_a_person_or_an_account",
            ),
            models.UniqueConstraint(
                fields=["person"], condition=models.Q(kind="email", person__isnull=False), name="one_own_mail_channel"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def pace(self, topic: str) -> str:
        """How soon messages of the topic go out by this channel."""
        return str(self.topics.get(topic, Pace.NOW))


class Delivery(models.Model):
    """One message by one channel: the row that is claimed before it is sent, so that it never goes out twice.

    `key` is the same for every try. A daily one waits until a digest (a delivery that has parts) takes it.
    """

    class State(models.TextChoices):
        DUE = "due", "On its way"
        SENDING = "sending", "Being sent"
        SENT = "sent", "Sent"
        UNKNOWN = "unknown", "May have been sent"
        FAILED = "failed", "Not sent"

    class What(models.TextChoices):
        NOTICE = "notice", "Message"
        DIGEST = "digest", "Digest"
        TEST = "test", "Test"

    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="deliveries")
    what = models.CharField(max_length=16, choices=What, default=What.NOTICE)
    notice = models.ForeignKey(Notice, on_delete=models.CASCADE, null=True, related_name="deliveries")
    daily = models.BooleanField(default=False)
    part_of = models.ForeignKey("self", on_delete=models.CASCADE, null=True, related_name="parts")
    state = models.CharField(max_length=16, choices=State, default=State.DUE)
    made_at = models.DateTimeField()
    next_attempt_at = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    claimed_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    problem = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["channel", "notice"], name="delivery_once_a_channel")]
        indexes = [
            models.Index("next_attempt_at", condition=models.Q(state="due"), name="delivery_due"),
            models.Index("claimed_at", condition=models.Q(state="sending"), name="delivery_claimed"),
        ]

    def __str__(self) -> str:
        return f"{self.what} {self.key}"
