"""Creates the services from the settings, for the server and for commands, which need no HTTP."""

import contextlib
import os
import secrets

from rcommerce.cache.redis import Redis
from rcommerce.cache.responses import ResponseCache, ShardCache
from rcommerce.cache.shared import Shared
from rcommerce.commerce.customers.mail import LogMailer, SmtpMailer
from rcommerce.commerce.customers.sessions import DatabaseSessions, RedisSessions
from rcommerce.commerce.guarded import GuardedGateway
from rcommerce.commerce.payments.gateways import Manual, Test
from rcommerce.commerce.prices import exchange
from rcommerce.commerce.pricing.stacking import STACKING
from rcommerce.commerce.shipping.service import FlatRates
from rcommerce.commerce.shop import Services
from rcommerce.commerce.strategies import PaymentGateway
from rcommerce.commerce.tenants.service import Directory
from rcommerce.database.cluster import cluster as make_cluster
from rcommerce.database.cluster import direct
from rcommerce.database.embedded import EmbeddedPostgres
from rcommerce.errors import SettingsError
from rcommerce.rate_limits import Limits
from rcommerce.resilience.outgoing import Outgoing
from rcommerce.settings import Settings
from rcommerce.settings.load import MAIN
from rcommerce.settings.schema import Node
from rcommerce.storage.opening import open_objects


def make_services(
    settings: Settings, workers: int | None = None, *, memory: ResponseCache | None = None
) -> Services:
    """The services: databases, Redis, gateways, mail. A process with a response cache, `memory`,
    listens to invalidations."""
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
        gateways={
            each.id: GuardedGateway(each, settings.payment.gateway_timeout_secs)
            for each in gateways
        },
        shipping=FlatRates(settings.shipping.flat_rates),
        stacking=STACKING[settings.promotions.stacking],
        exchange_rates=exchange.opened(settings.exchange_rates),
        mailer=SmtpMailer(email) if email.smtp_host else LogMailer(),
        shard_caches={}
        if memory is None
        else {name: ShardCache(name, memory) for name in listeners(settings)},
        sessions=RedisSessions(redis, session_ttl) if redis else DatabaseSessions(session_ttl),
        limits=Limits(settings, redis),
        objects=open_objects(settings.media),
        outgoing=Outgoing(settings.webhooks.allowed_networks, settings.webhooks.timeout_secs),
        redis=redis,
        shared=Shared(redis) if redis and settings.cache.enabled else None,
    )


def worker_count(settings: Settings) -> int:
    """The number of worker processes: as set, otherwise one per available core."""
    return settings.server.workers or settings.server.worker_threads or len(os.sched_getaffinity(0))


def runs_jobs(settings: Settings) -> bool:
    """Whether the server's processes run jobs: as set, otherwise with the embedded database."""
    if settings.jobs.in_server is None:
        return settings.database.db_type == "Embedded"
    return settings.jobs.in_server


def embedded(settings: Settings) -> EmbeddedPostgres:
    """The embedded server of these settings, not started."""
    return EmbeddedPostgres(settings.data_dir / "postgres")


def uses_test_gateway(settings: Settings) -> bool:
    """Whether the test gateway is available: in development unless set otherwise."""
    mode = settings.payment.test_mode
    is_on = settings.database.db_type == "Embedded" if mode is None else mode
    if settings.payment.default_gateway == "test" and not is_on:
        raise SettingsError('payment.default_gateway = "test" needs payment.test_mode = true')
    return is_on


def jwt_secret(settings: Settings) -> str:
    """The secret that signs tokens: as set, or with the embedded database generated and stored
    beside it.

    Raises SettingsError for another server without a secret: instances must share it.
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


def listeners(settings: Settings) -> dict[str, str]:
    """Connection strings of each shard's primary without a pooler, by name. A shard behind a pooler
    without `direct_hosts` is left out: it would receive no notifications."""
    if settings.database.db_type == "Embedded":
        return {MAIN: embedded(settings).conninfo}
    nodes: dict[str, Node] = {each.name: each for each in settings.database.shards}
    nodes[MAIN] = settings.database
    return {
        name: dsn
        for name, dsn in direct(settings.database).items()
        if nodes[name].pooler == "None" or nodes[name].direct_hosts
    }
