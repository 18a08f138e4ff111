"""Guide 4, "Manage collaboration membership": the invitation as AWS Clean Rooms shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from onboarding.guide.aws_access import portal_acts, primary_account
from onboarding.guide.differences import Sheet
from onboarding.guide.plan import Call, Look, Ref
from onboarding.guide.step import GuideStep, Situation
from onboarding.models import CollaborationMember


def payment_of(situation: Situation, account: str) -> dict[str, Any]:
    """The payment configuration that the collaboration has for a member; it has to be sent back as it is."""
    members = situation.outputs.get(ReadInvitation.key, {}).get("members", {}).get("memberSummaries", [])
    for member in members:
        if member.get("accountId") == account:
            payment = member.get("paymentConfiguration")
            return dict(payment) if payment else {}
    return {}


def terms_known(situation: Situation) -> bool:
    """Whether the portal has read the invitation itself."""
    return "members" in situation.outputs.get(ReadInvitation.key, {})


def find_collaboration(situation: Situation, account: str) -> Call:
    """Finds the collaboration among those of an AWS account; the output is `collaboration`.

    AMC may not tell the id at first: then by the exact name and that AMC made it, and only if there is exactly one.
    """
    instance = situation.instance
    creator = CollaborationMember.objects.filter(instance=instance, kind=CollaborationMember.Kind.CREATOR).first()
    where = {"id": instance.collaboration_id}
    if not instance.collaboration_id:
        where = {"name": f"AMC {instance.instance_id}"}
        where |= {"creatorAccountId": creator.account_id} if creator and creator.account_id else {}
    return Call(
        key="collaboration",
        title=f"Find the collaboration of {instance.instance_id} among those of AWS account {account}",
        service="cleanrooms",
        operation="ListCollaborations",
        account=account,
        look=Look(operation="ListCollaborations", items="collaborationList", where=where, wrap="collaboration"),
    )


def note_id(situation: Situation, output: Any) -> None:
    """Keep the id of the collaboration that was found, where AMC has not told it."""
    instance, found = situation.instance, output.get("collaboration", {})
    if not instance.collaboration_id and found.get("id"):
        instance.collaboration_id = found["id"]
        instance.collaboration_name = instance.collaboration_name or found.get("name") or ""
        instance.save(update_fields=["collaboration_id", "collaboration_name"])


def read_terms(collaboration: str | Ref, account: str, key: str, *, may_pay: bool = True) -> Call:
    """Reads what a collaboration says about one member, for whoever joins without the portal having read it.

    Unless `may_pay`, it stops when this account would pay for queries. The output is `member`.
    """
    return Call(
        key=key,
        title=f"Read what the collaboration says about AWS account {account}",
        service="cleanrooms",
        operation="ListMembers",
        params={"collaborationIdentifier": collaboration},
        account=account,
        look=Look(
            operation="ListMembers",
            params={"collaborationIdentifier": collaboration},
            items="memberSummaries",
            where={"accountId": account},
            wrap="member",
            same={} if may_pay else {"paymentConfiguration.queryCompute.isResponsible": False},
            differs=""
            if may_pay
            else "The collaboration makes this account pay for queries, and nobody accepted that.",
        ),
    )


def pays(situation: Situation, account: str) -> bool:
    """Whether this member pays for queries."""
    return bool(payment_of(situation, account).get("queryCompute", {}).get("isResponsible"))


_ABILITIES = {"CAN_QUERY": "Runs queries", "CAN_RECEIVE_RESULTS": "Receives results", "CAN_RUN_JOB": "Runs jobs"}
_PAYS = {"queryCompute": "queries", "jobCompute": "jobs", "machineLearning": "machine learning"}
_STATUS = {"INVITED": "Invited", "ACTIVE": "Active", "LEFT": "Left", "REMOVED": "Removed"}


def invitation(situation: Situation) -> Sheet | None:
    """The collaboration as AWS Clean Rooms shows it: its terms, members, their abilities and who pays; None if unread.

    The terms are those of the day on which they were read; what a member is for is on the instance's page of members.
    """
    read = situation.outputs.get(ReadInvitation.key, {})
    members = read.get("members", {}).get("memberSummaries") or []
    if not members:
        return None
    said = read.get("terms", {}).get("collaboration", {})
    mine = primary_account(situation)
    paying = [_name(one, mine) for one in members if _pays_for(one)]
    logging = "Members may keep a log" if said.get("queryLogStatus") == "ENABLED" else "No member may keep a log"
    creator = f"{said.get('creatorDisplayName') or ''} {said.get('creatorAccountId') or ''}".strip()
    facts = (
        ("Collaboration", str(said.get("name") or "")),
        ("Description", str(said.get("description") or "")),
        ("Created by", creator),
        ("Logs of queries", logging),
        ("Who pays", ", ".join(paying)),
    )
    rows = tuple(
        (
            _name(one, mine),
            str(one.get("accountId") or ""),
            ", ".join(_ABILITIES.get(able, able) for able in one.get("abilities") or []) or "Brings data",
            f"Pays for {' and '.join(_pays_for(one))}" if _pays_for(one) else "Pays nothing",
            _STATUS.get(str(one.get("status")), str(one.get("status") or "")),
        )
        for one in members
    )
    return Sheet(
        "The collaboration",
        "As AWS Clean Rooms shows it to your account.",
        tuple(fact for fact in facts if fact[1]),
        ("Member", "AWS account", "What it may do", "Payment", "Status"),
        rows,
    )


def _name(member: dict[str, Any], mine: str) -> str:
    name = str(member.get("displayName") or member.get("accountId") or "")
    return f"{name} (you)" if member.get("accountId") == mine else name


def _pays_for(member: dict[str, Any]) -> list[str]:
    """What a member pays for, in words."""
    payment = member.get("paymentConfiguration") or {}
    return [words for name, words in _PAYS.items() if _responsible(payment.get(name))]


def _responsible(part: Any) -> bool:
    # Machine learning has a payer for training and one for inference.
    return isinstance(part, dict) and (
        part.get("isResponsible") is True or any(_responsible(one) for one in part.values())
    )


class ReadInvitation(GuideStep):
    """Finds the collaboration among the invitations by its id, and reads its members, abilities and who pays."""

    key = "invitation"
    title = "Read the invitation"
    stage = "Join the collaboration"
    section = "Guide 4: Manage collaboration membership"
    summary = "The portal finds the collaboration in AWS Clean Rooms and reads its terms."
    needs = ("collaboration", "aws-access")
    automatic = True
    usually = "a few seconds"

    def sheet(self, situation: Situation) -> Sheet | None:
        return invitation(situation)

    def plan(self, situation: Situation) -> list[Call]:
        return self.full_plan(situation) if portal_acts(situation) else []

    def full_plan(self, situation: Situation) -> list[Call]:
        account = primary_account(situation)
        found = Ref(self.key, "collaboration", "collaboration.id")
        return [
            find_collaboration(situation, account),
            Call(
                key="terms",
                title="Read the collaboration",
                service="cleanrooms",
                operation="GetCollaboration",
                params={"collaborationIdentifier": found},
                account=account,
            ),
            Call(
                key="members",
                title="Read its members, what each may do and who pays",
                service="cleanrooms",
                operation="ListMembers",
                params={"collaborationIdentifier": found, "maxResults": 100},
                account=account,
            ),
        ]

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        if call == "collaboration":
            note_id(situation, output)
