"""Who may see and do what: every page and every operation of the API asks here.

What a person may not see answers 404, as if it did not exist; what they see but may not do answers 403.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404

from onboarding.models import AmcAccount, Person
from onboarding.services.errors import NotAllowed

M = TypeVar("M", bound=Model)


class _Visible(Protocol):
    def visible_to(self, person: Person) -> QuerySet[Any]: ...


def get_visible(model: type[M] | QuerySet[M], person: Person, **lookup: Any) -> M:
    """The one object of a model with `visible_to` (or of a queryset that is already narrowed), else Http404."""
    if isinstance(model, QuerySet):
        return get_object_or_404(model, **lookup)
    manager: _Visible = model._default_manager  # type: ignore[assignment]
    found: M = get_object_or_404(manager.visible_to(person), **lookup)
    return found


def require_role(person: Person, account: AmcAccount, *names: str) -> None:
    """Go on only with one of the roles on the account. Raises PermissionDenied, or Http404 without any role on it."""
    if person.has_role(account, *names):
        return
    if not AmcAccount.objects.visible_to(person).filter(pk=account.pk).exists():
        raise Http404
    raise PermissionDenied


def authorize(person: Person, account: AmcAccount, *names: str) -> None:
    """What a service asks before it acts: one of the roles on the account. Raises NotAllowed, in words."""
    if not person.has_role(account, *names):
        article = "an" if names[0][0] in "aeiou" else "a"
        raise NotAllowed(f"Only {article} {' or '.join(names)} of {account} may do this.")


def require_superuser(person: Person) -> None:
    """Go on only as a superuser. Raises PermissionDenied."""
    if not (person.is_superuser and person.is_active):
        raise PermissionDenied


def require_some_role(person: Person, *names: str) -> None:
    """Go on only with one of the roles on at least one account. Raises PermissionDenied."""
    if not AmcAccount.objects.with_role(person, *names).exists() and not person.is_superuser:
        raise PermissionDenied
