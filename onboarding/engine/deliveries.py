"""Sends notices: by mail, Slack, Teams and webhooks, at once or as a daily digest.

A delivery is claimed by compare-and-set before it is sent. Whoever claimed it and fell silent may have sent it: a
webhook is sent again, with the key by which its receiver knows it; anything else is not, for nobody could tell.
"""

from __future__ import annotations

import smtplib
import time
from contextlib import suppress
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import transaction
from django.db.models import Q, QuerySet

from onboarding.clients.failures import Fix, Later, RemoteFailure
from onboarding.clients.notify import Message, post
from onboarding.engine.backoff import delay
from onboarding.models import Channel, Delivery, Notice, Pace

log = structlog.get_logger(__name__)
# A claim that is older has lost its clock; one sending takes a few seconds.
LOST_AFTER = timedelta(minutes=5)
GIVE_UP_AFTER = timedelta(days=3)
# Seconds that one tick may spend on sending: steps wait for the same clock.
PATIENCE = 5.0
MOST_AT_ONCE = 100
MOST_IN_A_DIGEST = 200
STATE = Delivery.State


def send_due(*, now: datetime) -> int:
    """Make deliveries of new notices, gather digests, send what is due; how many went out."""
    _spread(now)
    _gather(now)
    _take_back(now)
    until, sent = time.monotonic() + PATIENCE, 0
    due = Delivery.objects.filter(state=STATE.DUE, next_attempt_at__lte=now, daily=False)
    resting: set[int] = set()
    rows = due.select_related("channel__person", "channel__account", "notice").order_by("next_attempt_at", "pk")
    for delivery in rows[:MOST_AT_ONCE]:
        if time.monotonic() >= until:
            break
        if delivery.channel_id not in resting and _claimed(delivery, now):
            outcome = _send(delivery, now)
            sent += outcome == STATE.SENT
            if outcome == STATE.DUE:
                # What is away for one is away for the rest.
                resting.add(delivery.channel_id)
    return sent


def own_mail(person_id: int, now: datetime) -> Channel:
    """The channel of a person's own e-mail, made when first needed."""
    channel, _ = Channel.objects.get_or_create(
        person_id=person_id, kind=Channel.Kind.EMAIL, defaults={"name": "Your e-mail", "made_at": now}
    )
    return channel


def next_digest(now: datetime) -> datetime:
    """The next time at which digests go out."""
    today = now.replace(hour=settings.DIGEST_HOUR, minute=0, second=0, microsecond=0)
    return today if today > now else today + timedelta(days=1)


def _spread(now: datetime) -> None:
    """A delivery for each channel that wants the notice."""
    due = Notice.objects.filter(sent_at=None, next_attempt_at__lte=now).order_by("pk")
    notices = list(due.select_related("person")[:MOST_AT_ONCE])
    if not notices:
        return
    of_people: dict[int, list[Channel]] = {}
    of_accounts: dict[int, list[Channel]] = {}
    wanted = Q(person__in=[row.person_id for row in notices if row.person_id]) | Q(
        account__in=[row.account_id for row in notices if row.account_id]
    )
    for channel in Channel.objects.filter(wanted):
        if channel.person_id:
            of_people.setdefault(channel.person_id, []).append(channel)
        elif channel.account_id:
            of_accounts.setdefault(channel.account_id, []).append(channel)
    for notice in notices:
        if notice.account_id:
            channels = of_accounts.get(notice.account_id, [])
        else:
            assert notice.person_id is not None
            channels = of_people.setdefault(notice.person_id, [])
            if not any(channel.kind == Channel.Kind.EMAIL for channel in channels):
                channels.append(own_mail(notice.person_id, now))
        with transaction.atomic():
            # Whoever sets the time spreads; a second clock finds it set.
            if Notice.objects.filter(pk=notice.pk, sent_at=None, attempts=notice.attempts).update(
                sent_at=now, next_attempt_at=None
            ):
                Delivery.objects.bulk_create(
                    _of(notice, channel, now) for channel in channels if _wants(channel, notice)
                )


def _wants(channel: Channel, notice: Notice) -> bool:
    if notice.person is not None:
        own = channel.kind == Channel.Kind.EMAIL
        if not notice.person.is_active or (own and not notice.person.email):
            return False
    return channel.pace(notice.topic) != Pace.OFF


def _of(notice: Notice, channel: Channel, now: datetime) -> Delivery:
    daily = channel.pace(notice.topic) == Pace.DAILY
    due = next_digest(now) if daily else now
    return Delivery(channel=channel, notice=notice, daily=daily, made_at=now, next_attempt_at=due)


def _gather(now: datetime) -> None:
    """One digest of the daily deliveries of each channel whose time has come."""
    waiting = Delivery.objects.filter(state=STATE.DUE, daily=True, part_of=None, next_attempt_at__lte=now)
    for channel_id in waiting.order_by("channel").values_list("channel", flat=True).distinct()[:MOST_AT_ONCE]:
        with transaction.atomic():
            digest = Delivery.objects.create(
                channel_id=channel_id, what=Delivery.What.DIGEST, made_at=now, next_attempt_at=now
            )
            parts = waiting.filter(channel=channel_id).order_by("pk").values_list("pk", flat=True)
            taken = Delivery.objects.filter(pk__in=list(parts[:MOST_IN_A_DIGEST]), state=STATE.DUE, part_of=None)
            if not taken.update(part_of=digest, state=STATE.SENT, ended_at=now, next_attempt_at=None):
                # Another clock was first.
                digest.delete()


def _take_back(now: datetime) -> None:
    """Decide about claims whose clock fell silent."""
    lost = Delivery.objects.filter(state=STATE.SENDING, claimed_at__lt=now - LOST_AFTER)
    if not lost.exists():
        return  # a read each second, and no write
    lost.filter(channel__kind=Channel.Kind.WEBHOOK).update(state=STATE.DUE, claimed_at=None, next_attempt_at=now)
    unknown = lost.exclude(channel__kind=Channel.Kind.WEBHOOK)
    count = unknown.update(state=STATE.UNKNOWN, ended_at=now, problem="The portal was stopped while it was being sent.")
    if count:
        log.warning("messages may have been sent", count=count)


def _claimed(delivery: Delivery, now: datetime) -> bool:
    mine = Delivery.objects.filter(pk=delivery.pk, state=STATE.DUE, attempts=delivery.attempts).update(
        state=STATE.SENDING, claimed_at=now, attempts=delivery.attempts + 1
    )
    delivery.attempts += 1
    return bool(mine)


def _send(delivery: Delivery, now: datetime) -> str:
    """Send what was claimed, and write down what became of it."""
    channel = delivery.channel
    try:
        if channel.person is not None and not channel.person.is_active:
            raise Fix("The person may no longer sign in")
        if channel.kind == Channel.Kind.EMAIL:
            _mail(delivery)
        else:
            post(channel.kind, channel.address, channel.key, _message(delivery), now=now.timestamp())
    except Fix as failure:
        return _note(delivery, STATE.FAILED, failure, now)
    except Later as failure:
        if failure.ambiguous and channel.kind != Channel.Kind.WEBHOOK:
            return _note(delivery, STATE.UNKNOWN, failure, now)
        if now - delivery.made_at > GIVE_UP_AFTER:
            return _note(delivery, STATE.FAILED, failure, now)
        return _note(delivery, STATE.DUE, failure, now)
    _mine(delivery).update(state=STATE.SENT, ended_at=now, next_attempt_at=None, problem="")
    Channel.objects.filter(pk=channel.pk).update(last_sent_at=now, problem="")
    return STATE.SENT


def _mine(delivery: Delivery) -> QuerySet[Delivery]:
    return Delivery.objects.filter(pk=delivery.pk, state=STATE.SENDING, attempts=delivery.attempts)


def _note(delivery: Delivery, state: str, failure: RemoteFailure, now: datetime) -> str:
    text = (f"{failure.what}: {failure.why}" if failure.why else failure.what)[:200]
    following = None
    if state == STATE.DUE:
        wanted = failure.retry_after if isinstance(failure, Later) else None
        seconds = max(60.0, delay(delivery.attempts, retry_after=wanted))
        # A host that has been away for long is asked each half hour.
        following = now + timedelta(seconds=max(seconds, 1800.0) if delivery.attempts > 12 else seconds)
        Delivery.objects.filter(channel=delivery.channel_id, state=STATE.DUE, daily=False).update(
            next_attempt_at=following
        )
    _mine(delivery).update(
        state=state, problem=text, next_attempt_at=following, ended_at=None if following else now, claimed_at=None
    )
    Channel.objects.filter(pk=delivery.channel_id).update(problem=text)
    log.warning("message not sent", delivery=delivery.pk, channel=delivery.channel.kind, code=failure.code, state=state)
    return state


# --- what is said


def _items(delivery: Delivery) -> list[Notice]:
    if delivery.notice is not None:
        return [delivery.notice]
    return list(Notice.objects.filter(deliveries__part_of=delivery).order_by("pk"))


def _title(delivery: Delivery, items: list[Notice]) -> str:
    if delivery.what == Delivery.What.TEST:
        return "A test of the AMC onboarding portal"
    if delivery.what == Delivery.What.DIGEST:
        return f"AMC onboarding portal: {len(items)} message{'' if len(items) == 1 else 's'} of the last day"
    return items[0].subject


def _text(delivery: Delivery, items: list[Notice]) -> str:
    if delivery.what == Delivery.What.TEST:
        return f"Messages of {delivery.channel.account or 'the portal'} arrive here."
    if delivery.what == Delivery.What.DIGEST:
        return "\n\n".join(f"{item.subject}\n{item.text}\n{_link(item)}" for item in items)
    return f"{items[0].text}\n\n{_link(items[0])}"


def _link(notice: Notice) -> str:
    """Where the notice leads. Who is not signed in comes there through the sign-in."""
    return f"{settings.PORTAL_URL}{notice.path}"


def _message(delivery: Delivery) -> Message:
    items = _items(delivery)
    body = {
        "id": str(delivery.key),
        "type": delivery.what,
        "made_at": delivery.made_at.isoformat(timespec="seconds"),
        "account": str(delivery.channel.account) if delivery.channel.account else None,
        "items": [
            {"topic": item.topic, "subject": item.subject, "text": item.text, "url": _link(item)} for item in items
        ],
    }
    return Message(str(delivery.key), delivery.what, _title(delivery, items), _text(delivery, items), body)


def _mail(delivery: Delivery) -> None:
    """Send as a mail. Raises as clients do; Later is ambiguous once the server was given the message."""
    channel = delivery.channel
    to = channel.address or (channel.person.email if channel.person else "")
    if not to:
        raise Fix("There is no e-mail address", who="You")
    items = _items(delivery)
    connection = get_connection()
    try:
        connection.open()
    except (OSError, smtplib.SMTPException) as error:
        raise Later("The mail server could not be reached", code=type(error).__name__) from None
    host = urlsplit(settings.PORTAL_URL).hostname or "localhost"
    mail = EmailMessage(
        _title(delivery, items),
        f"{_text(delivery, items)}\n",
        settings.DEFAULT_FROM_EMAIL,
        [to],
        headers={"Message-ID": f"<{delivery.key}@{host}>"},
        connection=connection,
    )
    try:
        mail.send()
    except (smtplib.SMTPRecipientsRefused, smtplib.SMTPResponseException) as error:
        codes = [error.smtp_code] if isinstance(error, smtplib.SMTPResponseException) else _codes(error)
        if any(code >= 500 for code in codes):
            raise Fix("The mail server refused the message", who="Admin", code=str(max(codes))) from None
        raise Later("The mail server asks to try again later", code=str(max(codes, default=0))) from None
    except (OSError, smtplib.SMTPException) as error:
        raise Later("The mail server did not answer", code=type(error).__name__, ambiguous=True) from None
    finally:
        # What a server makes of our goodbye says nothing about the message.
        with suppress(OSError, smtplib.SMTPException):
            connection.close()


def _codes(error: smtplib.SMTPRecipientsRefused) -> list[int]:
    return [code for code, _ in error.recipients.values()]
