"""Redis or Valkey, one server or a cluster, with a deadline per request and a circuit breaker per
server.

While a server is down, hangs or refuses, a request costs one look at its breaker; a background task
detects when it is back.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, TypeVar

import structlog

from rcommerce import tracing
from rcommerce.cache.addresses import addresses
from rcommerce.errors import RCommerceError
from rcommerce.resilience.breaker import Breaker
from rcommerce.settings.schema import Cache

PROBE_EVERY_S = 0.25  # seconds between probes of a server that is down or has just failed
# Probe intervals between two probes of a healthy server: there may be no requests that would notice
LOOK_EVERY = 4
AT_ONCE = 2  # MGET messages in flight
T = TypeVar("T")
# How long this request has waited for Redis, in seconds: all its calls together have
# `redis_timeout_ms`. None outside of requests, where each call has that by itself.
_waited_s: ContextVar[float | None] = ContextVar("rcommerce_redis_waited", default=None)
Commands = Any  # of redis-py, as in `redis_client`
log = structlog.get_logger()


class RedisAway(RCommerceError):
    """Redis has not answered in time. The caller continues without it, or reports that it
    cannot."""


def begin_request(waited_s: float = 0.0) -> None:
    """Starts the Redis time budget of a request: its calls share `redis_timeout_ms`."""
    _waited_s.set(waited_s)


def is_request() -> bool:
    """Whether a request's budget has been started."""
    return _waited_s.get() is not None


class Redis:
    """The connections of one process. Of several servers without a cluster, the first that accepts
    writes is used. Raises SettingsError."""

    def __init__(self, settings: Cache) -> None:
        from rcommerce.cache import redis_client

        self._library = redis_client
        self.prefix = settings.key_prefix
        self._settings = settings
        self._addresses = addresses(settings.redis_url or "")
        self._timeout_s = settings.redis_timeout_ms / 1000
        self._turn = asyncio.Semaphore(settings.redis_pool_size)
        self._current = 0
        self._client: Commands = None
        self._breakers: dict[str, Breaker] = {}
        self._wanted: dict[str, list[asyncio.Future[bytes | None]]] = {}
        self._wanted_since = 0.0  # when the first of them began to wait
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_cluster = settings.redis_cluster

    @property
    def breakers(self) -> dict[str, Breaker]:
        """The breakers of the servers used so far, by address."""
        return self._breakers

    async def ask(self, key: str, call: Callable[[Commands], Awaitable[T]]) -> T:
        """Runs `call` on the server that has `key`, within the time left to this request. Raises
        RedisAway."""
        breaker = self._require_up(key)
        waited_s, begun = _waited_s.get(), time.monotonic()
        is_sent = False
        try:
            async with asyncio.timeout(self._left_s(waited_s)):
                async with self._turn:
                    if breaker.is_open:  # it opened while this request waited
                        raise RedisAway(breaker.cause)
                    is_sent = True
                    with tracing.span("redis", "CLIENT", {"db.system.name": "redis"}):
                        found = await call(self._commands())
        except self._library.FAILURES as error:
            if not is_sent:  # requests before this one will report the state
                raise RedisAway("its connections are all in use") from error
            self._failed(breaker, error)
            raise RedisAway(breaker.cause or str(error)) from error
        finally:
            if waited_s is not None:
                _waited_s.set(waited_s + time.monotonic() - begun)
        breaker.succeeded()
        return found

    def _left_s(self, waited_s: float | None) -> float:
        """The time left. Raises RedisAway if there is none."""
        left_s = self._timeout_s - (waited_s or 0.0)
        if left_s <= 0:
            raise RedisAway("this request has waited for it long enough")
        return left_s

    async def call(self, method: str, key: str, *arguments: Any, **options: Any) -> Any:
        """The result of a redis-py command whose first argument is the key. Raises RedisAway."""
        return await self.ask(
            key, lambda commands: getattr(commands, method)(key, *arguments, **options)
        )

    async def get(self, key: str) -> bytes | None:
        """The value of a key. Reads that arrive while a message is in flight are combined into the
        next one (MGET), which costs little more than one read. Raises RedisAway."""
        if self.is_cluster:  # keys are on many servers
            found: bytes | None = await self.call("get", key)
            return found
        self._require_up(key)
        waited_s, begun = _waited_s.get(), time.monotonic()
        self._left_s(waited_s)
        future: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        if not self._wanted:
            self._wanted_since = begun - (waited_s or 0.0)
        waiting = self._wanted.setdefault(key, [])
        waiting.append(future)
        if len(waiting) == 1 and self._under_way < AT_ONCE:
            self._under_way += 1
            task = asyncio.create_task(self._get_wanted())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            return await future
        finally:
            if waited_s is not None:
                _waited_s.set(waited_s + time.monotonic() - begun)

    async def _get_wanted(self) -> None:
        """Sends messages until no key is wanted. Each has the time left to the read that has waited
        longest."""
        try:
            while self._wanted:
                wanted, self._wanted = self._wanted, {}
                begin_request(time.monotonic() - self._wanted_since)
                try:
                    values = await self.call("mget", *wanted)
                    for key, value in zip(wanted, values, strict=True):
                        for future in _not_done(wanted[key]):
                            future.set_result(value)
                except RedisAway as away:
                    for waiting in wanted.values():
                        for future in _not_done(waiting):
                            future.set_exception(away)
                finally:
                    for waiting in wanted.values():
                        for future in _not_done(waiting):
                            future.cancel()  # this task itself was cancelled
        finally:
            self._under_way -= 1

    async def run(self) -> None:
        """Probes the servers for as long as the process lives, so that an idle process knows their
        state too."""
        with contextlib.suppress(RedisAway):  # connects before the first request
            await self.call("get", f"{self.prefix}probe")
        for turn in itertools.count(1):
            await asyncio.sleep(PROBE_EVERY_S)
            for name, breaker in list(self._breakers.items()):
                if breaker.is_in_doubt or turn % LOOK_EVERY == 0:
                    await self._probe(name, breaker)

    async def close(self) -> None:
        """Closes all connections."""
        if self._client is not None:
            with contextlib.suppress(*self._library.FAILURES):
                await self._client.aclose()

    async def each(self, pattern: str) -> list[str]:
        """The keys that match a pattern, on all servers: for diagnosis. Raises RedisAway."""
        try:
            commands = self._commands()
            return [key.decode() async for key in commands.scan_iter(match=pattern, count=1000)]
        except self._library.FAILURES as error:
            raise RedisAway(self._library.cause(error, self._timeout_s)) from error

    # Servers and breakers -------------------------------------------------------------------------

    def _require_up(self, key: str) -> Breaker:
        """The breaker of the server that has a key. Raises RedisAway if it is open."""
        breaker = self._breaker(self._name(key))
        if breaker.is_open:
            raise RedisAway(breaker.cause)
        return breaker

    def _failed(self, breaker: Breaker, error: BaseException) -> None:
        breaker.failed(
            self._library.cause(error, self._timeout_s),
            surely=self._library.takes_no_writes(error),
        )

    def _breaker(self, name: str) -> Breaker:
        found = self._breakers.get(name)
        if found is None:
            found = self._breakers[name] = Breaker(f"redis {name}")
        return found

    def _name(self, key: str) -> str:
        """The address of the server that has a key."""
        if self.is_cluster and self._client is not None:
            primary = self._library.primary_of(self._client, key)
            if primary is not None:
                return primary
        return str(self._addresses[self._current])

    def _commands(self) -> Commands:
        if self._client is None:
            self._client = (
                self._library.cluster(self._settings, self._addresses)
                if self.is_cluster
                else self._library.single(self._settings, self._addresses[self._current])
            )
        return self._client

    async def _probe(self, name: str, breaker: Breaker) -> None:
        breaker.try_again()
        try:
            if self.is_cluster:
                await self._probe_node(name, breaker)
            else:
                await self._probe_single(breaker)
        except self._library.FAILURES as error:
            self._failed(breaker, error)
        else:
            breaker.succeeded()
            if self._name_is_gone(name):
                del self._breakers[name]

    async def _probe_single(self, breaker: Breaker) -> None:
        async with asyncio.timeout(self._timeout_s):
            try:
                # Not PING: a server that is full or has become a replica answers that, too.
                await self._commands().set(f"{self.prefix}probe", b"", px=1000)
            except self._library.FAILURES:
                if breaker.is_open and len(self._addresses) > 1:
                    await self.close()
                    self._client, self._current = None, (self._current + 1) % len(self._addresses)
                raise

    async def _probe_node(self, name: str, breaker: Breaker) -> None:
        """Probes a node; if it is down, first asks which node has its slots now."""
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


def _not_done(
    waiting: list[asyncio.Future[bytes | None]],
) -> list[asyncio.Future[bytes | None]]:
    """The breakers of the nodes that still exist."""
    return [each for each in waiting if not each.done()]
