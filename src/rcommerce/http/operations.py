"""Health checks, and the front page."""

from typing import Any

import msgspec
from litestar import Request, get
from litestar.datastructures import State
from litestar.response.base import ASGIResponse

from rcommerce import __version__
from rcommerce.commerce.shop import Services
from rcommerce.database.server import Server
from rcommerce.database.shard import Shard
from rcommerce.http.drain import Drain
from rcommerce.http.pages import FRONT_PAGE, unchanging
from rcommerce.resilience.breaker import Breaker

LINKS = {
    "docs": "/docs",
    "openapi": "/api/v1/openapi.json",
    "health": "/health",
    "metrics": "/metrics",
    "ops": "/ops",
    "products": "/api/v1/products",
}
NO_STORE = {"Cache-Control": "no-store"}


def _json(value: Any, status: int = 200) -> ASGIResponse:
    return ASGIResponse(
        body=msgspec.json.encode(value),
        status_code=status,
        media_type="application/json",
        headers=NO_STORE,
    )


@get("/", include_in_schema=False)
async def front(request: Request[None, None, State]) -> ASGIResponse:
    """What this is; a page for a browser."""
    named = request.headers.get("if-none-match")
    if "text/html" in request.headers.get("accept", ""):
        return unchanging(FRONT_PAGE, "text/html", named, vary="Accept")
    body = msgspec.json.encode({"name": "R Commerce API", "version": __version__, "links": LINKS})
    return unchanging(body, "application/json", named, vary="Accept")


@get("/health", tags=["Operations"], summary="Health for load balancers")
async def get_health(drain: Drain) -> ASGIResponse:
    """200 while this instance accepts traffic, 503 once it is shutting down."""
    if drain.is_on:
        return _json({"status": "draining"}, 503)
    return _json({"status": "ok"})


@get("/health/live", tags=["Operations"], summary="Liveness")
async def get_liveness() -> ASGIResponse:
    """200 while the process works."""
    return _json({"status": "ok"})


@get("/health/ready", tags=["Operations"], summary="Readiness")
async def get_readiness(services: Services, drain: Drain) -> ASGIResponse:
    """Each dependency with its state and latency, as of the last probe.

    `ok`, or `degraded` if some are unavailable, both with 200; 503 if nothing can be read, and
    while the instance is shutting down: `draining`.
    """
    dependencies: dict[str, dict[str, Any]] = {}
    for shard in services.cluster:
        for server in shard.servers:
            dependencies[server.breaker.name] = _state(shard, server)
    for breaker in services.breakers:
        dependencies.setdefault(breaker.name, _breaker(breaker))
    states = {each["state"] for each in dependencies.values()}
    control = services.cluster.control
    if drain.is_on:
        return _json({"status": "draining", "dependencies": dependencies}, 503)
    if not any(server.is_up for server in control.servers):
        return _json({"status": "unavailable", "dependencies": dependencies}, 503)
    status = "ok" if states == {"up"} else "degraded"
    return _json({"status": status, "dependencies": dependencies})


def _breaker(breaker: Breaker) -> dict[str, Any]:
    if breaker.is_open:
        return {"state": "down", "breaker": breaker.state, "cause": breaker.cause}
    return {"state": "up", "breaker": breaker.state}


def _state(shard: Shard, server: Server) -> dict[str, Any]:
    if not server.is_up:
        return _breaker(server.breaker)
    found = _breaker(server.breaker) | {"latency_ms": round(server.latency_s * 1000, 2)}
    if server is not shard.primary:
        found |= {
            "state": shard.rotation.state(server),
            "lag_bytes": shard.rotation.lag_bytes(server),
            "lag_s": round(shard.rotation.lag_s(server), 3),
        }
    return found
