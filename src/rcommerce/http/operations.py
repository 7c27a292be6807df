"""What operators and balancers ask: health; and the front page."""

import time
from typing import Any

import msgspec
from litestar import Request, get
from litestar.datastructures import State
from litestar.response.base import ASGIResponse

from rcommerce import __version__
from rcommerce.commerce.shop import Services
from rcommerce.errors import Unavailable
from rcommerce.http.pages import FRONT_PAGE

LINKS = {
    "docs": "/docs",
    "openapi": "/api/v1/openapi.json",
    "health": "/health",
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
    if "text/html" in request.headers.get("accept", ""):
        return ASGIResponse(body=FRONT_PAGE, media_type="text/html; charset=utf-8")
    return _json({"name": "R Commerce API", "version": __version__, "links": LINKS})


@get(["/health", "/health/live"], tags=["Operations"], summary="Is it alive")
async def health() -> ASGIResponse:
    """200 when this instance should get traffic."""
    return _json({"status": "ok"})


@get("/health/ready", tags=["Operations"], summary="Can it work")
async def ready(services: Services) -> ASGIResponse:
    """Each dependency with its state and latency; 503 where one is away."""
    begun = time.perf_counter()
    try:
        async with services.cluster.control.read() as conn:
            await conn.value("select 1")
        state = {"state": "up", "latency_ms": round((time.perf_counter() - begun) * 1000, 2)}
    except Unavailable as error:
        state = {"state": "down", "cause": error.detail}
    is_up = state["state"] == "up"
    return _json(
        {"status": "ok" if is_up else "unavailable", "dependencies": {"database": state}},
        200 if is_up else 503,
    )
