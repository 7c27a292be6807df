"""Metrics of each cache level, of rate limits and of the CDN."""

from collections.abc import Mapping, Sequence

from rcommerce.cache.responses import ResponseCache, ShardCache
from rcommerce.cdn.purger import Purger
from rcommerce.commerce.shop import Services
from rcommerce.telemetry.prometheus import Update, counting

# Counters of a part: an attribute, and what it counts.
_OF_MEMORY = {
    "hits": "Requests answered from memory",
    "misses": "Pages that memory did not have, for one request or many",
    "fill_s": "Seconds that it took to get those, from Redis or the database",
    "evictions": "Pages that had to make room",
    "invalidations": "Pages that were out of date",
}
_OF_SHARED = {
    "hits": "Answers that Redis had",
    "misses": "Answers that one process has made for all",
    "hit_s": "Seconds that the hits have taken",
    "untrue": "Answers in Redis that were out of date",
    "waits": "Looks at what another process is making",
    "away": "Times that Redis was away, and was done without",
}
_OF_PURGES = {"purged": "Tags that the CDN was told", "failed": "Purges that it did not take"}


def of_caches(
    memory: ResponseCache,
    shard_caches: Mapping[str, ShardCache],
    services: Services,
    purgers: Sequence[Purger],
) -> Update:
    """Creates the metrics of each cache level; the result updates them."""
    from prometheus_client import Gauge

    pages = Gauge("rcommerce_cache_pages", "Pages in memory", multiprocess_mode="livesum")
    size = Gauge("rcommerce_cache_bytes", "Their size, as bounded", multiprocess_mode="livesum")
    live = Gauge(
        "rcommerce_cache_listening",
        "1 while invalidations are heard; with 0 nothing is given from memory",
        ["shard"],
        multiprocess_mode="livemin",
    )
    counts = [
        counting("rcommerce_cache", _OF_MEMORY, memory),
        counting("rcommerce_rate_limit", {"refused": "Requests over a limit"}, services.limits),
    ]
    if services.shared is not None:
        counts.append(counting("rcommerce_cache_redis", _OF_SHARED, services.shared))
    if purgers:
        counts.append(counting("rcommerce_cdn", _OF_PURGES, *purgers))

    def update() -> None:
        pages.set(memory.entries)
        size.set(memory.size)
        for name, shard_cache in shard_caches.items():
            live.labels(name).set(shard_cache.positions.is_live)
        for count in counts:
            count()

    return update
