"""Keeps the filters of lists under names, for each person."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import parse_qsl, urlencode

from onboarding.models import Person, SavedView
from onboarding.services.errors import Refused

# The lists that have views, by URL name.
PAGES = ("instances", "requests", "runs", "results", "audit")
MOST = 30
# Belongs to one look at the list, not to the view.
_PASSING = frozenset({"page", "format"})


def cleaned(query: str) -> str:
    """The filters of an address, in one order, without empty ones and what is passing."""
    pairs = [(name, value) for name, value in parse_qsl(query, max_num_fields=40) if name not in _PASSING and value]
    return urlencode(sorted(pairs))


def keep(person: Person, *, page: str, name: str, query: str, now: datetime) -> SavedView:
    """Keep the filters under the name; the same name again replaces. Raises Refused when there are too many."""
    mine = SavedView.objects.filter(person=person, page=page)
    found = mine.filter(name__iexact=name).first()
    if found is None and mine.count() >= MOST:
        raise Refused(f"There are {MOST} views already. Remove one first.")
    view = found or SavedView(person=person, page=page, made_at=now)
    view.name, view.query = name, query
    view.save()
    return view
