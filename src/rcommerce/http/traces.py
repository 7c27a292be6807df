"""The span of a request, by OpenTelemetry's conventions for HTTP servers."""

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Send

from rcommerce import tracing

_CARRIED = (b"traceparent", b"tracestate")


async def traced(app: ASGIApp, scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Answers inside a span, which is part of the client's trace if there is one."""
    carrier = {
        name.decode(): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in _CARRIED
    }
    method = scope["method"]
    about = {"http.request.method": str(method), "url.path": scope["path"]}
    with tracing.root(str(method), "SERVER", carrier, about) as span:

        async def reported(message: Message) -> None:
            if message["type"] == "http.response.start" and span.is_recording():
                route = scope.get("path_template")
                if route:
                    span.update_name(f"{method} {route}")
                    span.set_attribute("http.route", route)
                span.set_attribute("http.response.status_code", message["status"])
            await send(message)

        await app(scope, receive, reported)
