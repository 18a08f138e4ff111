"""Guide 7, "Manage ID mapping tables": filling a mapping table anew, at most once in 14 days."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import forms

from onboarding.guide.mapping_inputs import digest_of, listings, locations_of
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
)
from onboarding.guide.plan import Call, Look, Ref, first_of
from onboarding.guide.step import GuideStep, Question, Situation
from onboarding.guide.verify import may_look
from onboarding.models import MappingJob, MappingTable

STAGE = "Mapping table"
SECTION = "Guide 7: Manage ID mapping tables"


def subject_table(situation: Situation) -> MappingTable | None:
    """The mapping table that the run is about."""
    subject = situation.run.subject
    if not subject.isdigit():
        return None
    rows = MappingTable.objects.filter(pk=int(subject), instance=situation.instance)
    return rows.select_related("namespace", "version").first()


def changed_since(table: MappingTable) -> bool | None:
    """Whether the files that the table is made of changed since the last job. None where it is not known.

    A newer version of the data set lies in a folder of its own: a refresh would not read it, only a replacement does.
    """
    last = table.jobs.exclude(status=MappingJob.Status.FAILED).first()
    if last is None or not table.input_digest or not last.input_digest:
        return None
    return table.input_digest != last.input_digest


class UnchangedInput(Question):
    """A refresh that would bring nothing, and uses up the one of these 14 days."""

    slug = "unchanged"
    heading = "The data has not changed since the last job"
    hint = "A refresh would bring the same result, and the next one is possible in 14 days only."
    why = "Amazon asks to refresh a table only when its data changed."
    anyway = forms.BooleanField(
        label="Refresh it all the same", error_messages={"required": "Tick this, or come back when the data changed."}
    )

    @classmethod
    def applies(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        table = subject_table(situation)
        return bool(answers.get(cls.slug)) or (table is not None and changed_since(table) is False)

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [("Data unchanged", "Refresh all the same")]


class RefreshMappingTable(GuideStep):
    """Has AMC fill the table anew and follows the job to its end."""

    key = "refresh"
    title = "Refresh the mapping table"
    stage = STAGE
    section = SECTION
    summary = "Amazon reads your data again and matches it anew. Queries go on with what is there until then."
    usually = "about 30 minutes; hours for many millions of rows"
    undo = "No, but the data that is there now stays the input. The next refresh is possible after 14 days."
    questions = (UnchangedInput,)

    def act(self, situation: Situation) -> str:
        return f"Refresh mapping table “{subject_table(situation) or '…'}”"

    def plan(self, situation: Situation) -> list[Call]:
        instance, found = situation.instance.instance_id, subject_table(situation)
        table = found.table_id if found else "sample"
        before = {"instanceId": instance, "idMappingTableId": table}
        places = [one for one in locations_of(found.namespace) if may_look(situation, one[0])] if found else []
        return [
            *listings(places),
            Call(
                key="before",
                title="Read the jobs that there were",
                service="amc",
                operation="listCollaborationIdMappingJobs",
                params=before,
                look=Look(
                    operation="listCollaborationIdMappingJobs", params=before, items="idMappingJobs", several=True
                ),
            ),
            Call(
                key="refresh",
                title=f"Refresh of mapping table “{found or '…'}”",
                service="amc",
                operation="refreshCollaborationIdMappingTable",
                params=before,
                effect="create",
                look=jobs_of(instance, table, {"jobId": Ref(self.key, "before", "idMappingJobs.*.jobId")}),
                undo="No. The next one is possible after 14 days.",
            ),
            tracked(self.key, "refresh", instance, table),
            ended(
                instance, table, first_of(Ref(self.key, "refresh", "job.jobId"), *started(self.key, "refresh").chain())
            ),
        ]

    def explain(self, call: str, output: Any) -> dict[str, str]:
        details = (output.get("idMappingJob") or {}).get("errorDetails")
        return likely_cause(str(details or "")) if call == "job" else {}

    def before(self, situation: Situation, call: str, now: datetime) -> None:
        table = subject_table(situation)
        if call == "refresh" and table is not None:
            claim_refresh(table, situation.run, now)

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        table, mine = subject_table(situation), situation.outputs.get(self.key, {})
        if table is None:
            return
        if call == "before":
            # Oldest first: what others did meanwhile is kept as well.
            for one in reversed(output.get("idMappingJobs") or []):
                note_job(table, str(one["jobId"]), one, now)
        elif call == "refresh":
            note_started(situation, table, output, MappingJob.Kind.REFRESH, digest_of(mine), now)
            MappingTable.objects.filter(pk=table.pk).update(refreshed_at=now)
        elif call == "refresh-tracked":
            note_tracked(table, mine.get("refresh", {}), output, now)
        elif call == "job":
            said = output.get("idMappingJob") or {}
            if said.get("jobId"):
                note_job(table, str(said["jobId"]), said, now)
