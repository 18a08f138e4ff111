"""One's own tokens for the API; an admin revokes those of others on the page of the person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from onboarding.forms.tokens import NewToken
from onboarding.models import ApiToken, Person
from onboarding.services import tokens as service
from onboarding.services.errors import Refused
from onboarding.views.access_control import get_visible, person_of

# Tokens that have ended are kept; the page shows the latest.
MOST_SHOWN = 50


@dataclass(frozen=True)
class Line:
    """One token in a list: how it stands, in words and in colour."""

    row: ApiToken
    works: bool
    look: str
    word: str


def lines(me: Person, someone: Person, now: datetime) -> list[Line]:
    """Somebody's tokens, if I may see them, the newest first (one query)."""
    return [_line(row, now) for row in ApiToken.objects.visible_to(me).filter(person=someone)[:MOST_SHOWN]]


def _line(row: ApiToken, now: datetime) -> Line:
    if row.revoked_at is not None:
        return Line(row, False, "withdrawn", "Revoked")
    return Line(row, True, "done", "Works") if row.works_at(now) else Line(row, False, "expired", "Expired")


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """/tokens/: one's own tokens. POST makes one; the answer is the only page that ever shows it."""
    me, now = person_of(request), timezone.now()
    form = NewToken(request.POST if request.method == "POST" else None)
    context: dict[str, Any] = {}
    if request.method == "POST" and form.is_valid():
        try:
            made, token = service.make(me, **form.chosen, now=now)
        except Refused as refusal:
            form.add_error(None, str(refusal))
        else:
            context = {"made": made, "token": token, "base": request.build_absolute_uri("/")}
    return render(
        request,
        "tokens/tokens.html",
        {**context, "form": NewToken() if context else form, "lines": lines(me, me, now)},
        status=422 if form.errors else 200,
    )


@require_POST
def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /tokens/<pk>/revoke: end one's own token, or as an admin that of somebody on one's accounts."""
    me = person_of(request)
    token = get_visible(ApiToken.objects.visible_to(me).select_related("person"), me, pk=pk)
    if service.revoke(me, token, now=timezone.now()):
        messages.success(request, f"“{token}” no longer opens anything.")
    return redirect("tokens") if token.person_id == me.pk else redirect("person", token.person_id)
