"""Whole answers in this process's memory: the level that a request meets first.

Bounded in bytes; what stays is decided by W-TinyLFU (Einziger and others, 2017), which a scan over
everything does not flush.
"""

import asyncio
from collections.abc import Iterable, Sequence
from uuid import UUID

import msgspec
from moka_py import Moka

from rcommerce.cache.fence import EVERYTHING, Fence

FrozenHeaders = tuple[tuple[bytes, bytes], ...]
OVERHEAD_BYTES = 1_500  # of a page beside its bodies: objects, keys, its places in the index


class Variant(msgspec.Struct, gc=False, eq=False):
    """A page in one encoding. `whole` and `unchanged` are the headers of 200 and 304, of which the
    last is the age, here of `second` seconds. The length of a body is told by the HTTP server."""

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


class Page(msgspec.Struct, gc=False, eq=False):
    """An answer: JSON as PostgreSQL has built it; `encodings` are it as it goes out; `variants`
    has them by what a client said that it takes.

    `position` is of the log of its shard; times are of the monotonic clock, in seconds.

    Python's garbage collector never looks at it, nor at its tuples and dictionaries: with
    them, a search through 17,000 pages took 0.2 s, in which nothing was answered.
    """

    key: bytes
    body: bytes
    etag: str
    media_type: str
    route: str  # for figures
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


Pages = dict[Page, None]  # a set, but for the garbage collector


class Memory:
    """The pages of a process, of all its shards."""

    def __init__(self, max_bytes: int, ttl_s: float) -> None:
        self.ttl_s = ttl_s
        self.hits = self.misses = self.evictions = self.invalidations = 0
        self.fill_s = 0.0  # what the misses have taken together
        self.is_on = max_bytes > 0
        # Twice its time: for the second half it is served stale while it is refreshed.
        self._pages: Moka[bytes, Page] = Moka(
            max(max_bytes, 1), ttl=2 * ttl_s, eviction_listener=self._left, weigher=_weight
        )
        self.get = self._pages.get  # the hot path

    @property
    def entries(self) -> int:
        """How many pages there are."""
        return self._pages.count()

    @property
    def size(self) -> int:
        """Their bytes, as they are counted against the bound."""
        return self._pages.weighted_size()

    def put(self, page: Page) -> None:
        """Keeps a page."""
        self._pages.set(page.key, page)

    def remove(self, page: Page) -> None:
        """Forgets this very page."""
        if self._pages.get(page.key) is page:
            self._pages.remove(page.key)

    def _left(self, key: bytes, page: Page, cause: str) -> None:
        if cause == "size":
            self.evictions += 1
        if page.shard_cache is not None:
            page.shard_cache.forget(page)


def _weight(key: bytes, page: Page) -> int:
    # JSON comes out of each of three encoders at a quarter of its size, if it is ever asked for.
    return len(key) + len(page.body) * 7 // 4 + OVERHEAD_BYTES


class ShardCache:
    """The pages of one shard: what `Invalidations` tells, this does."""

    def __init__(self, name: str, memory: Memory) -> None:
        self.name = name
        self.fence = Fence()
        self.changed = asyncio.Event()  # set whenever something was invalidated
        self._memory = memory
        self._by_tag: dict[UUID, dict[str, Pages]] = {}

    def add(self, page: Page) -> bool:
        """Keeps a page that was just made; False where it is stale already, nobody would hear
        when it is, or this level is off."""
        fence = self.fence
        if not fence.is_live or page.position <= fence.last(page.tenant, page.tags):
            return False
        if not self._memory.is_on:
            return False
        page.shard_cache = self
        by_tag = self._by_tag.setdefault(page.tenant, {})
        for tag in page.tags:
            by_tag.setdefault(tag, {})[page] = None
        self._memory.put(page)
        return True

    def forget(self, page: Page) -> None:
        """Takes a page out of the index."""
        page.shard_cache = None
        by_tag = self._by_tag.get(page.tenant, {})
        for tag in page.tags:
            pages = by_tag.get(tag, {})
            pages.pop(page, None)
            if not pages:
                by_tag.pop(tag, None)
        if not by_tag:
            self._by_tag.pop(page.tenant, None)

    # What Invalidations tells -------------------------------------------------------------------

    def invalidate(self, position: int, tags: Iterable[tuple[UUID, Sequence[str]]]) -> None:
        """Drops what is stale."""
        self.changed.set()
        for tenant, names in tags:
            self.fence.note(position, tenant, names)
            by_tag = self._by_tag.get(tenant, {})
            for name in list(by_tag) if EVERYTHING in names else names:
                self._drop(by_tag.get(name, ()))

    def reach(self, horizon: int) -> None:
        """Every commit before `horizon` has been heard of."""
        self.fence.horizon = horizon

    def suspend(self) -> None:
        """From now on a page may be stale, and is given only where nothing better is to be
        had."""
        self.fence.is_live = False

    def resume(self, era: str, horizon: int, tags: Sequence[tuple[UUID, str, int]]) -> None:
        """Starts again, with none of the pages from before."""
        for by_tag in list(self._by_tag.values()):
            for pages in list(by_tag.values()):
                self._drop(pages)
        self.fence.load(era, horizon, tags)

    def _drop(self, pages: Iterable[Page]) -> None:
        for page in list(pages):
            self._memory.invalidations += 1
            self.forget(page)
            self._memory.remove(page)
