"""Makes from the settings what the shop's services work with: for the server and for commands,
which need no HTTP."""

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
    """What the shop's services work with: the databases, Redis, the gateways, the mail. A process
    that has a `memory` of pages listens to what invalidates them."""
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
    """How many worker processes: as set, else one a core that this process may use."""
    return settings.server.workers or settings.server.worker_threads or len(os.sched_getaffinity(0))


def runs_jobs(settings: Settings) -> bool:
    """Whether the server's own processes run the jobs: as set, else with the embedded database."""
    if settings.jobs.in_server is None:
        return settings.database.db_type == "Embedded"
    return settings.jobs.in_server


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


def listeners(settings: Settings) -> dict[str, str]:
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
