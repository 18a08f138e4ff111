"""Identity data: the data sets of an instance, one version with its report, and what people do about work on files."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from onboarding.engine.authority import MAY_ASK
from onboarding.guide.identity_fields import KIND_WORDS
from onboarding.identity import countries
from onboarding.models import Dataset, DatasetVersion, IdentityJob
from onboarding.selectors import datasets as selector
from onboarding.services import identity_files as services
from onboarding.services.errors import Refused
from onboarding.views.access_control import get_visible, person_of, require_role
from onboarding.views.components import Row
from onboarding.views.instances import account_number, instance_page
from onboarding.views.links import run_url
from onboarding.views.steps import step_page
from portal.forms import ConfirmByName


@require_safe
def data(request: HttpRequest, pk: int) -> HttpResponse:
    """GET /instances/N/data/: the data sets of an instance, those in use and those that were retired."""
    page = instance_page(request, pk)
    open_run = selector.open_run(page.instance)
    return render(
        request,
        "datasets/list.html",
        page.context("instance-data")
        | {
            "lines": selector.datasets_of(page.instance),
            "retired": selector.datasets_of(page.instance, retired=True),
            "open_run": open_run,
            "open_url": run_url(open_run) if open_run else "",
            "why_not_another": services.why_not_another(page.instance),
        },
    )


def _dataset(request: HttpRequest, pk: int) -> Dataset:
    person = person_of(request)
    visible = Dataset.objects.visible_to(person).select_related("instance__account", "instance__owner")
    return get_visible(visible, person, pk=pk)


@require_safe
def version(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    """GET /datasets/N/versions/M/: one version: its report, what was made of it, its files."""
    dataset = _dataset(request, pk)
    found = (
        DatasetVersion.objects.filter(dataset=dataset, number=number).select_related("run__instance", "made_by").first()
    )
    if found is None:
        raise Http404
    files = selector.files_of(found)
    return render(
        request,
        "datasets/version.html",
        {
            "title": f"{dataset.name}, version {found.number}",
            "dataset": dataset,
            "instance": dataset.instance,
            "version": found,
            "numbers": selector.numbers_of(dataset),
            "facts": _facts(dataset, found),
            "report": selector.report_view(found.report) if found.report else None,
            "manifest": found.manifest,
            "made": selector.made_of(found.manifest) if found.manifest else None,
            "files": files,
            "step_url": reverse("step", args=[found.run.address, "identity-files"]) if found.run else "",
        },
    )


def _facts(dataset: Dataset, found: DatasetVersion) -> list[Row]:
    columns = "; ".join(f"{name}: {KIND_WORDS[kind].partition(':')[0]}" for name, kind in found.columns.items())
    values = f"Hashed by {found.rule_table}" if found.rule_table else "In clear"
    rows = [
        Row("AWS account", account_number(dataset.aws_account_id)),
        Row("Bucket", f"s3://{dataset.bucket}/{dataset.prefix}", mono=True),
        Row("Files", found.get_origin_display()),
        Row("Columns", columns or "Not chosen yet"),
        Row("Country", countries.in_words(found.country) if found.country else "As each row says"),
        Row("Values", values if found.manifest else "Not prepared"),
        Row("Brought by", str(found.made_by or "")),
    ]
    return [row for row in rows if row.value]


@require_POST
def new_version(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /datasets/N/new-version: begin the procedure that brings a new version."""
    dataset = _dataset(request, pk)
    person = person_of(request)
    require_role(person, dataset.instance.account, *MAY_ASK)
    try:
        run = services.new_version(person=person, dataset=dataset, now=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
        return redirect("instance-data", dataset.instance_id)
    return redirect(run_url(run))


@require_POST
def another(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /instances/N/data/new: begin the procedure that brings one more data set."""
    page = instance_page(request, pk)
    require_role(page.person, page.instance.account, *MAY_ASK)
    try:
        run = services.another(person=page.person, instance=page.instance, now=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
        return redirect("instance-data", pk)
    return redirect(run_url(run))


def retire(request: HttpRequest, pk: int) -> HttpResponse:
    """GET and POST /datasets/N/retire/: take a data set out of use, after its name was typed."""
    dataset = _dataset(request, pk)
    person = person_of(request)
    require_role(person, dataset.instance.account, *MAY_ASK)
    form = ConfirmByName(request.POST if request.method == "POST" else None, name=dataset.name)
    if request.method == "POST" and form.is_valid():
        try:
            services.retire(person=person, dataset=dataset, now=timezone.now())
        except Refused as refusal:
            form.add_error(None, str(refusal))
        else:
            messages.success(request, f"Data set {dataset} was retired. What lies in S3 was not touched.")
            return redirect("instance-data", dataset.instance_id)
    context: dict[str, Any] = {
        "dataset": dataset,
        "instance": dataset.instance,
        "form": form,
        "losses": ["The portal brings no new version of it any more. A new data set may take its name."],
    }
    return render(request, "datasets/retire.html", context, status=422 if form.is_bound else 200)


@require_POST
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """POST /identity-work/N/cancel: stop a piece of work on files."""
    person = person_of(request)
    jobs = IdentityJob.objects.filter(version__dataset__in=Dataset.objects.visible_to(person))
    job = get_visible(jobs.select_related("version__dataset__instance", "version__run__account"), person, pk=pk)
    require_role(person, job.version.dataset.instance.account, *MAY_ASK)
    try:
        services.cancel(person=person, job=job, now=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, "It was cancelled. Nothing of it was published.")
    if job.version.run is None:
        return redirect("instance-data", job.version.dataset.instance_id)
    return redirect("step", job.version.run.address, "identity-files")


@require_POST
def again(request: HttpRequest, at: int | UUID, key: str) -> HttpResponse:
    """POST …/steps/KEY/again: look at the files, or check them, once more."""
    page = step_page(request, at, key)
    require_role(page.person, page.instance.account, *MAY_ASK)
    kind = request.POST.get("again", "")
    try:
        services.again(person=page.person, step=page.step, kind=kind, now=timezone.now())
    except Refused as refusal:
        messages.error(request, str(refusal))
    return redirect("step", *page.args)


@require_safe
def samples(request: HttpRequest, at: int | UUID, key: str) -> HttpResponse:
    """GET …/steps/KEY/samples/: the shapes of the first values, read now and kept nowhere."""
    page = step_page(request, at, key)
    require_role(page.person, page.instance.account, *MAY_ASK)
    context: dict[str, Any] = {"back_url": page.url("step-question", "columns")}
    try:
        context["shapes"] = services.samples(person=page.person, step=page.step)
    except Refused as refusal:
        context["refusal"] = str(refusal)
    template = "datasets/_samples.html" if getattr(request, "htmx", None) else "datasets/samples.html"
    answer = render(request, template, page.context(**context))
    answer["Cache-Control"] = "no-store"
    return answer
