"""An AWS connection that no longer works: noted once, wherever it is found out first."""

from __future__ import annotations

from datetime import datetime

from onboarding import audit
from onboarding.clients.failures import Reconnect
from onboarding.engine.notices import connection_broken
from onboarding.models import AmcAccount, AwsConnection


def waits_for(connection: AwsConnection) -> str:
    """What a step that is paused for this connection waits for."""
    return f"aws:{connection.aws_account_id}"


def working(account: AmcAccount, aws_account: str) -> AwsConnection:
    """The connection through which the portal acts in an AWS account. Raises Reconnect where none works."""
    found = AwsConnection.objects.filter(account=account, aws_account_id=aws_account).first()
    if found is None or found.state != AwsConnection.State.WORKING:
        raise Reconnect(
            f"AWS account {aws_account} is not connected."
            if found is None or found.state == AwsConnection.State.NEW
            else f"The portal's access to AWS account {aws_account} no longer works.",
            connection=f"aws:{aws_account}",
            why=found.broken_reason if found else "",
            who="Admin",
            todo="Connect it under Connections. What waits for it then goes on by itself.",
        )
    return found


def note_failure(account: AmcAccount, failure: Reconnect, *, now: datetime) -> bool:
    """A run of `account` could not act in AWS: its connection is broken if it was working until now."""
    kind, _, aws_account = failure.connection.partition(":")
    if kind != "aws":
        return False
    found = AwsConnection.objects.filter(account=account, aws_account_id=aws_account).first()
    return found is not None and mark_broken(found, f"{failure.what} {failure.why}".strip(), now=now)


def mark_broken(connection: AwsConnection, why: str, *, now: datetime) -> bool:
    """Note that a working connection no longer works, audited and told to its admins; False if it wasn't working.

    Belongs into the transaction of what found it out. Runs pause as soon as they need the connection.
    """
    changed = AwsConnection.objects.filter(pk=connection.pk, state=AwsConnection.State.WORKING).update(
        state=AwsConnection.State.BROKEN, state_since=now, broken_reason=why
    )
    if not changed:
        return False
    audit.record(
        "aws_connection.broken",
        actor=None,
        account=connection.account,
        subject=str(connection),
        subject_ref=f"aws:{connection.pk}",
        details={"aws_account": connection.aws_account_id, "why": why},
        now=now,
    )
    path = f"/connections/aws/{connection.pk}/"
    connection_broken(connection.account, waits_for(connection), why, path=path, now=now)
    return True
