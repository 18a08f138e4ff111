"""Errors to Sentry and traces to OpenTelemetry, if a setting names where; neither is imported otherwise.

What leaves is built up from a short list of fields, so that nothing new can slip in: of an error its type and the
places that it passed, never its text, a variable, an address or a person; of a request its method, route and status.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import structlog
from django.conf import settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter
    from sentry_sdk import Transport
    from sentry_sdk.types import Event, Hint

# Of the ids that log lines carry, these go along.
IDS = ("request_id", "run", "step", "token_id")
ATTRIBUTES = frozenset(
    {
        "error.type",
        "http.method",
        "http.request.method",
        "http.response.status_code",
        "http.route",
        "http.status_code",
        "portal.job",
        "server.address",
    }
)
_KEPT = ("event_id", "timestamp", "level", "platform", "environment", "sdk")
_FRAME = ("filename", "function", "module", "lineno", "in_app")
FLUSH_SECONDS = 2.0


def begin() -> None:
    """Once in each process, when everything is loaded: send what the settings ask for."""
    if settings.SENTRY_DSN:
        errors(settings.SENTRY_DSN)
    if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        traces(OTLPSpanExporter(endpoint=f"{settings.OTEL_EXPORTER_OTLP_ENDPOINT}/v1/traces"))


def flush() -> None:
    """Send what waits to be sent: before a process that does not end in the ordinary way."""
    if settings.SENTRY_DSN:
        import sentry_sdk

        sentry_sdk.flush(FLUSH_SECONDS)
    if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        from opentelemetry import trace

        provider: Any = trace.get_tracer_provider()
        provider.force_flush(int(FLUSH_SECONDS * 1000))


@contextmanager
def job(name: str) -> Iterator[None]:
    """A worker's job as a trace of its own; calls to Amazon are parts of it. `name` is the dotted name it calls."""
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        yield
        return
    from opentelemetry import trace

    tracer = trace.get_tracer("portal")
    with tracer.start_as_current_span(name, attributes={"portal.job": name}, record_exception=False):
        yield


# --- errors


def errors(dsn: str, transport: type[Transport] | None = None) -> logging.Handler:
    """Send the exceptions that are logged; `transport` replaces how. The handler that was added to the log."""
    import sentry_sdk

    sentry_sdk.init(
        dsn=dsn,
        environment=settings.SENTRY_ENVIRONMENT,
        transport=transport,
        before_send=only_the_place,
        default_integrations=False,
        auto_enabling_integrations=False,
        auto_session_tracking=False,
        send_client_reports=False,
        send_default_pii=False,
        include_local_variables=False,
        include_source_context=False,
        max_breadcrumbs=0,
    )
    handler = _Exceptions(logging.ERROR)
    logging.getLogger().addHandler(handler)
    return handler


class _Exceptions(logging.Handler):
    """Hands every exception that is logged on, by whichever way it was logged."""

    def emit(self, record: logging.LogRecord) -> None:
        import sentry_sdk

        info: Any = record.exc_info
        if info is None and isinstance(record.msg, dict):
            info = record.msg.get("exc_info")
        if info:
            sentry_sdk.capture_exception(None if info is True else info)


def only_the_place(event: Event, hint: Hint) -> Event | None:
    """The event that may leave: what was raised, and where. None without an exception."""
    raised = (event.get("exception") or {}).get("values") or []
    values = []
    for one in raised:
        frames = ((one.get("stacktrace") or {}).get("frames")) or []
        places = [{name: frame[name] for name in _FRAME if name in frame} for frame in frames]
        values.append({"type": one.get("type"), "module": one.get("module"), "stacktrace": {"frames": places}})
    if not values:
        return None
    known = structlog.contextvars.get_contextvars()
    whole: dict[str, Any] = dict(event)
    kept: Any = {name: whole[name] for name in _KEPT if name in whole}
    kept["exception"] = {"values": values}
    kept["tags"] = {name: str(known[name]) for name in IDS if name in known}
    left: Event = kept
    return left


# --- traces


def traces(exporter: SpanExporter, *, at_once: bool = False) -> Any:
    """Trace requests, jobs and calls to Amazon; the provider. `at_once` sends each span when it ends."""
    from opentelemetry import trace
    from opentelemetry.instrumentation.django import DjangoInstrumentor
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

    # Not `create()`, which takes over whatever the environment of the process says.
    provider = TracerProvider(resource=Resource({SERVICE_NAME: settings.OTEL_SERVICE_NAME}))
    clean = _scrubbing(exporter)
    provider.add_span_processor(SimpleSpanProcessor(clean) if at_once else BatchSpanProcessor(clean))
    trace.set_tracer_provider(provider)
    DjangoInstrumentor().instrument(tracer_provider=provider, is_sql_commentor_enabled=False)
    HTTPXClientInstrumentor().instrument(tracer_provider=provider)
    return provider


def only_the_route(span: ReadableSpan) -> ReadableSpan:
    """The span that may leave: its name from method and route or job, and the attributes of the list."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Status

    kept = {name: value for name, value in (span.attributes or {}).items() if name in ATTRIBUTES}
    method = kept.get("http.request.method") or kept.get("http.method") or ""
    words = [str(kept.get("portal.job") or method or "span"), str(kept.get("http.route") or "")]
    return ReadableSpan(
        name=" ".join(word for word in words if word),
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=kept,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _scrubbing(inner: SpanExporter) -> SpanExporter:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Scrubbing(SpanExporter):
        """Hands on what may leave of each span."""

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            return inner.export([only_the_route(span) for span in spans])

        def shutdown(self) -> None:
            inner.shutdown()

        def force_flush(self, timeout_millis: int = 30000) -> bool:
            return inner.force_flush(timeout_millis)

    return Scrubbing()
