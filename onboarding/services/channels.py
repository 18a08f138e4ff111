"""Channels by which messages go out: a person's own, and those of an AMC account, which its admins look after."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet

from onboarding import audit
from onboarding.clients.notify import WrongAddress, check_address, new_key
from onboarding.engine.deliveries import own_mail
from onboarding.models import AmcAccount, Channel, Delivery, Pace, Person, RoleName, Topic
from onboarding.services.access import authorize
from onboarding.services.errors import Refused

MOST = 10


def channels_of(person: Person) -> QuerySet[Channel]:
    """The channels that the person may change: their own, and those of the accounts they administer."""
    accounts = AmcAccount.objects.with_role(person, RoleName.ADMIN)
    return Channel.objects.filter(Q(person=person) | Q(account__in=accounts))


def own_channels(person: Person, now: datetime) -> list[Channel]:
    """The person's channels; their e-mail is always the first."""
    own_mail(person.pk, now)
    return sorted(Channel.objects.filter(person=person), key=lambda one: (one.kind != Channel.Kind.EMAIL, one.pk))


def add(
    actor: Person, *, account: AmcAccount | None, kind: str, name: str, address: str, now: datetime
) -> tuple[Channel, str]:
    """A new channel of the account, or of the person (None), and what signs its webhooks: shown once, or empty.

    Raises NotAllowed for no admin of the account, Refused for an address that may not be posted to, or too many.
    """
    mine: dict[str, Any] = {"person": actor} if account is None else {"account": account}
    if account is not None:
        authorize(actor, account, RoleName.ADMIN)
    if account is None and kind == Channel.Kind.EMAIL:
        raise Refused("Mail goes to the address that Amazon gives for you.")
    # One's own e-mail is always there, and does not count.
    if Channel.objects.filter(**mine).exclude(person__isnull=False, kind=Channel.Kind.EMAIL).count() >= MOST:
        raise Refused(f"There are {MOST} channels already. Remove one first.")
    host = ""
    if kind != Channel.Kind.EMAIL:
        try:
            host = check_address(kind, address)
        except WrongAddress as wrong:
            raise Refused(str(wrong)) from None
    key = new_key() if kind == Channel.Kind.WEBHOOK else ""
    with transaction.atomic():
        channel = Channel.objects.create(
            **mine, kind=kind, name=name, address=address, host=host, key=key, made_by=actor, made_at=now
        )
        _record("channel.added", actor, channel, now, kind=kind, host=host)
    return channel, key


def choose(actor: Person, channel: Channel, topics: dict[str, str], *, now: datetime) -> None:
    """Keep the pace of each topic."""
    after = {topic: topics[topic] for topic in Topic.values if topics.get(topic) in (Pace.DAILY, Pace.OFF)}
    if after == channel.topics:
        return
    with transaction.atomic():
        before, channel.topics = channel.topics, after
        channel.save(update_fields=["topics"])
        _record("channel.changed", actor, channel, now, before=before, after=after)


def renew_key(actor: Person, channel: Channel, *, now: datetime) -> str:
    """A new signing secret; the old one signs nothing any more. Raises Refused if the channel is no webhook."""
    if channel.kind != Channel.Kind.WEBHOOK:
        raise Refused("Only webhooks are signed.")
    with transaction.atomic():
        channel.key = new_key()
        channel.save(update_fields=["key"])
        _record("channel.key_renewed", actor, channel, now)
    return channel.key


def remove(actor: Person, channel: Channel, *, now: datetime) -> None:
    """Remove the channel with what it had still to send. Raises Refused for one's own e-mail."""
    if channel.person_id is not None and channel.kind == Channel.Kind.EMAIL:
        raise Refused("Your e-mail can't be removed. Choose “Not at all” for what you don't want.")
    with transaction.atomic():
        _record("channel.removed", actor, channel, now)
        channel.delete()


def send_test(channel: Channel, *, now: datetime) -> None:
    """Have the clock send a test, unless one is on its way."""
    waiting = channel.deliveries.filter(what=Delivery.What.TEST, state__in=[Delivery.State.DUE, Delivery.State.SENDING])
    # A second press sends what backs off again at once.
    if not waiting.update(next_attempt_at=now):
        Delivery.objects.create(channel=channel, what=Delivery.What.TEST, made_at=now, next_attempt_at=now)


def _record(act: str, actor: Person, channel: Channel, now: datetime, **details: Any) -> None:
    audit.record(
        act,
        actor=actor,
        account=channel.account,
        subject=f"{channel.get_kind_display()} “{channel.name}” of {channel.account or channel.person}",
        subject_ref=f"channel:{channel.pk}",
        details=details,
        now=now,
    )
