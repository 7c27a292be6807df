"""Settings that are unsafe on a public network, and fine on a laptop."""

from collections.abc import Iterator
from functools import partial
from ipaddress import ip_address, ip_network

from rcommerce.cache.addresses import addresses
from rcommerce.doctor.findings import Finding
from rcommerce.settings.schema import DatabaseSettings, Node, Settings

risk = partial(Finding, "yellow")
WIDE = 8  # bits of a network's prefix; a shorter one includes most of the internet


def risks(settings: Settings) -> Iterator[Finding]:
    """All of them, in the order of the settings file."""
    yield from _of_server(settings)
    yield from _of_database(settings.database)
    cache = settings.cache
    for each in addresses(cache.redis_url or "") if cache.cache_type == "Redis" else ():
        if each.socket or _is_near(each.host):
            continue
        if not each.is_tls:
            yield risk("cache.redis_url", f"what goes to {each} can be read on the way",
                       "use rediss://")  # fmt: skip
        if not each.password:
            yield risk("cache.redis_url", f"{each} asks for no password: sessions are kept there",
                       "requirepass there, and rediss://:password@… here")  # fmt: skip
    if settings.webhooks.allow_http:
        yield risk("webhooks.allow_http", "messages go out unencrypted", "set it to false")
    for network in settings.webhooks.allowed_networks:
        if ip_network(network, strict=False).num_addresses > 1:
            yield risk("webhooks.allowed_networks", f"shops may have anything in {network} called",
                       "name the receivers alone, such as 10.0.3.7/32")  # fmt: skip
    yield from _of_access(settings)


def _of_server(settings: Settings) -> Iterator[Finding]:
    server, tls = settings.server, settings.tls
    for network in server.trusted_proxies:
        if ip_network(network, strict=False).prefixlen < WIDE:
            yield risk("server.trusted_proxies", f"anybody in {network} may say who they are",
                       "name your balancers' networks alone")  # fmt: skip
    if not server.limits.adaptive_concurrency:
        yield risk("server.limits.adaptive_concurrency", "load is queued rather than refused",
                   "leave it on, but for measurements")  # fmt: skip
    if tls.enabled and not tls.hsts.enabled:
        yield risk("tls.hsts.enabled", "browsers may be led to plain HTTP first", "set it to true")
    if settings.security.secure_cookies is False:
        yield risk("security.secure_cookies", "cookies are sent over plain HTTP as well",
                   "leave it unset, or true")  # fmt: skip


def _of_database(database: DatabaseSettings) -> Iterator[Finding]:
    nodes: list[tuple[str, Node]] = [("database", database)]
    nodes += [(f"database.shards.{each.name}", each) for each in database.shards]
    for name, node in nodes:
        is_inherited = node is not database and node.password == database.password
        if node.password == "rcommerce" and not is_inherited:  # noqa: S105 - the documented one
            yield risk(f"{name}.password", "is the one of the documentation",
                       "RCOMMERCE_DATABASE__PASSWORD_FILE")  # fmt: skip
        hosts = [each.rpartition(":")[0] for each in (*node.addresses, *node.read_replicas)]
        far = sorted({host for host in hosts if not _is_near(host)})
        if far and node.ssl_mode in ("Disable", "Prefer"):
            yield risk(f"{name}.ssl_mode", f"{node.ssl_mode} takes an unencrypted connection to"
                       f" {', '.join(far)}", "Require, better VerifyFull")  # fmt: skip


def _of_access(settings: Settings) -> Iterator[Finding]:
    secret = settings.security.jwt.secret
    if secret is not None and len(set(secret)) < 12:
        yield risk("security.jwt.secret", "is too regular: whoever guesses it is everybody",
                   "openssl rand -hex 32")  # fmt: skip
    if not settings.rate_limiting.enabled:
        yield risk("rate_limiting.enabled", "anybody may ask as often as they like",
                   "set it to true, or let the balancer do it")  # fmt: skip
    if settings.payment.test_mode or settings.payment.default_gateway == "test":
        yield risk("payment.test_mode", "orders can be paid with tok_approve", "set it to false")
    email = settings.notifications.email
    if email.smtp_host and not email.smtp_tls:
        yield risk("notifications.email.smtp_tls", "password resets go out unencrypted",
                   "set it to true")  # fmt: skip
    if not email.smtp_host:
        yield risk("notifications.email.smtp_host", "password resets are written to the log",
                   "name a mail server")  # fmt: skip
    elif email.password_reset_url.startswith("http://"):
        yield risk("notifications.email.password_reset_url", "the token travels unencrypted",
                   "an https:// address")  # fmt: skip
    if settings.logging.level == "debug":
        yield risk("logging.level", "debug writes more than a log should keep", "info")


def _is_near(host: str) -> bool:
    """Whether the connection stays on this machine."""
    if host.startswith("/") or host in ("", "localhost"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
