"""Forms around instances: starting one, and finding one in the list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.forms.utils import flatatt
from django.utils.html import escape
from django.utils.safestring import SafeString

from onboarding.forms.filters import ListFilters
from onboarding.guide.create_instance import InstanceName
from onboarding.guide.procedure import PROCEDURE_TITLES
from onboarding.guide.step import Situation
from onboarding.models import AmcAccount, Instance, InstanceStatus, Run
from onboarding.selectors.instances import GROUPS
from onboarding.services.lifecycle import LIFECYCLE


class _AccountField(forms.ModelChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: AmcAccount) -> str:
        return f"{obj.name} ({obj.entity_id}, marketplace {obj.marketplace_id})"


class NewInstance(forms.Form):
    """For which AMC account an instance is wanted, and what to call it for now."""

    account = _AccountField(
        AmcAccount.objects.none(),
        label="For which AMC account?",
        widget=forms.RadioSelect,
        empty_label=None,
        error_messages={"required": "Choose the AMC account."},
    )
    name = forms.CharField(
        label="What should the instance be called?",
        max_length=50,
        help_text="3 to 50 letters, digits, spaces or underscores. You can change it until it is asked for.",
        error_messages={"required": "Give the instance a name."},
    )

    def __init__(self, *args: Any, accounts: Sequence[AmcAccount], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: _AccountField = self.fields["account"]  # type: ignore[assignment]
        field.queryset = AmcAccount.objects.filter(pk__in=[account.pk for account in accounts])
        if len(accounts) == 1:
            field.initial = accounts[0].pk
            field.widget = forms.HiddenInput()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        account, name = cleaned.get("account"), cleaned.get("name")
        if account and name:
            # The same rule as on the question's own page, so that nothing has to be asked twice.
            instance = Instance(account=account)
            situation = Situation(run=Run(account=account, instance=instance), account=account, instance=instance)
            question = InstanceName({"name": name}, situation=situation)
            for message in question.errors.get("name", []):
                self.add_error("name", message)
        return cleaned


class StartProcedure(forms.Form):
    """What is to be done with an instance that AMC has."""

    procedure = forms.ChoiceField(
        label="What is to be done?", choices=[(key, PROCEDURE_TITLES[key]) for key in ("onboard", *LIFECYCLE)]
    )


class LongSelect(forms.Select):
    """A select that draws its options itself: there may be hundreds, and a template for each takes ten times longer."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        chosen = "" if value is None else str(value)
        options = "".join(
            f'<option value="{escape(key)}"{" selected" if str(key) == chosen else ""}>{escape(label)}</option>'
            for key, label in self.choices
        )
        shown = flatatt(self.build_attrs(self.attrs, {**(attrs or {}), "name": name}))
        return SafeString(f"<select{shown}>{options}</select>")  # nosec B703 - every part is escaped where it is made


class FindInstances(ListFilters):
    """The search and the filters above the list of instances."""

    q = forms.CharField(label="Name or id", max_length=100, required=False, widget=forms.TextInput({"type": "search"}))
    status = forms.ChoiceField(label="Status", required=False, widget=LongSelect)
    account = forms.ChoiceField(label="AMC account", required=False, widget=LongSelect)
    kind = forms.ChoiceField(
        label="Kind", required=False, choices=[("", "Any kind"), *Instance.Kind.choices], widget=LongSelect
    )
    owner = forms.ChoiceField(label="Owner", required=False, widget=LongSelect)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.choose(
            "status",
            [
                ("", "Any status"),
                *((key, group.title) for key, group in GROUPS.items() if len(group.statuses) > 1),
                *InstanceStatus.choices,
            ],
        )
