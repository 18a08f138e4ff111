"""Sentry and OpenTelemetry get what they are for, and nothing that is marked; unless asked for, they are not there."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import httpx
import pytest
import sentry_sdk
import structlog
from django.test import Client
from django.urls import path
from opentelemetry import trace
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from portal import observe
from scripts.lint import PRODUCTION
from scripts.stack import ROOT, known_settings
from tests.leaks import first_leak
from tests.simulated import somebody

MARK = "zqxjmarker"


def failing(request, pk):
    value = f"{MARK} in a variable"
    raise ValueError(f"{MARK} in the text of {value} {request.GET} {request.POST}")


def fine(request, pk):
    from django.http import HttpResponse

    return HttpResponse("fine")


def view_of(view):
    from django.contrib.auth.decorators import login_not_required

    return login_not_required(view)


urlpatterns = [path("tried/<str:pk>/", view_of(failing)), path("fine/<str:pk>/", view_of(fine))]


class Transport(sentry_sdk.Transport):
    """Keeps what would be sent."""

    sent: list[str] = []

    def capture_envelope(self, envelope):
        self.sent.append(envelope.serialize().decode())


@pytest.fixture
def browser(db, settings):
    settings.ROOT_URLCONF = __name__
    client = Client(raise_request_exception=False, headers={"User-Agent": MARK, "X-Request-Id": "request-7777"})
    client.force_login(somebody(MARK))
    client.cookies["more"] = MARK
    return client


def send(client: Client, where: str):
    return client.post(f"/{where}/{MARK}/?q={MARK}", {"value": MARK}, headers={"Referer": f"http://testserver/{MARK}"})


def test_an_error_leaves_as_its_type_and_places_alone(browser, watch):
    Transport.sent.clear()
    handler = observe.errors("https://key@sentry.example/1", Transport)
    try:
        assert send(browser, "tried").status_code == 500
        structlog.get_logger("portal.tried").error(f"{MARK} without an exception", value=MARK)
        try:
            failing(type("R", (), {"GET": MARK, "POST": MARK}), 1)
        except ValueError:
            structlog.get_logger("portal.tried").exception(f"{MARK} with one", value=MARK)
    finally:
        logging.getLogger().removeHandler(handler)
        sentry_sdk.flush()
        sentry_sdk.get_global_scope().set_client(None)
    assert len(Transport.sent) == 2
    for sent in Transport.sent:
        assert MARK not in sent and not first_leak(sent)
        event = json.loads(sent.splitlines()[-1])
        (raised,) = event["exception"]["values"]
        assert raised["type"] == "ValueError" and "value" not in raised
        assert raised["stacktrace"]["frames"][-1]["function"] == "failing"
        assert not {"request", "user", "breadcrumbs", "extra", "server_name", "logentry"} & set(event)
    assert json.loads(Transport.sent[0].splitlines()[-1])["tags"] == {"request_id": "request-7777"}
    # What was logged on purpose here.
    watch.found.clear()


def test_a_trace_names_routes_jobs_and_hosts_alone(browser, settings, watch):
    settings.MIDDLEWARE = list(settings.MIDDLEWARE)
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = "http://collector.example"
    exporter = InMemorySpanExporter()
    provider = observe.traces(exporter, at_once=True)
    tracer = trace.get_tracer("tried", tracer_provider=provider)
    try:
        with pytest.raises(ValueError), observe.job("onboarding.jobs.work"):
            transport = httpx.MockTransport(lambda request: httpx.Response(503, text=MARK))
            with httpx.Client(transport=transport) as client:
                HTTPXClientInstrumentor.instrument_client(client, tracer_provider=provider)
                client.get(f"https://amazon.example/{MARK}?token={MARK}", headers={"Authorization": MARK})
            raise ValueError(MARK)
        assert send(browser, "fine").status_code == 200
        assert send(browser, "tried").status_code == 500
        with tracer.start_as_current_span(MARK, attributes={"db.statement": MARK, "http.url": MARK}) as span:
            span.add_event(MARK, {"value": MARK})
    finally:
        DjangoInstrumentor().uninstrument()
        HTTPXClientInstrumentor().uninstrument()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    everything = "".join(span.to_json() for span in spans.values())
    assert MARK not in everything
    assert {"GET", "onboarding.jobs.work", "POST fine/<str:pk>/", "POST tried/<str:pk>/", "span"} == set(spans)
    assert spans["GET"].parent.span_id == spans["onboarding.jobs.work"].context.span_id
    codes = {"http.status_code", "http.response.status_code"}
    assert [spans["GET"].attributes[name] for name in codes & set(spans["GET"].attributes)] == [503]
    watch.found.clear()


@pytest.mark.parametrize("asked", [False, True])
def test_neither_is_loaded_unless_a_setting_asks_for_it(asked):
    code = (
        "import sys, django; django.setup(); from django.conf import settings\n"
        "print(*sorted({'sentry_sdk', 'opentelemetry.exporter'} & set(sys.modules)))\n"
    )
    own = {name: value for name, value in os.environ.items() if name not in known_settings()}
    own |= {**PRODUCTION, "DJANGO_SETTINGS_MODULE": "portal.settings"}
    if asked:
        own |= {"SENTRY_DSN": "https://key@127.0.0.1:9/1", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=own, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == (["opentelemetry.exporter", "sentry_sdk"] if asked else [])
