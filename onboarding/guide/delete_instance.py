"""Deleting an AMC instance: `DELETE /amc/instances/{id}`, and waiting until it is gone.

AMC deletes an instance only once it was created; that is COMPLETED, or SUCCEEDED by its old name.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from onboarding.guide.irreversible import TypeTheName
from onboarding.guide.plan import Call, Look, Until
from onboarding.guide.step import GuideStep, Situation
from onboarding.models import Instance, MappingTable, Membership

DELETABLE = ("COMPLETED", "SUCCEEDED")
_GONE = ("404",)


class ReadInstance(GuideStep):
    """Reads how the instance stands in AMC, and what is in it."""

    key = "delete-look"
    title = "See what would be lost"
    reads_only = True
    stage = "Delete the instance"
    section = "AMC administration: Delete an instance"
    summary = "The portal reads what is in the instance. Nothing is deleted yet."
    automatic = True
    usually = "a few seconds"

    def plan(self, situation: Situation) -> list[Call]:
        where = {"instanceId": situation.instance.instance_id}
        calls = [
            Call(
                key="instance",
                title="Wait until AMC says that the instance is completed",
                service="amc",
                operation="getInstance",
                params=where,
                effect="wait",
                until=Until(
                    path="instance.creationStatus",
                    done=DELETABLE,
                    failed={"FAILED": "AMC could not create this instance, and deletes only completed ones."},
                    gone=_GONE,
                    give_up=86_400,
                    todo="Ask your Amazon contact to remove it.",
                ),
            )
        ]
        if situation.instance.kind == Instance.Kind.COLLABORATION:
            look = Look(
                operation="listCollaborationIdMappingTables",
                params=where,
                items="idMappingTables",
                missing=_GONE,
                several=True,
            )
            calls.append(
                Call(
                    key="mapping-tables",
                    title="Read the ID mapping tables",
                    service="amc",
                    operation=look.operation,
                    params=where,
                    look=look,
                )
            )
        return calls

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        if call == "instance" and output.get("instance"):
            situation.instance.creation_status = output["instance"].get("creationStatus") or ""
            situation.instance.seen_at = now
            situation.instance.save(update_fields=["creation_status", "seen_at"])


class ConfirmDeletion(TypeTheName):
    """What is lost, and the name."""

    heading = "Do you want to delete the instance?"

    @classmethod
    def losses(cls, situation: Situation) -> list[str]:
        instance = situation.instance
        found = [
            f"The instance {instance.instance_id}, with every query, schedule and audience rule in it, is deleted."
        ]
        tables = situation.outputs.get(ReadInstance.key, {}).get("mapping-tables", {}).get("idMappingTables") or []
        if tables:
            names = ", ".join(f"“{table.get('name')}”" for table in tables)
            found.append(f"Its ID mapping table{'s' if len(tables) > 1 else ''} {names} go with it.")
        if instance.kind == Instance.Kind.COLLABORATION:
            found.append("The collaboration ends for everybody in it, partners included, and can't be joined again.")
        found.append("What stays: results in your bucket, and everything else in your AWS account.")
        return found


class DeleteInstance(GuideStep):
    """Deletes the instance, unless it is gone already."""

    key = "delete-instance"
    title = "Delete the instance"
    stage = "Delete the instance"
    section = "AMC administration: Delete an instance"
    summary = "AMC deletes the instance with all that is in it."
    needs = ("delete-look",)
    usually = "a few minutes"
    undo = "No. A new instance starts empty."
    irreversible = True
    questions = (ConfirmDeletion,)

    def act(self, situation: Situation) -> str:
        return f"Delete instance “{situation.instance.name}”"

    def plan(self, situation: Situation) -> list[Call]:
        where = {"instanceId": situation.instance.instance_id}
        return [
            Call(
                key="instance",
                title=f"AMC instance “{situation.instance.name}”",
                service="amc",
                operation="deleteInstance",
                params=where,
                effect="delete",
                look=Look(operation="getInstance", params=where, missing=_GONE),
                undo="No. A new instance starts empty.",
            ),
            Call(
                key="gone",
                title="Wait until AMC no longer knows the instance",
                service="amc",
                operation="getInstance",
                params=where,
                effect="wait",
                until=Until(
                    path="instance.creationStatus", done=(), gone=_GONE, give_up=86_400, usually="a few minutes"
                ),
            ),
        ]

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        if call == "gone" and not output.get("instance"):
            instance = situation.instance
            instance.gone_at = now
            instance.save(update_fields=["gone_at"])
            MappingTable.objects.filter(instance=instance, deleted_at=None).update(
                deleted_at=now, queryable=False, next_look_at=None
            )
            Membership.objects.filter(instance=instance, left_at=None).update(
                status="COLLABORATION_DELETED", left_at=now, seen_at=now
            )
