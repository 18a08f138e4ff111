"""Who the token belongs to, and what it may do."""

from __future__ import annotations

from datetime import datetime

from django.http import HttpRequest
from ninja import Router
from pydantic import BaseModel, Field

from onboarding.api.auth import token_of

router = Router(tags=["me"])


class RoleOut(BaseModel):
    """A role on an account."""

    account: int
    role: str


class TokenOut(BaseModel):
    """The token that the request came with."""

    id: int
    name: str
    scopes: list[str]
    expires_at: datetime


class MeOut(BaseModel):
    """The person, their roles and the token."""

    id: int
    name: str
    is_superuser: bool = Field(description="Whether the person holds every role on every account.")
    roles: list[RoleOut]
    token: TokenOut


@router.get("", response=MeOut, url_name="me", summary="Who am I")
def read_me(request: HttpRequest) -> MeOut:
    """Who the token belongs to, which roles they hold now, and what the token may do."""
    token = token_of(request)
    person = token.person
    roles = person.roles.order_by("account_id", "name").values_list("account_id", "name")
    return MeOut(
        id=person.pk,
        name=str(person),
        is_superuser=person.is_superuser,
        roles=[RoleOut(account=account, role=name) for account, name in roles],
        token=TokenOut(id=token.pk, name=token.name, scopes=token.scopes, expires_at=token.expires_at),
    )
