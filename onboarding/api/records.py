"""What was done and said: the audit log for admins, and one's own notices."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import BaseModel, Field

from onboarding.api.auth import caller
from onboarding.api.paging import Page, PageOf, paged
from onboarding.api.words import SearchText
from onboarding.models import AuditEntry, Notice, RoleName
from onboarding.selectors import audit as selector
from onboarding.services.access import require_some_role

audit = Router(tags=["audit"])
notices = Router(tags=["notices"])
NUMBER = 2**63 - 1


class EntryOut(BaseModel):
    """An entry of the audit log; `hash` covers it and the entry before."""

    number: int
    at: datetime
    actor: int | None = Field(description="The portal's number of the person; null for the portal itself.")
    actor_name: str
    act: str
    account: int | None
    subject: str
    subject_ref: str
    request_id: str
    details: dict[str, Any] = Field(description="What was before and after; `token` is the API token it came through.")
    previous: str
    hash: str

    @classmethod
    def of(cls, row: AuditEntry) -> EntryOut:
        """The row."""
        return cls(
            number=row.number,
            at=row.at,
            actor=row.actor_id,
            actor_name=row.actor_name,
            act=row.act,
            account=row.account_id,
            subject=row.subject,
            subject_ref=row.subject_ref,
            request_id=row.request_id,
            details=row.details,
            previous=row.previous,
            hash=row.hash,
        )


class EntriesOut(BaseModel):
    """Entries in order; `Link` with `rel="next"` says where those that follow are."""

    items: list[EntryOut]


class FindEntries(BaseModel):
    """Which entries, and in which order."""

    order: Literal["newest", "oldest"] = "newest"
    after: int | None = Field(default=None, ge=0, le=NUMBER, description="Only entries with a higher number.")
    before: int | None = Field(default=None, ge=0, le=NUMBER, description="Only entries with a lower number.")
    act: SearchText = Field(default="", description="Only this act, such as request.approved.")
    q: SearchText = Field(default="", description="In the subject, its reference or the name of who acted.")
    account: int | None = Field(default=None, ge=1, le=NUMBER, description="The portal's number of the AMC account.")
    limit: int = Field(default=100, ge=1, le=1000, description="How many at most.")


class NoticeOut(BaseModel):
    """Something that the portal told you."""

    id: int
    subject: str
    text: str
    path: str = Field(description="The page that it is about.")
    made_at: datetime
    read_at: datetime | None

    @classmethod
    def of(cls, row: Notice) -> NoticeOut:
        """The row."""
        return cls(
            id=row.pk,
            subject=row.subject,
            text=row.text,
            path=row.path,
            made_at=row.made_at,
            read_at=row.read_at,
        )


@audit.get("", response=EntriesOut, url_name="audit", summary="List audit entries")
def list_audit_entries(
    request: HttpRequest, response: HttpResponse, find: Annotated[FindEntries, Query()]
) -> EntriesOut:
    """The audit log of the accounts that you administer. Follow `next` to read all of it; nothing is left out or there
    twice, however much is written meanwhile."""
    person = caller(request)
    require_some_role(person, RoleName.ADMIN)
    oldest = find.order == "oldest"
    rows = selector.matching(person, q=find.q, act=find.act)
    if find.account is not None:
        rows = rows.filter(account=find.account)
    if find.after is not None:
        rows = rows.filter(number__gt=find.after)
    if find.before is not None:
        rows = rows.filter(number__lt=find.before)
    found = list(rows.order_by("number" if oldest else "-number")[: find.limit + 1])
    if len(found) > find.limit:
        query = request.GET.copy()
        query["after" if oldest else "before"] = str(found[find.limit - 1].number)
        address = request.build_absolute_uri(f"{request.path}?{query.urlencode()}")
        response["Link"] = f'<{address}>; rel="next"'
    return EntriesOut(items=[EntryOut.of(row) for row in found[: find.limit]])


@notices.get("", response=PageOf[NoticeOut], url_name="notices", summary="List notices")
def list_notices(request: HttpRequest, response: HttpResponse, paging: Page) -> PageOf[NoticeOut]:
    """What the portal has told you, the newest first. Reading it here does not mark it as read."""
    rows = Notice.objects.filter(person=caller(request)).order_by("-pk")
    return paged(request, response, rows, paging, NoticeOut.of)
