"""Connections to Amazon: made, made again, and the AMC accounts that are reached through them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from onboarding import audit
from onboarding.clients import login
from onboarding.clients.amc import AmcClient
from onboarding.clients.failures import Reconnect
from onboarding.engine.notices import tell
from onboarding.engine.resume import connection_restored
from onboarding.models import AccountPolicy, AmcAccount, AmcConnection, Person, Role, RoleName, locked
from onboarding.services.access import authorize
from onboarding.services.errors import NotAllowed, Refused


@dataclass(frozen=True)
class ReachableAccount:
    """An AMC account as `GET /amc/accounts` lists it. `taken` is the row that it already has here."""

    entity_id: str
    marketplace_id: str
    name: str
    taken: AmcAccount | None = None

    @property
    def key(self) -> str:
        """One word for a form's value."""
        return f"{self.entity_id}/{self.marketplace_id}"


def visible_connections(person: Person) -> QuerySet[AmcConnection]:
    """The connections through which the person administers at least one account; all of them for a superuser."""
    if person.is_superuser:
        return AmcConnection.objects.all()
    accounts = AmcAccount.objects.with_role(person, RoleName.ADMIN)
    return AmcConnection.objects.filter(accounts__in=accounts).distinct()


def connect(person: Person, tokens: login.Tokens, profile: login.Profile, *, now: datetime) -> AmcConnection:
    """Keep a new grant; the same Amazon login connected again keeps its row and everything that hangs on it.

    Raises NotAllowed if the person is no superuser.
    """
    if not person.is_superuser:
        raise NotAllowed("Only a superuser connects Amazon logins.")
    existing = AmcConnection.objects.filter(amazon_id=profile.user_id).first()
    if existing is not None:
        return reconnect(person, existing, tokens, profile, now=now)
    label = profile.email or profile.name or profile.user_id
    with transaction.atomic():
        connection = AmcConnection.objects.create(
            label=label[:200],
            amazon_id=profile.user_id,
            refresh_token=tokens.refresh,
            access_token=tokens.access,
            access_expires_at=now + tokens.lifetime,
            connected_by=person,
        )
        audit.record(
            "connection.made", actor=person, subject=connection.label, subject_ref=f"amc:{connection.pk}", now=now
        )
    return connection


def reconnect(
    person: Person, connection: AmcConnection, tokens: login.Tokens, profile: login.Profile, *, now: datetime
) -> AmcConnection:
    """Replace the grant of a connection and let its paused runs go on.

    Raises Refused if it was given by another Amazon login, NotAllowed if the person may not see it.
    """
    if not visible_connections(person).filter(pk=connection.pk).exists():
        raise NotAllowed("You are not an admin of any account of this connection.")
    if connection.amazon_id != profile.user_id:
        raise Refused(
            f"This connection belongs to another Amazon login, {connection.label}. Nothing was changed. "
            "Sign out of Amazon, then reconnect with that login; or connect this one as a new connection."
        )
    with transaction.atomic():
        row = locked(AmcConnection).get(pk=connection.pk)
        was_broken = row.state == AmcConnection.State.BROKEN
        row.refresh_token, row.access_token = tokens.refresh, tokens.access
        row.access_expires_at, row.refreshing_until = now + tokens.lifetime, None
        row.label = (profile.email or profile.name or row.label)[:200]
        if was_broken:
            row.state, row.state_since, row.broken_reason = AmcConnection.State.WORKING, now, ""
        row.save()
        audit.record(
            "connection.made_again",
            actor=person,
            subject=row.label,
            subject_ref=f"amc:{row.pk}",
            details={"was_broken": was_broken},
            now=now,
        )
    # After the commit: a worker that is woken up must find the new grant.
    connection_restored(f"amc:{row.pk}", now=now)
    return row


def reachable_accounts(connection: AmcConnection) -> list[ReachableAccount]:
    """Every AMC account of the login, by name. Raises Later, Fix or Reconnect."""
    rows = {(row.entity_id, row.marketplace_id): row for row in AmcAccount.objects.select_related("connection")}
    found = [
        ReachableAccount(
            entity_id=str(entry["accountId"]),
            marketplace_id=str(entry.get("marketplaceId") or ""),
            name=str(entry.get("accountName") or entry["accountId"])[:200],
            taken=rows.get((str(entry["accountId"]), str(entry.get("marketplaceId") or ""))),
        )
        for entry in AmcClient(connection).pages("AmcpLinkListAmcAccounts", None, "amcAccounts")
        if entry.get("accountId")
    ]
    return sorted(found, key=lambda account: (account.name.lower(), account.key))


def unreachable(connection: AmcConnection, found: Collection[ReachableAccount]) -> list[AmcAccount]:
    """The accounts of the connection that its login no longer lists."""
    keys = {(account.entity_id, account.marketplace_id) for account in found}
    return [row for row in connection.accounts.all() if (row.entity_id, row.marketplace_id) not in keys]


def add_accounts(
    person: Person, connection: AmcConnection, chosen: Collection[ReachableAccount], *, now: datetime
) -> list[AmcAccount]:
    """Add the chosen accounts; the person becomes admin of each. An account that is here already stays as it is.

    Raises NotAllowed if the person is no superuser.
    """
    if not person.is_superuser:
        raise NotAllowed("Only a superuser adds AMC accounts.")
    added = []
    with transaction.atomic():
        for account in chosen:
            row, created = AmcAccount.objects.get_or_create(
                entity_id=account.entity_id,
                marketplace_id=account.marketplace_id,
                defaults={"name": account.name, "connection": connection},
            )
            if not created:
                continue
            Role.objects.create(person=person, account=row, name=RoleName.ADMIN, given_by=person)
            audit.record(
                "account.added",
                actor=person,
                account=row,
                subject=row.name,
                subject_ref=f"account:{row.pk}",
                details={"amc_account": row.entity_id, "connection": connection.label},
                now=now,
            )
            added.append(row)
    return added


def change_policy(person: Person, account: AmcAccount, changes: dict[str, object], *, now: datetime) -> AccountPolicy:
    """Set the approval policy of an account. Raises NotAllowed if the person is no admin of it."""
    authorize(person, account, RoleName.ADMIN)
    with transaction.atomic():
        policy, _ = locked(AccountPolicy).get_or_create(account=account)
        before = {name: getattr(policy, name) for name in changes}
        if before == changes:
            return policy
        for name, value in changes.items():
            setattr(policy, name, value)
        policy.save()
        audit.record(
            "policy.changed",
            actor=person,
            account=account,
            subject=account.name,
            subject_ref=f"account:{account.pk}",
            details={"before": before, "after": changes},
            now=now,
        )
    return policy


def tell_broken(failure: Reconnect, connection: AmcConnection, *, now: datetime) -> None:
    """Tell the admins of every account of the connection, once a day, that it has to be made again."""
    admins = Person.objects.filter(
        is_active=True, roles__account__connection=connection, roles__name=RoleName.ADMIN
    ).distinct()
    tell(
        admins or Person.objects.filter(is_active=True, is_superuser=True),
        event=f"broken:amc:{connection.pk}:{now.date().isoformat()}",
        subject="A connection to Amazon has to be renewed",
        text=f"{failure.what}\nIts runs are paused. They go on by themselves once it is reconnected.",
        path="/connections/",
        now=now,
    )
