"""Uploads from a computer: what the browser asks while it puts the parts of a file into the customer's bucket."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from onboarding.clients import presigned
from onboarding.clients.failures import Later, RemoteFailure
from onboarding.engine.authority import MAY_ASK
from onboarding.models import Dataset, DatasetVersion, Person, SourceFile
from onboarding.services import uploads
from onboarding.services.errors import Refused
from onboarding.views.access_control import get_visible, person_of, require_role

View = Callable[..., HttpResponse]


def allow_uploads(response: HttpResponseBase, bucket: str) -> None:
    """Let this one page's scripts reach the host of the bucket."""
    vars(response)["_csp_update"] = {"connect-src": [presigned.origin_of(bucket)]}


def _answers(view: View) -> View:
    """A view for scripts: what is refused, or can't be done now, is said as JSON; `again` where trying later helps."""

    @wraps(view)
    def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except Refused as refusal:
            return JsonResponse({"what": str(refusal), "todo": "", "again": False}, status=409)
        except RemoteFailure as failure:
            again = isinstance(failure, Later)
            said = {"what": failure.what, "todo": failure.todo, "again": again}
            return JsonResponse(said, status=503 if again else 409)

    return answered


def _version(request: HttpRequest, pk: int) -> tuple[Person, DatasetVersion]:
    me = person_of(request)
    versions = DatasetVersion.objects.filter(dataset__in=Dataset.objects.visible_to(me))
    version = get_visible(versions.select_related("dataset__instance__account"), me, pk=pk)
    require_role(me, version.dataset.instance.account, *MAY_ASK)
    return me, version


def _file(request: HttpRequest, pk: int) -> tuple[Person, SourceFile]:
    me = person_of(request)
    files = SourceFile.objects.filter(version__dataset__in=Dataset.objects.visible_to(me))
    file = get_visible(files.select_related("version__dataset__instance__account", "version__run"), me, pk=pk)
    require_role(me, file.version.dataset.instance.account, *MAY_ASK)
    return me, file


def _asked(request: HttpRequest) -> dict[str, Any]:
    try:
        asked = json.loads(request.body)
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise Refused("The browser's question could not be read.")
    return asked


@require_POST
@_answers
def begin(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /dataset-versions/N/uploads: {name, size, fingerprint} → where to go on, and which parts S3 has."""
    me, version = _version(request, pk)
    asked = _asked(request)
    size = asked.get("size")
    if not isinstance(size, int) or isinstance(size, bool):
        raise Refused("The browser did not say how large the file is.")
    standing = uploads.begin(
        person=me,
        version=version,
        name=str(asked.get("name", ""))[:1000],
        size=size,
        fingerprint=str(asked.get("fingerprint", "")),
        now=timezone.now(),
    )
    file = standing.file
    return JsonResponse(
        {
            "file": file.pk,
            "done": file.state == SourceFile.State.THERE,
            "part_size": file.part_size,
            "parts": standing.parts,
            "there": standing.there,
            "addresses": reverse("upload-addresses", args=[file.pk]),
            "complete": reverse("upload-complete", args=[file.pk]),
            "remove": reverse("upload-remove", args=[file.pk]),
        }
    )


@require_POST
@_answers
def addresses(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /uploads/N/addresses: {checksums: {part: SHA-256}} → {addresses: {part: where to put it}}."""
    me, file = _file(request, pk)
    checksums = _asked(request).get("checksums")
    if not isinstance(checksums, dict) or not all(
        number.isdecimal() and len(number) <= 5 and isinstance(value, str) for number, value in checksums.items()
    ):
        raise Refused("The browser's question could not be read.")
    found = uploads.addresses(
        person=me, file=file, checksums={int(number): value for number, value in checksums.items()}
    )
    return JsonResponse({"addresses": found}, headers={"Cache-Control": "no-store"})


@require_POST
@_answers
def complete(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /uploads/N/complete: {missing: [parts]}; nothing missing means that the file is in the bucket."""
    me, file = _file(request, pk)
    return JsonResponse({"missing": uploads.complete(person=me, file=file, now=timezone.now())})


@require_POST
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /uploads/N/remove: cancel an upload or delete an uploaded file; back to the page it belongs to."""
    me, file = _file(request, pk)
    back = file.version.run
    try:
        uploads.remove(person=me, file=file, now=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
    except RemoteFailure as failure:
        messages.error(request, f"{failure.what} {failure.todo}".strip())
    else:
        messages.success(request, "The file was removed from the bucket.")
    return redirect("step-uploads", back.address, "identity-files") if back else redirect("home")
