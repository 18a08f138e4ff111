"""What the filters above the lists have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms

from onboarding.models import AmcAccount


class ListFilters(forms.Form):
    """Filters whose choices depend on what the person sees: `account`, and `owner` where the form has one.

    With a single account there is nothing to choose, and no such field.
    """

    def __init__(
        self, *args: Any, accounts: Sequence[AmcAccount], owners: Mapping[int, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        if owners is not None:
            self.choose("owner", [("", "Anybody"), *((str(pk), name) for pk, name in owners.items())])
        if len(accounts) > 1:
            self.choose("account", [("", "All accounts"), *((str(one.pk), one.name) for one in accounts)])
        else:
            del self.fields["account"]

    def choose(self, name: str, choices: list[tuple[str, str]]) -> None:
        """Give a field its choices."""
        field: forms.ChoiceField = self.fields[name]  # type: ignore[assignment]
        field.choices = choices
