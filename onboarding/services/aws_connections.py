"""AWS accounts: added, proved, watched, replaced and disabled; and partners, who connect theirs by an invitation link.

A connection works only once everything about it was proved: that both roles belong to the right account, that nobody
can assume them without the external id, that every action which the steps need is allowed, and that AWS Clean Rooms
answers in us-east-1.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from onboarding import audit
from onboarding.clients.aws import AwsClient, assume, forget_sessions, opens_without
from onboarding.clients.failures import Fix, Later, Reconnect, RemoteFailure
from onboarding.engine import aws_health, queue
from onboarding.engine.resume import connection_restored
from onboarding.guide.aws_templates import Access
from onboarding.guide.permissions import PROVISIONER_NAME, READER_NAME, Need, Scope, needs
from onboarding.models import (
    AmcAccount,
    AwsConnection,
    CollaborationMember,
    Instance,
    PartnerInvitation,
    Person,
    RoleName,
    locked,
)
from onboarding.models.aws import new_external_id
from onboarding.services.access import authorize
from onboarding.services.errors import NotAllowed, Refused

log = structlog.get_logger(__name__)
JOB = "onboarding.services.aws_connections.check_health"
CHECK_EVERY = timedelta(hours=1)
# A check that was put on the queue and never came back is put there again after this time.
CHECK_AGAIN = timedelta(minutes=10)
INVITATION_DAYS = 7
SESSION = "check"
TITLES = {
    "identity": "Account of the provisioner role",
    "reader": "Account of the read-only role",
    "external-id": "External id",
    "actions": "Permissions of the provisioner role",
    "reader-actions": "Permissions of the read-only role",
    "region": "Region",
}
# Without these the portal can't act at all, or anybody could. The others keep it from starting, but don't break it.
ESSENTIAL = frozenset({"identity", "reader", "external-id"})
_UPDATE = "Run the template of this page again: it brings the roles up to date."
_MADE_JUST_NOW = "If the role was made a moment ago, wait half a minute and check again."


@dataclass(frozen=True)
class Check:
    """One thing that was proved about a connection, or was not: `todo` says what to do then."""

    name: str
    ok: bool
    detail: str
    todo: str = ""

    @property
    def title(self) -> str:
        """What was checked, in words."""
        return TITLES.get(self.name, self.name)


def checks_of(connection: AwsConnection) -> list[Check]:
    """The results of the last check."""
    return [Check(**entry) for entry in connection.checks]


def access_of(connection: AwsConnection, *, deletes: bool = False) -> Access:
    """What the templates of a connection depend on."""
    return Access(connection.aws_account_id, settings.PORTAL_AWS_PRINCIPAL, connection.external_id, deletes)


# --- who may


def administered(person: Person) -> QuerySet[AwsConnection]:
    """The connections of the AMC accounts that the person administers."""
    accounts = AmcAccount.objects.with_role(person, RoleName.ADMIN)
    return AwsConnection.objects.filter(account__in=accounts).select_related("account", "made_by")


def invited(person: Person) -> QuerySet[PartnerInvitation]:
    """The invitations that the person accepted and nobody withdrew."""
    held = PartnerInvitation.objects.filter(accepted_by=person, ended_at=None)
    return held.select_related("connection__account", "instance")


def _require(person: Person, connection: AwsConnection) -> None:
    if person.has_role(connection.account, RoleName.ADMIN):
        return
    if not (person.is_active and invited(person).filter(connection=connection).exists()):
        raise NotAllowed("You are not an admin of this AMC account.")


def _record(
    act: str,
    connection: AwsConnection,
    actor: Person | None,
    now: datetime,
    details: Mapping[str, Any] | None = None,
) -> None:
    audit.record(
        act,
        actor=actor,
        account=connection.account,
        subject=str(connection),
        subject_ref=f"aws:{connection.pk}",
        details={"aws_account": connection.aws_account_id, **(details or {})},
        now=now,
    )


# --- adding and changing


def add(person: Person, account: AmcAccount, aws_account_id: str, label: str, *, now: datetime) -> AwsConnection:
    """Add an AWS account to an AMC account; its external id is made here, never chosen.

    Raises NotAllowed if the person is no admin of the account, Refused if the AWS account is there already.
    """
    authorize(person, account, RoleName.ADMIN)
    try:
        with transaction.atomic():
            connection = AwsConnection.objects.create(
                account=account, aws_account_id=aws_account_id, label=label, made_by=person, state_since=now
            )
            _record("aws_connection.added", connection, person, now)
    except IntegrityError:
        raise Refused(f"AWS account {aws_account_id} is there already for {account}.") from None
    return connection


def set_roles(
    person: Person, connection: AwsConnection, provisioner: str, reader: str, *, now: datetime
) -> AwsConnection:
    """Keep the ARNs of the roles; what was proved about others no longer counts.

    Raises NotAllowed, or Refused if the connection is disabled.
    """
    _require(person, connection)
    with transaction.atomic():
        row = locked(AwsConnection).select_related("account").get(pk=connection.pk)
        if row.state == AwsConnection.State.DISABLED:
            raise Refused("This connection is disabled. Let it be used again first.")
        if (row.provisioner_role_arn, row.reader_role_arn) == (provisioner, reader):
            return row
        before = {"provisioner": row.provisioner_role_arn, "reader": row.reader_role_arn}
        row.provisioner_role_arn, row.reader_role_arn = provisioner, reader
        _unprove(row, now)
        after = {"provisioner": provisioner, "reader": reader}
        _record("aws_connection.roles", row, person, now, {"before": before, "after": after})
    forget_sessions()
    return row


def replace(person: Person, connection: AwsConnection, *, now: datetime) -> AwsConnection:
    """Make a new external id; the roles have to be brought up to date before the portal can act again.

    Raises NotAllowed.
    """
    authorize(person, connection.account, RoleName.ADMIN)
    with transaction.atomic():
        row = locked(AwsConnection).select_related("account").get(pk=connection.pk)
        row.external_id = new_external_id()
        _unprove(row, now)
        _record("aws_connection.replaced", row, person, now)
    forget_sessions()
    return row


def set_disabled(person: Person, connection: AwsConnection, disabled: bool, *, now: datetime) -> bool:
    """Stop acting in the account, or allow it again (it then has to be checked anew). False if nothing changes.

    Raises NotAllowed.
    """
    authorize(person, connection.account, RoleName.ADMIN)
    with transaction.atomic():
        row = locked(AwsConnection).select_related("account").get(pk=connection.pk)
        if (row.state == AwsConnection.State.DISABLED) == disabled:
            return False
        _unprove(row, now, AwsConnection.State.DISABLED if disabled else AwsConnection.State.NEW)
        _record("aws_connection.disabled" if disabled else "aws_connection.enabled", row, person, now)
    forget_sessions()
    return True


def _unprove(row: AwsConnection, now: datetime, state: str = AwsConnection.State.NEW) -> None:
    row.state, row.state_since, row.broken_reason = state, now, ""
    row.checks, row.checked_at, row.next_check_at = [], None, None
    row.save()


# --- proving


def prove(connection: AwsConnection, *, now: datetime, actor: Person | None = None) -> AwsConnection:
    """Check everything about a connection, keep the results and let its state follow from them; the row as it is then.

    All in order: it works, and paused runs go on. Not all: a connection that was working stays so unless one of
    `ESSENTIAL` failed; one that was not stays as it was. Raises Later when AWS does not answer (nothing is changed),
    NotAllowed, Refused if it is disabled, has no roles yet, or was changed meanwhile.
    """
    if actor is not None:
        _require(actor, connection)
    if connection.state == AwsConnection.State.DISABLED:
        raise Refused("This connection is disabled.")
    if not connection.provisioner_role_arn:
        raise Refused("Paste the ARN of the provisioner role first.")
    checks = _checks(connection)
    with transaction.atomic():
        row = locked(AwsConnection).select_related("account").get(pk=connection.pk)
        proved = ("provisioner_role_arn", "reader_role_arn", "external_id")
        if row.state == AwsConnection.State.DISABLED or any(
            getattr(row, name) != getattr(connection, name) for name in proved
        ):
            raise Refused("The connection was changed while it was checked. Check it again.")
        _settle(row, checks, actor, now)
    if row.state == AwsConnection.State.WORKING:
        # After the commit, and each time: a run may have paused while it was being checked.
        connection_restored(aws_health.waits_for(row), now=now)
    return row


def _settle(row: AwsConnection, checks: list[Check], actor: Person | None, now: datetime) -> None:
    failed = [check for check in checks if not check.ok]
    row.checks, row.checked_at, row.next_check_at = [asdict(check) for check in checks], now, now + CHECK_EVERY
    AwsConnection.objects.filter(pk=row.pk).update(
        checks=row.checks, checked_at=row.checked_at, next_check_at=row.next_check_at
    )
    if not failed:
        if row.state != AwsConnection.State.WORKING:
            before = row.state
            row.state, row.state_since, row.broken_reason = AwsConnection.State.WORKING, now, ""
            row.save(update_fields=["state", "state_since", "broken_reason"])
            _record("aws_connection.working", row, actor, now, {"before": before})
        return
    why = " ".join(check.detail for check in failed)
    if any(check.name in ESSENTIAL for check in failed) and aws_health.mark_broken(row, why, now=now):
        row.refresh_from_db()
    elif row.state == AwsConnection.State.BROKEN:
        row.broken_reason = why
        row.save(update_fields=["broken_reason"])
    elif actor is not None:
        _record("aws_connection.refused", row, actor, now, {"failed": [check.name for check in failed]})


def _checks(connection: AwsConnection) -> list[Check]:
    identity = _identity(connection, connection.provisioner_role_arn, "identity")
    checks = [identity]
    roles = [connection.provisioner_role_arn] if identity.ok else []
    if connection.reader_role_arn:
        reader = _identity(connection, connection.reader_role_arn, "reader")
        checks.append(reader)
        roles += [connection.reader_role_arn] if reader.ok else []
    if not all(check.ok for check in checks):
        return checks
    checks.append(_external_id(roles))
    if not checks[-1].ok:
        return checks
    checks.append(_actions(connection, "actions", connection.provisioner_role_arn, PROVISIONER_NAME))
    if connection.reader_role_arn:
        checks.append(_actions(connection, "reader-actions", connection.reader_role_arn, READER_NAME))
    checks.append(_region(connection))
    return checks


def _identity(connection: AwsConnection, role_arn: str, name: str) -> Check:
    wanted = connection.aws_account_id
    client = AwsClient(connection, "sts", session_name=SESSION, reading=name == "reader")
    try:
        # A session from before would still work although nobody can open one any more.
        assume(connection, role_arn, client.session_name, fresh=True)
        is_ = str(client.call("GetCallerIdentity")["Account"])
    except (Reconnect, Fix) as failure:
        return Check(
            name,
            False,
            f"The portal can't assume {role_arn}. {failure.why}",
            f"Compare the ARN and the role's trust policy with the template. {_MADE_JUST_NOW}"
            if isinstance(failure, Reconnect)
            else failure.todo,
        )
    if is_ != wanted:
        return Check(
            name,
            False,
            f"{role_arn} belongs to AWS account {is_}, not to {wanted}.",
            "Run the template in the right account, and paste the ARN from there.",
        )
    return Check(name, True, f"{role_arn.rpartition('/')[2]} acts in AWS account {is_}.")


def _external_id(role_arns: Iterable[str]) -> Check:
    for role_arn in role_arns:
        for external_id, how in ((None, "without an external id"), (new_external_id(), "with any external id")):
            if opens_without(role_arn, external_id):
                return Check(
                    "external-id",
                    False,
                    f"{role_arn.rpartition('/')[2]} can be assumed {how}. The connection is refused: others could use "
                    "it through the portal.",
                    "Its trust policy must require sts:ExternalId with StringEquals. " + _UPDATE,
                )
    return Check("external-id", True, "Assuming the roles without it, or with another one, is denied.")


def _actions(connection: AwsConnection, name: str, role_arn: str, role_name: str) -> Check:
    """Ask IAM about every action; where the roles may not ask, try reads that do no harm."""
    wanted = needs(access_of(connection).kinds(role_name))
    client = _reader(connection, "iam")
    denied: set[str] = set()
    try:
        for scope, group in _by_scope(wanted).items():
            denied |= _denied(client, role_arn, scope.filled(connection.aws_account_id), group)
    except Fix as failure:
        log.info("actions can't be asked", connection=connection.pk, code=failure.code)
        return _tried(connection, name, reading=role_name == READER_NAME)
    if denied:
        return Check(name, False, f"Not allowed: {', '.join(sorted(denied))}.", _UPDATE)
    return Check(name, True, f"IAM allows each of {len(wanted)} actions.")


def _by_scope(wanted: Iterable[Need]) -> dict[Scope, list[str]]:
    groups: dict[Scope, list[str]] = {}
    for need in wanted:
        groups.setdefault(need.scope, []).append(need.action)
    return groups


def _denied(client: AwsClient, role_arn: str, scope: Scope, actions: list[str]) -> set[str]:
    params = {
        "PolicySourceArn": role_arn,
        "ActionNames": actions,
        # A pattern stands for itself in a policy only; here it has to be something that it fits.
        "ResourceArns": [one if one == "*" else one.replace("*", "sample") for one in scope.resources],
        "ContextEntries": [
            {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
            for _, key, value in scope.conditions
        ],
    }
    results = client.pages("SimulatePrincipalPolicy", params, "EvaluationResults")
    return {result["EvalActionName"] for result in results if result["EvalDecision"] != "allowed"}


# Reads that change nothing and show no content, by the code that means "allowed, but there is nothing".
_HARMLESS: tuple[tuple[str, str, dict[str, Any], tuple[str, ...]], ...] = (
    ("cleanrooms", "ListCollaborations", {"maxResults": 1}, ()),
    ("cleanrooms", "ListMemberships", {"maxResults": 1}, ()),
    ("iam", "GetRole", {"RoleName": "amc-cleanrooms-sample"}, ("NoSuchEntity",)),
)


def _tried(connection: AwsConnection, name: str, *, reading: bool) -> Check:
    for service, operation, params, nothing in _HARMLESS:
        try:
            AwsClient(connection, service, session_name=SESSION, reading=reading).call(operation, params)
        except (Fix, Reconnect) as failure:
            if failure.code not in nothing:
                return Check(name, False, f"Not allowed: {service}:{operation}. {failure.why}", _UPDATE)
    return Check(
        name,
        True,
        "The role may not be asked what it may do (iam:SimulatePrincipalPolicy), so harmless reads were tried instead.",
    )


def _region(connection: AwsConnection) -> Check:
    try:
        AwsClient(connection, "cleanrooms", session_name=SESSION, reading=True).call(
            "ListMemberships", {"maxResults": 1}
        )
    except (Fix, Reconnect) as failure:
        return Check(
            "region",
            False,
            f"AWS Clean Rooms refuses the portal in {settings.AWS_REGION}. {failure.why}",
            "Ask whether a policy of your AWS organisation forbids the region or the service.",
        )
    return Check("region", True, f"AWS Clean Rooms answers in {settings.AWS_REGION}.")


def _reader(connection: AwsConnection, service: str) -> AwsClient:
    return AwsClient(connection, service, session_name=SESSION, reading=True)


# --- watching


def put_due_checks(*, now: datetime, most: int = 50) -> int:
    """Have workers check the connections whose last check is an hour old; how many. Any number of clocks may ask."""
    due = Q(next_check_at=None) | Q(next_check_at__lte=now)
    watched = AwsConnection.objects.filter(
        due, state__in=[AwsConnection.State.WORKING, AwsConnection.State.BROKEN]
    ).exclude(provisioner_role_arn="")
    put = 0
    for pk, planned in list(watched.order_by("next_check_at").values_list("pk", "next_check_at")[:most]):
        mine = AwsConnection.objects.filter(pk=pk, next_check_at=planned).update(next_check_at=now + CHECK_AGAIN)
        put += bool(mine) and queue.put_job(JOB, pk)
    return put


def check_health(pk: int, *, now: datetime | None = None) -> None:
    """Check one connection, as a worker does: a broken one is noted, a mended one goes on."""
    connection = AwsConnection.objects.select_related("account").filter(pk=pk).first()
    if connection is None:
        return
    try:
        prove(connection, now=now or timezone.now())
    except (Later, Refused) as nothing:
        log.info("connection not checked", connection=pk, why=str(nothing))
    except RemoteFailure as failure:
        log.warning("connection not checked", connection=pk, kind=failure.kind, code=failure.code)


# --- partners


@dataclass(frozen=True)
class Partner:
    """An account that brings data to a multi-party instance."""

    instance: Instance
    aws_account_id: str
    name: str

    @property
    def key(self) -> str:
        """One word for a form's value."""
        return f"{self.instance.pk}/{self.aws_account_id}"


def partners(person: Person) -> list[Partner]:
    """The partner accounts of the instances that the person administers, by instance and name."""
    accounts = AmcAccount.objects.with_role(person, RoleName.ADMIN)
    members = CollaborationMember.objects.filter(
        kind=CollaborationMember.Kind.PARTNER, instance__account__in=accounts, instance__gone_at=None
    ).select_related("instance__account")
    return [
        Partner(member.instance, member.account_id, member.display_name or member.account_id)
        for member in members.order_by("instance__name", "instance_id", "position")
    ]


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def invite(
    person: Person, partner: Partner, *, days: int = INVITATION_DAYS, now: datetime
) -> tuple[PartnerInvitation, str]:
    """Make a link for a partner's own person: the invitation, and the token that is shown this once.

    The partner's AWS account is added if it isn't there. Raises NotAllowed if the person is no admin of the account.
    """
    account = partner.instance.account
    authorize(person, account, RoleName.ADMIN)
    token = secrets.token_urlsafe(32)
    with transaction.atomic():
        connection, created = AwsConnection.objects.get_or_create(
            account=account,
            aws_account_id=partner.aws_account_id,
            defaults={"label": partner.name, "made_by": person, "state_since": now},
        )
        if created:
            _record("aws_connection.added", connection, person, now)
        invitation = PartnerInvitation.objects.create(
            connection=connection,
            instance=partner.instance,
            partner_name=partner.name,
            token_hash=_hashed(token),
            made_by=person,
            made_at=now,
            expires_at=now + timedelta(days=days),
        )
        _record("partner.invited", connection, person, now, {"instance": str(partner.instance), "days": days})
    return invitation, token


def invitation_for(token: str, *, now: datetime) -> PartnerInvitation | None:
    """The invitation that a link opens: not accepted, not withdrawn, not expired. Else None."""
    open_ones = PartnerInvitation.objects.filter(
        token_hash=_hashed(token), accepted_by=None, accepted_at=None, ended_at=None, expires_at__gt=now
    )
    return open_ones.select_related("connection__account", "instance", "made_by").first()


def accept(person: Person, token: str, *, now: datetime) -> PartnerInvitation:
    """Take up an invitation; from then on it is this person's alone. Raises Refused if the link no longer counts."""
    with transaction.atomic():
        won = PartnerInvitation.objects.filter(
            token_hash=_hashed(token), accepted_by=None, accepted_at=None, ended_at=None, expires_at__gt=now
        ).update(accepted_by=person, accepted_at=now)
        if not won:
            raise Refused("This link has expired, was withdrawn or was used already. Ask for a new one.")
        invitation = PartnerInvitation.objects.select_related("connection__account", "instance").get(
            token_hash=_hashed(token)
        )
        _record("partner.accepted", invitation.connection, person, now, {"instance": str(invitation.instance)})
    return invitation


def withdraw(person: Person, invitation: PartnerInvitation, *, now: datetime) -> bool:
    """End an invitation: neither the link nor whoever accepted it gets in. False if it has ended. Raises NotAllowed."""
    authorize(person, invitation.connection.account, RoleName.ADMIN)
    with transaction.atomic():
        ended = PartnerInvitation.objects.filter(pk=invitation.pk, ended_at=None).update(ended_at=now)
        if ended:
            _record("partner.withdrawn", invitation.connection, person, now, {"instance": str(invitation.instance)})
    return bool(ended)
