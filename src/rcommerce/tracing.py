"""OpenTelemetry traces: from a request to its statements, its calls to Redis, the media store,
gateways and other servers, and the jobs that it enqueues; W3C Trace Context in and out.

Off unless `telemetry.otlp_endpoint` is set: a span then costs a look at a variable, and the library
is not imported (except by redis-py, with Redis).
"""

import contextlib
import threading
from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

import structlog

from rcommerce.settings.schema import Telemetry

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

Kind = Literal["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]
Carrier = Mapping[str, str]
SHUTDOWN_S = 2.0
NOTHING: AbstractContextManager[None] = contextlib.nullcontext()
_tracer: "Tracer | None" = None
_provider: "TracerProvider | None" = None


def configure(settings: Telemetry) -> None:
    """Starts tracing if the settings name a collector. Once in each process."""
    global _tracer, _provider
    if settings.otlp_endpoint is None:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    from rcommerce import __version__

    about = {"service.name": settings.service_name, "service.version": __version__}
    _provider = TracerProvider(
        resource=Resource.create(about),
        sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)),
        shutdown_on_exit=False,  # `close` does it
    )
    endpoint = f"{settings.otlp_endpoint.rstrip('/')}/v1/traces"
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    _tracer = _provider.get_tracer("rcommerce", __version__)


def close() -> None:
    """Sends what is left, for at most `SHUTDOWN_S`: the library would try an unavailable collector
    for ten seconds."""
    if _provider is not None:
        closing = threading.Thread(target=_provider.shutdown, daemon=True)
        closing.start()
        closing.join(SHUTDOWN_S)


def span(
    name: str, kind: Kind = "INTERNAL", attributes: Mapping[str, Any] | None = None
) -> AbstractContextManager[Any]:
    """A span inside the present one; nothing if there is none, or it was not sampled."""
    if _tracer is None:
        return NOTHING
    from opentelemetry import trace

    if not trace.get_current_span().is_recording():
        return NOTHING
    return _tracer.start_as_current_span(name, kind=trace.SpanKind[kind], attributes=attributes)


def root(
    name: str, kind: Kind, carrier: Carrier, attributes: Mapping[str, Any] | None = None
) -> AbstractContextManager[Any]:
    """The span of a request or job; `carrier` has the trace that it belongs to. Log lines have its
    trace id from now on, if it is sampled. Yields it, or None."""
    if _tracer is None:
        return NOTHING
    return _root(_tracer, name, kind, carrier, attributes)


@contextlib.contextmanager
def _root(
    tracer: "Tracer", name: str, kind: Kind, carrier: Carrier, attributes: Mapping[str, Any] | None
) -> Any:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract(carrier)
    with tracer.start_as_current_span(
        name, context, kind=trace.SpanKind[kind], attributes=attributes
    ) as made:
        if made.is_recording():
            found = made.get_span_context()
            structlog.contextvars.bind_contextvars(
                trace_id=trace.format_trace_id(found.trace_id),
                span_id=trace.format_span_id(found.span_id),
            )
        yield made


def inject(carrier: MutableMapping[str, str]) -> None:
    """Adds the trace's id for another process (W3C Trace Context)."""
    if _tracer is None:
        return
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    TraceContextTextMapPropagator().inject(carrier)


def is_on() -> bool:
    """Whether tracing is on."""
    return _tracer is not None
