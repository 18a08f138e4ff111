"""What happens once Amazon has said who somebody is (steps of SOCIAL_AUTH_PIPELINE)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import transaction
from social_core.exceptions import AuthAssociationError, AuthPolicyError

from onboarding import audit
from onboarding.models import Person


def person(backend: Any, uid: str, details: dict[str, Any], user: Person | None = None, **rest: Any) -> dict[str, Any]:
    """Find or make the person behind an Amazon user id, and take over name and address from the profile.

    Raises AuthPolicyError for a person who was disabled, AuthAssociationError if somebody else is signed in.
    """
    if user is not None and user.amazon_id != uid:
        raise AuthAssociationError(backend, code="identity_in_use", stage="pipeline")
    name = str(details.get("fullname") or "")[:200]
    email = str(details.get("email") or "")[:254]
    someone, created = Person.objects.get_or_create(
        amazon_id=uid, defaults={"name": name, "email": email, "password": make_password(None)}
    )
    if not someone.is_active:
        raise AuthPolicyError(backend, code="authentication_disallowed", stage="pipeline")
    changes = {
        field: value
        for field, value in (("name", name), ("email", email))
        if value and getattr(someone, field) != value
    }
    if changes:
        Person.objects.filter(pk=someone.pk).update(**changes)
        someone.refresh_from_db()
    return {"user": someone, "is_new": created}


def first_admin(user: Person, is_new: bool = False, **rest: Any) -> None:
    """Make a person whose address is in FIRST_ADMINS a superuser, and write the sign-in down.

    An address makes one superuser: a second Amazon login that gives the same one doesn't become another.
    """
    with transaction.atomic():
        address = user.email.lower()
        if address and address in settings.FIRST_ADMINS and not user.is_superuser:
            taken = Person.objects.filter(email__iexact=address, is_superuser=True).exclude(pk=user.pk).exists()
            if not taken:
                Person.objects.filter(pk=user.pk).update(is_superuser=True)
                user.is_superuser = True
                audit.record(
                    "person.made_superuser",
                    actor=None,
                    subject=str(user),
                    subject_ref=f"person:{user.pk}",
                    details={"because": "FIRST_ADMINS"},
                )
        audit.record(
            "person.signed_in",
            actor=user,
            subject=str(user),
            subject_ref=f"person:{user.pk}",
            details={"first_time": is_new},
        )
