"""What the portal has told this person."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from onboarding.models import Notice
from onboarding.views.access_control import person_of

PAGE_SIZE = 30


@require_safe
def notices(request: HttpRequest) -> HttpResponse:
    """GET /notices/: the newest first; what is new is marked."""
    rows = Notice.objects.filter(person=person_of(request)).order_by("-pk")
    page = Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page", 1))
    return render(request, "notices/list.html", {"page": page, "unread": any(row.read_at is None for row in page)})


@require_POST
def read(request: HttpRequest) -> HttpResponse:
    """POST /notices/read: mark all of them as read."""
    Notice.objects.filter(person=person_of(request), read_at=None).update(read_at=timezone.now())
    return redirect("notices")
