"""Resolves a request's tenant and caller."""

import re
from collections.abc import Mapping
from functools import cache
from uuid import UUID

from rcommerce import ids
from rcommerce.commerce.customers import tokens
from rcommerce.commerce.shop import NOBODY, Caller, Services, Shop, Tenant
from rcommerce.commerce.tenants import service as tenants
from rcommerce.database import Freshness
from rcommerce.errors import Invalid, Unauthenticated
from rcommerce.settings import Settings

CART_COOKIE = "cart_token"
SAFE = frozenset({"GET", "HEAD"})


async def identify(services: Services, headers: Mapping[str, str]) -> Shop:
    """The tenant and caller of a request. Raises Unauthenticated, NotFound, Invalid, Forbidden.

    API keys and tokens name their tenant; otherwise it is that of `X-Tenant-ID`, else of the Host.
    """
    named = headers.get("x-tenant-id")
    wanted = None
    if named is not None:
        if not ids.is_uuid(named):
            raise Invalid.field("X-Tenant-ID", "must be a UUID")
        wanted = UUID(named)
    owner, caller = await _caller(services, headers.get("authorization"))
    if owner is not None and wanted is not None and owner != wanted:
        raise Unauthenticated("the credentials belong to another shop", code="wrong_tenant")
    tenant_id = owner or wanted
    if tenant_id is not None:
        tenant = await services.tenants.by_id(tenant_id)
    else:
        tenant = await find_by_host(services, headers.get("host", ""))
    return Shop(services, tenant, caller)


async def find_by_host(services: Services, host: str) -> Tenant:
    """The tenant of a Host header, without its port."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return await services.tenants.find_by_host(name.lower())


async def _caller(services: Services, authorization: str | None) -> tuple[UUID | None, Caller]:
    if authorization is None:
        return None, NOBODY
    scheme, _, credentials = authorization.partition(" ")
    credentials = credentials.strip()
    if scheme.lower() != "bearer" or not credentials:
        raise Unauthenticated("Authorization must be “Bearer” and a token or an API key")
    if credentials.startswith("ak_"):
        async with services.cluster.control.read(Freshness.FRESH) as conn:
            return await tenants.authenticate_key(conn, credentials)
    return tokens.read(services.jwt_secret, credentials)


def cart_token(settings: Settings, method: str, headers: Mapping[str, str]) -> str | None:
    """A guest's cart token: the X-Cart-Token header, or the cookie; for a write only if a page of
    this site has sent that."""
    given = headers.get("x-cart-token")
    if given is None and (method in SAFE or is_own_page(settings, headers)):
        given = cookie(settings, headers, CART_COOKIE)
    return given


def cookie(settings: Settings, headers: Mapping[str, str], name: str) -> str | None:
    """The value of a cookie; None without one, or if another site's page has sent it."""
    raw = headers.get("cookie")
    if raw is None or not same_origin(settings, headers):
        return None
    found = _pattern(name).search(raw)
    return found[1] if found else None


@cache
def _pattern(name: str) -> re.Pattern[str]:
    """RFC 6265 section 4.2.1: pairs with a semicolon and a space between; ours need no quotes."""
    return re.compile(rf'(?:^|;)\s*{re.escape(name)}="?([^;"]*)')


def same_origin(settings: Settings, headers: Mapping[str, str]) -> bool:
    """Whether no other site's page has sent this, unless that site may send credentials: its
    requests are not the user's own."""
    origin = headers.get("origin")
    if origin is None or origin.partition("://")[2] == headers.get("host"):
        return True
    cors = settings.server.cors
    return cors.enabled and cors.allow_credentials and origin in cors.allowed_origins


def is_own_page(settings: Settings, headers: Mapping[str, str]) -> bool:
    """Whether a page of this site has certainly sent this, by a header that browsers add and no
    script can set (OWASP, Cross-Site Request Forgery Prevention)."""
    if headers.get("origin") is not None:
        return same_origin(settings, headers)
    return headers.get("sec-fetch-site") in ("same-origin", "none")
