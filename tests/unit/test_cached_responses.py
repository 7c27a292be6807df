"""Responses in a process's memory, and Python's garbage collector."""

import gc
import uuid

from rcommerce.cache.responses import CachedResponse, ResponseCache, ShardCache
from rcommerce.http.representation import variant


def test_the_garbage_collector_does_not_look_at_responses() -> None:
    memory = ResponseCache(max_bytes=64 * 1024 * 1024, ttl_s=300)
    shard_cache = ShardCache("default", memory)
    shard_cache.positions.load("era", 1, [])
    tenant = uuid.uuid4()
    before = _tracked()
    for number in range(1_000):
        response = _response(tenant, number)
        assert shard_cache.add(response)
        for accept in (b"", b"br", b"gzip"):
            variant(response, accept).set_age(7)
    assert memory.entries > 900
    assert _tracked() - before < 100


def test_a_response_is_found_by_each_of_its_tags_until_it_is_forgotten() -> None:
    memory = ResponseCache(max_bytes=64 * 1024 * 1024, ttl_s=300)
    shard_cache = ShardCache("default", memory)
    shard_cache.positions.load("era", 1, [])
    tenant, other = uuid.uuid4(), uuid.uuid4()
    responses = [_response(tenant, 1), _response(tenant, 2), _response(other, 3)]
    for response in responses:
        shard_cache.add(response)
    shard_cache.invalidate(11, [(tenant, ["product:1", "unheard of"])])
    assert [memory.get(response.key) is response for response in responses] == [False, True, True]
    shard_cache.invalidate(12, [(tenant, ["*"])])
    assert [memory.get(response.key) is response for response in responses] == [False, False, True]
    shard_cache.resume("another era", 20, [])
    assert memory.get(responses[2].key) is None
    assert memory.invalidations == 3


def _response(tenant: uuid.UUID, number: int) -> CachedResponse:
    name = str(number).encode()
    return CachedResponse(
        key=tenant.bytes + name,
        body=b"x" * 2_000 + name,
        etag=str(number),
        media_type="application/json",
        route="/api/v1/products/{key}",
        tenant=tenant,
        tags=(f"product:{number}", "shown", f"category:{number % 7}"),
        position=10,
        headers=((b"cache-tag", name), (b"vary", b"accept-encoding")),
        made_at=0.0,
        fresh_until=300.0,
        is_shared=False,
    )


def _tracked() -> int:
    for _ in range(3):  # tuples of tuples leave one level at a time
        gc.collect()
    return len(gc.get_objects())
