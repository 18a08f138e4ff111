"""Login with Amazon as social-auth's backend: PKCE, the profile by header, and no token kept."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpResponse
from social_core.backends.amazon import AmazonOAuth2
from social_core.backends.oauth import BaseOAuth2PKCE
from social_core.exceptions import AuthResponseError

from onboarding.models import Person


class LoginWithAmazon(BaseOAuth2PKCE[HttpResponse], AmazonOAuth2[HttpResponse]):
    """Signs people in with the scope `profile` alone; reaching AMC is another grant (see Connections)."""

    name = "amazon"
    DEFAULT_SCOPE: list[str] = []  # the setting alone says what is asked
    EXTRA_DATA: list[Any] = []

    def user_data(self, access_token: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The profile. The token goes in a header: an address is written to logs on its way."""
        profile = self.get_json(
            settings.LOGIN_PROFILE_URL,
            headers={"Authorization": f"Bearer {access_token}", "Accept": "application/json"},
            stage="user_info",
        )
        if not isinstance(profile, dict) or not isinstance(profile.get("user_id"), str):
            raise AuthResponseError(self, code="malformed_response", stage="user_info")
        return {"user_id": profile["user_id"], "name": profile.get("name"), "email": profile.get("email")}

    def extra_data(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Nothing: the token was for the profile only, and nobody needs it any more."""
        return {}

    def get_user(self, user_id: int) -> Person | None:
        """Whose session it is; nobody's once the person was disabled."""
        return Person.objects.filter(pk=user_id, is_active=True).first()
