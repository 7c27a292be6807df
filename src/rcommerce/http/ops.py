"""The whole fleet on one page, and as JSON, for the staff of the installation.

It is never shed and needs no other machine, since it is needed most when everything else fails.
"""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from litestar import Request, get
from litestar.exceptions import NotFoundException
from litestar.response import Stream
from litestar.response.base import ASGIResponse

from rcommerce.commerce.customers import logins
from rcommerce.commerce.parameters import IfNoneMatch
from rcommerce.commerce.shop import Services
from rcommerce.commerce.tenants import service as tenants
from rcommerce.database import Freshness
from rcommerce.errors import Forbidden
from rcommerce.http.identity import identify
from rcommerce.http.pages import OPS_PAGE, unchanging
from rcommerce.telemetry.overview import Overview

STREAM = "/ops/stream"
SCOPE = "tenants:read"
NO_STORE = {"Cache-Control": "no-store"}


@get("/ops", include_in_schema=False)
async def page(services: Services, if_none_match: IfNoneMatch = None) -> ASGIResponse:
    """The page: without figures, which it asks for itself."""
    _require_on(services)
    return unchanging(OPS_PAGE, "text/html", if_none_match)


@get("/ops/state", tags=["Operations"], summary="State of the fleet")
async def get_fleet_state(
    request: Request[Any, Any, Any], services: Services, overview: Overview
) -> ASGIResponse:
    """Every instance with its figures, the shards with their replicas, tenants and jobs, and what
    has changed of late. Needs `tenants:read` of the installation's default shop."""
    await _require_staff(services, request)
    body = msgspec.json.encode(await overview.view())
    return ASGIResponse(body=body, media_type="application/json", headers=NO_STORE)


@get(STREAM, include_in_schema=False)  # which cannot describe an endless response
async def stream(request: Request[Any, Any, Any], services: Services, overview: Overview) -> Stream:
    """Server-sent events, one a second: `data` is what `/ops/state` answers. It ends when the
    instance does; a client comes back by another one."""
    await _require_staff(services, request)
    return Stream(
        _events(overview),
        media_type="text/event-stream",
        headers={**NO_STORE, "X-Accel-Buffering": "no"},  # so that nginx does not buffer it
    )


async def _events(overview: Overview) -> AsyncIterator[bytes]:
    yield b"retry: 1000\n\n"
    async for view in overview.watch():
        yield b"data: " + msgspec.json.encode(view) + b"\n\n"


def _require_on(services: Services) -> None:
    if services.settings.features.ops == "Off":
        raise NotFoundException


async def _require_staff(services: Services, request: Request[Any, Any, Any]) -> None:
    """Raises Unauthenticated, Forbidden."""
    _require_on(services)
    if services.settings.features.ops == "Open":
        return
    shop = await identify(services, dict(request.headers))
    shop.caller.require(SCOPE)
    if shop.caller.proof is not None:
        await logins.require_standing(shop)
    async with services.cluster.control.read(Freshness.FRESH) as conn:
        default = await tenants.named(conn, None)
    if shop.tenant.id != default.id:
        raise Forbidden("this is for the staff of the installation's default shop")
