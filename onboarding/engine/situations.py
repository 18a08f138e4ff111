"""Gathers what a step knows from the rows of its run."""

from __future__ import annotations

from typing import Any

from onboarding.guide.step import Situation
from onboarding.models import CallRecord, Run


def situation_of(run: Run) -> Situation:
    """The run's answers and the outputs of its finished calls, by step key (two queries)."""
    answers = dict(run.steps.values_list("key", "answers"))
    outputs: dict[str, dict[str, Any]] = {}
    records = CallRecord.objects.filter(step__run=run, finished_at__isnull=False)
    for step_key, call_key, output in records.values_list("step__key", "key", "output"):
        outputs.setdefault(step_key, {})[call_key] = output
    return Situation(run=run, account=run.account, instance=run.instance, answers=answers, outputs=outputs)
