"""The pages around signing in; the exchange with Amazon itself is social-auth's."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME, logout
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from onboarding import audit
from onboarding.models import Person


@login_not_required
@never_cache
@require_safe
def sign_in(request: HttpRequest) -> HttpResponse:
    """GET /sign-in: the one button. Whoever is signed in goes on to where they wanted."""
    wanted = request.GET.get(REDIRECT_FIELD_NAME, "")
    if not url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure()):
        wanted = ""
    if request.user.is_authenticated:
        return redirect(wanted or settings.LOGIN_REDIRECT_URL)
    return render(request, "signin/sign_in.html", {"next": wanted})


@login_not_required
@never_cache
@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """POST /sign-out: end the session."""
    if isinstance(request.user, Person):
        person = request.user
        audit.record("person.signed_out", actor=person, subject=str(person), subject_ref=f"person:{person.pk}")
    logout(request)
    return redirect(settings.LOGOUT_REDIRECT_URL)
