"""Keeping a list's filters under a name."""

from __future__ import annotations

from django import forms

from onboarding.services.saved_views import PAGES, cleaned


class SaveView(forms.Form):
    """Which list, its filters as they stand in the address, and the name."""

    page = forms.ChoiceField(choices=[(page, page) for page in PAGES])
    query = forms.CharField(required=False, max_length=1000)
    name = forms.CharField(max_length=60, error_messages={"required": "Give the view a name."})

    def clean_query(self) -> str:
        """Without what belongs to one moment, such as the number of the page."""
        return cleaned(self.cleaned_data["query"])
