"""Breakers, entries in Redis, and whose keys they are."""

import asyncio

import pytest

from rcommerce.cache import shared
from rcommerce.cache.addresses import addresses
from rcommerce.cache.redis import Redis
from rcommerce.cache.shared import Entry, Shared
from rcommerce.errors import SettingsError
from rcommerce.resilience.breaker import FAILURES, Breaker, State
from rcommerce.settings.schema import Cache


def test_a_breaker_opens_after_failures_in_a_row_and_closes_at_the_first_answer() -> None:
    breaker = Breaker("redis")
    for _ in range(FAILURES - 1):
        breaker.failed("refused")
    breaker.succeeded()
    for _ in range(FAILURES - 1):
        breaker.failed("refused")
    assert not breaker.is_open
    breaker.failed("no answer within 500 ms")
    assert breaker.is_open
    assert (breaker.cause, breaker.transitions[State.OPEN]) == ("no answer within 500 ms", 1)
    breaker.succeeded()
    assert not breaker.is_open


def test_a_failure_that_is_sure_opens_at_once() -> None:
    breaker = Breaker("redis")
    breaker.failed("is a replica", surely=True)
    assert breaker.is_open


def test_a_probe_decides_whether_an_open_breaker_closes() -> None:
    breaker = Breaker("redis")
    breaker.try_again()
    assert breaker.state is State.CLOSED  # nothing to find out
    breaker.failed("is a replica", surely=True)
    breaker.try_again()
    assert (breaker.state, breaker.is_open) == (State.HALF_OPEN, True)
    breaker.failed("refused")
    assert (breaker.state, breaker.cause) == (State.OPEN, "refused")
    breaker.try_again()
    breaker.succeeded()
    assert breaker.state is State.CLOSED
    assert breaker.transitions == {State.CLOSED: 1, State.OPEN: 2, State.HALF_OPEN: 2}


def test_of_an_open_one_a_single_call_is_made_each_rest() -> None:
    breaker = Breaker("gateway")
    assert breaker.admits(60)
    breaker.failed("no answer", surely=True)
    assert not breaker.admits(60)
    assert breaker.admits(0)  # the rest is over: one call
    assert breaker.state is State.HALF_OPEN
    assert not breaker.admits(60)  # the others wait for how it went
    breaker.failed("no answer")
    assert not breaker.admits(60)
    assert breaker.admits(0)
    breaker.succeeded()
    assert breaker.admits(60)


def test_entries_are_ordered_by_their_bytes() -> None:
    """Redis compares two without knowing what is in them."""
    heads = [
        shared.packed(Entry("0a1b2c3d", position, ["price"], b"{}"))[: shared.HEAD]
        for position in (0, 9, 10, 99, 2**40, 2**63)
    ]
    assert heads == sorted(heads)
    assert len({len(head) for head in heads}) == 1


def test_an_entry_comes_back_as_it_went_in() -> None:
    entry = Entry("0a1b2c3d", 7, ["price", "product:1"], b'{"a": 1}', "tag", "application/json")
    assert shared.unpacked(shared.packed(entry)) == entry
    assert shared.unpacked(b"short") is None
    assert shared.unpacked(b"x" * 500) is None


def test_a_key_and_its_lease_are_on_one_server_of_a_cluster() -> None:
    from redis.crc import key_slot

    async def keys() -> list[str]:
        level = Shared(Redis(Cache(cache_type="Redis", redis_url="redis://localhost")))
        names = ["a", "/products?q={x}", "/products?q=}{", "é" * 300, "x" * 9000]
        return [level.key("product", name) for name in names]

    for key in asyncio.run(keys()):
        assert len(key) < 600
        lease = f"{key}:lease"
        assert key_slot(key.encode()) == key_slot(lease.encode())


def test_what_several_urls_have_in_common_is_said_once() -> None:
    found = addresses("rediss://ada:s%40cret@one:7000,two:7001,rediss://eve:x@three")
    assert [str(each) for each in found] == ["one:7000", "two:7001", "three:6379"]
    assert [each.username for each in found] == ["ada", "ada", "eve"]
    assert [each.password for each in found] == ["s@cret", "s@cret", "x"]
    assert all(each.is_tls for each in found)
    with pytest.raises(SettingsError, match="redis_url"):
        addresses("redis://one:notaport")


def test_a_message_for_many_is_asked_once_and_a_dead_redis_is_said_to_be_away() -> None:
    from rcommerce.cache.redis import RedisAway

    async def ask() -> list[object]:
        redis = Redis(Cache(cache_type="Redis", redis_url="redis://127.0.0.1:1"))
        asked = [redis.get(f"k{number}") for number in range(50)]
        return await asyncio.gather(*asked, return_exceptions=True)

    assert all(isinstance(each, RedisAway) for each in asyncio.run(ask()))
