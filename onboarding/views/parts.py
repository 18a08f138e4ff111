"""What the pages of single questions show beside their form: a report, a table to choose from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.utils import timezone

from onboarding.guide.identity_files import own_command
from onboarding.guide.identity_questions import KEY as IDENTITY_FILES
from onboarding.guide.identity_questions import (
    Columns,
    Manifest,
    Places,
    Report,
    check_settings,
    origin_of,
    report_of,
    why_not_prepare,
)
from onboarding.guide.identity_questions import prepares as prepares_files
from onboarding.guide.identity_work import work_of
from onboarding.guide.step import Situation
from onboarding.models import DatasetVersion, Step, StepState
from onboarding.selectors import datasets


def _report(situation: Situation) -> dict[str, Any]:
    answers = situation.answers.get(IDENTITY_FILES, {})
    found = report_of(situation, answers)
    if not found:
        return {}
    stops = why_not_prepare(found, as_is=not prepares_files(situation))
    return {
        "report": datasets.report_view(found),
        "stops": stops,
        "can_check_again": bool(check_settings(situation, answers)),
    }


def _columns(situation: Situation) -> dict[str, Any]:
    return {"has_samples": work_of(situation).version is not None}


def _ways(situation: Situation) -> dict[str, Any]:
    origin = origin_of(situation, situation.answers.get(IDENTITY_FILES, {}))
    return {"from_computer": origin == DatasetVersion.Origin.UPLOAD}


def _own(situation: Situation) -> dict[str, Any]:
    return {"own_command": own_command(situation)}


# Step and question → the template of what stands above the form, and what it needs.
_PARTS: Mapping[tuple[str, str], tuple[str, Callable[[Situation], dict[str, Any]]]] = {
    (IDENTITY_FILES, Places.slug): ("step_files/_ways.html", _ways),
    (IDENTITY_FILES, Manifest.slug): ("datasets/_own.html", _own),
    (IDENTITY_FILES, Report.slug): ("datasets/_report.html", _report),
    (IDENTITY_FILES, Columns.slug): ("datasets/_samples_link.html", _columns),
}


def part_of(situation: Situation, step: str, question: str) -> dict[str, Any]:
    """The context of a question's part, with its template as `part`; empty for a question that has none."""
    if (step, question) not in _PARTS:
        return {}
    template, context = _PARTS[step, question]
    return {"part": template, **context(situation)}


def progress_part_of(situation: Situation, step: Step) -> dict[str, Any]:
    """What the progress page of a step shows of the work that it waits for."""
    if step.key != IDENTITY_FILES or step.state not in (StepState.WAITING, StepState.RUNNING):
        return {}
    job = next((job for job in work_of(situation).jobs if job.kind == job.Kind.PREPARE), None)
    return {"work": datasets.standing_of(job, timezone.now())} if job is not None else {}
