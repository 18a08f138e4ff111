"""Adding a channel, and choosing what goes out by it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.validators import validate_email

from onboarding.models import Channel, Pace, Topic
from portal.forms import described

HINTS = {
    Channel.Kind.EMAIL: "A mailbox of the team.",
    Channel.Kind.SLACK: "An incoming webhook of a Slack app: https://hooks.slack.com/services/…",
    Channel.Kind.TEAMS: "A Teams workflow that starts when a webhook request is received.",
    Channel.Kind.WEBHOOK: "A signed POST to a program of yours, on a host that the portal allows.",
}


class AddChannel(forms.Form):
    """Of which kind, what to call it, and where it leads."""

    kind = forms.ChoiceField(label="What kind?", widget=forms.RadioSelect)
    name = forms.CharField(
        label="Name", max_length=60, help_text="So that you know it later.", error_messages={"required": "Name it."}
    )
    address = forms.CharField(
        label="Address",
        max_length=1000,
        help_text="It is kept encrypted and never shown again.",
        widget=forms.TextInput({"autocomplete": "off", "spellcheck": "false"}),
        error_messages={"required": "Give the address."},
    )

    def __init__(self, *args: Any, shared: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: forms.ChoiceField = self.fields["kind"]  # type: ignore[assignment]
        kinds = [kind for kind in Channel.Kind if shared or kind != Channel.Kind.EMAIL]
        field.choices = [(kind.value, described(str(kind.label), HINTS[kind])) for kind in kinds]

    def clean(self) -> dict[str, Any]:
        """An e-mail address where one is wanted; other addresses are checked when the channel is made."""
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("kind") == Channel.Kind.EMAIL and cleaned.get("address"):
            try:
                validate_email(cleaned["address"])
            except forms.ValidationError as wrong:
                self.add_error("address", wrong)
        return cleaned


class ChooseTopics(forms.Form):
    """The pace of each topic for one channel."""

    def __init__(self, *args: Any, channel: Channel, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "prefix": f"c{channel.pk}"})
        for topic in Topic:
            self.fields[topic.value] = forms.ChoiceField(
                label=topic.label, choices=Pace.choices, initial=channel.pace(topic.value)
            )
