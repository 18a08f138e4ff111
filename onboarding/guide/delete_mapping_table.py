"""Guide 7, "Manage ID mapping tables": deleting one, alone or after its data was replaced."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from onboarding.guide.irreversible import TypeTheName
from onboarding.guide.mapping_table import TABLES, CreateMappingTable
from onboarding.guide.plan import Call, Look, Ref
from onboarding.guide.refresh import SECTION, STAGE, subject_table
from onboarding.guide.step import GuideStep, Situation
from onboarding.models import MappingJob, MappingTable
from onboarding.models.mapping import match_rate


class ConfirmTable(TypeTheName):
    """What is lost with a mapping table, and its name typed."""

    heading = "Do you want to delete the mapping table?"
    why = "A mapping table can be made anew from the same ID namespace; until its job has ended no query can join."

    @classmethod
    def name_of(cls, situation: Situation) -> str:
        return str(subject_table(situation) or "")

    @classmethod
    def losses(cls, situation: Situation) -> list[str]:
        table = subject_table(situation)
        return [
            f"Queries that use mapping table “{table}” no longer run.",
            "The history of its jobs in AMC is gone. The portal keeps what it saw.",
            "What stays: your files, the Glue tables, the schema mapping and the ID namespace with its association.",
        ]


class DeleteMappingTable(GuideStep):
    """Deletes the mapping table, unless it is gone already."""

    key = "delete-mapping-table"
    title = "Delete the mapping table"
    stage = STAGE
    section = SECTION
    summary = "AMC deletes the mapping table and what is in it."
    usually = "a few seconds"
    undo = "No. A new table can be made from the same ID namespace."
    irreversible = True
    questions = (ConfirmTable,)

    def act(self, situation: Situation) -> str:
        return f"Delete mapping table “{subject_table(situation) or '…'}”"

    def plan(self, situation: Situation) -> list[Call]:
        table = subject_table(situation)
        where = {"instanceId": situation.instance.instance_id}
        name = table.table_id if table else "sample"
        return [
            Call(
                key="table",
                title=f"ID mapping table “{table or '…'}”",
                service="amc",
                operation="deleteCollaborationIdMappingTable",
                params={**where, "idMappingTableId": name},
                effect="delete",
                look=Look(operation="listCollaborationIdMappingTables", params=where, items=TABLES, where={"id": name}),
                undo="No.",
            )
        ]

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        table = subject_table(situation)
        if call == "table" and table is not None:
            MappingTable.objects.filter(pk=table.pk).update(deleted_at=now, queryable=False, next_look_at=None)


class CheckReplacement(GuideStep):
    """Checks that the new table can be queried, before the old one may be deleted."""

    key = "replace-check"
    title = "Check the new mapping table"
    stage = STAGE
    section = SECTION
    summary = "The new table has to be filled and queryable before the old one goes."
    needs = (CreateMappingTable.key,)
    automatic = True
    usually = "a few seconds"

    def plan(self, situation: Situation) -> list[Call]:
        where = {"instanceId": situation.instance.instance_id}
        return [
            Call(
                key="queryable",
                title="The new mapping table can be queried",
                service="amc",
                operation="listCollaborationIdMappingTables",
                params=where,
                look=Look(
                    operation="listCollaborationIdMappingTables",
                    params=where,
                    items=TABLES,
                    where={"id": Ref(CreateMappingTable.key, "table", "idMappingTable.id")},
                    same={"queryable": True},
                    differs="AMC says that the new mapping table can't be queried yet.",
                ),
            )
        ]


class ConfirmReplacement(ConfirmTable):
    """The same, with old and new side by side."""

    heading = "Do you want to delete the old mapping table?"
    hint = "Compare first: the new table has been filled. Somebody else has to approve it as well."

    @classmethod
    def becomes(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
        old = subject_table(situation)
        new = MappingTable.objects.filter(run=situation.run).first()
        return [(f"{word} “{table}”", _matched(table)) for word, table in (("Old", old), ("New", new)) if table]


def _matched(table: MappingTable) -> str:
    job = table.jobs.filter(status=MappingJob.Status.SUCCEEDED).first()
    rate = match_rate(job.metrics, (job.forecast or {}).get("customers")) if job else None
    return "No match rate known" if rate is None else f"{rate:.1%} of the customers matched"


class DeleteReplacedTable(DeleteMappingTable):
    """The last step of a replacement."""

    key = "delete-replaced"
    title = "Delete the old mapping table"
    needs = (CheckReplacement.key,)
    summary = "Identity joins work again as soon as there is only one mapping table."
    questions = (ConfirmReplacement,)
