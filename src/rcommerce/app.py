"""Builds the ASGI application from the settings: the only place where parts are wired together."""

import asyncio
import contextlib
import ctypes
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable

import structlog
from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.di import Provide
from litestar.types import ASGIApp

from rcommerce import logs
from rcommerce.cache.pages import Memory, Shelf
from rcommerce.cache.redis import Redis
from rcommerce.cache.shared import Shared
from rcommerce.cdn.adapters import adapter
from rcommerce.cdn.purger import Purger
from rcommerce.commerce.carts.routes import router as carts
from rcommerce.commerce.catalog.routes import router as catalog
from rcommerce.commerce.checkout import service as checkout
from rcommerce.commerce.checkout.routes import router as checkout_routes
from rcommerce.commerce.customers.mail import LogMailer, SmtpMailer
from rcommerce.commerce.customers.routes import auth
from rcommerce.commerce.customers.routes import router as customers
from rcommerce.commerce.customers.sessions import DatabaseSessions, RedisSessions
from rcommerce.commerce.inventory.routes import router as inventory
from rcommerce.commerce.orders.routes import router as orders
from rcommerce.commerce.payments.gateways import Manual, Test
from rcommerce.commerce.payments.routes import router as payments
from rcommerce.commerce.shipping.service import FlatRates
from rcommerce.commerce.shop import Services, Shop
from rcommerce.commerce.strategies import PaymentGateway
from rcommerce.commerce.taxonomy.routes import router as taxonomy
from rcommerce.commerce.tenants.service import Directory
from rcommerce.database.cluster import cluster as make_cluster
from rcommerce.database.cluster import direct
from rcommerce.database.consistency import HEADER
from rcommerce.database.embedded import EmbeddedPostgres
from rcommerce.database.invalidation import Invalidations
from rcommerce.database.shard import Shard
from rcommerce.errors import RCommerceError, SettingsError
from rcommerce.http import body, idempotency, metrics, openapi, operations, pages
from rcommerce.http.entry import Entry
from rcommerce.http.page_cache import PageCache
from rcommerce.http.problems import HANDLERS
from rcommerce.http.rate_limiting import RateLimiting
from rcommerce.http.shop import ShopMiddleware, provide_cart_token, provide_shop
from rcommerce.rate_limits import Limits
from rcommerce.settings import Settings, load
from rcommerce.settings.load import MAIN
from rcommerce.settings.schema import Node

LISTEN_EVERY_S = COUNT_EVERY_S = 1.0
log = structlog.get_logger()


def worker() -> ASGIApp:
    """What each worker process serves; the settings come from the file and the environment."""
    _end_with_parent()
    loaded = load()
    loaded.require_built()
    logs.configure(loaded.settings.logging)
    return build(loaded.settings)


def build(settings: Settings) -> ASGIApp:
    """The application. Its database must be there and migrated."""
    memory = Memory(settings.cache.max_size_mb * 1024 * 1024, settings.cache.product_cache_ttl)
    services = make_services(settings, memory=memory if settings.cache.enabled else None)
    rates = RateLimiting(settings, services.limits)
    middleware = ShopMiddleware(services, rates)
    api = Router(
        "/api/v1",
        route_handlers=[
            catalog,
            taxonomy,
            carts,
            checkout_routes,
            orders,
            payments,
            customers,
            auth,
            inventory,
        ],
        middleware=[middleware],
        dependencies={
            "shop": Provide(provide_shop, sync_to_thread=False),
            "cart_token": Provide(provide_cart_token, sync_to_thread=False),
        },
    )
    cors = cors_config(settings)
    app = Litestar(
        [
            api,
            Router("/api/v1", route_handlers=[openapi.openapi]),
            operations.front,
            operations.health,
            operations.ready,
            metrics.metrics,
            pages.docs,
            pages.asset,
        ],
        cors_config=cors,
        dependencies={"services": Provide(lambda: services, sync_to_thread=False)},
        exception_handlers=HANDLERS,
        lifespan=[lambda _: _lifespan(services, front)],
        openapi_config=openapi.config(),
        request_max_body_size=settings.server.limits.max_request_size_mb * 1024 * 1024,
        request_class=body.StrictRequest,
        logging_config=None,
    )
    _prepare(app)
    front = PageCache(Entry(app), services, memory, cors, rates)
    return front if settings.cache.enabled else Entry(app)


def cors_config(settings: Settings) -> CORSConfig | None:
    """What other sites' pages may do."""
    cors = settings.server.cors
    if not cors.enabled:
        return None
    return CORSConfig(
        allow_origins=cors.allowed_origins,
        allow_methods=cors.allowed_methods,  # type: ignore[arg-type] # words of HTTP
        allow_headers=cors.allowed_headers,
        allow_credentials=cors.allow_credentials,
        expose_headers=["ETag", "Location", "X-Request-ID", "Retry-After", HEADER],
        max_age=cors.max_age,
    )


def _listeners(settings: Settings) -> dict[str, str]:
    """The connection string of each shard's primary itself, by its name. A shard behind a pooler
    whose `direct_hosts` are not named is left out: no notification would come through."""
    if settings.database.db_type == "Embedded":
        return {MAIN: embedded(settings).conninfo}
    nodes: dict[str, Node] = {each.name: each for each in settings.database.shards}
    nodes[MAIN] = settings.database
    return {
        name: dsn
        for name, dsn in direct(settings.database).items()
        if nodes[name].pooler == "None" or nodes[name].direct_hosts
    }


def make_services(
    settings: Settings, workers: int | None = None, *, memory: Memory | None = None
) -> Services:
    """What the shop's services work with: the databases, Redis, the gateways, the mail. A process
    that has a `memory` of pages listens to what makes them untrue."""
    dsn = embedded(settings).conninfo if settings.database.db_type == "Embedded" else None
    cluster = make_cluster(
        settings.database, workers or worker_count(settings), dsn, listens=memory is not None
    )
    gateways: list[PaymentGateway] = [Manual()]
    if uses_test_gateway(settings):
        secret = settings.payment.test_webhook_secret or "test-webhook-secret"
        gateways.append(Test(cluster, secret))
    email = settings.notifications.email
    redis = Redis(settings.cache) if settings.cache.cache_type == "Redis" else None
    session_ttl = settings.cache.session_cache_ttl
    return Services(
        cluster=cluster,
        tenants=Directory(cluster),
        settings=settings,
        jwt_secret=jwt_secret(settings),
        gateways={gateway.id: gateway for gateway in gateways},
        shipping=FlatRates(settings.shipping.flat_rates),
        mailer=SmtpMailer(email) if email.smtp_host else LogMailer(),
        shelves={}
        if memory is None
        else {name: Shelf(name, memory) for name in _listeners(settings)},
        sessions=RedisSessions(redis, session_ttl) if redis else DatabaseSessions(session_ttl),
        limits=Limits(settings, redis),
        redis=redis,
        shared=Shared(redis) if redis and settings.cache.enabled else None,
    )


def worker_count(settings: Settings) -> int:
    """How many worker processes: as set, else one a core that this process may use."""
    return settings.server.workers or settings.server.worker_threads or len(os.sched_getaffinity(0))


def embedded(settings: Settings) -> EmbeddedPostgres:
    """The embedded server of these settings; nothing is started yet."""
    return EmbeddedPostgres(settings.data_dir / "postgres")


def uses_test_gateway(settings: Settings) -> bool:
    """Whether the test gateway may be paid with: in development unless said otherwise."""
    mode = settings.payment.test_mode
    is_on = settings.database.db_type == "Embedded" if mode is None else mode
    if settings.payment.default_gateway == "test" and not is_on:
        raise SettingsError('payment.default_gateway = "test" needs payment.test_mode = true')
    return is_on


def jwt_secret(settings: Settings) -> str:
    """What tokens are signed with: as set, or with the embedded database made and kept beside it.

    Raises SettingsError for a server of one's own without a secret: instances must share it.
    """
    if settings.security.jwt.secret is not None:
        return settings.security.jwt.secret
    if settings.database.db_type != "Embedded":
        raise SettingsError(
            "security.jwt.secret is needed with a database of your own, the same on every"
            " instance; try: openssl rand -hex 32"
        )
    path = settings.data_dir / "jwt-secret"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"jwt-secret.{secrets.token_hex(4)}")
        aside.touch(mode=0o600)
        aside.write_text(secrets.token_hex(32))
        # Linked, so that of two processes one wins and both read the same.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(aside)
        aside.unlink()
    return path.read_text().strip()


@contextlib.asynccontextmanager
async def _lifespan(services: Services, front: PageCache) -> AsyncIterator[None]:
    await services.cluster.open()
    work = [_sweep(services), _listen(services, front)]
    if services.settings.cache.enabled:
        listeners = _listeners(services.settings)
        work += [
            Invalidations(services.cluster.shard(name), listeners[name], shelf).run()
            for name, shelf in front.shelves.items()
        ]
    if services.redis is not None:
        work.append(services.redis.run())
    cdn = adapter(services.settings.cdn)
    purgers = [
        Purger(services.cluster.shard(name), cdn, shelf.changed)
        for name, shelf in front.shelves.items()
        if cdn is not None
    ]
    work += [each.run() for each in purgers]
    if services.settings.features.metrics:
        metrics.forget_the_dead()
        work.append(_count(metrics.of_databases(services.cluster)))
        work.append(_count(metrics.of_cache(front.memory, front.shelves, services, purgers)))
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await services.cluster.close()
        if services.redis is not None:
            await services.redis.close()


async def _listen(services: Services, front: PageCache) -> None:
    """Keeps what this process knows of the tenants' homes up to date."""
    while True:
        await asyncio.sleep(LISTEN_EVERY_S)
        # Without the control database it goes on with what it knows.
        with contextlib.suppress(RCommerceError):
            await services.tenants.listen()
            front.forget_places()


async def _count(update: Callable[[], None]) -> None:
    """Keeps the figures for Prometheus up to date."""
    while True:
        update()
        await asyncio.sleep(COUNT_EVERY_S)


async def _sweep(services: Services) -> None:
    """Ends what ran out, every few seconds, for as long as the process lives."""
    while True:
        await asyncio.sleep(services.settings.checkout.sweep_interval_secs)
        # Each shard by itself: one that is down keeps no other waiting.
        await asyncio.gather(*(_sweep_shard(services, shard) for shard in services.cluster))


async def _sweep_shard(services: Services, shard: Shard) -> None:
    try:
        await checkout.sweep(services, shard)
        async with shard.read() as conn:
            old = await idempotency.with_old(conn)

        async def forget(shop: Shop) -> None:
            async with shop.write() as tx:
                await idempotency.forget_old(tx, shop, 1000)

        for tenant in old:
            await checkout.end(services, tenant, forget)
    except (RCommerceError, TimeoutError) as error:
        log.warning("sweep_failed", shard=shard.name, error=str(error))
    except Exception:
        # The edge of the process: whatever it was, the next round tries again.
        log.exception("sweep_failed", shard=shard.name)


def _prepare(app: Litestar) -> None:
    """Tells each route what it needs for every request: the names of its parameters, as others
    are refused, those that are enumerated words, and the decoder of its body."""
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            names = handler.parsed_fn_signature.parameters
            handler.opt["query"] = frozenset(name.encode() for name in names)
            handler.opt["words"] = frozenset(
                name.encode() for name, field in names.items() if "Literal[" in str(field.raw)
            )
            handler.opt[body.DECODER] = body.decoder(handler)


def _end_with_parent() -> None:
    """Asks Linux to end this worker when its parent dies, also by kill -9: no orphan serves on."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
