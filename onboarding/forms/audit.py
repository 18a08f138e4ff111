"""The search above the audit log."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

from django import forms

from onboarding.forms.filters import ListFilters
from onboarding.forms.instances import LongSelect
from onboarding.models import Person
from onboarding.selectors.audit import OBJECTS, THE_PORTAL


class FindEntries(ListFilters):
    """By words, person, act, object, account and days."""

    q = forms.CharField(label="Words", max_length=100, required=False, widget=forms.TextInput({"type": "search"}))
    actor = forms.ChoiceField(label="Who", required=False, widget=LongSelect)
    act = forms.ChoiceField(label="Act", required=False, widget=LongSelect)
    object = forms.ChoiceField(label="Object", required=False, widget=LongSelect)
    account = forms.ChoiceField(label="AMC account", required=False, widget=LongSelect)
    since = forms.DateField(label="From", required=False, widget=forms.DateInput({"type": "date"}))
    until = forms.DateField(label="Until", required=False, widget=forms.DateInput({"type": "date"}))

    def __init__(
        self,
        *args: Any,
        acts: list[tuple[str, str]],
        people: Iterable[Person],
        object: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.choose("act", [("", "Any act"), *acts])
        self.choose(
            "actor", [("", "Anybody"), (THE_PORTAL, "The portal"), *((str(one.pk), str(one)) for one in people)]
        )
        # One object is chosen by a link; then it is offered by its reference.
        one = [(object, object)] if ":" in object else []
        self.choose("object", [("", "Anything"), *one, *OBJECTS.items()])


def day_of(text: str) -> date | None:
    """A day as a date field sends it; None for anything else."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
