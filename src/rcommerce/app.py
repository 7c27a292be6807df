"""Builds the ASGI application from the settings, and the background tasks of each worker."""

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from litestar import Litestar, Router
from litestar.di import Provide
from litestar.types import ASGIApp

from rcommerce import logs, tracing
from rcommerce.cache.responses import ResponseCache
from rcommerce.cdn.adapters import adapter
from rcommerce.cdn.purger import Purger
from rcommerce.commerce.carts.routes import coupons as cart_coupons
from rcommerce.commerce.carts.routes import router as carts
from rcommerce.commerce.catalog.routes import router as catalog
from rcommerce.commerce.channels.routes import router as channels
from rcommerce.commerce.checkout import service as checkout
from rcommerce.commerce.checkout.routes import router as checkout_routes
from rcommerce.commerce.credit.routes import router as credit
from rcommerce.commerce.customers.routes import auth
from rcommerce.commerce.customers.routes import router as customers
from rcommerce.commerce.groups.routes import router as customer_groups
from rcommerce.commerce.inventory.routes import router as inventory
from rcommerce.commerce.media.routes import router as media_routes
from rcommerce.commerce.orders.routes import router as orders
from rcommerce.commerce.payments.routes import router as payments
from rcommerce.commerce.prices.routes import router as prices
from rcommerce.commerce.promotions.routes import router as promotions
from rcommerce.commerce.shop import Services, Shop
from rcommerce.commerce.taxonomy.routes import router as taxonomy
from rcommerce.commerce.webhooks.routes import router as webhooks
from rcommerce.database.invalidation import Invalidations
from rcommerce.database.shard import Shard
from rcommerce.errors import RCommerceError
from rcommerce.http import body, idempotency, media, metrics, openapi, operations, ops, pages
from rcommerce.http.cross_origin import CrossOrigin, cors_config
from rcommerce.http.drain import Drain, say_ready
from rcommerce.http.entry import Entry
from rcommerce.http.problems import HANDLERS
from rcommerce.http.rate_limiting import RateLimiting
from rcommerce.http.response_cache import CacheMiddleware
from rcommerce.http.shop import ShopMiddleware, provide_cart_token, provide_shop
from rcommerce.resilience.shedding import Limiters
from rcommerce.services import listeners, make_services, runs_jobs
from rcommerce.settings import Settings, load
from rcommerce.telemetry import prometheus
from rcommerce.telemetry.agreement import of_agreement
from rcommerce.telemetry.breakers import of_breakers
from rcommerce.telemetry.caches import of_caches
from rcommerce.telemetry.databases import Within, of_databases
from rcommerce.telemetry.heartbeats import Heart, Meter
from rcommerce.telemetry.orders import of_orders
from rcommerce.telemetry.overview import Overview
from rcommerce.telemetry.requests import Requests, of_limiters, of_requests

LISTEN_EVERY_S = COUNT_EVERY_S = JOBS_AFTER_S = RESTART_S = 1.0
Work = Callable[[], Coroutine[Any, Any, None]]
log = structlog.get_logger()


def worker() -> ASGIApp:
    """What each worker process runs; the settings come from the file and the environment."""
    _end_with_parent()
    loaded = load()
    loaded.require_built()
    logs.configure(loaded.settings.logging)
    tracing.configure(loaded.settings.telemetry)
    app = build(loaded.settings)
    # Long-lived objects are excluded from garbage collection: traversing them takes tens of
    # milliseconds, most likely while many requests wait.
    gc.collect()
    gc.freeze()
    return app


def build(settings: Settings) -> ASGIApp:
    """The application. Its database must exist and be migrated."""
    _, front = _assembled(settings)
    return front


def api_document(settings: Settings) -> bytes:
    """The OpenAPI document as JSON; needs no database."""
    app, _ = _assembled(settings)
    return openapi.document(app)


def _assembled(settings: Settings) -> tuple[Litestar, ASGIApp]:
    """The framework's application, and the ASGI layers around it."""
    memory = ResponseCache(
        settings.cache.max_size_mb * 1024 * 1024, settings.cache.product_cache_ttl
    )
    services = make_services(settings, memory=memory if settings.cache.enabled else None)
    rates = RateLimiting(settings, services.limits)
    drain = Drain()
    limiters = Limiters() if settings.server.limits.adaptive_concurrency else None
    requests = Requests()
    heart = Heart(services, "server", Meter(services, requests, memory), lambda: drain.is_on)
    overview = Overview(services, heart, lambda: drain.is_on)
    middleware = ShopMiddleware(services, rates)
    api = Router(
        "/api/v1",
        route_handlers=[
            catalog,
            taxonomy,
            carts,
            cart_coupons,
            promotions,
            credit,
            channels,
            customer_groups,
            prices,
            checkout_routes,
            orders,
            payments,
            customers,
            auth,
            inventory,
            media_routes,
            webhooks,
        ],
        middleware=[middleware],
        dependencies={
            "shop": Provide(provide_shop, sync_to_thread=False),
            "cart_token": Provide(provide_cart_token, sync_to_thread=False),
        },
    )
    app = Litestar(
        [
            api,
            Router("/api/v1", route_handlers=[openapi.openapi]),
            operations.front,
            operations.get_health,
            operations.get_liveness,
            operations.get_readiness,
            metrics.get_metrics,
            ops.page,
            ops.get_fleet_state,
            ops.stream,
            media.file,
            media.send,
            pages.docs,
            pages.asset,
        ],
        cors_config=cors_config(settings),
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False),
            "drain": Provide(lambda: drain, sync_to_thread=False),
            "overview": Provide(lambda: overview, sync_to_thread=False),
        },
        exception_handlers=HANDLERS,
        lifespan=[lambda _: _lifespan(services, front, drain, limiters, heart)],
        openapi_config=openapi.config(),
        request_max_body_size=settings.server.limits.max_request_size_mb * 1024 * 1024,
        request_class=body.StrictRequest,
        logging_config=None,
    )
    _prepare(app)
    cross_origin = CrossOrigin(settings)
    entry = Entry(app, settings, cross_origin, drain, requests, limiters)
    front = CacheMiddleware(entry, services, memory, cross_origin, rates, drain, requests, limiters)
    return app, front if settings.cache.enabled else entry


@contextlib.asynccontextmanager
async def _lifespan(
    services: Services,
    front: CacheMiddleware,
    drain: Drain,
    limiters: Limiters | None,
    heart: Heart,
) -> AsyncIterator[None]:
    drain.listen()
    await services.cluster.open()
    work: list[Work] = [partial(_sweep, services), partial(_listen, services, front)]
    if services.settings.cache.enabled:
        direct = listeners(services.settings)
        work += [
            Invalidations(services.cluster.shard(name), direct[name], shard_cache).run
            for name, shard_cache in front.shard_caches.items()
        ]
    if services.redis is not None:
        work.append(services.redis.run)
    work.append(services.objects.run)
    cdn = adapter(services.settings.cdn)
    purgers = [
        Purger(services.cluster.shard(name), cdn, shard_cache.changed)
        for name, shard_cache in front.shard_caches.items()
        if cdn is not None
    ]
    work += [each.run for each in purgers]
    if services.settings.features.metrics:
        work += _figures(services, front, purgers, limiters)
    if services.settings.features.ops != "Off":
        work.append(heart.run)
    tasks = [asyncio.create_task(_restarting(each)) for each in work]
    if folder := os.environ.get(prometheus.FOLDER):
        say_ready(Path(folder))
    jobs = [asyncio.create_task(_jobs(services, drain))] if runs_jobs(services.settings) else []
    try:
        yield
    finally:
        drain.begin()
        await asyncio.gather(*jobs, return_exceptions=True)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await heart.stop()
        await services.cluster.close()
        await services.outgoing.close()
        await asyncio.to_thread(tracing.close)
        if services.redis is not None:
            await services.redis.close()


def _figures(
    services: Services,
    front: CacheMiddleware,
    purgers: Sequence[Purger],
    limiters: Limiters | None,
) -> list[Work]:
    """The functions that update the Prometheus metrics."""
    prometheus.forget_the_dead()
    requests = front.requests
    updates = [
        of_requests(requests),
        of_orders(services.order_events, requests.refused),
        of_databases(services.cluster),
        of_caches(front.memory, front.shard_caches, services, purgers),
        of_agreement(services.settings, services.jwt_secret),
        of_breakers(lambda: services.breakers, services.outgoing.breakers.values),
    ]
    if limiters is not None:
        updates.append(of_limiters(limiters))
    return [partial(_count, prometheus.together(updates)), Within(services.cluster).run]


async def _restarting(work: Work) -> None:
    """Runs a background task for ever: if it ends because of a bug, logs that and starts it
    again."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("background_interrupted")  # a process boundary
        await asyncio.sleep(RESTART_S)


async def _jobs(services: Services, drain: Drain) -> None:
    """Runs jobs in the server until the process shuts down. The library is imported after the first
    requests, and only where it is needed."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(drain.begun.wait(), JOBS_AFTER_S)
    from rcommerce import worker

    await worker.run(services, drain.begun)


async def _listen(services: Services, front: CacheMiddleware) -> None:
    """Refreshes what this process knows about tenants and their shards."""
    while True:
        await asyncio.sleep(LISTEN_EVERY_S)
        # Without the control database, the known state stays in use.
        with contextlib.suppress(RCommerceError):
            await services.tenants.listen()
            front.forget_tenants()


async def _count(update: Callable[[], None]) -> None:
    """Updates the Prometheus metrics."""
    while True:
        update()
        await asyncio.sleep(COUNT_EVERY_S)


async def _sweep(services: Services) -> None:
    """Runs the sweep every few seconds: it expires carts, reservations and orders."""
    while True:
        await asyncio.sleep(services.settings.checkout.sweep_interval_secs)
        # Shard by shard, so that a failed shard delays no other.
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
        # A process boundary: whatever failed is tried again in the next round.
        log.exception("sweep_failed", shard=shard.name)


def _prepare(app: Litestar) -> None:
    """Prepares for each route what its requests need: its parameter names (others are rejected),
    its enumerated parameters, and the decoder of its body."""
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            names = handler.parsed_fn_signature.parameters
            handler.opt["query"] = frozenset(name.encode() for name in names)
            handler.opt["words"] = frozenset(
                name.encode() for name, field in names.items() if "Literal[" in str(field.raw)
            )
            handler.opt[body.DECODER] = body.decoder(handler)


def _end_with_parent() -> None:
    """Asks Linux to end this worker when its parent dies, also by kill -9, so that no orphan keeps
    serving."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
