"""Forms about AWS accounts. None of them takes an access key: the portal only ever assumes roles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from django import forms

from onboarding.guide.aws_templates import Access
from onboarding.guide.permissions import PROVISIONER_NAME, READER_NAME
from onboarding.models import AmcAccount, AwsConnection
from onboarding.services.aws_connections import INVITATION_DAYS, Partner
from portal.forms import described

_ROLE = re.compile(r"arn:aws:iam::(\d{12}):role/[\w+=,.@/-]{1,512}", re.ASCII)
_ACCESS_KEY = re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{12,}")


class _AccountField(forms.ModelChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: AmcAccount) -> str:
        return f"{obj.name} ({obj.entity_id}, marketplace {obj.marketplace_id})"


class AddAwsAccount(forms.Form):
    """Which AWS account, for which AMC account."""

    account = _AccountField(
        AmcAccount.objects.none(),
        label="For which AMC account",
        empty_label=None,
        error_messages={"required": "Choose the AMC account."},
    )
    aws_account_id = forms.CharField(
        label="AWS account id",
        max_length=20,
        help_text="12 digits; the AWS console shows it at the top right.",
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
        error_messages={"required": "Enter the AWS account id."},
    )
    label = forms.CharField(
        label="What you call it", max_length=200, required=False, help_text="Such as “Marketing, production”."
    )

    def __init__(self, *args: Any, accounts: Sequence[AmcAccount], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: _AccountField = self.fields["account"]  # type: ignore[assignment]
        field.queryset = AmcAccount.objects.filter(pk__in=[account.pk for account in accounts])
        if len(accounts) == 1:
            field.initial = accounts[0].pk

    def clean_aws_account_id(self) -> str:
        digits = re.sub(r"[\s-]", "", self.cleaned_data["aws_account_id"])
        if not re.fullmatch(r"\d{12}", digits, re.ASCII):
            raise forms.ValidationError("An AWS account id has 12 digits, such as 1111-2222-3333.")
        return digits

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        account, number = cleaned.get("account"), cleaned.get("aws_account_id")
        if account and number and AwsConnection.objects.filter(account=account, aws_account_id=number).exists():
            self.add_error("aws_account_id", f"AWS account {number} is there already for {account}.")
        return cleaned


class RoleArns(forms.Form):
    """The ARNs of the two roles that the template made."""

    provisioner = forms.CharField(
        label="ARN of the provisioner role",
        max_length=300,
        error_messages={"required": "Paste the ARN of the provisioner role."},
    )
    reader = forms.CharField(
        label="ARN of the read-only role",
        max_length=300,
        required=False,
        help_text="Leave it empty if you allow one role only; the provisioner then does the checks, too.",
    )

    def __init__(self, *args: Any, connection: AwsConnection, **kwargs: Any) -> None:
        kwargs.setdefault(
            "initial", {"provisioner": connection.provisioner_role_arn, "reader": connection.reader_role_arn}
        )
        super().__init__(*args, **kwargs)
        self.connection = connection
        for name, role in (("provisioner", PROVISIONER_NAME), ("reader", READER_NAME)):
            example = Access(connection.aws_account_id, "", "").role_arn(role)
            self.fields[name].widget.attrs |= {"autocomplete": "off", "spellcheck": "false", "placeholder": example}

    def clean_provisioner(self) -> str:
        return self._role("provisioner")

    def clean_reader(self) -> str:
        return self._role("reader") if self.cleaned_data["reader"] else ""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("reader") and cleaned["reader"] == cleaned.get("provisioner"):
            self.add_error("reader", "This is the provisioner role. Leave the field empty if there is one role only.")
        return cleaned

    def _role(self, name: str) -> str:
        arn: str = self.cleaned_data[name].strip()
        if _ACCESS_KEY.search(arn):
            # What was refused must not stand on the page again.
            self.data = {**self.data, self.add_prefix(name): ""}
            raise forms.ValidationError(
                "This is an access key. The portal never takes one. Deactivate it in IAM, since it was pasted here, "
                "and paste the ARN of the role instead."
            )
        found = _ROLE.fullmatch(arn)
        if not found:
            raise forms.ValidationError("The ARN of a role begins with arn:aws:iam:: and has :role/ in it.")
        if found[1] != self.connection.aws_account_id:
            raise forms.ValidationError(
                f"This role is in AWS account {found[1]}; it must be in {self.connection.aws_account_id}."
            )
        return arn


class InvitePartner(forms.Form):
    """Which partner gets a link, and for how long it can be used."""

    partner = forms.ChoiceField(
        label="Which partner",
        widget=forms.RadioSelect,
        error_messages={"required": "Choose the partner."},
    )
    days = forms.IntegerField(
        label="Days until the link expires", min_value=1, max_value=30, initial=INVITATION_DAYS, help_text="1 to 30."
    )

    def __init__(self, *args: Any, partners: Sequence[Partner], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._partners = {partner.key: partner for partner in partners}
        self.fields["partner"].choices = [  # type: ignore[attr-defined]
            (key, described(partner.name, f"AWS account {partner.aws_account_id}, for {partner.instance}"))
            for key, partner in self._partners.items()
        ]

    @property
    def chosen(self) -> Partner:
        """The partner, once the form is valid."""
        return self._partners[self.cleaned_data["partner"]]
