"""Guide 4 and guide 7 step 2: following the collaboration that AMC sets up in AWS Clean Rooms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from onboarding.clients.failures import Fix
from onboarding.guide.create_instance import GONE, CreateInstance, in_words, partners_wanted
from onboarding.guide.plan import Call, Until
from onboarding.guide.step import GuideStep, Situation
from onboarding.models import CollaborationMember, Instance

_Kind = CollaborationMember.Kind
READABLE = ("PENDING_ACCEPTANCE", "ACTIVE")
"""The states in which AMC's side of a collaboration is complete."""
# Where the collaboration answer keeps which kind of member; the first place that names an account wins.
_SINGLE = (("customer", _Kind.CUSTOMER), ("creator", _Kind.CREATOR), ("querySubmitter", _Kind.QUERY_SUBMITTER))
_MANY = (
    ("customerPartners", _Kind.PARTNER),
    ("amcDataProviders", _Kind.DATA_PROVIDER),
    ("resultsReceivers", _Kind.RESULTS_RECEIVER),
)


def _members(collaboration: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, kind in _SINGLE:
        if collaboration.get(name):
            yield kind, collaboration[name]
    for name, kind in _MANY:
        for member in collaboration.get(name) or []:
            yield kind, member


def note_collaboration(instance: Instance, collaboration: dict[str, Any], now: datetime) -> None:
    """Write what `GET …/collaboration` answered into the instance and its members."""
    instance.collaboration_id = collaboration.get("id") or instance.collaboration_id
    instance.collaboration_name = collaboration.get("name") or instance.collaboration_name
    instance.collaboration_status = collaboration.get("status") or ""
    instance.acceptance_link = collaboration.get("customerAcceptanceLink") or ""
    instance.seen_at = now
    instance.save(
        update_fields=["collaboration_id", "collaboration_name", "collaboration_status", "acceptance_link", "seen_at"]
    )
    rows: dict[tuple[str, str], CollaborationMember] = {}
    for position, (kind, member) in enumerate(_members(collaboration)):
        account = member.get("accountId") or ""
        rows.setdefault(
            (kind, account),
            CollaborationMember(
                instance=instance,
                kind=kind,
                account_id=account,
                display_name=member.get("displayName") or "",
                membership_id=member.get("membershipId") or "",
                status=member.get("status") or "",
                position=position,
                seen_at=now,
            ),
        )
    CollaborationMember.objects.bulk_create(
        rows.values(),
        update_conflicts=True,
        unique_fields=["instance", "kind", "account_id"],
        update_fields=["display_name", "membership_id", "status", "position", "seen_at"],
    )
    CollaborationMember.objects.filter(instance=instance).exclude(seen_at=now).delete()


def _check_members(situation: Situation, collaboration: Mapping[str, Any]) -> None:
    """Raise Fix if the collaboration is not the one that was approved: an instance that is found may have another."""
    approved = CreateInstance().payload(situation)
    customer = (collaboration.get("customer") or {}).get("accountId")
    listed = collaboration.get("customerPartners") or []
    partners = sorted(str(one.get("accountId")) for one in listed if one.get("status") not in GONE)
    compared = [
        ("AWS account", str(customer or approved["awsAccountId"]), str(approved["awsAccountId"])),
        ("Partners", in_words(partners), in_words(partners_wanted(approved))),
    ]
    different = [(label, is_, wanted) for label, is_, wanted in compared if is_ != wanted]
    if different:
        raise Fix(
            "The collaboration has other members than were approved.",
            why="; ".join(f"{label}: {is_}, approved: {wanted}" for label, is_, wanted in different),
            who="Analyst",
            todo="Members can't be changed. Cancel this onboarding. Then onboard the instance again from its own page, "
            "with the members that it has; or start an onboarding of another instance.",
            code="Different",
            details={"differences": [{"path": label, "is": is_, "wanted": wanted} for label, is_, wanted in different]},
        )


class FollowCollaboration(GuideStep):
    """Waits until AMC's side of the collaboration is there and the invitation can be accepted."""

    key = "collaboration"
    title = "Wait for the collaboration"
    stage = "Create the instance"
    section = "Guide 4: Manage collaboration membership"
    summary = "AMC sets up the collaboration in AWS Clean Rooms and invites your account."
    needs = ("create-instance",)
    automatic = True
    usually = "a few minutes"

    def plan(self, situation: Situation) -> list[Call]:
        return [
            Call(
                key="collaboration",
                title="Wait for the invitation to the collaboration",
                service="amc",
                operation="getInstanceCollaboration",
                params={"instanceId": situation.output("create-instance", "instance", "instance.instanceId")},
                effect="wait",
                until=Until(
                    path="collaboration.status",
                    done=READABLE,
                    failed={
                        "REJECTED": "The collaboration was rejected in AWS.",
                        "DELETED": "The collaboration was deleted in AWS.",
                    },
                    give_up=2 * 86_400,
                    usually="a few minutes",
                ),
            )
        ]

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        collaboration = output.get("collaboration", {})
        if collaboration.get("status") in READABLE:
            _check_members(situation, collaboration)
        note_collaboration(situation.instance, collaboration, now)
