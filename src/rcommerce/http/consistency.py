"""Read-your-writes over HTTP: which server a request may read from, and the token that a write
returns."""

from collections.abc import Mapping
from uuid import UUID

from litestar.types import HTTPScope, Message, Send

from rcommerce.cache.sources import Sources
from rcommerce.commerce.shop import FROM_REPLICAS, Shop
from rcommerce.database import Freshness
from rcommerce.database.consistency import COOKIE, COOKIE_AGE_S, HEADER, Token, Tokens
from rcommerce.errors import Invalid
from rcommerce.http.identity import SAFE, cookie
from rcommerce.settings import Settings

SOURCES = "rcommerce.sources"  # the key in the scope of a response that may be cached


def is_shared_read(scope: HTTPScope) -> bool:
    """Whether this reads public data. (Reading one's own may write: a customer's cart is created
    when it is first read.)"""
    return scope["method"] in SAFE and scope["route_handler"].opt.get(FROM_REPLICAS, False)


async def prepare(shop: Shop, tokens: Tokens, scope: HTTPScope, headers: Mapping[str, str]) -> None:
    """Sets how recent the request's reads must be. Raises Invalid for a malformed header.

    Writes read from the primary. A read with a token goes to a server that has replayed its
    position; one without goes to any replica if the route allows it.
    """
    if scope["method"] not in SAFE:
        return
    if isinstance(sources := scope.get(SOURCES), Sources):
        # For the cache: clients with a token of their own are not served from it.
        shop.sources, sources.assignment = sources, (shop.assignment.shard, shop.assignment.epoch)
        shop.freshness, shop.read_position = Freshness.ANY, sources.required
        return
    token = given(shop.services.settings, shop.tenant.id, tokens, headers)
    if token is None:
        shop.freshness = Freshness.ANY if is_shared_read(scope) else Freshness.FRESH
        return
    if token.epoch > shop.assignment.epoch:
        await shop.relocate()  # it has moved, and this process did not know
    if token.position and (token.shard, token.epoch) == (
        shop.assignment.shard,
        shop.assignment.epoch,
    ):
        shop.freshness, shop.read_position = Freshness.ANY, token.position
    # Otherwise the primary: a position on the shard that the tenant has left means nothing here,
    # and a token without one comes from an instance without replicas.


def given(
    settings: Settings, tenant: UUID, tokens: Tokens, headers: Mapping[str, str]
) -> Token | None:
    """The later one of the header's token and the cookie's. Raises Invalid for a malformed
    header."""
    found = []
    if (text := headers.get("x-consistency-token")) is not None:
        token = tokens.read(tenant, text)
        if token is None:
            raise Invalid.field(HEADER, "must be as a write of this shop has answered it")
        found.append(token)
    # The cookie may be of another release or secret: not the client's fault.
    if (text := cookie(settings, headers, COOKIE)) and (token := tokens.read(tenant, text)):
        found.append(token)
    return max(found, key=lambda each: (each.epoch, each.position), default=None)


def announcing(shop: Shop, tokens: Tokens, scope: HTTPScope, send: Send) -> Send:
    """A `send` that adds the token of the request's write, if there was one."""

    async def announce(message: Message) -> None:
        if message["type"] == "http.response.start" and shop.position is not None:
            token = tokens.make(shop.assignment, shop.position)
            secure = "; Secure" if scope["scheme"] == "https" else ""
            kept = (
                f"{COOKIE}={token}; Path=/; Max-Age={COOKIE_AGE_S}; HttpOnly; SameSite=Lax{secure}"
            )
            message["headers"] = [
                *message["headers"],
                (HEADER.lower().encode(), token.encode()),
                (b"set-cookie", kept.encode()),
            ]
        await send(message)

    return announce
