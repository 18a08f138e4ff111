"""Personal tokens of the API: made by a person for their own programs, shown once, ended by them or by an admin."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from onboarding import audit
from onboarding.models import ApiToken, KeptAnswer, Person
from onboarding.services.errors import NotAllowed, Refused

# So that a token that got into a file or a chat is found by whoever looks for one.
PREFIX = "amcp_"
_SHAPE = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
MOST_TOKENS = 20
MOST_DAYS = 365
# The time of the last use is kept to the minute, or every read would be a write.
_USED_AGAIN = timedelta(minutes=1)


def make(
    person: Person, *, name: str, may_act: bool, may_approve: bool, days: int, now: datetime
) -> tuple[ApiToken, str]:
    """Make a token that works for `days`; returns its row and the token, which nobody can read again.

    Raises Refused for more than MOST_DAYS, or when the person has MOST_TOKENS that still work.
    """
    if not 1 <= days <= MOST_DAYS:
        raise Refused(f"A token works for at least one and at most {MOST_DAYS} days.")
    if ApiToken.objects.filter(person=person, revoked_at=None, expires_at__gt=now).count() >= MOST_TOKENS:
        raise Refused(f"You have {MOST_TOKENS} tokens that still work. Revoke one that you no longer need.")
    token = PREFIX + secrets.token_urlsafe(32)
    with transaction.atomic():
        row = ApiToken.objects.create(
            person=person,
            name=name,
            token_hash=_hashed(token),
            hint=token[: len(PREFIX) + 4],
            may_act=may_act,
            may_approve=may_approve,
            made_at=now,
            expires_at=now + timedelta(days=days),
        )
        _record("token.made", person, row, now, scopes=row.scopes, days=days)
    return row, token


def revoke(actor: Person, token: ApiToken, *, now: datetime) -> bool:
    """End a token: the next request with it is refused. False if it was revoked before.

    Raises NotAllowed unless it is the actor's own or belongs to somebody on an account that the actor administers.
    """
    if not actor.is_active or not ApiToken.objects.visible_to(actor).filter(pk=token.pk).exists():
        raise NotAllowed("Only its owner, or an admin of an account that they work on, revokes a token.")
    with transaction.atomic():
        if not ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=now, revoked_by=actor):
            return False
        _record("token.revoked", actor, token, now)
    return True


def authenticate(token: str, *, now: datetime) -> ApiToken | None:
    """The row of a token that works, with its person, who may sign in; None for any other text."""
    if not _SHAPE.fullmatch(token):
        return None
    row = ApiToken.objects.select_related("person").filter(token_hash=_hashed(token)).first()
    if row is None or not row.works_at(now) or not row.person.is_active:
        return None
    unused = Q(last_used_at=None) | Q(last_used_at__lt=now - _USED_AGAIN)
    if row.last_used_at is None or row.last_used_at < now - _USED_AGAIN:
        ApiToken.objects.filter(unused, pk=row.pk).update(last_used_at=now)
    return row


def forget_answers(*, now: datetime) -> int:
    """Delete the answers to repeated requests that are kept no longer; how many."""
    return KeptAnswer.objects.filter(expires_at__lte=now).delete()[0]


def _hashed(token: str) -> str:
    # As random as the hash itself is wide: nothing is gained by a slow one.
    return hashlib.sha256(token.encode()).hexdigest()


def _record(act: str, actor: Person, token: ApiToken, now: datetime, **details: object) -> None:
    audit.record(
        act,
        actor=actor,
        subject=f"{token.name} ({token.hint}…) of {token.person}",
        subject_ref=f"token:{token.pk}",
        details={**details},
        now=now,
    )
