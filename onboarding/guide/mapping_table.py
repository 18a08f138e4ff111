"""Guide 7, "Create an ID mapping table": which ID namespace, under which name, and the job that fills the table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import forms

from onboarding.guide.data_bucket import brings_data
from onboarding.guide.mapping_inputs import digest_of, read_inputs
from onboarding.guide.mapping_job import (
    claim_refresh,
    ended,
    jobs_of,
    likely_cause,
    note_job,
    note_started,
    note_tracked,
    started,
    tracked,
    when,
)
from onboarding.guide.plan import Call, Look, Ref, Until, first_of
from onboarding.guide.step import GuideStep, Question, Situation
from onboarding.models import DatasetVersion, IdNamespace, Instance, MappingJob, MappingTable
from onboarding.models.mapping import MOST_TABLES

STAGE = "Match"
SECTION = "Guide 7: Create an ID mapping table for identity data"
NAMESPACES = "collaborationIdNamespaceAssociations"
TABLES = "idMappingTables"
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_ ]{0,126}[A-Za-z0-9_])?")


def instance_of(situation: Situation) -> Any:
    """The instance's id, or a reference to it while AMC has not given one."""
    return situation.instance.instance_id or situation.output("create-instance", "instance", "instance.instanceId")


def wanted(situation: Situation) -> bool:
    """Whether there is anything to map: in an onboarding, only where identity data are brought."""
    return situation.run.procedure != "onboard" or brings_data(situation)


def free_namespaces(situation: Situation) -> list[dict[str, Any]]:
    """The SOURCE associations that no mapping table uses, as AMC listed them."""
    listed = situation.outputs.get(ReadNamespaces.key, {}).get("namespaces", {}).get(NAMESPACES) or []
    return [one for one in listed if one.get("idNamespaceType", "SOURCE") == "SOURCE" and one.get("idNamespaceArn")]


def tables_there(situation: Situation) -> list[dict[str, Any]]:
    """The mapping tables that the instance had when AMC was last asked."""
    return list(situation.outputs.get(ReadNamespaces.key, {}).get("tables", {}).get(TABLES) or [])


def own_namespace(situation: Situation) -> str:
    """The ARN of the ID namespace that this very run made, or an empty text."""
    rows = IdNamespace.objects.filter(run=situation.run, gone_at=None).order_by("-made_at")
    return rows.values_list("arn", flat=True).first() or ""


def short(arn: str) -> str:
    """What people know of an ARN: the name at its end."""
    return arn.rpartition("/")[2]


def chosen_namespace(situation: Situation) -> str:
    """The ARN of the ID namespace to map: answered, made by this run, or the only one that is free; else empty."""
    answered = situation.answer(CreateMappingTable.key, WhichNamespace.slug, "arn")
    if answered:
        return str(answered)
    mine, free = own_namespace(situation), [one["idNamespaceArn"] for one in free_namespaces(situation)]
    if mine:
        return mine
    return free[0] if len(free) == 1 else ""


class WhichNamespace(Question):
    """`sourceIdNamespaceArn`, where it is not known already."""

    slug = "namespace"
    heading = "Which ID namespace should be mapped?"
    hint = "Only those that no mapping table uses yet."
    why = "An ID namespace is one of your data sets, as Entity Resolution knows it. Each can have one mapping table."
    arn = forms.ChoiceField(label="ID namespace", widget=forms.RadioSelect)

    def __init__(self, *args: Any, situation: Situation, **kwargs: Any) -> None:
        super().__init__(*args, situation=situation, **kwargs)
        free = {one["idNamespaceArn"]: one for one in free_namespaces(situation)}
        kept = situation.answer(CreateMappingTable.key, self.slug, "arn")
        choices = [
            (arn, f"{short(arn)} (AWS account {one.get('creatorAccountId') or arn.split(':')[4]})")
            for arn, one in free.items()
        ]
        if kept and kept not in free:
            choices.append((kept, short(kept)))
        self.fields["arn"].choices = choices  # type: ignore[attr-defined]
        if not choices:
            self.fields["arn"].error_messages["required"] = (
                "AMC lists no ID namespace that is free. Associate one with the collaboration first; AMC may take "
                "minutes to list it. Then start this anew."
            )

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        # Before AMC was asked nobody can choose.
        known = "namespaces" in situation.outputs.get(ReadNamespaces.key, {})
        return bool(answers.get(cls.slug)) or (known and not chosen_namespace(situation))

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [("ID namespace", short(str(answer.get("arn") or "")))]


def proposed_name(situation: Situation) -> str:
    """A name for the table after the data set, that no table of the instance has."""
    prepared = situation.outputs.get("identity-files", {}).get("prepare", {})
    named = situation.answer("identity-files", "dataset", "name")
    base = str(prepared.get("dataset") or named or "") or short(chosen_namespace(situation)) or "identity"
    base = re.sub(r"[^A-Za-z0-9_]+", "_", base).strip("_")[:100] or "identity"
    taken = {str(one.get("name")) for one in tables_there(situation)}
    return next(name for name in (base, *(f"{base}_{number}" for number in range(2, 100))) if name not in taken)


class TableName(Question):
    """`idMappingTableName`."""

    slug = "name"
    heading = "What should the mapping table be called?"
    hint = "The name that queries will use. It can't be changed later. Left empty, it is called as proposed."
    why = "Analysts write it in every query that joins your customers with Amazon's data."
    name = forms.CharField(label="Name of the mapping table", max_length=128, required=False)

    def __init__(self, *args: Any, situation: Situation, **kwargs: Any) -> None:
        super().__init__(*args, situation=situation, **kwargs)
        self.fields["name"].initial = proposed_name(situation)

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"].strip() or proposed_name(self.situation)
        if not _NAME.fullmatch(name):
            raise forms.ValidationError("Use 1 to 128 English letters, digits, underscores and inner spaces only.")
        for one in tables_there(self.situation):
            if one.get("name") == name and not self._mine(one):
                raise forms.ValidationError(f"The instance has a mapping table “{name}” already. Choose another name.")
        return name

    def _mine(self, one: Mapping[str, Any]) -> bool:
        # What this run made before is no other table.
        return MappingTable.objects.filter(run=self.situation.run, table_id=str(one.get("id"))).exists()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if len(tables_there(self.situation)) >= MOST_TABLES:
            raise forms.ValidationError(
                f"The instance has {MOST_TABLES} mapping tables, the most that AMC allows. Delete one first, on the "
                "page “Mapping tables” of the instance."
            )
        return cleaned

    @classmethod
    def becomes(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
        arn = chosen_namespace(situation)
        return [("ID namespace", short(arn))] if arn else []


class AnotherTable(Question):
    """From the second table on: what people give up."""

    slug = "another"
    heading = "The instance has a mapping table already"
    hint = "Queries that join your customers with Amazon's identities work only while there is exactly one."
    why = (
        "AMC allows five mapping tables an instance, but its identity joins expect one. To change the data, replace it."
    )
    understood = forms.BooleanField(
        label="I know that identity joins will not work until only one mapping table is left",
        error_messages={"required": "Confirm it, or replace the data of the table that is there instead."},
    )

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        return situation.run.procedure != "replace-dataset" and bool(tables_there(situation))

    @classmethod
    def becomes(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
        return [("There now", ", ".join(f"“{one.get('name')}”" for one in tables_there(situation)))]

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [("More than one mapping table", "Known that identity joins need exactly one")]


def read_tables(instance: Any, key: str = "tables") -> Call:
    """Read the mapping tables of an instance."""
    return Call(
        key=key,
        title="Read the ID mapping tables",
        service="amc",
        operation="listCollaborationIdMappingTables",
        params={"instanceId": instance},
        look=Look(
            operation="listCollaborationIdMappingTables", params={"instanceId": instance}, items=TABLES, several=True
        ),
    )


class ReadNamespaces(GuideStep):
    """Reads which ID namespaces are free, and which mapping tables there are."""

    key = "mapping-look"
    needs = ("id-namespace",)
    title = "See what can be mapped"
    stage = STAGE
    section = SECTION
    summary = "Which ID namespaces AMC sees in the collaboration, and which mapping tables there are."
    automatic = True
    usually = "a few seconds"

    def applies(self, situation: Situation) -> bool:
        return wanted(situation)

    def plan(self, situation: Situation) -> list[Call]:
        instance = instance_of(situation)
        return [
            Call(
                key="namespaces",
                title="Read the ID namespaces that are free",
                service="amc",
                operation="listCollaborationIdNamespaces",
                params={"instanceId": instance},
                look=Look(
                    operation="listCollaborationIdNamespaces",
                    params={"instanceId": instance},
                    items=NAMESPACES,
                    several=True,
                ),
            ),
            read_tables(instance),
        ]

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        if call == "tables":
            note_tables(situation.instance, output.get(TABLES) or [], now)
        elif call == "namespaces":
            for one in output.get(NAMESPACES) or []:
                note_namespace(situation.instance, one, now)


def note_namespace(instance: Instance, said: Mapping[str, Any], now: datetime) -> None:
    """Write an ID namespace association, as AMC lists it, into its row."""
    arn = str(said.get("idNamespaceArn") or "")
    if not arn:
        return
    seen: dict[str, Any] = {"seen_at": now, "gone_at": None}
    if said.get("id"):
        seen |= {"association_id": str(said["id"])}
    IdNamespace.objects.update_or_create(
        instance=instance,
        arn=arn,
        defaults=seen,
        create_defaults={
            **seen,
            "name": short(arn),
            "aws_account_id": str(said.get("creatorAccountId") or arn.split(":")[4]),
            "made_at": when(said.get("createTime")) or now,
            "associated_at": when(said.get("createTime")) or now,
        },
    )


def note_tables(instance: Instance, listed: list[Mapping[str, Any]], now: datetime) -> None:
    """Write the whole list of mapping tables, as AMC answered it, into their rows."""
    for said in listed:
        note_table(instance, said, now)
    ids = [str(said.get("id")) for said in listed]
    gone = MappingTable.objects.filter(instance=instance, deleted_at=None).exclude(table_id__in=ids)
    gone.update(deleted_at=now, queryable=False)


def note_table(instance: Instance, said: Mapping[str, Any], now: datetime, **more: Any) -> MappingTable:
    """Write one mapping table, as AMC describes it, into its row."""
    facts = {
        "name": str(said.get("name") or "")[:128],
        "arn": str(said.get("arn") or ""),
        "workflow_arn": str(said.get("workflowArn") or ""),
        "source_account_id": str(said.get("sourceAwsAccount") or "")[:12],
        "queryable": bool(said.get("queryable")),
        "created_at": when(said.get("createTime")),
        "updated_at": when(said.get("updateTime")),
        "seen_at": now,
        "deleted_at": None,
        **more,
    }
    table, _ = MappingTable.objects.update_or_create(instance=instance, table_id=str(said["id"]), defaults=facts)
    return table


class CreateMappingTable(GuideStep):
    """Creates the ID mapping table, unless it is there, and follows the job that fills it to its end."""

    key = "mapping-table"
    title = "Create the mapping table"
    stage = STAGE
    section = SECTION
    summary = "Amazon matches your customers with the people it knows, and keeps who is who in a mapping table."
    needs = ("mapping-look",)
    usually = "about 30 minutes; hours for many millions of rows"
    undo = "The mapping table can be deleted. Your data and everything in AWS stay."
    questions = (WhichNamespace, AnotherTable, TableName)
    early = False

    def applies(self, situation: Situation) -> bool:
        return wanted(situation)

    def act(self, situation: Situation) -> str:
        return f"Create mapping table “{situation.answer(self.key, TableName.slug, 'name', '…')}”"

    def plan(self, situation: Situation) -> list[Call]:
        instance = instance_of(situation)
        arn: Any = chosen_namespace(situation) or Ref(
            ReadNamespaces.key, "namespaces", f"{NAMESPACES}.0.idNamespaceArn"
        )
        name = situation.answer(self.key, TableName.slug, "name")
        table = Ref(self.key, "table", "idMappingTable.id")
        made = started(self.key, "table")
        account = arn.split(":")[4] if isinstance(arn, str) and arn.count(":") >= 5 else ""
        return [
            *read_inputs(situation, arn),
            Call(
                key="table",
                title=f"ID mapping table “{name}”",
                service="amc",
                operation="createCollaborationIdMappingTable",
                params={"instanceId": instance, "idMappingTableName": name, "sourceIdNamespaceArn": arn},
                effect="create",
                look=Look(
                    operation="listCollaborationIdMappingTables",
                    params={"instanceId": instance},
                    items=TABLES,
                    where={"name": name},
                    same={"sourceAwsAccount": account} if account else {},
                    wrap="idMappingTable",
                    differs="There is a mapping table of this name already, from AWS account {found}.",
                ),
                undo="Can be deleted under “Mapping tables”.",
            ),
            tracked(self.key, "table", instance, table),
            Call(
                key="used",
                title="Check that the table which was found uses this ID namespace",
                service="amc",
                operation="listCollaborationIdNamespaces",
                params={"instanceId": instance},
                look=Look(
                    operation="listCollaborationIdNamespaces",
                    params={"instanceId": instance},
                    items=NAMESPACES,
                    where={"idNamespaceArn": arn},
                    several=True,
                    same={NAMESPACES: []},
                    differs="There is a mapping table of this name already, made from another ID namespace.",
                ),
                unless=made,
            ),
            Call(
                key="listed",
                title="Wait for the job of the table which was found",
                service="amc",
                operation="listCollaborationIdMappingJobs",
                params={"instanceId": instance, "idMappingTableId": table},
                effect="wait",
                until=Until(
                    path="idMappingJobs.0.jobId", done=(), there=True, give_up=2 * 86_400, usually="a few minutes"
                ),
                unless=made,
            ),
            Call(
                key="filled",
                title="Have the table filled anew if its job failed",
                service="amc",
                operation="refreshCollaborationIdMappingTable",
                params={"instanceId": instance, "idMappingTableId": table},
                effect="create",
                look=jobs_of(instance, table, {"status": ["FAILED"]}),
                unless=made,
            ),
            tracked(self.key, "filled", instance, table),
            ended(
                instance,
                table,
                first_of(
                    *made.chain(),
                    Ref(self.key, "filled", "job.jobId"),
                    *started(self.key, "filled").chain(),
                ),
            ),
        ]

    def explain(self, call: str, output: Any) -> dict[str, str]:
        details = (output.get("idMappingJob") or {}).get("errorDetails")
        return likely_cause(str(details or "")) if call == "job" else {}

    def before(self, situation: Situation, call: str, now: datetime) -> None:
        table = _table(situation, situation.outputs.get(self.key, {}))
        if call == "filled" and table is not None:
            claim_refresh(table, situation.run, now)

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        mine = situation.outputs.get(self.key, {})
        if call == "table":
            version, arn = _version(situation), chosen_namespace(situation)
            more: dict[str, Any] = {"run": situation.run}
            found = IdNamespace.objects.filter(instance=situation.instance, arn=arn).first()
            if found is not None:
                more["namespace"] = found
                version = version or found.version
            table = note_table(
                situation.instance,
                output["idMappingTable"],
                now,
                **more,
                **({"version": version} if version else {}),
            )
            note_started(situation, table, output, MappingJob.Kind.CREATE, digest_of(mine), now)
        elif call in ("table-tracked", "filled-tracked"):
            note_tracked(_table(situation, mine), mine.get(call.removesuffix("-tracked"), {}), output, now)
        elif call == "filled" and (table_found := _table(situation, mine)):
            note_started(situation, table_found, output, MappingJob.Kind.REFRESH, digest_of(mine), now)
            if "job" not in output:
                MappingTable.objects.filter(pk=table_found.pk).update(refreshed_at=now)
        elif call == "job" and (table_found := _table(situation, mine)):
            said = output.get("idMappingJob") or {}
            if said.get("jobId"):
                note_job(table_found, str(said["jobId"]), said, now)


def _version(situation: Situation) -> DatasetVersion | None:
    pk = situation.outputs.get("identity-files", {}).get("prepare", {}).get("version_pk")
    return DatasetVersion.objects.filter(pk=pk, dataset__instance=situation.instance).first() if pk else None


def _table(situation: Situation, mine: Mapping[str, Any]) -> MappingTable | None:
    made = (mine.get("table", {}).get("idMappingTable") or {}).get("id")
    return MappingTable.objects.filter(instance=situation.instance, table_id=made).first() if made else None
