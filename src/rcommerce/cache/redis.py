"""Redis or Valkey, one server or a Cluster: asked within a deadline, and left alone while it is
away.

A server that is dead, hangs or refuses costs a request nothing but a look at its breaker; a task
in the background finds out when it is back.
"""

import asyncio
import contextlib
import itertools
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import redis.asyncio as client
import structlog
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from rcommerce import tracing
from rcommerce.errors import RCommerceError, SettingsError
from rcommerce.resilience.breaker import Breaker
from rcommerce.settings.schema import Cache

PROBE_EVERY_S = 0.25  # of a server that is away, or has just failed
LOOK_EVERY = 4  # probes' time between two looks at one that is up: nobody may be asking for it
PORT = 6379
AT_ONCE = 2  # messages under way that ask for values
T = TypeVar("T")
Commands = Any  # of redis-py: its async clients have no common type for what their commands return
log = structlog.get_logger()


class RedisAway(RCommerceError):
    """No answer, or none in time. The caller goes on without, or says that it cannot."""


class Address:
    """What a URL says: where, and who asks."""

    __slots__ = ("database", "host", "is_tls", "password", "port", "socket", "username")

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        try:
            self.port = parts.port or PORT
            self.database = int(parts.path.strip("/") or 0) if parts.scheme != "unix" else 0
        except ValueError:
            raise SettingsError(
                'cache.redis_url: must be like "redis://user:password@host:6379/0"'
            ) from None
        self.is_tls = parts.scheme == "rediss"
        self.host = parts.hostname or "localhost"
        self.username = unquote(parts.username) if parts.username else None
        self.password = unquote(parts.password) if parts.password else None
        self.socket = parts.path if parts.scheme == "unix" else None

    def __str__(self) -> str:
        return self.socket or f"{self.host}:{self.port}"


def addresses(redis_url: str) -> list[Address]:
    """The servers of `cache.redis_url`: one URL, or several with commas between, of which the later
    ones may leave out what they have in common with the first. Raises SettingsError."""
    first, *others = (part.strip() for part in redis_url.split(","))
    scheme, _, rest = first.partition("://")
    who = f"{rest.rpartition('@')[0]}@" if "@" in rest else ""
    urls = [first, *(each if "://" in each else f"{scheme}://{who}{each}" for each in others)]
    return [Address(url) for url in urls]


class Redis:
    """The connections of one process. Of several servers without a Cluster the first that takes
    writes is used. Raises SettingsError."""

    def __init__(self, settings: Cache) -> None:
        self.prefix = settings.key_prefix
        self._settings = settings
        self._addresses = addresses(settings.redis_url or "")
        self._timeout_s = settings.redis_timeout_ms / 1000
        self._turn = asyncio.Semaphore(settings.redis_pool_size)
        self._current = 0
        self._client: Commands = None
        self._breakers: dict[str, Breaker] = {}
        self._wanted: dict[str, asyncio.Future[bytes | None]] = {}
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_cluster = settings.redis_cluster

    @property
    def breakers(self) -> dict[str, Breaker]:
        """Of each server that was asked, by its address."""
        return self._breakers

    async def ask(self, key: str, call: Callable[[Commands], Awaitable[T]]) -> T:
        """What `call` gets from the server that has `key`. Raises RedisAway."""
        breaker = self._require_up(key)
        async with self._turn:
            if breaker.is_open:  # it opened while this request waited for its turn
                raise RedisAway(breaker.cause)
            try:
                with tracing.span("redis", "CLIENT", {"db.system.name": "redis"}):
                    async with asyncio.timeout(self._timeout_s):
                        found = await call(self._commands())
            except (RedisError, OSError, TimeoutError) as error:
                self._failed(breaker, error)
                raise RedisAway(breaker.cause or str(error)) from error
        breaker.succeeded()
        return found

    async def call(self, method: str, key: str, *arguments: Any, **options: Any) -> Any:
        """What a command of redis-py gets that has its key first. Raises RedisAway."""
        return await self.ask(
            key, lambda commands: getattr(commands, method)(key, *arguments, **options)
        )

    async def get(self, key: str) -> bytes | None:
        """The value of a key. While a request is under way, those who come meanwhile wait and then
        ask together: a message for many costs little more than one for each. Raises RedisAway."""
        if self.is_cluster:  # whose keys are on many servers
            found: bytes | None = await self.call("get", key)
            return found
        self._require_up(key)
        future = self._wanted.get(key)
        if future is None:
            future = self._wanted[key] = asyncio.get_running_loop().create_future()
            if self._under_way < AT_ONCE:
                self._under_way += 1
                task = asyncio.create_task(self._get_wanted())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(future)

    async def _get_wanted(self) -> None:
        """Asks for what is wanted until nothing is."""
        try:
            while self._wanted:
                wanted, self._wanted = self._wanted, {}
                try:
                    values = await self.call("mget", *wanted)
                    for future, value in zip(wanted.values(), values, strict=True):
                        future.set_result(value)
                except RedisAway as away:
                    for future in wanted.values():
                        future.set_exception(away)
                        future.exception()  # whoever asked may be gone
                finally:
                    for future in wanted.values():
                        future.cancel()  # where this task was cancelled itself
        finally:
            self._under_way -= 1

    async def run(self) -> None:
        """Looks after the servers, for as long as the process lives: a process that has nothing to
        ask knows of a server's end as well, and of its return."""
        with contextlib.suppress(RedisAway):  # the first request need not wait to be connected
            await self.call("get", f"{self.prefix}probe")
        for turn in itertools.count(1):
            await asyncio.sleep(PROBE_EVERY_S)
            for name, breaker in list(self._breakers.items()):
                if breaker.is_in_doubt or turn % LOOK_EVERY == 0:
                    await self._probe(name, breaker)

    async def close(self) -> None:
        """Gives every connection back."""
        if self._client is not None:
            with contextlib.suppress(RedisError, OSError):
                await self._client.aclose()

    async def each(self, pattern: str) -> list[str]:
        """The keys that match a pattern, of all servers: for a person who looks. Raises
        RedisAway."""
        try:
            commands = self._commands()
            return [key.decode() async for key in commands.scan_iter(match=pattern, count=1000)]
        except (RedisError, OSError, TimeoutError) as error:
            raise RedisAway(_cause(error, self._timeout_s)) from error

    async def about(self) -> dict[str, dict[str, Any]]:
        """What each server that has keys says of itself: for the doctor. Raises RedisAway."""
        try:
            async with asyncio.timeout(5.0):
                commands = self._commands()
                nodes: dict[str, tuple[Any, ...]] = {str(self._addresses[0]): ()}
                if self.is_cluster:
                    await commands.initialize()
                    nodes = {str(node.name): (node,) for node in commands.get_primaries()}
                return {name: await _about(commands, *node) for name, node in nodes.items()}
        except (RedisError, OSError, TimeoutError) as error:
            raise RedisAway(_cause(error, 5.0)) from error

    # Who answers --------------------------------------------------------------------------------

    def _require_up(self, key: str) -> Breaker:
        """The breaker of the server that has a key. Raises RedisAway where it is open."""
        breaker = self._breaker(self._name(key))
        if breaker.is_open:
            raise RedisAway(breaker.cause)
        return breaker

    def _failed(self, breaker: Breaker, error: BaseException) -> None:
        # A server that has become a replica still answers what only reads.
        breaker.failed(_cause(error, self._timeout_s), surely=isinstance(error, ReadOnlyError))

    def _breaker(self, name: str) -> Breaker:
        found = self._breakers.get(name)
        if found is None:
            found = self._breakers[name] = Breaker(f"redis {name}")
        return found

    def _name(self, key: str) -> str:
        """The address of the server that has a key."""
        if self.is_cluster and self._client is not None:
            nodes = self._client.nodes_manager.slots_cache.get(key_slot(key.encode()))
            if nodes:
                return str(nodes[0].name)
        return str(self._addresses[self._current])

    def _commands(self) -> Commands:
        if self._client is None:
            self._client = self._cluster() if self.is_cluster else self._single()
        return self._client

    async def _probe(self, name: str, breaker: Breaker) -> None:
        breaker.try_again()
        try:
            if self.is_cluster:
                await self._probe_node(name, breaker)
            else:
                await self._probe_single(breaker)
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(breaker, error)
        else:
            breaker.succeeded()
            if self._name_is_gone(name):
                del self._breakers[name]

    async def _probe_single(self, breaker: Breaker) -> None:
        async with asyncio.timeout(self._timeout_s):
            try:
                # Not PING: a server that is full, or has become a replica, answers that as well.
                await self._commands().set(f"{self.prefix}probe", b"", px=1000)
            except (RedisError, OSError):
                if breaker.is_open and len(self._addresses) > 1:
                    await self.close()
                    self._client, self._current = None, (self._current + 1) % len(self._addresses)
                raise

    async def _probe_node(self, name: str, breaker: Breaker) -> None:
        """Asks a node; of one that is away, first who has its slots now: after a failover it is
        another."""
        commands = self._commands()
        async with asyncio.timeout(self._timeout_s * (5 if breaker.is_open else 1)):
            if breaker.is_open:
                await commands.nodes_manager.initialize()
            node = commands.nodes_manager.nodes_cache.get(name)
            if node is not None and node.server_type == "primary":
                await commands.execute_command("PING", target_nodes=node)

    def _name_is_gone(self, name: str) -> bool:
        if not self.is_cluster:
            return name != str(self._addresses[self._current])
        node = self._client.nodes_manager.nodes_cache.get(name)
        return node is None or node.server_type != "primary"

    # Clients ------------------------------------------------------------------------------------

    def _options(self, address: Address) -> dict[str, Any]:
        options: dict[str, Any] = {
            "username": address.username,
            "password": address.password,
            "socket_timeout": None,  # `ask` has the deadline; a second one costs a task each time
            "socket_connect_timeout": self._timeout_s,
            "retry": Retry(NoBackoff(), 0),  # a retry is the caller's to decide
            "protocol": 2,
            "client_name": "rcommerce",
        }
        return options

    def _tls(self) -> dict[str, Any]:
        ca = self._settings.redis_ca_file
        return {"ssl_ca_certs": str(ca) if ca else None, "ssl_cert_reqs": ssl.CERT_REQUIRED}

    def _single(self) -> Commands:
        address = self._addresses[self._current]
        options = self._options(address) | {"db": address.database}
        kind: type[AbstractConnection] = client.Connection
        if address.socket:
            kind, options["path"] = client.UnixDomainSocketConnection, address.socket
        else:
            options |= {"host": address.host, "port": address.port}
            if address.is_tls:
                kind = client.SSLConnection
                options |= self._tls()
        pool = client.ConnectionPool(
            connection_class=kind, max_connections=self._settings.redis_pool_size + 1, **options
        )
        return client.Redis(connection_pool=pool)

    def _cluster(self) -> Commands:
        first = self._addresses[0]
        options = self._options(first)
        if first.is_tls:
            options |= {"ssl": True, **self._tls()}
        return client.RedisCluster(
            startup_nodes=[ClusterNode(each.host, each.port) for each in self._addresses],
            max_connections=self._settings.redis_pool_size + 1,
            require_full_coverage=False,
            **options,
        )


def _cause(error: BaseException, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s * 1000:.0f} ms"
    if isinstance(error, ResponseError):
        return f"refuses: {error}"
    return str(error) or type(error).__name__


async def _about(commands: Commands, *node: Any) -> dict[str, Any]:
    which = {"target_nodes": node[0]} if node else {}
    info = await commands.info(**which)
    shown = f"Valkey {info['valkey_version']}" if "valkey_version" in info else None
    version = str(info["redis_version"])
    return {
        "version": tuple(int(part) for part in version.split(".")[:2]),
        "shown": shown or f"Redis {version}",
        "policy": str(info.get("maxmemory_policy", "")),
        "used_mb": info["used_memory"] / 1_000_000,
    }
