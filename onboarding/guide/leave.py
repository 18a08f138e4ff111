"""Guide 4, "Leave a collaboration": what hangs on a membership, taken away in the order that AWS wants, and its end.

ID mapping tables first (AMC), then ID namespace associations, analysis rules of table associations, the associations
themselves, and the membership last. AWS refuses it while anything is left, and nobody can ever join again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from django import forms

from onboarding.guide.aws_access import PORTAL, WhoActs, primary_account
from onboarding.guide.collaboration import note_collaboration
from onboarding.guide.irreversible import TypeTheName
from onboarding.guide.plan import Call, Look, Ref, Until, item
from onboarding.guide.step import GuideStep, Question, Situation
from onboarding.models import Instance, MappingTable, Membership

LEFT = ("LEFT", "REMOVED")
_ENDED = ("ConflictException", "ResourceNotFoundException")


def memberships(instance: Instance) -> list[Membership]:
    """The memberships that the portal knows and that haven't ended; the primary account's first."""
    rows = Membership.objects.filter(instance=instance, left_at=None).exclude(
        status__in=["REMOVED", "COLLABORATION_DELETED"]
    )
    return sorted(rows, key=lambda row: (row.aws_account_id != instance.aws_account_id, row.aws_account_id))


class WhichMembership(Question):
    """Which account leaves, when there is more than one."""

    slug = "which"
    heading = "Which AWS account leaves?"
    hint = "A partner can leave alone. Once the account that receives the results has left, AMC can't be queried."
    which = forms.ChoiceField(label="Which AWS account leaves", widget=forms.RadioSelect)

    def __init__(self, *args: Any, situation: Situation, **kwargs: Any) -> None:
        super().__init__(*args, situation=situation, **kwargs)
        main = situation.instance.aws_account_id
        self.fields["which"].choices = [  # type: ignore[attr-defined]
            (
                row.membership_id,
                f"AWS account {row.aws_account_id} ({'the advertiser' if row.aws_account_id == main else 'a partner'})",
            )
            for row in memberships(situation.instance)
        ]

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return bool(answers.get(cls.slug)) or len(memberships(situation.instance)) > 1


class WhoLeaves(WhoActs):
    """The portal deletes what hangs on the membership, or the customer's own administrator does."""

    heading = "Who acts in your AWS account?"
    hint = "Either way the portal first reads what is still there, and in the end checks that the account has left."
    why = "The portal's role needs the permission to delete, which its template offers apart."


def leaving(situation: Situation) -> tuple[str, Any]:
    """The AWS account that leaves and its membership's id."""
    chosen = situation.answer(ReadMembership.key, WhichMembership.slug, "which")
    rows = memberships(situation.instance) if not chosen else []
    found = Membership.objects.filter(membership_id=chosen).first() if chosen else next(iter(rows), None)
    if found is None:
        # It has left already, or is not known: then by what the run read itself.
        found = (
            Membership.objects.filter(instance=situation.instance).exclude(left_at=None).order_by("-left_at").first()
        )
    if found is None:
        return primary_account(situation), chosen or ""
    return found.aws_account_id, found.membership_id


def portal_leaves(situation: Situation) -> bool:
    """Whether the portal acts in the AWS account."""
    return bool(situation.answer(ReadMembership.key, WhoLeaves.slug, "who") == PORTAL)


_LISTS = {
    "namespaces": ("ListIdNamespaceAssociations", "idNamespaceAssociationSummaries", "ID namespaces"),
    "tables": ("ListConfiguredTableAssociations", "configuredTableAssociationSummaries", "associated tables"),
}


class ReadMembership(GuideStep):
    """Reads what hangs on the membership: it has to go first."""

    key = "leave-look"
    title = "See what would be lost"
    reads_only = True
    stage = "Leave the collaboration"
    section = "Guide 4: Leave a collaboration"
    summary = "The portal reads what is still there. Nothing is deleted yet."
    usually = "a few seconds"
    button = "Read what is still there"
    questions = (WhichMembership, WhoLeaves)

    def plan(self, situation: Situation) -> list[Call]:
        instance = situation.instance.instance_id
        account, membership = leaving(situation)
        calls = [
            Call(
                key="mapping-tables",
                title="Read the ID mapping tables",
                service="amc",
                operation="listCollaborationIdMappingTables",
                params={"instanceId": instance},
                look=Look(
                    operation="listCollaborationIdMappingTables",
                    params={"instanceId": instance},
                    items="idMappingTables",
                    several=True,
                ),
            ),
            Call(
                key="collaboration",
                title="Read the collaboration's members",
                service="amc",
                operation="getInstanceCollaboration",
                params={"instanceId": instance},
            ),
        ]
        if not portal_leaves(situation):
            return calls
        return calls + [_listed(key, membership, account) for key in _LISTS]

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        if call == "collaboration":
            note_collaboration(situation.instance, output.get("collaboration", {}), now)


class ConfirmLeaving(TypeTheName):
    """What leaving costs, and the name."""

    heading = "Do you want to leave the collaboration?"

    @classmethod
    def losses(cls, situation: Situation) -> list[str]:
        account, _ = leaving(situation)
        whole = account == situation.instance.aws_account_id
        found = [
            f"AWS account {account} can never join this collaboration again. A new instance starts empty.",
            "Queries of this instance can't be run in AMC any more."
            if whole
            else "Queries can't use the data of this account any more.",
        ]
        for names, words in (
            (_names(mapping_tables(situation)), "ID mapping table"),
            (_names(listed(situation, "namespaces")), "ID namespace association"),
            (_names(listed(situation, "tables")), "associated table"),
        ):
            if names:
                found.append(f"Deleted first: {words}{'s' if len(names) > 1 else ''} {', '.join(names)}.")
        found.append(
            "What stays: results in your bucket, your data, the IAM roles and the Glue tables in your AWS account. "
            "You can delete them there yourselves."
        )
        return found


def listed(situation: Situation, key: str) -> list[dict[str, Any]]:
    """What the reading step found under `key` of the membership."""
    output = situation.outputs.get(ReadMembership.key, {}).get(key, {})
    return list(output.get(_LISTS[key][1]) or [])


def mapping_tables(situation: Situation) -> list[dict[str, Any]]:
    """The ID mapping tables that stand on the membership that leaves; all of them for the primary account."""
    account, _ = leaving(situation)
    output = situation.outputs.get(ReadMembership.key, {}).get("mapping-tables", {})
    found = list(output.get("idMappingTables") or [])
    if account == situation.instance.aws_account_id:
        return found
    return [one for one in found if one.get("sourceAwsAccount") == account]


def _deleted(situation: Situation, call: str) -> str:
    """The id of the mapping table that a call deleted."""
    number, tables = call.removeprefix("mapping-table-"), mapping_tables(situation)
    return str(tables[int(number) - 1]["id"]) if number.isdigit() and int(number) <= len(tables) else ""


def _names(found: list[dict[str, Any]]) -> list[str]:
    return [f"“{one.get('name') or one.get('id')}”" for one in found]


class LeaveCollaboration(GuideStep):
    """Deletes what hangs on the membership, then the membership; each is looked for before."""

    key = "leave"
    title = "Leave the collaboration"
    stage = "Leave the collaboration"
    section = "Guide 4: Leave a collaboration"
    summary = "What hangs on the membership is deleted, then the membership itself. Nobody can join again."
    needs = ("leave-look",)
    usually = "a few minutes"
    undo = "No. The collaboration can never be joined again."
    irreversible = True
    questions = (ConfirmLeaving,)

    def act(self, situation: Situation) -> str:
        account, _ = leaving(situation)
        return f"Leave collaboration “{situation.instance.collaboration_name}” with AWS account {account}"

    def plan(self, situation: Situation) -> list[Call]:
        if portal_leaves(situation):
            return self.full_plan(situation)
        return [*self._mapping_tables(situation), self._left(situation, leaving(situation)[0])]

    def full_plan(self, situation: Situation) -> list[Call]:
        account, membership = leaving(situation)
        calls = [*self._mapping_tables(situation), *self._in_aws(situation, account, membership)]
        return [*calls, self._left(situation, account)]

    def _mapping_tables(self, situation: Situation) -> list[Call]:
        instance = situation.instance.instance_id
        return [
            Call(
                key=f"mapping-table-{number}",
                title=f"ID mapping table “{table.get('name')}”",
                service="amc",
                operation="deleteCollaborationIdMappingTable",
                params={"instanceId": instance, "idMappingTableId": table["id"]},
                effect="delete",
                look=Look(
                    operation="listCollaborationIdMappingTables",
                    params={"instanceId": instance},
                    items="idMappingTables",
                    where={"id": table["id"]},
                ),
                undo="No. It can be made anew while the account is in the collaboration.",
            )
            for number, table in enumerate(mapping_tables(situation), 1)
        ]

    def _in_aws(self, situation: Situation, account: str, membership: Any) -> list[Call]:
        if not portal_leaves(situation):
            return [*self._alone(account, membership), _end(account, membership)]
        calls: list[Call] = []
        for number, found in enumerate(self._found(situation, "namespaces"), 1):
            where = {"membershipIdentifier": membership, "idNamespaceAssociationIdentifier": found["id"]}
            title = f"ID namespace association “{found['name']}”"
            calls.append(_gone(f"namespace-{number}", title, "IdNamespaceAssociation", where, account))
        for number, found in enumerate(self._found(situation, "tables"), 1):
            where = {"membershipIdentifier": membership, "configuredTableAssociationIdentifier": found["id"]}
            for kind in found.get("analysisRuleTypes") or []:
                calls.append(
                    _gone(
                        f"rule-{number}-{kind.lower()}",
                        f"Analysis rule {kind} of the associated table “{found['name']}”",
                        "ConfiguredTableAssociationAnalysisRule",
                        {**where, "analysisRuleType": kind},
                        account,
                    )
                )
            title = f"Associated table “{found['name']}”"
            calls.append(_gone(f"table-{number}", title, "ConfiguredTableAssociation", where, account))
        return [*calls, _end(account, membership)]

    def _alone(self, account: str, membership: Any) -> list[Call]:
        """The same for whoever leaves alone: the portal has not read what is there, so the script does."""
        # Nothing hangs on a membership that has ended: a script that is run again finds it so.
        calls = [_listed(key, membership, account, missing=_ENDED) for key in _LISTS]

        def each(key: str, listed: str, title: str, noun: str, params: Mapping[str, Any]) -> None:
            call = _gone(key, title, noun, {"membershipIdentifier": membership, **params}, account)
            calls.append(replace(call, each=Ref(self.key, listed, _LISTS[listed][1])))

        def one(key: str) -> Ref:
            return item(self.key, key, "id")

        each(
            "namespace",
            "namespaces",
            "Every ID namespace association",
            "IdNamespaceAssociation",
            {"idNamespaceAssociationIdentifier": one("namespace")},
        )
        for kind in ("CUSTOM", "LIST", "AGGREGATION"):
            key = f"rule-{kind.lower()}"
            each(
                key,
                "tables",
                f"Analysis rule {kind} of every associated table",
                "ConfiguredTableAssociationAnalysisRule",
                {"configuredTableAssociationIdentifier": one(key), "analysisRuleType": kind},
            )
        each(
            "table",
            "tables",
            "Every associated table",
            "ConfiguredTableAssociation",
            {"configuredTableAssociationIdentifier": one("table")},
        )
        return calls

    def _found(self, situation: Situation, key: str) -> list[dict[str, Any]]:
        """What was read; before that one of each, so that the plan can be shown and its permissions be known."""
        if key in situation.outputs.get(ReadMembership.key, {}):
            return listed(situation, key)
        path = f"{_LISTS[key][1]}.0"
        one = {"id": Ref(ReadMembership.key, key, f"{path}.id"), "name": "…"}
        return [{**one, "analysisRuleTypes": ["CUSTOM"]} if key == "tables" else one]

    def _left(self, situation: Situation, account: str) -> Call:
        collaboration = situation.outputs.get(ReadMembership.key, {}).get("collaboration", {}).get("collaboration", {})
        partners = [one.get("accountId") for one in collaboration.get("customerPartners") or []]
        path = f"customerPartners.{partners.index(account)}" if account in partners else "customer"
        return Call(
            key="left",
            title=f"Wait until AMC says that AWS account {account} has left",
            service="amc",
            operation="getInstanceCollaboration",
            params={"instanceId": situation.instance.instance_id},
            effect="wait",
            until=Until(
                path=f"collaboration.{path}.status",
                done=LEFT,
                gone=("404",),
                every=(5, 15, 60, 300),
                give_up=14 * 86_400,
                usually="a few minutes",
            ),
        )

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        if call == "left" and output.get("collaboration"):
            note_collaboration(situation.instance, output["collaboration"], now)
        if call.startswith("mapping-table-") and (table := _deleted(situation, call)):
            MappingTable.objects.filter(instance=situation.instance, table_id=table, deleted_at=None).update(
                deleted_at=now, queryable=False, next_look_at=None
            )
        ended = (output.get("collaboration") or {}) if call == "left" else None
        account, membership = leaving(situation)
        if call == "membership" or (ended is not None and self._has_left(ended, account)):
            Membership.objects.filter(membership_id=membership, left_at=None).update(
                status="REMOVED", left_at=now, seen_at=now
            )

    @staticmethod
    def _has_left(collaboration: Mapping[str, Any], account: str) -> bool:
        if not collaboration:
            return True  # AMC knows of no collaboration any more
        members = [collaboration.get("customer") or {}, *(collaboration.get("customerPartners") or [])]
        return any(one.get("accountId") == account and one.get("status") in LEFT for one in members)


def _end(account: str, membership: Any) -> Call:
    """The end of the membership, unless it has ended."""
    return Call(
        key="membership",
        title=f"Membership of AWS account {account}",
        service="cleanrooms",
        operation="DeleteMembership",
        params={"membershipIdentifier": membership},
        effect="delete",
        account=account,
        look=Look(
            operation="ListMemberships",
            items="membershipSummaries",
            where={"id": membership},
            ignore={"status": ["REMOVED", "COLLABORATION_DELETED"]},
        ),
        undo="No. The collaboration can never be joined again.",
    )


def _listed(key: str, membership: Any, account: str, missing: tuple[str, ...] = ()) -> Call:
    """Reads what of one kind hangs on the membership."""
    operation, items, words = _LISTS[key]
    params = {"membershipIdentifier": membership}
    return Call(
        key=key,
        title=f"Read the membership's {words}",
        service="cleanrooms",
        operation=operation,
        params=params,
        account=account,
        look=Look(operation=operation, params=params, items=items, missing=missing, several=True),
    )


def _gone(key: str, title: str, noun: str, params: Mapping[str, Any], account: str) -> Call:
    """The deletion of one thing in Clean Rooms, unless it is gone already."""
    return Call(
        key=key,
        title=title,
        service="cleanrooms",
        operation=f"Delete{noun}",
        params=params,
        effect="delete",
        account=account,
        look=Look(operation=f"Get{noun}", params=params, missing=("ResourceNotFoundException",)),
        undo="No.",
    )
