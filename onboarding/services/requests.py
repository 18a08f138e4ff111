"""Deciding requests: approve, send back, withdraw, comment, expire."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from onboarding import audit
from onboarding.engine import notices
from onboarding.engine.moves import MoveRefused, Overtaken, move
from onboarding.models import Decision, Person, Request, RequestComment, RequestState, Step, StepState, locked
from onboarding.services.errors import NotAllowed, Refused


def why_not_decide(person: Person, request: Request) -> str:
    """Why this person can't decide this request now, or an empty text if they can."""
    if request.state != RequestState.OPEN:
        return f"This request is {request.get_state_display().lower()}."
    if request.asked_by_id == person.pk:
        return "Nobody approves a request of their own."
    if not person.has_role(request.account, "approver"):
        return f"Only an approver of {request.account} can decide this."
    if request.decisions.filter(person=person).exists():
        return "You have decided this already."
    return ""


def why_not_withdraw(person: Person, request: Request) -> str:
    """Why this person can't withdraw this request now, or an empty text if they can."""
    if request.state != RequestState.OPEN:
        return f"This request is {request.get_state_display().lower()}."
    if request.asked_by_id != person.pk and not person.has_role(request.account, "admin"):
        return "Only who asked, or an admin, can withdraw a request."
    return ""


def _open(request: Request) -> Request:
    """The request, locked after its step, as whoever changes an answer locks them."""
    locked(Step).get(pk=request.step_id)
    return locked(Request).select_related("account", "step", "asked_by").get(pk=request.pk)


def _audit(act: str, person: Person | None, request: Request, *, now: datetime, **details: Any) -> None:
    audit.record(
        act,
        actor=person,
        account=request.account,
        subject=request.title,
        subject_ref=f"request:{request.pk}",
        details={"digest": request.digest, **details},
        now=now,
    )


def _end(request: Request, state: str, *, now: datetime) -> None:
    request.state, request.ended_at = state, now
    request.save(update_fields=["state", "ended_at"])


def _decide(person: Person, request: Request, digest: str, approved: bool, comment: str, now: datetime) -> Request:
    row = _open(request)
    reason = why_not_decide(person, row)
    if reason:
        raise NotAllowed(reason)
    if digest != row.digest or row.step.digest != row.digest:
        raise Refused("The request changed after you read it. Read it again, then decide.")
    if row.expires_at <= now:
        raise Refused("The request has expired. It has to be asked for again.")
    try:
        with transaction.atomic():
            Decision.objects.create(
                request=row, person=person, approved=approved, digest=digest, comment=comment, at=now
            )
    except IntegrityError:
        raise NotAllowed("You have decided this already.") from None
    return row


def _move(step: Step, to: str, *, now: datetime, log: tuple[str, str], **changes: Any) -> None:
    try:
        move(step, to, now=now, log=log, **changes)
    except (MoveRefused, Overtaken):
        raise Refused("The step moved on just now. Read the request again.") from None


def approve(*, person: Person, request: Request, digest: str, comment: str = "", now: datetime) -> Request:
    """Approve what was read: `digest` is the digest of the page that the person saw.

    With enough approvals the step goes on the queue. Raises NotAllowed (one's own, no role, decided already) or Refused
    (changed, expired, ended).
    """
    with transaction.atomic():
        row = _decide(person, request, digest, True, comment, now)
        enough = row.decisions.filter(approved=True).count() >= row.approvers_needed
        if enough:
            _end(row, RequestState.APPROVED, now=now)
            _move(row.step, StepState.QUEUED, now=now, log=("good", f"{person} approved it"))
            notices.request_ended(row, f"approved by {person}", now=now)
        _audit("request.approved", person, row, now=now, comment=comment)
    return row


def send_back(*, person: Person, request: Request, digest: str, comment: str, now: datetime) -> Request:
    """Decline, and say why in `comment` (required); the step can be changed and asked for again.

    Raises NotAllowed or Refused as `approve` does, and Refused without a comment.
    """
    if not comment.strip():
        raise Refused("Say what has to change, so that it can be asked for again.")
    with transaction.atomic():
        row = _decide(person, request, digest, False, comment, now)
        _end(row, RequestState.SENT_BACK, now=now)
        _move(row.step, StepState.READY, now=now, log=("bad", f"{person} sent it back: {comment}"))
        notices.request_ended(row, f"sent back by {person}: {comment}", now=now)
        _audit("request.sent_back", person, row, now=now, comment=comment)
    return row


def withdraw(*, person: Person, request: Request, now: datetime) -> Request:
    """Take one's own request back. An admin of the account may, too. Raises NotAllowed or Refused."""
    with transaction.atomic():
        row = _open(request)
        if row.asked_by_id != person.pk and not person.has_role(row.account, "admin"):
            raise NotAllowed("Only who asked, or an admin, can withdraw a request.")
        if row.state != RequestState.OPEN:
            raise Refused(f"This request is {row.get_state_display().lower()}.")
        _end(row, RequestState.WITHDRAWN, now=now)
        _move(row.step, StepState.READY, now=now, log=("info", f"{person} withdrew the request"))
        _audit("request.withdrawn", person, row, now=now)
    return row


def comment(*, person: Person, request: Request, text: str, now: datetime) -> RequestComment:
    """Add a remark that decides nothing. Anybody who can see the request may. Raises Refused for an empty one."""
    if not text.strip():
        raise Refused("Write something first.")
    with transaction.atomic():
        remark = RequestComment.objects.create(request=request, person=person, text=text.strip(), at=now)
        _audit("request.commented", person, request, now=now)
    return remark


def expire_due(*, now: datetime) -> int:
    """End the open requests whose time is over; their steps can be asked for again. Returns how many."""
    count = 0
    for request in Request.objects.filter(state=RequestState.OPEN, expires_at__lte=now):
        with transaction.atomic():
            row = _open(request)
            if row.state != RequestState.OPEN:
                continue
            _end(row, RequestState.EXPIRED, now=now)
            _move(row.step, StepState.READY, now=now, log=("info", "The request expired before it was decided"))
            notices.request_ended(row, "not decided in time and has expired", now=now)
            _audit("request.expired", None, row, now=now)
            count += 1
    return count
