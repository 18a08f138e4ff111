"""Requests for approval: the inbox, one with its plan, and deciding it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router
from pydantic import BaseModel, Field

from onboarding.api.auth import acting, approving, caller
from onboarding.api.bodies import body, filled, no_fields
from onboarding.api.once import once
from onboarding.api.paging import Page, PageOf, paged
from onboarding.api.words import PersonName, Pk, PlanRowOut, one_of
from onboarding.forms.requests import Approve, Comment, SendBack
from onboarding.models import AmcAccount, Person, Request, RequestState, RoleName
from onboarding.selectors import requests as selector
from onboarding.services import requests as services
from onboarding.services.access import get_visible, require_role

router = Router(tags=["requests"])


class RequestOut(BaseModel):
    """A request, in short."""

    id: int
    title: str
    state: str = one_of(RequestState.values)
    account: int
    run: str
    step: str
    instance: int
    instance_name: str
    asked_by: PersonName
    asked_at: datetime
    note: str
    approvers_needed: int
    approved: int = Field(description="How many have approved.")
    digest: str = Field(description="Of the plan; send it with the decision to say what was read.")
    expires_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, row: Request) -> RequestOut:
        """The row, read by `selectors.requests.full`."""
        return cls(
            id=row.pk,
            title=row.title,
            state=row.state,
            account=row.account_id,
            run=str(row.step.run_id),
            step=row.step.key,
            instance=row.step.run.instance_id,
            instance_name=row.step.run.instance.name,
            asked_by=PersonName.of(row.asked_by),
            asked_at=row.asked_at,
            note=row.note,
            approvers_needed=row.approvers_needed,
            approved=row.approved,  # type: ignore[attr-defined] # counted by the query
            digest=row.digest,
            expires_at=row.expires_at,
            ended_at=row.ended_at,
        )


class DecisionOut(BaseModel):
    """One person's decision."""

    person: PersonName
    approved: bool
    comment: str
    at: datetime


class CommentOut(BaseModel):
    """A remark that decides nothing."""

    person: PersonName
    text: str
    at: datetime


class ChangeOut(BaseModel):
    """What differs from the request before, for the same step."""

    what: str
    before: str | None
    after: str | None


class RequestDetailOut(RequestOut):
    """A request with everything that the approver reads."""

    plan: list[PlanRowOut]
    changes: list[ChangeOut]
    decisions: list[DecisionOut]
    comments: list[CommentOut]
    approvers: list[PersonName] = Field(description="Who could decide it now.")
    why_not: str = Field(description="Why you cannot decide it now; empty if you can.")


class FindRequests(BaseModel):
    """Which requests."""

    show: Literal["waiting", "mine", "all"] = Field(
        default="all", description="Those that wait for you, oldest first; your own, or all, newest first."
    )
    state: Literal["", "open", "approved", "sent_back", "withdrawn", "void", "expired"] = ""
    account: int | None = Field(default=None, ge=1, le=2**63 - 1, description="The portal's number of the AMC account.")


@router.get("", response=PageOf[RequestOut], url_name="requests", summary="List requests")
def list_requests(
    request: HttpRequest, response: HttpResponse, find: Annotated[FindRequests, Query()], paging: Page
) -> PageOf[RequestOut]:
    """The requests of your accounts."""
    person = caller(request)
    accounts = AmcAccount.objects.visible_to(person)
    if find.account is not None:
        accounts = accounts.filter(pk=find.account)
    query = selector.RequestQuery(show=find.show, state=find.state)
    keys = list(accounts.values_list("pk", flat=True))
    rows = selector.matching(person, query, accounts=keys, now=timezone.now())
    return paged(request, response, rows, paging, RequestOut.of)


@router.get("/{int:pk}", response=RequestDetailOut, url_name="request", summary="Read a request")
def read_request(request: HttpRequest, pk: Pk) -> RequestDetailOut:
    """A request with the plan as it was frozen."""
    return _detail(caller(request), _request(request, pk))


@router.post(
    "/{int:pk}/approve",
    response=RequestDetailOut,
    url_name="request-approve",
    summary="Approve",
    openapi_extra=body(Approve),
)
def approve_request(request: HttpRequest, pk: Pk) -> HttpResponse:
    """Approve exactly what was read: `digest` is that of the request as you read it. Nobody approves their own."""
    person, row = approving(request), _request(request, pk)
    require_role(person, row.account, RoleName.APPROVER)
    given = filled(request, Approve.base_fields, Approve).cleaned_data

    def act() -> RequestDetailOut:
        services.approve(
            person=person,
            request=row,
            digest=given["digest"],
            comment=given["comment"].strip(),
            now=timezone.now(),
        )
        return _detail(person, _request(request, pk))

    return once(request, act)


@router.post(
    "/{int:pk}/send-back",
    response=RequestDetailOut,
    url_name="request-send-back",
    summary="Send back",
    openapi_extra=body(SendBack),
)
def send_back_request(request: HttpRequest, pk: Pk) -> HttpResponse:
    """Decline, and say in `comment` what has to change."""
    person, row = approving(request), _request(request, pk)
    require_role(person, row.account, RoleName.APPROVER)
    given = filled(request, SendBack.base_fields, SendBack).cleaned_data

    def act() -> RequestDetailOut:
        services.send_back(
            person=person, request=row, digest=given["digest"], comment=given["comment"], now=timezone.now()
        )
        return _detail(person, _request(request, pk))

    return once(request, act)


@router.post("/{int:pk}/withdraw", response=RequestDetailOut, url_name="request-withdraw", summary="Withdraw a request")
def withdraw_request(request: HttpRequest, pk: Pk) -> HttpResponse:
    """Take one's own request back; an admin of the account may, too."""
    person, row = acting(request), _request(request, pk)
    if row.asked_by_id != person.pk:
        require_role(person, row.account, RoleName.ADMIN)
    no_fields(request)

    def act() -> RequestDetailOut:
        services.withdraw(person=person, request=row, now=timezone.now())
        return _detail(person, _request(request, pk))

    return once(request, act)


@router.post(
    "/{int:pk}/comments",
    response={201: RequestDetailOut},
    url_name="request-comments",
    summary="Comment on a request",
    openapi_extra=body(Comment),
)
def comment_on_request(request: HttpRequest, pk: Pk) -> HttpResponse:
    """Add a remark that decides nothing."""
    person, row = acting(request), _request(request, pk)
    text = filled(request, Comment.base_fields, Comment).cleaned_data["text"]

    def act() -> RequestDetailOut:
        services.comment(person=person, request=row, text=text, now=timezone.now())
        return _detail(person, _request(request, pk))

    return once(request, act, status=201)


def _request(request: HttpRequest, pk: int) -> Request:
    person = caller(request)
    return get_visible(selector.full(Request.objects.visible_to(person)), person, pk=pk)


def _detail(person: Person, row: Request) -> RequestDetailOut:
    detail = selector.request_detail(row)
    return RequestDetailOut(
        **RequestOut.of(row).model_dump(exclude={"asked_by"}),
        asked_by=PersonName.of(row.asked_by),
        plan=[PlanRowOut.of(one) for one in selector.plan_rows(row)],
        changes=[ChangeOut(what=what, before=before, after=after) for what, before, after in detail.changes],
        decisions=[
            DecisionOut(person=PersonName.of(one.person), approved=one.approved, comment=one.comment, at=one.at)
            for one in detail.decisions
        ],
        comments=[CommentOut(person=PersonName.of(one.person), text=one.text, at=one.at) for one in detail.comments],
        approvers=[PersonName.of(one) for one in detail.approvers],
        why_not=services.why_not_decide(person, row),
    )
