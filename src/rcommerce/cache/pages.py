"""Whole answers in this process's memory: the level that a request meets first.

Bounded in bytes; what stays is decided by W-TinyLFU (Einziger and others, 2017), which a scan over
everything does not flush.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from moka_py import Moka

from rcommerce.cache.fence import EVERYTHING, Fence

K = TypeVar("K")
OVERHEAD_BYTES = 1_500  # of a page beside its bodies: objects, keys, its places in the index


class Page:
    """An answer: JSON as PostgreSQL has built it; `encodings` are it as it goes out; `variants`
    has them by what a client said that it takes.

    `position` is of the log of its shard; times are of the monotonic clock, in seconds.
    """

    __slots__ = (
        "body", "encodings", "etag", "fresh_until", "headers", "is_shared", "key", "made_at",
        "media_type", "position", "route", "shelf", "tags", "tenant", "variants",
    )  # fmt: skip

    def __init__(self, key: bytes, body: bytes, etag: str, media_type: str) -> None:
        self.key = key
        self.body = body
        self.etag = etag
        self.media_type = media_type
        self.route = ""  # for figures
        self.headers: list[tuple[bytes, bytes]] = []
        self.encodings: dict[str, Any] = {}
        self.variants: dict[bytes, Any] = {}
        self.made_at = self.fresh_until = 0.0
        self.position = 0
        self.is_shared = False  # it came from another process
        self.tenant: UUID | None = None
        self.tags: frozenset[str] = frozenset()
        self.shelf: Shelf | None = None


class Memory:
    """The pages of a process, of all its shards."""

    def __init__(self, max_bytes: int, ttl_s: float) -> None:
        self.ttl_s = ttl_s
        self.hits = self.misses = self.evictions = self.invalidations = 0
        self.fill_s = 0.0  # what the misses have taken together
        self.is_on = max_bytes > 0
        # Twice its time: for the second half it is given while it is made anew.
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
        if page.shelf is not None:
            page.shelf.forget(page)


def _weight(key: bytes, page: Page) -> int:
    # JSON comes out of each of three encoders at a quarter of its size, if it is ever asked for.
    return len(key) + len(page.body) * 7 // 4 + OVERHEAD_BYTES


class Shelf:
    """The pages of one shard: what `Invalidations` tells, this does."""

    def __init__(self, name: str, memory: Memory) -> None:
        self.name = name
        self.fence = Fence()
        self.changed = asyncio.Event()  # set whenever something was made untrue
        self._memory = memory
        self._by_tag: dict[tuple[UUID, str], set[Page]] = {}
        self._by_tenant: dict[UUID, set[Page]] = {}

    def add(self, page: Page) -> bool:
        """Keeps a page that was just made; False where it is out of date already, nobody would hear
        when it is, or this level is off."""
        fence, tenant = self.fence, page.tenant
        if tenant is None or not fence.is_live or page.position <= fence.last(tenant, page.tags):
            return False
        if not self._memory.is_on:
            return False
        page.shelf = self
        for tag in page.tags:
            self._by_tag.setdefault((tenant, tag), set()).add(page)
        self._by_tenant.setdefault(tenant, set()).add(page)
        self._memory.put(page)
        return True

    def forget(self, page: Page) -> None:
        """Takes a page out of the index."""
        tenant = page.tenant
        if tenant is None:
            return
        page.shelf = None
        _discard(self._by_tenant, tenant, page)
        for tag in page.tags:
            _discard(self._by_tag, (tenant, tag), page)

    # What Invalidations tells -------------------------------------------------------------------

    def invalidate(self, position: int, tags: Iterable[tuple[UUID, Sequence[str]]]) -> None:
        """Drops what is out of date."""
        self.changed.set()
        for tenant, names in tags:
            self.fence.note(position, tenant, names)
            if EVERYTHING in names:
                self._drop(self._by_tenant.get(tenant, ()))
                continue
            for name in names:
                self._drop(self._by_tag.get((tenant, name), ()))

    def reach(self, horizon: int) -> None:
        """Every commit before `horizon` has been heard of."""
        self.fence.horizon = horizon

    def suspend(self) -> None:
        """From now on a page may be out of date, and is given only where nothing better is to be
        had."""
        self.fence.is_live = False

    def resume(self, era: str, horizon: int, tags: Sequence[tuple[UUID, str, int]]) -> None:
        """Begins anew, with none of the pages from before."""
        for pages in list(self._by_tenant.values()):
            self._drop(pages)
        self.fence.load(era, horizon, tags)

    def _drop(self, pages: Iterable[Page]) -> None:
        for page in list(pages):
            self._memory.invalidations += 1
            self.forget(page)
            self._memory.remove(page)


def _discard(index: dict[K, set[Page]], key: K, page: Page) -> None:
    found = index.get(key)
    if found is not None:
        found.discard(page)
        if not found:
            del index[key]
