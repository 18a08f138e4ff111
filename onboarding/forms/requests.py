"""Forms of the approver and of whoever asks."""

from __future__ import annotations

from django import forms

_COMMENT = {"rows": 3, "maxlength": 2000}


class AskForApproval(forms.Form):
    """What goes with a request: a word to the approver."""

    note = forms.CharField(
        label="Note to the approver",
        required=False,
        max_length=2000,
        widget=forms.Textarea(_COMMENT),
        help_text="Why it is needed, and by when. The approver sees everything above as well.",
    )


class Approve(forms.Form):
    """`digest` says what was read; it is refused when the request has changed since."""

    digest = forms.CharField(widget=forms.HiddenInput, max_length=64)
    comment = forms.CharField(label="Comment", required=False, max_length=2000, widget=forms.Textarea(_COMMENT))


class SendBack(forms.Form):
    """Declining needs a reason."""

    digest = forms.CharField(widget=forms.HiddenInput, max_length=64)
    comment = forms.CharField(
        label="What has to change?",
        max_length=2000,
        widget=forms.Textarea(_COMMENT),
        error_messages={"required": "Say what has to change, so that it can be asked for again."},
    )


class Comment(forms.Form):
    """A remark that decides nothing."""

    text = forms.CharField(
        label="Comment",
        max_length=2000,
        widget=forms.Textarea(_COMMENT),
        error_messages={"required": "Write something first."},
    )
