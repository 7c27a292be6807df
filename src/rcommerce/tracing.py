"""OpenTelemetry traces: from a request to its statements, its calls to Redis, to the store, to
gateways and to other servers, and to the jobs that it leaves behind; W3C Trace Context in and out.

Off, unless `telemetry.otlp_endpoint` is set: a span costs a look at a variable then, and nothing
of the library is imported (but by redis-py, where there is Redis).
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
    """Begins to trace, where the settings say where to. In each process by itself."""
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
    """Sends what is left, for at most `SHUTDOWN_S`: the library would try for ten seconds to
    reach an unavailable collector."""
    if _provider is not None:
        closing = threading.Thread(target=_provider.shutdown, daemon=True)
        closing.start()
        closing.join(SHUTDOWN_S)


def span(
    name: str, kind: Kind = "INTERNAL", attributes: Mapping[str, Any] | None = None
) -> AbstractContextManager[Any]:
    """A span inside the one that is under way; where none is, or it was not sampled, nothing."""
    if _tracer is None:
        return NOTHING
    from opentelemetry import trace

    if not trace.get_current_span().is_recording():
        return NOTHING
    return _tracer.start_as_current_span(name, kind=trace.SpanKind[kind], attributes=attributes)


def root(
    name: str, kind: Kind, carrier: Carrier, attributes: Mapping[str, Any] | None = None
) -> AbstractContextManager[Any]:
    """The span with which a process takes something up; `carrier` says of what trace it is part.
    Lines of the log have its trace from now on, where it is sampled. Yields it, or None."""
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
    """Adds what tells another process of what trace this is (W3C Trace Context)."""
    if _tracer is None:
        return
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    TraceContextTextMapPropagator().inject(carrier)


def is_on() -> bool:
    """Whether traces are kept."""
    return _tracer is not None
