"""Pausing from the queues page."""

from __future__ import annotations

from typing import Any

from django import forms

from onboarding.forms.instances import LongSelect


class PauseForm(forms.Form):
    """What is paused, and why: whoever waits reads it."""

    target = forms.ChoiceField(label="What", widget=LongSelect, error_messages={"required": "Choose what to pause."})
    reason = forms.CharField(label="Why", max_length=300, required=False)

    def __init__(self, *args: Any, targets: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: forms.ChoiceField = self.fields["target"]  # type: ignore[assignment]
        field.choices = targets
