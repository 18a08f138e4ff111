"""Who is calling: access keys, sessions of assumed roles, and what they may do."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Protocol

from simulator.aws import policy
from simulator.aws.errors import AwsError
from simulator.aws.moto_state import MotoState
from simulator.clock import SimClock
from simulator.store import World

SESSIONS = "aws.sessions"


@dataclass(frozen=True)
class Caller:
    """A principal. `documents` is None for an account's administrator, who may do everything."""

    account: str
    arn: str
    user_id: str
    documents: tuple[str, ...] | None = None
    boundary: str | None = None
    session_policy: str | None = None
    role_arn: str | None = None

    @property
    def principals(self) -> list[str]:
        """All the ways in which a policy may name this caller."""
        names = [self.arn, f"arn:aws:iam::{self.account}:root"]
        if self.role_arn:
            names.append(self.role_arn)
        return names

    def context(self) -> dict[str, str | list[str]]:
        """Condition keys that follow from who is calling."""
        return {"aws:PrincipalAccount": self.account, "aws:PrincipalArn": self.role_arn or self.arn}

    def verdict(self, request: policy.Request) -> str:
        """ "Allow", "Deny" or "None" by the caller's own policies."""
        if self.documents is None:
            return "Allow"
        asked = policy.Request(request.action, request.resource, {**self.context(), **request.context})
        decision = policy.decide(self.documents, asked)
        if decision != "Allow":
            return decision
        for limit in (self.boundary, self.session_policy):
            if limit is not None and policy.decide([limit], asked) != "Allow":
                return "None"
        return "Allow"

    def refusal(self, action: str, resource: str, verdict: str) -> str:
        """The vendor's wording for a refused action."""
        why = (
            "with an explicit deny in an identity-based policy"
            if verdict == "Deny"
            else f"because no identity-based policy allows the {action} action"
        )
        return f"User: {self.arn} is not authorized to perform: {action} on resource: {resource} {why}"


def administrator(account: str) -> Caller:
    """Whoever signs with the account's number as access key id."""
    return Caller(account, f"arn:aws:iam::{account}:user/administrator", f"AIDA{_suffix(account)}")


def _suffix(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16].upper()


class Unknown(Exception):
    """The credentials mean nothing here. `code` is the vendor's error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def identify(world: World, clock: SimClock, moto: MotoState, key_id: str, token: str | None) -> Caller:
    """The caller behind an access key id and, for a session, its token.

    Raises Unknown: InvalidClientTokenId, or ExpiredToken for a session that has ended.
    """
    if re.fullmatch(r"\d{12}", key_id):
        return administrator(key_id)
    session = world.table(SESSIONS).get(key_id)
    if session is not None:
        if token != session["token"]:
            raise Unknown("InvalidClientTokenId", "The security token included in the request is invalid.")
        if clock.now().timestamp() >= session["expires"]:
            raise Unknown("ExpiredToken", "The security token included in the request is expired")
        role = moto.role(session["roleArn"])
        documents = moto.role_documents(role) if role is not None else []
        return Caller(
            session["account"],
            session["arn"],
            session["userId"],
            tuple(documents),
            moto.boundary(session["account"], role.permissions_boundary_arn) if role is not None else None,
            session.get("policy"),
            session["roleArn"],
        )
    owner = moto.access_key_owner(key_id)
    if owner is not None:
        account, user = owner
        return Caller(account, user.arn, user.id, tuple(moto.user_documents(account, user)))
    raise Unknown("InvalidClientTokenId", "The security token included in the request is invalid.")


class Settings(Protocol):
    """What of the front the services need."""

    role_delay_seconds: float


@dataclass
class Call:
    """One request to a service: who asks, from which region, and everything that exists."""

    world: World
    clock: SimClock
    moto: MotoState
    caller: Caller
    region: str
    settings: Settings

    @property
    def account(self) -> str:
        """The caller's account."""
        return self.caller.account

    def now(self) -> float:
        """The simulated time as a timestamp, in seconds."""
        return round(self.clock.now().timestamp(), 3)

    def require(self, action: str, resource: str = "*", context: dict[str, Any] | None = None) -> None:
        """Raise AccessDeniedException unless the caller's policies allow `action` on `resource`."""
        request = policy.Request(action, resource, {"aws:RequestedRegion": self.region, **(context or {})})
        verdict = self.caller.verdict(request)
        if verdict != "Allow":
            raise AwsError("AccessDeniedException", self.caller.refusal(action, resource, verdict))
