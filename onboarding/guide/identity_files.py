"""Guide 7, "Prepare identity data", step 1: choose the files, say what they hold, check them, and prepare them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from onboarding.guide import data_bucket as data
from onboarding.guide import identity_athena as athena
from onboarding.guide.identity_questions import (
    CLEAR,
    KEY,
    QUESTIONS,
    Manifest,
    check_settings,
    look_settings,
    made_alone,
    origin_of,
    place_of,
    prepares,
    report_of,
    sees_files,
    table_name,
)
from onboarding.guide.identity_work import Work, ask_for, content_digest, forget_work, keep_version, work_of
from onboarding.guide.plan import Call, Ref, Until
from onboarding.guide.render.identity import command
from onboarding.guide.step import GuideStep, Situation
from onboarding.models import DatasetVersion, IdentityJob, Person, SourceFile

_Work = IdentityJob.Kind


def _files(work: Work) -> list[SourceFile]:
    """The files that were looked at."""
    there = SourceFile.State.THERE
    return list(SourceFile.objects.filter(version=work.version, state=there)) if work.version else []


class IdentityFiles(GuideStep):
    """Files in, tables that Entity Resolution can read out."""

    key = KEY
    title = "Prepare identity data"
    stage = "Bring identity data"
    section = "Guide 7: Prepare identity data"
    summary = "Which files, what they hold, whether they are good, and the tables that are made of them."
    needs = ("data-bucket",)
    usually = "a few minutes for a million rows"
    undo = "What is written can be deleted in S3. The files that you chose are never changed."
    questions = QUESTIONS

    def applies(self, situation: Situation) -> bool:
        return data.brings_data(situation)

    def act(self, situation: Situation) -> str:
        name = situation.answer(self.key, "dataset", "name", "")
        verb = "Prepare" if prepares(situation) else "Use"
        if verb == "Prepare" and (made_alone(situation) or not data.portal_acts_on_data(situation)):
            verb = "Check"
        return f"{verb} data set “{name}”" if name else self.title

    def answered(self, situation: Situation, question: str, person: Person, now: datetime) -> list[IdentityJob]:
        answers = situation.answers.get(self.key, {})
        name, origin = answers.get("dataset", {}).get("name"), origin_of(situation, answers)
        if not name or not origin:
            return []
        version = keep_version(situation, name, origin, place_of(situation), person, now)
        asked = []
        look = look_settings(situation, answers)
        if look:
            asked.append(ask_for(version, _Work.LOOK, look, person, now))
        check = check_settings(situation, answers)
        if check:
            asked.append(ask_for(version, _Work.CHECK, check, person, now))
        forget_work(situation)
        return [job for job in asked if job is not None]

    def plan(self, situation: Situation) -> list[Call]:
        """What the portal does: all of it, or no more than looking at what people have prepared by themselves."""
        if not prepares(situation) or (data.portal_acts_on_data(situation) and not made_alone(situation)):
            return self.full_plan(situation)
        return [self._brought(situation)]

    def objection(self, situation: Situation) -> str:
        work = work_of(situation)
        files = _files(work)
        if not prepares(situation) or not data.portal_acts_on_data(situation) or not athena.too_large(files):
            return ""
        return athena.why_not(work.version, files, self._params(situation, work))

    def unseen(self, situation: Situation) -> str:
        if not made_alone(situation) or sees_files(situation):
            return ""
        return (
            f"AWS account {data.data_account(situation)} is not connected, so the portal can't see whether the "
            "prepared files lie in the bucket. It takes the manifest's word for it."
        )

    def full_plan(self, situation: Situation) -> list[Call]:
        account = data.data_account(situation)
        params = self._params(situation, work_of(situation))
        if not prepares(situation):
            return [
                Call(
                    key="prepare",
                    title=f"Use the files of “{params['dataset']}” as they are",
                    service="identity",
                    operation="adopt",
                    params=params,
                    account=account,
                )
            ]
        if made_alone(situation):
            return [self._alone(situation), self._brought(situation)]
        work = work_of(situation)
        files = _files(work)
        if athena.too_large(files) and data.portal_acts_on_data(situation):
            if athena.why_not(work.version, files, params):
                return []
            return athena.calls(self.key, work.version, files, params, place_of(situation))
        return [
            Call(
                key="job",
                title=f"Prepared files of data set “{params['dataset']}”, version {params['version']}",
                service="identity",
                operation="start",
                params=params,
                effect="create",
                account=account,
                undo="What is written can be deleted in S3.",
            ),
            Call(
                key="prepare",
                title="Wait until the files are prepared",
                service="identity",
                operation="prepare",
                params={"job": Ref(self.key, "job", "job")},
                effect="wait",
                account=account,
                until=Until(
                    path="state",
                    done=("done",),
                    every=(2, 3, 5, 10, 20, 30),
                    give_up=7 * 86_400,
                    usually="a few minutes for a million rows",
                ),
            ),
        ]

    def _alone(self, situation: Situation) -> Call:
        """What people run by themselves on files that the portal never sees."""
        params = self._params(situation, work_of(situation))
        kept = ("dataset", "version", "to", "table")
        return Call(
            key="job",
            title=f"Prepared files of data set “{params['dataset']}”, version {params['version']}",
            service="identity",
            operation="start",
            params={name: params[name] for name in kept} | {"from": [], "columns": {}, "country": None},
            effect="create",
            account=data.data_account(situation),
            undo="What is written can be deleted in S3.",
        )

    def _brought(self, situation: Situation) -> Call:
        """A look at what people have prepared by themselves, by the manifest in the bucket or the one they brought."""
        params, answers = self._params(situation, work_of(situation)), situation.answers.get(self.key, {})
        kept = ["dataset", "version", "version_pk", "to", "table"]
        if made_alone(situation):
            wanted = {"manifest": answers.get(Manifest.slug, {}).get("manifest")}
        else:
            wanted = {name: params[name] for name in ("columns", "country", "rules", "rows")}
        return Call(
            key="prepare",
            title=f"Check: prepared files of data set “{params['dataset']}”, version {params['version']}",
            service="identity",
            operation="manifest",
            params={name: params[name] for name in kept} | wanted,
            account=data.data_account(situation),
        )

    def _params(self, situation: Situation, work: Work) -> dict[str, Any]:
        """Everything that is read, what it is read as, and where what is made of it goes."""
        answers = situation.answers.get(self.key, {})
        place, version = place_of(situation), work.version
        name = str(answers.get("dataset", {}).get("name", ""))
        number = version.number if version else 1
        files = _files(work)
        report = report_of(situation, answers)
        columns = answers.get("columns", {}).get("columns")
        table = answers.get("hashing", {}).get("rules", CLEAR)
        below = f"{place.prefix}/" if place.prefix else ""
        params: dict[str, Any] = {
            "dataset": name,
            "version": number,
            "from": list(answers.get("places", {}).get("places") or []),
            "files": len(files),
            "bytes": sum(file.size for file in files),
            "rows": report.get("rows", 0),
            "usable_rows": report.get("usable_rows", 0),
            "columns": dict(columns) if isinstance(columns, Mapping) else {},
            "country": answers.get("country", {}).get("country") or None,
            "content": content_digest(files),
            "version_pk": version.pk if version else 0,
        }
        if prepares(situation):
            params |= {
                "to": f"s3://{place.bucket}/{below}{name}/v{number}",
                "table": table_name(name),
                "rules": None if table == CLEAR else table,
            }
        return params

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        if call == "prepare" and output.get("tables"):
            DatasetVersion.objects.filter(pk=output["version_pk"]).exclude(state=DatasetVersion.State.READY).update(
                state=DatasetVersion.State.READY,
                ready_at=now,
                country=output.get("country") or "",
                rule_table=output.get("rules") or "",
            )


def own_command(situation: Situation) -> str:
    """The command by which people prepare the files of a data set by themselves."""
    calls = IdentityFiles().full_plan(situation)
    return command(calls[0]) if made_alone(situation) else ""
