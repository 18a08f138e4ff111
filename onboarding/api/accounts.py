"""AMC accounts, and for admins: their policies, connections and people."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from django.db.models import Prefetch, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import BaseModel, Field

from onboarding.api.auth import caller
from onboarding.api.paging import Page, PageOf, paged
from onboarding.api.words import Pk, SearchText, one_of
from onboarding.models import AccountPolicy, AmcAccount, AmcConnection, AwsConnection, Person, Role, RoleName
from onboarding.services.access import get_visible, require_role, require_some_role
from onboarding.services.aws_connections import checks_of
from onboarding.services.connections import visible_connections
from onboarding.services.people import visible_people

accounts = Router(tags=["accounts"])
connections = Router(tags=["connections"])
people = Router(tags=["people"])


class AccountOut(BaseModel):
    """An AMC account."""

    id: int
    entity_id: str = Field(description="AMC's id: ENTITY…")
    marketplace_id: str
    name: str
    instances_read_at: datetime | None = Field(description="When its instances were last read from AMC.")

    @classmethod
    def of(cls, row: AmcAccount) -> AccountOut:
        """The row."""
        return cls(
            id=row.pk,
            entity_id=row.entity_id,
            marketplace_id=row.marketplace_id,
            name=row.name,
            instances_read_at=row.instances_read_at,
        )


class PolicyOut(BaseModel):
    """What needs a sign-off on an account, and by how many."""

    approvers_needed: int
    approvers_needed_to_delete: int
    steps_without_approval: list[str]
    request_days: int

    @classmethod
    def of(cls, row: AccountPolicy) -> PolicyOut:
        """The row, or the defaults."""
        return cls(
            approvers_needed=row.approvers_needed,
            approvers_needed_to_delete=row.approvers_needed_to_delete,
            steps_without_approval=row.steps_without_approval,
            request_days=row.request_days,
        )


class ConnectionOut(BaseModel):
    """A grant of an Amazon login, through which AMC accounts are reached. Its tokens are in no answer."""

    id: int
    label: str
    state: str = one_of(AmcConnection.State.values)
    state_since: datetime
    broken_reason: str
    connected_at: datetime
    accounts: list[int] = Field(description="The AMC accounts that you administer through it.")


class CheckOut(BaseModel):
    """One thing that was proved of an AWS connection, or not."""

    title: str
    ok: bool
    detail: str


class AwsConnectionOut(BaseModel):
    """An AWS account, connected for an AMC account. Its external id is in no answer."""

    id: int
    account: int
    aws_account_id: str
    label: str
    provisioner_role_arn: str
    reader_role_arn: str
    state: str = one_of(AwsConnection.State.values)
    state_since: datetime
    broken_reason: str
    checked_at: datetime | None
    checks: list[CheckOut]

    @classmethod
    def of(cls, row: AwsConnection) -> AwsConnectionOut:
        """The row."""
        return cls(
            id=row.pk,
            account=row.account_id,
            aws_account_id=row.aws_account_id,
            label=row.label,
            provisioner_role_arn=row.provisioner_role_arn,
            reader_role_arn=row.reader_role_arn,
            state=row.state,
            state_since=row.state_since,
            broken_reason=row.broken_reason,
            checked_at=row.checked_at,
            checks=[CheckOut(title=one.title, ok=one.ok, detail=one.detail) for one in checks_of(row)],
        )


class PersonRoleOut(BaseModel):
    """A role of somebody on an account that you administer."""

    account: int
    role: str = one_of(RoleName.values)


class PersonOut(BaseModel):
    """Somebody whom you may give roles."""

    id: int
    name: str
    email: str
    is_active: bool = Field(description="Whether they may sign in.")
    is_superuser: bool
    joined_at: datetime
    roles: list[PersonRoleOut]

    @classmethod
    def of(cls, row: Person) -> PersonOut:
        """The row, read by `_people`."""
        return cls(
            id=row.pk,
            name=row.name,
            email=row.email,
            is_active=row.is_active,
            is_superuser=row.is_superuser,
            joined_at=row.joined_at,
            roles=[PersonRoleOut(account=role.account_id, role=role.name) for role in row.roles.all()],
        )


class FindPeople(BaseModel):
    """Which people."""

    q: SearchText = Field(default="", description="In the name or the e-mail address.")


@accounts.get("", response=PageOf[AccountOut], url_name="accounts", summary="List AMC accounts")
def list_accounts(request: HttpRequest, response: HttpResponse, paging: Page) -> PageOf[AccountOut]:
    """The AMC accounts on which you hold a role."""
    rows = AmcAccount.objects.visible_to(caller(request)).order_by("name", "pk")
    return paged(request, response, rows, paging, AccountOut.of)


@accounts.get("/{int:pk}", response=AccountOut, url_name="account", summary="Read an AMC account")
def read_account(request: HttpRequest, pk: Pk) -> AccountOut:
    """One AMC account."""
    return AccountOut.of(get_visible(AmcAccount, caller(request), pk=pk))


@accounts.get("/{int:pk}/policy", response=PolicyOut, url_name="account-policy", summary="Read the approval policy")
def read_policy(request: HttpRequest, pk: Pk) -> PolicyOut:
    """What needs a sign-off on the account; for its admins."""
    person = caller(request)
    account = get_visible(AmcAccount, person, pk=pk)
    require_role(person, account, RoleName.ADMIN)
    return PolicyOut.of(AccountPolicy.of(account))


@connections.get("", response=PageOf[ConnectionOut], url_name="connections", summary="List AMC connections")
def list_connections(request: HttpRequest, response: HttpResponse, paging: Page) -> PageOf[ConnectionOut]:
    """The Amazon logins through which you administer AMC accounts; for admins."""
    person = caller(request)
    require_some_role(person, RoleName.ADMIN)
    mine = AmcAccount.objects.with_role(person, RoleName.ADMIN).order_by("pk")
    rows = visible_connections(person).defer("refresh_token", "access_token").order_by("pk")
    rows = rows.prefetch_related(Prefetch("accounts", mine))

    def shown(row: AmcConnection) -> ConnectionOut:
        return ConnectionOut(
            id=row.pk,
            label=row.label,
            state=row.state,
            state_since=row.state_since,
            broken_reason=row.broken_reason,
            connected_at=row.connected_at,
            accounts=[account.pk for account in row.accounts.all()],
        )

    return paged(request, response, rows, paging, shown)


@connections.get("/aws", response=PageOf[AwsConnectionOut], url_name="aws-connections", summary="List AWS connections")
def list_aws_connections(request: HttpRequest, response: HttpResponse, paging: Page) -> PageOf[AwsConnectionOut]:
    """The AWS accounts that are connected for the AMC accounts that you administer; for admins."""
    person = caller(request)
    require_some_role(person, RoleName.ADMIN)
    rows = AwsConnection.objects.filter(account__in=AmcAccount.objects.with_role(person, RoleName.ADMIN))
    return paged(request, response, rows.order_by("pk"), paging, AwsConnectionOut.of)


@connections.get(
    "/aws/{int:pk}", response=AwsConnectionOut, url_name="aws-connection", summary="Read an AWS connection"
)
def read_aws_connection(request: HttpRequest, pk: Pk) -> AwsConnectionOut:
    """One AWS connection with its last check; for admins of its AMC account."""
    person = caller(request)
    row = get_visible(AwsConnection.objects.visible_to(person).select_related("account"), person, pk=pk)
    require_role(person, row.account, RoleName.ADMIN)
    return AwsConnectionOut.of(row)


@people.get("", response=PageOf[PersonOut], url_name="people", summary="List people")
def list_people(
    request: HttpRequest, response: HttpResponse, find: Annotated[FindPeople, Query()], paging: Page
) -> PageOf[PersonOut]:
    """Who has or asks for a role on the accounts that you administer; for admins."""
    person = caller(request)
    require_some_role(person, RoleName.ADMIN)
    rows = visible_people(person)
    if find.q:
        rows = rows.filter(Q(name__icontains=find.q) | Q(email__icontains=find.q))
    return paged(request, response, rows.prefetch_related(_roles(person)).order_by("name", "pk"), paging, PersonOut.of)


@people.get("/{int:pk}", response=PersonOut, url_name="person", summary="Read a person")
def read_person(request: HttpRequest, pk: Pk) -> PersonOut:
    """One person with their roles on the accounts that you administer; for admins."""
    person = caller(request)
    require_some_role(person, RoleName.ADMIN)
    return PersonOut.of(get_visible(visible_people(person).prefetch_related(_roles(person)), person, pk=pk))


def _roles(person: Person) -> Prefetch[str, QuerySet[Role], str]:
    administered = AmcAccount.objects.with_role(person, RoleName.ADMIN)
    return Prefetch("roles", Role.objects.filter(account__in=administered).order_by("account_id", "name"))
