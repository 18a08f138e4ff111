"""The search and the filters above the list of results."""

from __future__ import annotations

from django import forms

from onboarding.forms.filters import ListFilters
from onboarding.forms.instances import LongSelect
from onboarding.models.results import AHEAD

WITHIN = (3, 7, AHEAD.days)


class FindResults(ListFilters):
    """By instance or workflow, when they end, owner and account."""

    q = forms.CharField(
        label="Instance or workflow", max_length=100, required=False, widget=forms.TextInput({"type": "search"})
    )
    days = forms.ChoiceField(
        label="Ends within",
        required=False,
        choices=[("", "Any time"), *((str(days), f"{days} days") for days in WITHIN)],
        widget=LongSelect,
    )
    account = forms.ChoiceField(label="AMC account", required=False, widget=LongSelect)
    owner = forms.ChoiceField(label="Owner", required=False, widget=LongSelect)
