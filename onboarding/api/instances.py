"""Instances: the list, one, its members and memberships, its runs, and beginning another."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router
from pydantic import BaseModel, Field

from onboarding.api.auth import acting, caller
from onboarding.api.bodies import body, filled
from onboarding.api.once import once
from onboarding.api.paging import Page, PageOf, paged
from onboarding.api.runs import ADDRESS, RunOut, runs_of
from onboarding.api.words import PersonName, Pk, SearchText, one_of
from onboarding.engine.authority import MAY_ASK
from onboarding.forms.instances import StartProcedure
from onboarding.models import AmcAccount, CollaborationMember, Instance, InstanceStatus, Membership, Run
from onboarding.selectors import instances as selector
from onboarding.services import lifecycle, runs
from onboarding.services.access import get_visible, require_role

router = Router(tags=["instances"])


class InstanceOut(BaseModel):
    """An AMC instance, as AMC and the portal know it."""

    id: int = Field(description="The portal's number of the instance.")
    account: int = Field(description="The portal's number of the AMC account.")
    instance_id: str = Field(description="AMC's id; empty until AMC has made the instance.")
    name: str
    kind: str = one_of(Instance.Kind.values)
    creation_status: str = Field(description="What AMC says of its creation.")
    created_in_amc_at: datetime | None
    aws_account_id: str
    advertiser_name: str
    api_endpoint: str
    collaboration_id: str
    collaboration_name: str
    collaboration_status: str
    status: str = one_of(InstanceStatus.values, "Where the onboarding stands.")
    status_text: str = Field(description="The status in words.")
    status_detail: str
    status_since: datetime
    waiting_on: str = Field(description="Who acts next.")
    steps_done: int
    steps_all: int
    owner: PersonName | None
    gone_at: datetime | None = Field(description="Since when AMC no longer lists it.")

    @classmethod
    def of(cls, row: Instance) -> InstanceOut:
        """The row, read with its owner."""
        return cls(
            id=row.pk,
            account=row.account_id,
            instance_id=row.instance_id,
            name=row.name,
            kind=row.kind,
            creation_status=row.creation_status,
            created_in_amc_at=row.created_in_amc_at,
            aws_account_id=row.aws_account_id,
            advertiser_name=row.advertiser_name,
            api_endpoint=row.api_endpoint,
            collaboration_id=row.collaboration_id,
            collaboration_name=row.collaboration_name,
            collaboration_status=row.collaboration_status,
            status=row.status,
            status_text=row.get_status_display(),
            status_detail=row.status_detail,
            status_since=row.status_since,
            waiting_on=row.waiting_on,
            steps_done=row.steps_done,
            steps_all=row.steps_all,
            owner=PersonName.if_any(row.owner),
            gone_at=row.gone_at,
        )


class MemberOut(BaseModel):
    """A member of the collaboration, as AMC describes it."""

    kind: str = one_of(CollaborationMember.Kind.values)
    account_id: str = Field(description="Its AWS account.")
    display_name: str
    membership_id: str
    status: str

    @classmethod
    def of(cls, row: CollaborationMember) -> MemberOut:
        """The row."""
        return cls(
            kind=row.kind,
            account_id=row.account_id,
            display_name=row.display_name,
            membership_id=row.membership_id,
            status=row.status,
        )


class MembershipOut(BaseModel):
    """A membership of a customer's AWS account."""

    membership_id: str
    arn: str
    aws_account_id: str
    status: str
    receives_results: bool
    results_bucket: str
    results_prefix: str
    results_format: str
    results_role_arn: str
    query_logging: bool
    joined_at: datetime | None
    left_at: datetime | None

    @classmethod
    def of(cls, row: Membership) -> MembershipOut:
        """The row."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class FindInstances(BaseModel):
    """Which instances."""

    q: SearchText = Field(default="", description="In the name, the AMC id or the advertiser; or an AWS account.")
    status: SearchText = Field(default="", description="A status, or a group of them: needs-a-person, under-way.")
    account: int | None = Field(default=None, ge=1, le=2**63 - 1, description="The portal's number of the AMC account.")


@router.get("", response=PageOf[InstanceOut], url_name="instances", summary="List instances")
def list_instances(
    request: HttpRequest, response: HttpResponse, find: Annotated[FindInstances, Query()], paging: Page
) -> PageOf[InstanceOut]:
    """The instances of the accounts on which you hold a role, except those that AMC no longer lists."""
    accounts = AmcAccount.objects.visible_to(caller(request)).values_list("pk", flat=True)
    wanted = selector.InstanceQuery(q=find.q, account=str(find.account or ""))
    rows = selector.matching(wanted, accounts=list(accounts))
    if find.status:
        rows = rows.filter(status__in=selector.statuses_of(find.status))
    return paged(request, response, rows.select_related("owner").order_by("pk"), paging, InstanceOut.of)


@router.get("/{int:pk}", response=InstanceOut, url_name="instance", summary="Read an instance")
def read_instance(request: HttpRequest, pk: Pk) -> InstanceOut:
    """One instance."""
    return InstanceOut.of(_instance(request, pk))


@router.get("/{int:pk}/members", response=list[MemberOut], url_name="instance-members", summary="List members")
def list_members(request: HttpRequest, pk: Pk) -> list[MemberOut]:
    """Who is in the instance's collaboration, as AMC describes it."""
    return [MemberOut.of(row) for row in _instance(request, pk).members.all()]


@router.get(
    "/{int:pk}/memberships",
    response=list[MembershipOut],
    url_name="instance-memberships",
    summary="List memberships",
)
def list_memberships(request: HttpRequest, pk: Pk) -> list[MembershipOut]:
    """The memberships of the customer's AWS accounts, with where results go."""
    return [MembershipOut.of(row) for row in _instance(request, pk).memberships.order_by("pk")]


@router.get("/{int:pk}/runs", response=PageOf[RunOut], url_name="instance-runs", summary="List an instance's runs")
def list_instance_runs(request: HttpRequest, response: HttpResponse, pk: Pk, paging: Page) -> PageOf[RunOut]:
    """The onboarding and every change of the instance, the newest first."""
    return paged(request, response, runs_of(Run.objects.filter(instance=_instance(request, pk))), paging, RunOut.of)


@router.post(
    "/{int:pk}/runs",
    response={201: RunOut},
    url_name="instance-runs",
    summary="Begin a procedure",
    openapi_extra=body(StartProcedure),
)
def begin_procedure(request: HttpRequest, pk: Pk) -> HttpResponse:
    """Begin the onboarding of an instance that AMC has already, or a change of one. Nothing is changed yet."""
    person, row = acting(request), _instance(request, pk)
    require_role(person, row.account, *MAY_ASK)
    procedure = filled(request, StartProcedure.base_fields, StartProcedure).cleaned_data["procedure"]

    def act() -> RunOut:
        now = timezone.now()
        if procedure == "onboard":
            run = runs.run_adopt(person=person, instance=row, now=now)
        else:
            run = lifecycle.start(person=person, instance=row, procedure=procedure, now=now)
        return RunOut.of(runs_of(Run.objects.filter(pk=run.pk)).get())

    return once(request, act, status=201, location=ADDRESS)


def _instance(request: HttpRequest, pk: int) -> Instance:
    person = caller(request)
    return get_visible(Instance.objects.visible_to(person).select_related("owner", "account"), person, pk=pk)
