"""The clients of redis-py, imported only if a shop uses Redis: the library takes 0.2 s, and imports
OpenTelemetry if that is installed."""

import ssl
from typing import Any

import redis.asyncio as client
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import ReadOnlyError, RedisClusterException, RedisError, ResponseError

from rcommerce.cache.addresses import Address
from rcommerce.settings.schema import Cache

# Not a RedisError: no node of a cluster can be reached.
FAILURES = (RedisError, RedisClusterException, OSError, TimeoutError)
Commands = Any  # its async clients have no common type for what commands return


def single(settings: Cache, address: Address) -> Commands:
    """Connections to one server."""
    options = _options(settings, address) | {"db": address.database}
    kind: type[AbstractConnection] = client.Connection
    if address.socket:
        kind, options["path"] = client.UnixDomainSocketConnection, address.socket
    else:
        options |= {"host": address.host, "port": address.port}
        if address.is_tls:
            kind = client.SSLConnection
            options |= _tls(settings)
    pool = client.ConnectionPool(
        connection_class=kind, max_connections=settings.redis_pool_size + 1, **options
    )
    return client.Redis(connection_pool=pool)


def cluster(settings: Cache, addresses: list[Address]) -> Commands:
    """Connections to a cluster, found by these of its nodes."""
    first = addresses[0]
    options = _options(settings, first)
    if first.is_tls:
        options |= {"ssl": True, **_tls(settings)}
    return client.RedisCluster(
        startup_nodes=[ClusterNode(each.host, each.port) for each in addresses],
        max_connections=settings.redis_pool_size + 1,
        require_full_coverage=False,
        **options,
    )


def primary_of(commands: Commands, key: str) -> str | None:
    """The address of the cluster node that has a key, as far as known."""
    nodes = commands.nodes_manager.slots_cache.get(key_slot(key.encode()))
    return str(nodes[0].name) if nodes else None


def takes_no_writes(error: BaseException) -> bool:
    """Whether a server said that it is a replica: those still answer reads."""
    return isinstance(error, ReadOnlyError)


def cause(error: BaseException, timeout_s: float) -> str:
    """The cause of a failure, for people."""
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s * 1000:.0f} ms"
    if isinstance(error, ResponseError):
        return f"refuses: {error}"
    return str(error) or type(error).__name__


def _options(settings: Cache, address: Address) -> dict[str, Any]:
    return {
        "username": address.username,
        "password": address.password,
        "socket_timeout": None,  # `Redis.ask` has the deadline; a second one costs a task each time
        "socket_connect_timeout": settings.redis_timeout_ms / 1000,
        "retry": Retry(NoBackoff(), 0),  # the caller decides about retries
        "protocol": 2,
        "client_name": "rcommerce",
    }


def _tls(settings: Cache) -> dict[str, Any]:
    ca = settings.redis_ca_file
    return {"ssl_ca_certs": str(ca) if ca else None, "ssl_cert_reqs": ssl.CERT_REQUIRED}
