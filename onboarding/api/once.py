"""A request that changes something is carried out once, however often it is sent: `Idempotency-Key`.

The answer is kept in the transaction of what was done, so there is never the one without the other. An operation looks
first whether the caller may still see and do it, and only then asks here: a kept answer shows nothing more.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from pydantic import BaseModel

from onboarding.api import problems
from onboarding.api.auth import token_of
from onboarding.api.problems import FieldError, Problem
from onboarding.models import ApiToken, KeptAnswer
from onboarding.services.errors import NotAllowed, Refused

HEADER = "Idempotency-Key"
KEY = r"^[!-~]{1,255}$"
KEPT_FOR = timedelta(days=1)
_KEPT_HEADERS = ("Content-Type", "Location")


def once(request: HttpRequest, act: Callable[[], BaseModel], *, status: int = 200, location: str = "") -> HttpResponse:
    """Answer with what `act` returns, or as the first request with the same key was answered.

    `location` may name fields of the answer: "/api/v1/runs/{id}". Raises Problem when the key was used for another
    request, or is none.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return _answer(request, act, status, location)
    if not re.fullmatch(KEY, key):
        error = FieldError(detail="1 to 255 characters without blanks.", parameter=HEADER)
        raise Problem("invalid", "The idempotency key cannot be used.", errors=[error])
    token, now = token_of(request), timezone.now()
    with transaction.atomic():
        KeptAnswer.objects.filter(token=token, key=key, expires_at__lte=now).delete()
        row, new = _claim(token, key, _fingerprint(request))
        if not new:
            return _again(row, _fingerprint(request))
        response = _answer(request, act, status, location)
        row.status, row.body = response.status_code, response.content.decode()
        row.headers = {name: response[name] for name in _KEPT_HEADERS if name in response}
        row.save(update_fields=["status", "body", "headers"])
    return response


def _claim(token: ApiToken, key: str, fingerprint: str) -> tuple[KeptAnswer, bool]:
    """The row of the key, and whether it is new. Whoever comes second waits here until the first has committed."""
    now = timezone.now()
    try:
        with transaction.atomic():
            return KeptAnswer.objects.create(
                token=token, key=key, fingerprint=fingerprint, made_at=now, expires_at=now + KEPT_FOR
            ), True
    except IntegrityError:
        return KeptAnswer.objects.get(token=token, key=key), False


def _again(row: KeptAnswer, fingerprint: str) -> HttpResponse:
    if row.fingerprint != fingerprint:
        raise Problem("key-reused", "This key came with another request before. Use a new key for a new act.")
    response = HttpResponse(row.body, status=row.status, headers=row.headers)
    response["Idempotency-Replayed"] = "true"
    return response


def _answer(request: HttpRequest, act: Callable[[], BaseModel], status: int, location: str) -> HttpResponse:
    try:
        with transaction.atomic():
            made = act()
    except Problem as problem:
        return problems.answer(request, problem)
    except NotAllowed as refusal:
        return problems.answer(request, Problem("not-allowed", str(refusal)))
    except Refused as refusal:
        return problems.answer(request, Problem("refused", str(refusal)))
    response = HttpResponse(made.model_dump_json(), status=status, content_type="application/json")
    if location:
        response["Location"] = request.build_absolute_uri(location.format_map(made.model_dump()))
    return response


def _fingerprint(request: HttpRequest) -> str:
    head = f"{request.method}\n{request.get_full_path()}\n{request.content_type}\n"
    return hashlib.sha256(head.encode() + request.body).hexdigest()
