"""Who is signed in; and, from the services, who may see and do what. Every view asks here."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from onboarding.models import Person
from onboarding.services.access import get_visible, require_role, require_some_role, require_superuser

__all__ = ["get_visible", "person_of", "require_role", "require_some_role", "require_superuser"]


def person_of(request: HttpRequest) -> Person:
    """Who is signed in. Raises PermissionDenied if nobody is, which LoginRequiredMiddleware has ruled out before."""
    if not isinstance(request.user, Person):
        raise PermissionDenied("nobody is signed in")
    return request.user
