"""The form that makes a personal token."""

from __future__ import annotations

from typing import Any

from django import forms

from onboarding.services.tokens import MOST_DAYS
from portal.forms import described


class NewToken(forms.Form):
    """What the token is for, what it may do, and for how long."""

    ACT, APPROVE = "act", "approve"
    name = forms.CharField(
        label="What is it for?",
        max_length=100,
        help_text="The program or machine that will use it, so that you know later which token is which.",
        error_messages={"required": "Say what the token is for."},
    )
    scopes = forms.MultipleChoiceField(
        label="What may it do besides reading?",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        choices=[
            (ACT, described("Act", "Start onboardings, answer questions, ask for approval, try again, cancel.")),
            (APPROVE, described("Approve", "Approve requests of others, or send them back.")),
        ],
        help_text="It never may more than you do yourself.",
    )
    days = forms.TypedChoiceField(
        label="How long does it work?",
        coerce=int,
        initial=90,
        choices=[(7, "7 days"), (30, "30 days"), (90, "90 days"), (180, "180 days"), (MOST_DAYS, "One year")],
    )

    @property
    def chosen(self) -> dict[str, Any]:
        """The arguments of `services.tokens.make`, once the form is valid."""
        given = self.cleaned_data
        return {
            "name": given["name"],
            "may_act": self.ACT in given["scopes"],
            "may_approve": self.APPROVE in given["scopes"],
            "days": given["days"],
        }
