"""Choosing the files of a step: by looking into S3, or by uploading them from this computer."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from onboarding.clients.failures import RemoteFailure
from onboarding.engine import aws_health
from onboarding.engine.authority import MAY_ASK
from onboarding.guide.data_bucket import data_account, data_bucket
from onboarding.models import SourceFile
from onboarding.selectors import uploads as selector
from onboarding.services import browsing, runs
from onboarding.services.errors import Refused
from onboarding.views.access_control import require_role
from onboarding.views.shell import render_page_or_part
from onboarding.views.steps import ANSWERABLE, StepPage, step_page
from onboarding.views.uploads import allow_uploads

QUESTION = "places"


def _open(request: HttpRequest, at: int | UUID, key: str) -> StepPage:
    page = step_page(request, at, key)
    require_role(page.person, page.instance.account, *MAY_ASK)
    if page.step.state not in ANSWERABLE:
        raise Http404
    return page


def _choose(request: HttpRequest, page: StepPage, places: list[str], *, beside: bool) -> HttpResponse:
    """Answer the step's question for places with these, `beside` those that it has already."""
    try:
        kind = runs.question_of(page.guide_step, page.situation, QUESTION)
    except KeyError:
        raise Http404 from None
    known = page.situation.answer(page.step.key, QUESTION, QUESTION, []) if beside else []
    form = kind({QUESTION: list(dict.fromkeys([*known, *places]))}, situation=page.situation)
    if not form.is_valid():
        messages.error(request, " ".join(str(error) for errors in form.errors.values() for error in errors))
        return redirect(request.get_full_path())
    try:
        runs.answer_save(person=page.person, step=page.step, form=form, now=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
        return redirect(request.get_full_path())
    return redirect("step-question", *page.args, QUESTION)


@require_http_methods(["GET", "HEAD", "POST"])
def browse(request: HttpRequest, at: int | UUID, key: str) -> HttpResponse:
    """…/steps/KEY/browse/: buckets, then folders and files; `?bucket=`, `?prefix=`, `?page=`. POST chooses places."""
    page = _open(request, at, key)
    if request.method == "POST":
        return _choose(request, page, request.POST.getlist("place"), beside=True)
    bucket, prefix = request.GET.get("bucket", ""), request.GET.get("prefix", "")
    context: dict[str, Any] = {
        "aws_account": data_account(page.situation),
        "data_bucket": data_bucket(page.situation),
        "here": page.url("step-browse"),
        "back_url": page.url("step-question", QUESTION),
        "chosen": page.situation.answer(page.step.key, QUESTION, QUESTION, []),
    }
    try:
        connection = aws_health.working(page.instance.account, context["aws_account"])
        if bucket:
            context["listing"] = browsing.listing(connection, bucket, prefix, request.GET.get("page", ""))
        else:
            context["buckets"] = browsing.buckets(connection)
    except RemoteFailure as failure:
        context["failed"] = failure
    return render_page_or_part(request, "step_files/browse.html", "step_files/_browse.html", page.context(**context))


@require_http_methods(["GET", "HEAD", "POST"])
def uploads(request: HttpRequest, at: int | UUID, key: str) -> HttpResponse:
    """…/steps/KEY/uploads/: files from this computer. POST goes on with those that are in the bucket."""
    page = _open(request, at, key)
    version = selector.version_of(page.onboarding.run)
    files = selector.uploaded(version)
    there = [file for file in files if file.state == SourceFile.State.THERE]
    if request.method == "POST":
        if not there:
            messages.error(request, "No file has arrived in the bucket yet.")
            return redirect("step-uploads", *page.args)
        return _choose(request, page, [f"s3://{file.bucket}/{file.key}" for file in there], beside=False)
    response = render_page_or_part(
        request,
        "step_files/uploads.html",
        "step_files/_uploaded.html",
        page.context(
            version=version,
            bucket=version.dataset.bucket if version else "",
            files=files,
            there=there,
            days=settings.UPLOAD_DAYS,
            here=page.url("step-uploads"),
            back_url=page.tasks_url,
        ),
    )
    if version is not None:
        allow_uploads(response, version.dataset.bucket)
    return response
