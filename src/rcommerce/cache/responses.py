"""Rendered responses in this process's memory: the first cache that a request meets.

Bounded in bytes. Eviction is W-TinyLFU (Einziger et al., 2017), so a crawler that reads everything
once does not evict what is read often.
"""

import asyncio
from collections.abc import Iterable, Sequence
from uuid import UUID

import msgspec
from moka_py import Moka

from rcommerce.cache.positions import EVERYTHING, TagPositions
from rcommerce.cache.sources import FOREVER

FrozenHeaders = tuple[tuple[bytes, bytes], ...]
OVERHEAD_BYTES = 1_500  # per response, beside its bodies: objects, keys, entries of the index


class Variant(msgspec.Struct, gc=False, eq=False):
    """A response in one encoding. `whole` and `unchanged` are the headers of a 200 and of a 304,
    whose last is the age, now `second`. The HTTP server adds the body's length."""

    body: bytes
    etag: bytes
    whole: FrozenHeaders
    unchanged: FrozenHeaders
    second: int = 0

    def set_age(self, second: int) -> None:
        """Sets the age, in seconds."""
        age = (b"age", b"%d" % max(0, second))
        self.second = second
        self.whole, self.unchanged = (*self.whole[:-1], age), (*self.unchanged[:-1], age)


class CachedResponse(msgspec.Struct, gc=False, eq=False):
    """A response: `body` is the JSON that PostgreSQL built; `encodings` has its compressed forms by
    name, and `variants` the same by the client's Accept-Encoding header.

    `position` is one of its shard's write-ahead log; times are of the monotonic clock, in seconds.
    At `ends_at` a price in it may change by itself.

    The garbage collector ignores it, and its tuples and dictionaries: traversing 17,000 responses
    took 0.2 s, during which the process answered nothing.
    """

    key: bytes
    body: bytes
    etag: str
    media_type: str
    route: str  # for metrics
    tenant: UUID
    tags: tuple[str, ...]
    position: int
    headers: FrozenHeaders
    made_at: float
    fresh_until: float
    is_shared: bool  # it came from another process
    encodings: dict[str, Variant] = {}
    variants: dict[bytes, Variant] = {}
    shard_cache: "ShardCache | None" = None
    ends_at: float = FOREVER


Responses = dict[CachedResponse, None]  # an ordered set that the garbage collector ignores


class ResponseCache:
    """All cached responses of a process."""

    def __init__(self, max_bytes: int, ttl_s: float) -> None:
        self.ttl_s = ttl_s
        self.hits = self.misses = self.evictions = self.invalidations = 0
        self.fill_s = 0.0  # the sum over all misses
        self.is_on = max_bytes > 0
        # In the second half of this time, a response is served while it is refreshed.
        self._responses: Moka[bytes, CachedResponse] = Moka(
            max(max_bytes, 1), ttl=2 * ttl_s, eviction_listener=self._left, weigher=_weight
        )
        self.get = self._responses.get  # the hot path

    @property
    def entries(self) -> int:
        """The number of responses."""
        return self._responses.count()

    @property
    def size(self) -> int:
        """Their size in bytes, as counted against the limit."""
        return self._responses.weighted_size()

    def put(self, response: CachedResponse) -> None:
        """Stores a response."""
        self._responses.set(response.key, response)

    def remove(self, response: CachedResponse) -> None:
        """Removes this response, unless a newer one has its key."""
        if self._responses.get(response.key) is response:
            self._responses.remove(response.key)

    def _left(self, key: bytes, response: CachedResponse, cause: str) -> None:
        if cause == "size":
            self.evictions += 1
        if response.shard_cache is not None:
            response.shard_cache.forget(response)


def _weight(key: bytes, response: CachedResponse) -> int:
    # Each of three encodings, made on first use, is about a quarter of the JSON's size.
    return len(key) + len(response.body) * 7 // 4 + OVERHEAD_BYTES


class ShardCache:
    """The cached responses of one shard, by tag; `Invalidations` calls its methods."""

    def __init__(self, name: str, memory: ResponseCache) -> None:
        self.name = name
        self.positions = TagPositions()
        self.changed = asyncio.Event()  # set whenever something was invalidated
        self._memory = memory
        self._by_tag: dict[UUID, dict[str, Responses]] = {}

    def add(self, response: CachedResponse) -> bool:
        """Stores a new response. Returns False if it is stale already, if invalidations are not
        received, or if the memory cache is off."""
        positions = self.positions
        if not positions.is_live or response.position <= positions.last(
            response.tenant, response.tags
        ):
            return False
        if not self._memory.is_on:
            return False
        response.shard_cache = self
        by_tag = self._by_tag.setdefault(response.tenant, {})
        for tag in response.tags:
            by_tag.setdefault(tag, {})[response] = None
        self._memory.put(response)
        return True

    def forget(self, response: CachedResponse) -> None:
        """Removes a response from the index of tags."""
        response.shard_cache = None
        by_tag = self._by_tag.get(response.tenant, {})
        for tag in response.tags:
            responses = by_tag.get(tag, {})
            responses.pop(response, None)
            if not responses:
                by_tag.pop(tag, None)
        if not by_tag:
            self._by_tag.pop(response.tenant, None)

    # Called by Invalidations --------------------------------------------------------------------

    def invalidate(self, position: int, tags: Iterable[tuple[UUID, Sequence[str]]]) -> None:
        """Drops the responses that have one of these tags."""
        self.changed.set()
        for tenant, names in tags:
            self.positions.note(position, tenant, names)
            by_tag = self._by_tag.get(tenant, {})
            for name in list(by_tag) if EVERYTHING in names else names:
                self._drop(by_tag.get(name, ()))

    def reach(self, horizon: int) -> None:
        """Every invalidation before `horizon` has been received."""
        self.positions.horizon = horizon

    def suspend(self) -> None:
        """Invalidations are no longer received: responses may be stale, and are served only if no
        database answers."""
        self.positions.is_live = False

    def resume(self, era: str, horizon: int, tags: Sequence[tuple[UUID, str, int]]) -> None:
        """Drops everything and starts again."""
        for by_tag in list(self._by_tag.values()):
            for responses in list(by_tag.values()):
                self._drop(responses)
        self.positions.load(era, horizon, tags)

    def _drop(self, responses: Iterable[CachedResponse]) -> None:
        for response in list(responses):
            self._memory.invalidations += 1
            self.forget(response)
            self._memory.remove(response)
