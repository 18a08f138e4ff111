"""The form that invites somebody to AMC."""

from __future__ import annotations

from django import forms

from onboarding.models import UserInvitation
from portal.forms import described


class InviteUser(forms.Form):
    """Who is invited, and as what."""

    name = forms.CharField(label="Name", max_length=200)
    email = forms.EmailField(label="E-mail address", help_text="Amazon sends the invitation there.")
    role = forms.ChoiceField(
        label="As what?",
        widget=forms.RadioSelect,
        initial=UserInvitation.Role.VIEWER,
        choices=[
            (UserInvitation.Role.VIEWER, described("Viewer", "Runs queries and reads results in AMC.")),
            (
                UserInvitation.Role.ADMIN,
                described(
                    "Admin", "Creates and deletes instances and invites others, with no approval of the portal's."
                ),
            ),
        ],
    )
