"""What numbers and lists count: whole AMC accounts, or on them only what one person owns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q

from onboarding.models import AmcAccount, Person


@dataclass(frozen=True)
class Scope:
    """The accounts (by key), which the caller has checked, and whose things alone count (None: everybody's)."""

    accounts: tuple[int, ...]
    owner: Person | None = None

    @classmethod
    def of(cls, person: Person, *, seen: Sequence[AmcAccount], administered: Sequence[AmcAccount]) -> Scope:
        """Whole accounts for whoever administers any of those that are seen, else the person's own on them."""
        if administered:
            return cls(tuple(account.pk for account in administered))
        return cls(tuple(account.pk for account in seen), person)

    def q(self, account: str = "account", owner: str = "owner") -> Q:
        """The condition, given the names of the columns."""
        found = Q(**{f"{account}__in": self.accounts})
        return found & Q(**{owner: self.owner}) if self.owner else found
