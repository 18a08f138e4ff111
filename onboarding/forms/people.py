"""Forms about people and their roles."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet

from onboarding.models import AmcAccount, Person, RoleName

ROLE_HINT = (
    "An analyst sets up instances, an approver signs off what is to be made, an admin manages people and connections."
)


class FindPeople(forms.Form):
    """The search above the list of people."""

    q = forms.CharField(label="Name or e-mail address", max_length=200, required=False)


class GiveRole(forms.Form):
    """One role on one of the accounts that the admin administers."""

    account = forms.ModelChoiceField(AmcAccount.objects.none(), label="AMC account", empty_label="Choose an account")
    role = forms.ChoiceField(label="Role", choices=RoleName.choices, help_text=ROLE_HINT)

    def __init__(self, *args: Any, accounts: QuerySet[AmcAccount], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["account"].queryset = accounts  # type: ignore[attr-defined]


class GiveRoleTo(GiveRole):
    """A role for somebody who is named by e-mail address, since an admin does not see everybody."""

    email = forms.EmailField(label="E-mail address", help_text="Of their Amazon login. They must have signed in once.")
    field_order = ["email", "account", "role"]

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"]
        found = list(Person.objects.filter(email__iexact=email)[:2])
        if not found:
            raise forms.ValidationError("Nobody with this address has signed in yet. Ask them to sign in first.")
        if len(found) > 1:
            raise forms.ValidationError("Several people have this address. Ask a superuser to give the role.")
        self.cleaned_data["person"] = found[0]
        return email


class AskForRole(forms.Form):
    """Somebody asks for a role. Which accounts exist is not shown to whoever has no role on them."""

    account = forms.ModelChoiceField(
        AmcAccount.objects.none(), label="AMC account", empty_label="Another one", required=False
    )
    team = forms.CharField(
        label="Advertiser or team",
        max_length=200,
        required=False,
        help_text="Whose Amazon Marketing Cloud you work with, so that an admin knows which account you mean.",
    )
    role = forms.ChoiceField(
        label="What you want to be",
        choices=RoleName.choices,
        initial=RoleName.ANALYST,
        widget=forms.RadioSelect,
        help_text=ROLE_HINT,
    )
    reason = forms.CharField(
        label="Why you need it",
        max_length=1000,
        required=False,
        help_text="One sentence is enough.",
        widget=forms.Textarea(attrs={"rows": 3}),
    )

    def __init__(self, *args: Any, accounts: QuerySet[AmcAccount], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if accounts.exists():
            self.fields["account"].queryset = accounts  # type: ignore[attr-defined]
        else:
            del self.fields["account"]
            self.fields["team"].required = True

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if "account" in self.fields and not (cleaned.get("account") or cleaned.get("team") or "team" in self.errors):
            self.add_error("team", "Say which advertiser or team you work for.")
        return cleaned
