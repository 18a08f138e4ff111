"""The search and the filters above the list of runs."""

from __future__ import annotations

from django import forms

from onboarding.forms.filters import ListFilters
from onboarding.forms.instances import LongSelect
from onboarding.guide.procedure import PROCEDURE_TITLES
from onboarding.models import StepState
from onboarding.selectors.run_list import STATES, TITLES


class FindRuns(ListFilters):
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
