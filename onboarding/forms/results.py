"""The search and the filters above the list of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms

from onboarding.forms.instances import LongSelect
from onboarding.models import AmcAccount
from onboarding.models.results import AHEAD

WITHIN = (3, 7, AHEAD.days)


class FindResults(forms.Form):
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
