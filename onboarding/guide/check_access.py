"""Guide 3, "Access to AMC": that the connected login really reaches the AMC account."""

from __future__ import annotations

from onboarding.guide.plan import Call, Look
from onboarding.guide.step import GuideStep, Situation


class CheckAmcAccess(GuideStep):
    """Reads `GET /amc/accounts` and looks for the account of the run in it."""

    key = "amc-access"
    title = "Check access to AMC"
    stage = "Before you start"
    section = "Guide 3: Access to AMC"
    summary = "The portal asks AMC whether the connected login can see this account."
    needs = ("requirements",)
    automatic = True
    usually = "a few seconds"

    def plan(self, situation: Situation) -> list[Call]:
        return [
            Call(
                key="account",
                title=f"Find the account {situation.account.entity_id} among those the login can see",
                service="amc",
                operation="AmcpLinkListAmcAccounts",
                effect="read",
                look=Look(
                    operation="AmcpLinkListAmcAccounts",
                    items="amcAccounts",
                    where={"accountId": situation.account.entity_id, "marketplaceId": situation.account.marketplace_id},
                    wrap="account",
                ),
            )
        ]
