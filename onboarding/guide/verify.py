"""What people made by themselves, looked at: the looks of a plan's changes, as calls that only read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from onboarding.guide.plan import Call
from onboarding.guide.step import Situation
from onboarding.models import AwsConnection


def may_look(situation: Situation, account: str) -> bool:
    """Whether the portal has a role in the AWS account with which it can see what is there."""
    known = f"may look in {account}"
    if known not in situation.memo:
        there = AwsConnection.objects.working(situation.account).filter(aws_account_id=account)
        situation.memo[known] = there.exists()
    return bool(situation.memo[known])


def not_seen(account: str) -> str:
    """What it means that nobody looks whether something was done in an AWS account."""
    return (
        f"AWS account {account} is not connected, so the portal can't see whether this was done. It takes your word "
        "for it, and goes on showing what it last read. Once the account is connected, if only with the read-only "
        "role, the nightly comparison shows what is otherwise."
    )


def verification(calls: Iterable[Call]) -> list[Call]:
    """Calls that read whether each change of `calls` in AWS is there and as it should be; they change nothing.

    They keep their keys, so that references between them stay true.
    """
    return [
        replace(
            call,
            title=f"Check: {call.title}",
            operation=call.look.operation,
            params=call.look.params,
            effect="read",
            token_param="",
            undo="",
        )
        for call in calls
        if call.effect in ("create", "update") and call.account and call.look is not None
    ]
