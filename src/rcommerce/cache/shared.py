"""The cache in Redis that all processes share, between their memory and the database.

An entry has its tags and the log position at which it was read. Whoever reads it checks it against
the invalidations received, as for responses in memory. So nothing has to be deleted here for
correctness, and a late write by a slow process does no harm.

On a miss, a process takes a lease before it reads; others wait for its result. Of all concurrent
misses of a key, in all processes, one reaches the database.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from rcommerce import clock, ids
from rcommerce.cache.redis import Redis, RedisAway, begin_request, is_request
from rcommerce.cache.sources import FOREVER

# of the entries and the responses in them; a release that changes either has another one
FORMAT = 3
PAGES = "product"  # the namespace of catalogue responses
LONGEST_S = 3600  # seconds; no entry stays longer
LEASE_MS = 3000  # how long others wait for the holder of a lease, which may have died
WAIT_S = (0.001, 0.004)  # between two looks at whether a lease's holder has finished
LONGEST_KEY = 400
ERA, HEAD = 8, 48  # bytes of an entry: its era; with it, its position and its time
# KEYS: the entry, its lease. ARGV: caller, ms, the head of an entry that it cannot use.
TAKE = """
local found = redis.call('GET', KEYS[1])
if found and (ARGV[3] == '' or string.sub(found, 1, #ARGV[3]) ~= ARGV[3]) then return found end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
return 0
"""
# KEYS: the entry, its lease. ARGV: caller, entry, seconds, length of the era, length of the head.
# An entry of the same era that was read later is kept.
PUT = """
local found = redis.call('GET', KEYS[1])
local era, head = tonumber(ARGV[4]), tonumber(ARGV[5])
if not found or string.sub(found, 1, era) ~= string.sub(ARGV[2], 1, era)
   or string.sub(found, 1, head) <= string.sub(ARGV[2], 1, head) then
    redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
return 1
"""
# KEYS: the lease. ARGV: caller.
DROP = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class Entry(msgspec.Struct, array_like=True):
    """A cached value. `position` is in the log of its `era`; `made_at` is in seconds since 1970, as
    is `until`, when it ends to be true by itself; `cdn_tags` are its tags in the form for CDNs."""

    era: str
    position: int
    tags: list[str]
    body: bytes
    etag: str = ""
    media_type: str = "application/json"
    made_at: float = msgspec.field(default_factory=clock.now)
    cdn_tags: bytes = b""
    until: float = FOREVER


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Entry)


def packed(entry: Entry) -> bytes:
    """An entry as stored in Redis: a head of fixed length, so that positions can be compared there,
    then MessagePack."""
    return _head(entry) + _ENCODER.encode(entry)


def unpacked(raw: bytes) -> Entry | None:
    """The entry; None if the bytes are not one of ours."""
    try:
        return _DECODER.decode(raw[HEAD:])
    except msgspec.DecodeError:
        return None


def _head(entry: Entry) -> bytes:
    made_at = int(entry.made_at * 1e6)
    return b"%8b%020d%020d" % (entry.era[:8].encode(), entry.position, made_at)


class Shared:
    """The entries. Without Redis, each process reads for itself."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.hits = self.misses = self.untrue = self.waits = self.away = 0
        self.hit_s = 0.0  # the sum over all hits
        self._tasks: set[asyncio.Task[None]] = set()

    def key(self, namespace: str, name: str) -> str:
        """The key of an entry. The part in braces decides which server of a cluster has it."""
        if len(name) > LONGEST_KEY:
            name = name[:LONGEST_KEY] + "…" + ids.token_hash(name).hex()
        return f"{self.redis.prefix}{namespace}:{FORMAT}:{{{name}}}"

    async def obtain(
        self,
        key: str,
        is_true: Callable[[Entry], bool],
        make: Callable[[], Awaitable[Entry | Any]],
        ttl_s: float,
        *,
        is_personal: bool = False,
    ) -> Entry | Any:
        """The entry of a key if `is_true` accepts it, otherwise the result of `make`, which is
        stored if it is an Entry. A personal entry is returned only after it was stored: its owner,
        who may write next, must not find it stored afterwards."""
        begun = time.perf_counter()
        if not is_request():
            begin_request()
        try:
            raw: bytes | int | None = await self.redis.get(key)
            me, untrue = b"", b""
            while True:
                if raw is not None and not isinstance(raw, int):
                    entry = unpacked(raw)
                    if entry is not None and is_true(entry):
                        self.hits += 1
                        self.hit_s += time.perf_counter() - begun
                        return entry
                    self.untrue += 1
                    untrue = raw[:HEAD]
                elif raw == 1:
                    break
                elif raw == 0:
                    self.waits += 1
                    await asyncio.sleep(random.uniform(*WAIT_S))  # noqa: S311 - spreads the load
                me = me or ids.new_name()
                raw = await self._take(key, me, untrue)
        except RedisAway:
            self.away += 1
            return await make()
        self.misses += 1
        return await self._make(key, me, make, ttl_s, is_personal=is_personal)

    async def forget(self, key: str) -> None:
        """Removes an entry if Redis is available. Not needed for correctness."""
        try:
            await self.redis.call("delete", key)
        except RedisAway:
            self.away += 1

    async def _make(
        self,
        key: str,
        me: bytes,
        make: Callable[[], Awaitable[Any]],
        ttl_s: float,
        *,
        is_personal: bool,
    ) -> Any:
        entry = None
        try:
            made = await make()
            if isinstance(made, Entry):
                entry = made
        finally:
            leaving = asyncio.create_task(
                self._leave(key, me, entry, ttl_s, is_waited_for=is_personal)
            )
            self._tasks.add(leaving)
            leaving.add_done_callback(self._tasks.discard)
            if is_personal:
                await asyncio.shield(leaving)
        return made

    async def _take(self, key: str, me: bytes, untrue: bytes) -> bytes | int:
        found: bytes | int = await self.redis.ask(
            key, lambda commands: commands.eval(TAKE, 2, key, _lease(key), me, LEASE_MS, untrue)
        )
        return found

    async def _leave(
        self, key: str, me: bytes, entry: Entry | None, ttl_s: float, *, is_waited_for: bool
    ) -> None:
        """Stores a new entry and releases the lease."""
        if not is_waited_for:
            begin_request()  # no longer within the request's time
        try:
            if entry is None:
                await self.redis.ask(key, lambda commands: commands.eval(DROP, 1, _lease(key), me))
                return
            text, ttl = packed(entry), max(1, int(min(ttl_s, LONGEST_S)))
            await self.redis.ask(
                key,
                lambda commands: commands.eval(PUT, 2, key, _lease(key), me, text, ttl, ERA, HEAD),
            )
        except RedisAway:
            self.away += 1


def _lease(key: str) -> str:
    return f"{key}:lease"
