"""The search and the filters above the list of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms

from onboarding.forms.instances import LongSelect
from onboarding.guide.procedure import PROCEDURE_TITLES
from onboarding.models import AmcAccount, StepState
from onboarding.selectors.run_list import STATES, TITLES


class FindRuns(forms.Form):
    """By instance, procedure, step, its state, owner and account."""

    q = forms.CharField(label="Instance", max_length=100, required=False, widget=forms.TextInput({"type": "search"}))
    procedure = forms.ChoiceField(
        label="Procedure", required=False, choices=[("", "Any"), *PROCEDURE_TITLES.items()], widget=LongSelect
    )
    at = forms.ChoiceField(
        label="Stands at", required=False, choices=[("", "Any step"), *TITLES.items()], widget=LongSelect
    )
    state = forms.ChoiceField(
        label="State of the step",
        required=False,
        choices=[("", "Any state"), *((key, StepState(key).label) for key in STATES)],
        widget=LongSelect,
    )
    account = forms.ChoiceField(label="AMC account", required=False, widget=LongSelect)
    owner = forms.ChoiceField(label="Owner", required=False, widget=LongSelect)

    def __init__(self, *args: Any, accounts: Sequence[AmcAccount], owners: Mapping[int, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._choose("owner", [("", "Anybody"), *((str(pk), name) for pk, name in owners.items())])
        if len(accounts) > 1:
            self._choose("account", [("", "All accounts"), *((str(one.pk), one.name) for one in accounts)])
        else:
            del self.fields["account"]

    def _choose(self, name: str, choices: list[tuple[str, str]]) -> None:
        field: forms.ChoiceField = self.fields[name]  # type: ignore[assignment]
        field.choices = choices
