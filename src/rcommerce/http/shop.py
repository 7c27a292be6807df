"""The middleware of the API's routes: creates the Shop, and applies idempotency keys."""

from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from rcommerce.commerce.customers import logins
from rcommerce.commerce.shop import NOBODY, Client, Services, Shop
from rcommerce.database.consistency import Tokens
from rcommerce.errors import FieldError, Invalid
from rcommerce.http import consistency, idempotency, sessions
from rcommerce.http.body import snake_case
from rcommerce.http.clients import client
from rcommerce.http.entry import is_http
from rcommerce.http.identity import cart_token, identify
from rcommerce.http.rate_limiting import RateLimiting
from rcommerce.http.unknown import unknown
from rcommerce.rate_limits import Verdict, networks

MOST_TOLD = 5  # most unknown parameters that are listed: a client may send any number


class ShopMiddleware(ASGIMiddleware):
    """Puts `shop` and `cart_token` into the scope's state."""

    def __init__(self, services: Services, rates: RateLimiting) -> None:
        self._services = services
        self._tokens = Tokens(services.jwt_secret)
        self._rates = rates
        self._trusted = networks(services.settings.server.trusted_proxies)

    def __deepcopy__(self, memo: dict[int, object]) -> "ShopMiddleware":
        """Itself: the framework copies its routers, and there is one pool per process."""
        return self

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """ASGI."""
        if not is_http(scope):
            await next_app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        if scope["query_string"]:
            _check_query(scope)
            _understand_pascal_case(scope)
        if consistency.SOURCES in scope:  # for the cache: the caller was counted already
            await self._handle(Client(), [], headers, scope, receive, send, next_app)
            return
        who = client(scope, headers, self._trusted)
        if not self._rates.looks:
            await self._handle(who, [], headers, scope, receive, send, next_app)
            return
        async with self._rates.admit(who.address) as verdicts:
            send = self._rates.announcing(verdicts, send)
            await self._handle(who, verdicts, headers, scope, receive, send, next_app)

    async def _handle(
        self,
        who: Client,
        verdicts: list[Verdict],
        headers: dict[str, str],
        scope: HTTPScope,
        receive: Receive,
        send: Send,
        next_app: ASGIApp,
    ) -> None:
        shop = await identify(self._services, headers)
        bind_contextvars(tenant=str(shop.tenant.id), caller=shop.caller.name)
        shop.client = who
        shop.channel = headers.get("x-channel") or shop.caller.channel
        await consistency.prepare(shop, self._tokens, scope, headers)
        if shop.sources is None:
            if shop.caller.proof is not None:
                await logins.require_standing(shop)
            elif "cookie" in headers and shop.caller is NOBODY:
                await sessions.enter(shop, scope, headers)
            await self._rates.count(who.address, shop.caller, shop.tenant.id, verdicts)
        if not consistency.is_shared_read(scope):
            send = consistency.announcing(shop, self._tokens, scope, send)
            send = sessions.announcing(shop, send)
        scope["state"]["shop"] = shop
        settings = self._services.settings
        scope["state"]["cart_token"] = cart_token(settings, scope["method"], headers)
        how = scope["route_handler"].opt.get("idempotency")
        if (
            scope["method"] == "POST"
            and "idempotency-key" in headers
            and how != idempotency.BY_CONTENT
        ):
            steps = how == idempotency.STEPS
            await idempotency.handle(shop, headers, scope, receive, send, next_app, steps=steps)
            return
        await next_app(scope, receive, send)


def _check_query(scope: Scope) -> None:
    """Raises Invalid for a parameter that the route does not have: most likely a typing error."""
    known = scope["route_handler"].opt["query"]
    given = [part.partition(b"=")[0] for part in scope["query_string"].split(b"&")]
    wrong = [name.decode("latin-1") for name in given if name and name not in known]
    if wrong:
        right = [name.decode() for name in known]
        faults = [FieldError(name, unknown("parameter", name, right)) for name in wrong[:MOST_TOLD]]
        raise Invalid(f"{faults[0].field}: {faults[0].message}", fields=faults)


def _understand_pascal_case(scope: Scope) -> None:
    """Converts enumerated words of the query from PascalCase to snake_case: Active is active."""
    words = scope["route_handler"].opt["words"]
    parts = []
    for part in scope["query_string"].split(b"&"):
        name, sign, value = part.partition(b"=")
        if name in words:
            value = snake_case(value.decode("latin-1")).encode("latin-1")
        parts.append(name + sign + value)
    scope["query_string"] = b"&".join(parts)


def provide_shop(scope: Scope) -> Shop:
    """The dependency `shop`."""
    shop: Shop = scope["state"]["shop"]
    return shop


def provide_cart_token(scope: Scope) -> str | None:
    """The dependency `cart_token`."""
    token: str | None = scope["state"]["cart_token"]
    return token
