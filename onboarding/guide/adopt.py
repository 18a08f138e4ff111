"""Taking over what was made elsewhere: an instance whose collaboration is joined already. Nothing is changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from onboarding.guide.advertisers import note_advertisers
from onboarding.guide.collaboration import note_collaboration
from onboarding.guide.join import note_membership
from onboarding.guide.plan import Call, Look, Ref
from onboarding.guide.step import GuideStep, Situation
from onboarding.models import AwsConnection, CollaborationMember, Comparison, Instance, Membership

_OURS = (CollaborationMember.Kind.CUSTOMER, CollaborationMember.Kind.PARTNER)


def joined(instance: Instance) -> list[CollaborationMember]:
    """The customer's accounts that are in the collaboration, as AMC last said."""
    return list(CollaborationMember.objects.filter(instance=instance, kind__in=_OURS, status="ACTIVE"))


class AdoptCollaboration(GuideStep):
    """Reads what AMC knows: the collaboration has to be joined; its members and the advertisers."""

    key = "adopt"
    title = "Read what AMC knows"
    stage = "Take over"
    section = "Guide 4: Manage collaboration membership"
    summary = "The collaboration, its members and the advertisers. Nothing is changed."
    automatic = True
    usually = "a few seconds"

    def plan(self, situation: Situation) -> list[Call]:
        where = {"instanceId": situation.instance.instance_id}
        return [
            Call(
                key="collaboration",
                title="Read the collaboration: it is joined",
                service="amc",
                operation="getInstanceCollaboration",
                params=where,
                look=Look(
                    operation="getInstanceCollaboration",
                    params=where,
                    same={"collaboration.status": "ACTIVE"},
                    differs="The collaboration is {found}: nobody has joined it yet. Onboard the instance instead.",
                ),
            ),
            Call(
                key="advertisers",
                title="Read the advertisers",
                service="amc",
                operation="getInstanceAdvertisers",
                params=where,
                look=Look(operation="getInstanceAdvertisers", params=where, items="advertisers", several=True),
            ),
        ]

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        instance = situation.instance
        if call == "advertisers":
            note_advertisers(instance, output.get("advertisers") or [], now)
            return
        note_collaboration(instance, output.get("collaboration", {}), now)
        for member in joined(instance):
            if member.membership_id:
                Membership.objects.update_or_create(
                    membership_id=member.membership_id,
                    defaults={
                        "instance": instance,
                        "aws_account_id": member.account_id,
                        "arn": f"arn:aws:cleanrooms:us-east-1:{member.account_id}:membership/{member.membership_id}",
                        "status": "ACTIVE",
                        "seen_at": now,
                    },
                )


class AdoptMemberships(GuideStep):
    """Reads the memberships of the accounts that are connected; role and bucket follow from the first comparison."""

    key = "adopt-memberships"
    title = "Read the memberships"
    stage = "Take over"
    section = "Guide 4: Manage collaboration membership"
    summary = "Where results go, in which format and by which role. Nothing is changed."
    needs = ("adopt",)
    automatic = True
    usually = "a few seconds"

    def plan(self, situation: Situation) -> list[Call]:
        instance = situation.instance
        connected = set(AwsConnection.objects.working(situation.account).values_list("aws_account_id", flat=True))
        accounts = [member.account_id for member in joined(instance) if member.account_id in connected]
        if instance.pk == 0:
            accounts = [instance.aws_account_id]
        calls = []
        for account in accounts:
            calls += [
                Call(
                    key=f"find-{account}",
                    title=f"Find the membership of AWS account {account}",
                    service="cleanrooms",
                    operation="ListMemberships",
                    account=account,
                    look=Look(
                        operation="ListMemberships",
                        items="membershipSummaries",
                        where={"collaborationId": instance.collaboration_id},
                        ignore={"status": ["REMOVED", "COLLABORATION_DELETED"]},
                        wrap="membership",
                    ),
                ),
                Call(
                    key=f"membership-{account}",
                    title=f"Read the membership of AWS account {account}",
                    service="cleanrooms",
                    operation="GetMembership",
                    params={"membershipIdentifier": Ref(self.key, f"find-{account}", "membership.id")},
                    account=account,
                ),
            ]
        return calls

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        what, _, account = call.partition("-")
        if what == "membership":
            note_membership(situation.instance, output.get("membership", {}), account, now)
            # The clock has the role and the bucket read at once: what they are is believed from then on.
            Comparison.objects.update_or_create(instance=situation.instance, defaults={"next_at": now})
