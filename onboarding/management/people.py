"""Finds the person that a command acts as."""

from __future__ import annotations

from django.core.management.base import CommandError
from django.db.models import Q

from onboarding.models import Person


def person_named(who: str) -> Person:
    """The active person with this e-mail address or Amazon id. Raises CommandError if there is not exactly one."""
    found = list(Person.objects.filter(Q(email__iexact=who) | Q(amazon_id=who), is_active=True)[:2])
    if len(found) != 1:
        raise CommandError(
            f"Nobody called {who} has signed in yet."
            if not found
            else f"{who} is more than one person; use the Amazon id."
        )
    return found[0]
