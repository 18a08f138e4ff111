"""Saved views: a list's filters and order under a name of one's own."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from onboarding.forms.saved_views import SaveView
from onboarding.models import SavedView
from onboarding.services import saved_views as service
from onboarding.services.errors import Refused
from onboarding.views.access_control import person_of


@dataclass(frozen=True)
class ViewLink:
    """One saved view: its name, where it leads, and whether it is what the page shows."""

    pk: int
    name: str
    url: str
    current: bool


@dataclass(frozen=True)
class Views:
    """The saved views of a list, and what would be saved now (empty: nothing is filtered)."""

    page: str
    links: list[ViewLink]
    query: str


def views_of(request: HttpRequest, page: str) -> Views:
    """What the line of saved views above a list shows (one query)."""
    now = service.cleaned(request.GET.urlencode())
    address = reverse(page)
    rows = SavedView.objects.filter(person=person_of(request), page=page).order_by("name")
    links = [ViewLink(row.pk, row.name, f"{address}?{row.query}", row.query == now) for row in rows]
    return Views(page, links, now)


@require_POST
def save(request: HttpRequest) -> HttpResponse:
    """POST /views/save with `page`, `query` and `name`: keep it; a name that is there already is written over."""
    form = SaveView(request.POST)
    if not form.is_valid():
        messages.error(request, " ".join(str(text) for texts in form.errors.values() for text in texts))
        return redirect(reverse(form.cleaned_data.get("page") or "instances"))
    wanted = form.cleaned_data
    try:
        view = service.keep(
            person_of(request), page=wanted["page"], name=wanted["name"], query=wanted["query"], now=timezone.now()
        )
    except Refused as refusal:
        messages.error(request, str(refusal))
        return redirect(f"{reverse(wanted['page'])}?{wanted['query']}")
    messages.success(request, f"The view “{view.name}” is kept.")
    return redirect(f"{reverse(view.page)}?{view.query}")


@require_POST
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /views/N/remove: forget one of one's own."""
    view = get_object_or_404(SavedView, pk=pk, person=person_of(request))
    view.delete()
    messages.success(request, f"The view “{view.name}” is removed.")
    return redirect(reverse(view.page))
