"""Guide 4, multi-party: the memberships of the accounts that bring data."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from onboarding.guide.collaboration import note_collaboration
from onboarding.guide.differences import Sheet
from onboarding.guide.invitation import invitation, payment_of, read_terms, terms_known
from onboarding.guide.join import instance_known, note_membership
from onboarding.guide.plan import Call, Look, Ref, Until
from onboarding.guide.step import GuideStep, Situation
from onboarding.models import AwsConnection


def partners(situation: Situation) -> list[tuple[str, str]]:
    """The partners of the run: AWS account id and display name."""
    answers = situation.answers.get("create-instance", {})
    if not answers.get("parties", {}).get("multi"):
        return []
    given = answers.get("partners", {})
    return [(given[f"account_{n}"], given[f"name_{n}"]) for n in (1, 2) if given.get(f"account_{n}")]


class JoinPartners(GuideStep):
    """Makes the membership of every partner whose account is connected, and waits for those who join by themselves."""

    key = "join-partners"
    title = "Partners join"
    stage = "Join the collaboration"
    section = "Guide 4: Create membership"
    summary = "Each partner joins with a membership of its own; it receives no results."
    needs = ("join",)
    usually = "as long as the partners take"
    undo = "A partner can leave, but never join again."

    def applies(self, situation: Situation) -> bool:
        return bool(partners(situation))

    def sheet(self, situation: Situation) -> Sheet | None:
        return invitation(situation)

    def act(self, situation: Situation) -> str:
        return f"Join as {' and '.join(name for _, name in partners(situation))}"

    def plan(self, situation: Situation) -> list[Call]:
        connected = set(AwsConnection.objects.working(situation.account).values_list("aws_account_id", flat=True))
        return self._plan(situation, connected)

    def full_plan(self, situation: Situation) -> list[Call]:
        return self._plan(situation, {account for account, _ in partners(situation)})

    def _plan(self, situation: Situation, joining: set[str]) -> list[Call]:
        """The memberships of those accounts, and the wait for everybody."""
        calls: list[Call] = []
        for number, (account, name) in enumerate(partners(situation), 1):
            if account in joining:
                calls += self._join(situation, number, account, name)
        return [
            *calls,
            Call(
                key="all-joined",
                title="Wait until every partner has joined",
                service="amc",
                operation="getInstanceCollaboration",
                params={"instanceId": instance_known(situation)},
                effect="wait",
                until=Until(
                    path="collaboration.customerPartners.*.status",
                    done=("ACTIVE",),
                    failed={
                        "LEFT": "A partner has left the collaboration and can't join again.",
                        "REMOVED": "A partner was removed from the collaboration.",
                    },
                    every=(5, 15, 60, 300),
                    give_up=30 * 86_400,
                    usually="as long as the partners take",
                ),
            ),
        ]

    def _join(self, situation: Situation, number: int, account: str, name: str) -> list[Call]:
        collaboration = situation.instance.collaboration_id
        params: dict[str, Any] = {
            "collaborationIdentifier": collaboration,
            "queryLogStatus": "DISABLED",
            "tags": {"amc-portal-run": str(situation.run.pk)},
        }
        calls = []
        if terms_known(situation):
            payment: Any = payment_of(situation, account)
        else:
            calls.append(read_terms(collaboration, account, f"terms-{number}"))
            payment = Ref(self.key, f"terms-{number}", "member.paymentConfiguration")
        if payment:
            params["paymentConfiguration"] = payment
        return [
            *calls,
            Call(
                key=f"membership-{number}",
                title=f"Membership of {name} (AWS account {account})",
                service="cleanrooms",
                operation="CreateMembership",
                params=params,
                effect="create",
                account=account,
                look=Look(
                    operation="ListMemberships",
                    items="membershipSummaries",
                    where={"collaborationId": collaboration},
                    ignore={"status": ["REMOVED", "COLLABORATION_DELETED"]},
                    wrap="membership",
                ),
                undo="A partner can leave, but never join again.",
            ),
            Call(
                key=f"joined-{number}",
                title=f"Wait until AWS says that the membership of {name} is active",
                service="cleanrooms",
                operation="GetMembership",
                params={"membershipIdentifier": Ref(self.key, f"membership-{number}", "membership.id")},
                effect="wait",
                account=account,
                until=Until(path="membership.status", done=("ACTIVE",), usually="a few seconds"),
            ),
        ]

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        if call == "all-joined":
            note_collaboration(situation.instance, output.get("collaboration", {}), now)
            return
        if call.startswith("terms-"):
            return
        number = int(call.rpartition("-")[2])
        account, _ = partners(situation)[number - 1]
        note_membership(situation.instance, output.get("membership", {}), account, now)
