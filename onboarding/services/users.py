"""Inviting people to an AMC account: `POST /user-invitations`, and the portal's own record of who was invited.

AMC publishes no call that lists, repeats or revokes an invitation. Sending again is the same call; revoking is done in
the AMC console and then recorded here. E-mail addresses stay in the record: never in a log, never in the audit log.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import IntegrityError, transaction

from onboarding import audit
from onboarding.clients.amc import AmcClient
from onboarding.clients.failures import Later, Reconnect, RemoteFailure
from onboarding.models import AmcAccount, Person, RoleName, UserInvitation
from onboarding.services.access import authorize
from onboarding.services.errors import Refused

log = structlog.get_logger(__name__)
# A call that was begun longer ago than this has ended, whatever became of it.
UNDER_WAY = timedelta(minutes=2)
_State = UserInvitation.State


def invite(*, person: Person, account: AmcAccount, name: str, email: str, role: str, now: datetime) -> UserInvitation:
    """Invite somebody as viewer or admin, and record what Amazon said.

    Whatever Amazon answers is in the row: its state and, if there is one, its problem. Raises NotAllowed for whoever is
    no admin of the account, Refused when the address was invited already.
    """
    authorize(person, account, RoleName.ADMIN)
    try:
        with transaction.atomic():
            row = UserInvitation.objects.create(
                account=account, email=email, name=name, role=role, invited_by=person, invited_at=now, tried_at=now
            )
            _audit("user.invited", f"1 person invited as {row.role}", person, row, now)
    except IntegrityError:
        raise Refused("This address was invited already. You can send it again from the list below.") from None
    return _send(row, before="")


def resend(*, person: Person, invitation: UserInvitation, now: datetime) -> UserInvitation:
    """Send an invitation again. Raises NotAllowed, or Refused while it is just being sent, or after it was revoked."""
    authorize(person, invitation.account, RoleName.ADMIN)
    before = invitation.state
    if before == _State.REVOKED:
        raise Refused("This invitation was revoked. Invite the person anew.")
    if before == _State.SENDING and invitation.tried_at > now - UNDER_WAY:
        raise Refused("It is being sent just now.")
    with transaction.atomic():
        mine = UserInvitation.objects.filter(pk=invitation.pk, state=before, tried_at=invitation.tried_at).update(
            state=_State.SENDING, tried_at=now
        )
        if not mine:
            raise Refused("It is being sent just now.")
        _audit("user.invited_again", f"1 person invited again as {invitation.role}", person, invitation, now)
    invitation.state, invitation.tried_at = _State.SENDING, now
    return _send(invitation, before=before)


def revoked(*, person: Person, invitation: UserInvitation, now: datetime) -> None:
    """Record that somebody's access was taken away in the AMC console. Raises NotAllowed, or Refused if it is so."""
    authorize(person, invitation.account, RoleName.ADMIN)
    with transaction.atomic():
        changed = (
            UserInvitation.objects.filter(pk=invitation.pk)
            .exclude(state=_State.REVOKED)
            .update(state=_State.REVOKED, revoked_at=now, problem="")
        )
        if not changed:
            raise Refused("This is recorded already.")
        _audit("user.revoked", f"1 {invitation.role} recorded as revoked in AMC", person, invitation, now)


def _audit(act: str, subject: str, person: Person, row: UserInvitation, now: datetime) -> None:
    audit.record(
        act,
        actor=person,
        account=row.account,
        subject=subject,
        subject_ref=f"invitation:{row.pk}",
        details={"role": row.role},
        now=now,
    )


def _send(row: UserInvitation, *, before: str) -> UserInvitation:
    """Make the call. `before` is the state that a repeated invitation had."""
    wanted = {
        "user": {"emailAddress": row.email, "userName": row.name},
        "permissionSet": {"type": "ROLE", "role": {"name": row.role}},
    }
    try:
        answer = AmcClient.of(row.account).call(
            "inviteUsers", {"userInvitationRequests": [wanted], "notifyInvitedUsers": True}
        )
    except RemoteFailure as failure:
        log.warning("invitation not sent", invitation=row.pk, kind=failure.kind, code=failure.code)
        row.state, row.problem = _after(failure, before)
    else:
        row.state, row.problem = _answered(row, answer, before)
    row.problem = row.problem[:500]
    UserInvitation.objects.filter(pk=row.pk, tried_at=row.tried_at).update(
        state=row.state, problem=row.problem, amazon_id=row.amazon_id
    )
    return row


def _after(failure: RemoteFailure, before: str) -> tuple[str, str]:
    if isinstance(failure, Later):
        if failure.ambiguous:
            return _State.UNKNOWN, f"{failure.what} Nobody can tell whether it was sent. You can send it again."
        return before or _State.REFUSED, f"{failure.what} It was not sent. Send it again later."
    if isinstance(failure, Reconnect):
        return before or _State.REFUSED, "The connection to Amazon has to be renewed first, under Connections."
    return before or _State.REFUSED, " ".join(filter(None, (failure.what + ".", failure.why, failure.todo)))


def _answered(row: UserInvitation, answer: dict[str, Any], before: str) -> tuple[str, str]:
    for one in answer.get("success") or []:
        row.amazon_id = str((one.get("userInvitation") or {}).get("invitationId") or row.amazon_id)[:64]
        return _State.INVITED, ""
    said = [
        str(error.get("details") or error.get("message") or error.get("code") or "")
        for one in answer.get("error") or []
        for error in one.get("errors") or []
    ]
    words = f"Amazon says: {' '.join(filter(None, said)) or 'no reason'}"
    if before in (_State.INVITED, _State.UNKNOWN):
        return before, f"It was not sent again. {words}"
    return _State.REFUSED, words
