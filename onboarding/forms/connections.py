"""Forms about connections to Amazon and AMC accounts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms

from onboarding.guide.procedure import PROCEDURES
from onboarding.guide.step import GuideStep
from onboarding.models import AccountPolicy
from onboarding.services.connections import ReachableAccount
from portal.forms import described


def steps_with_calls() -> list[tuple[str, str]]:
    """Key and title of every step that a person starts, that changes something and can be undone, in order."""
    steps = {step.key: step for steps in PROCEDURES.values() for step in steps}
    return [
        (key, step.title)
        for key, step in steps.items()
        if not (step.automatic or step.reads_only or step.irreversible) and type(step).plan is not GuideStep.plan
    ]


class ChooseAccounts(forms.Form):
    """Which of the login's AMC accounts to add; those that are here already are not offered."""

    accounts = forms.MultipleChoiceField(
        label="AMC accounts to add",
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one account."},
    )

    def __init__(self, *args: Any, found: Sequence[ReachableAccount], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._found = {account.key: account for account in found if account.taken is None}
        self.fields["accounts"].choices = [  # type: ignore[attr-defined]
            (key, described(account.name, f"{account.entity_id}, marketplace {account.marketplace_id}"))
            for key, account in self._found.items()
        ]

    @property
    def chosen(self) -> list[ReachableAccount]:
        """What was ticked, once the form is valid."""
        return [self._found[key] for key in self.cleaned_data["accounts"]]


class PolicyForm(forms.Form):
    """What needs a sign-off on an account, and by how many people."""

    approvers_needed = forms.IntegerField(
        label="How many people must approve",
        help_text="1 to 5. Nobody approves a request of their own.",
        min_value=1,
        max_value=5,
    )
    approvers_needed_to_delete = forms.IntegerField(
        label="How many people must approve what cannot be undone",
        help_text="1 to 5, for leaving a collaboration or deleting an instance or a mapping table.",
        min_value=1,
        max_value=5,
    )
    request_days = forms.IntegerField(
        label="Days until an open request expires", help_text="1 to 90.", min_value=1, max_value=90
    )
    steps_without_approval = forms.MultipleChoiceField(
        label="Steps that need no approval",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Leave all of them empty to have everything that changes something signed off.",
    )

    def __init__(self, *args: Any, policy: AccountPolicy, **kwargs: Any) -> None:
        names = ("approvers_needed", "approvers_needed_to_delete", "request_days", "steps_without_approval")
        kwargs["initial"] = {name: getattr(policy, name) for name in names}
        super().__init__(*args, **kwargs)
        self.fields["steps_without_approval"].choices = steps_with_calls()  # type: ignore[attr-defined]
