"""A request waits for Redis once: the time of all that it asks for is one."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from rcommerce.cache import redis
from rcommerce.cache.redis import Redis, RedisAway
from rcommerce.cache.shared import Entry, Shared
from rcommerce.settings.schema import Cache

TIMEOUT_MS = 100


class Commands:
    """A server that answers `get` as it is told, and nothing else ever."""

    def __init__(self, *get_takes_s: float) -> None:
        self.asked: list[str] = []
        self._takes_s = list(get_takes_s)

    async def mget(self, *keys: str) -> list[bytes | None]:
        """Nothing is kept."""
        self.asked.append("mget")
        await asyncio.sleep(self._takes_s.pop(0) if self._takes_s else 3600)
        return [None] * len(keys)

    async def eval(self, *_: Any) -> int:
        """A lease, or an entry put in."""
        self.asked.append("eval")
        await asyncio.sleep(3600)
        return 1


class Waiting(selectors.SelectSelector):
    """Waits for nothing but the time, which passes at once."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Nothing ever comes."""
        assert timeout is not None, "nobody would ever be woken"
        self.now_s += max(timeout, 0.0)
        return []


def run(commands: Commands, work: Callable[[Redis], Awaitable[Any]]) -> Any:
    """What comes of it by a clock of its own: other tests run beside, and take their time."""

    async def main() -> Any:
        asked = Redis(Cache(redis_url="redis://127.0.0.1:1", redis_timeout_ms=TIMEOUT_MS))
        asked._client = commands  # noqa: SLF001 - in place of a server
        return await work(asked)

    clock = Waiting()
    loop = asyncio.SelectorEventLoop(clock)
    with asyncio.Runner(loop_factory=lambda: loop) as runner, pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "time", lambda: clock.now_s)
        patch.setattr(redis, "time", SimpleNamespace(monotonic=loop.time))
        return runner.run(main())


async def _made() -> Entry:
    return Entry("era", 1, [], b"made")


def test_one_who_finds_redis_hanging_asks_it_once() -> None:
    commands = Commands()

    async def two_reads(asked: Redis) -> list[bytes]:
        redis.begin_request()
        shared = Shared(asked)
        return [
            (await shared.obtain(key, lambda _: True, _made, 60)).body for key in ("one", "two")
        ]

    assert run(commands, two_reads) == [b"made", b"made"]
    assert commands.asked == ["mget"]


def test_a_slow_answer_leaves_less_for_the_next() -> None:
    commands = Commands(TIMEOUT_MS / 1000 * 0.8)

    async def read(asked: Redis) -> float:
        redis.begin_request()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        given: list[float] = []

        class Timed(Shared):
            async def _take(self, key: str, me: bytes, untrue: bytes) -> bytes | int:
                given.append(asked._left_s(redis._waited_s.get()))  # noqa: SLF001
                assert loop.time() - begun + given[-1] <= TIMEOUT_MS / 1000 + 1e-3
                return await super()._take(key, me, untrue)

        await Timed(asked).obtain("one", lambda _: True, _made, 60)
        return given[0]

    assert run(commands, read) <= TIMEOUT_MS / 1000 * 0.2
    assert commands.asked == ["mget", "eval"]


def test_who_joins_while_others_wait_does_not_begin_anew() -> None:
    """Two messages are under way and hang; whoever waits for them to be given up has less than a
    whole time left for a message of its own."""
    commands = Commands()
    sent: list[tuple[float, float]] = []

    async def readers(asked: Redis) -> None:
        loop, whole = asyncio.get_running_loop(), asked._left_s  # noqa: SLF001

        def noted(waited_s: float | None) -> float:
            left_s = whole(waited_s)
            sent.append((loop.time(), left_s))
            return left_s

        async def read(key: str) -> None:
            redis.begin_request()
            with pytest.raises(RedisAway):
                await asked.get(key)

        first = []
        for key in "ab":
            first.append(asyncio.create_task(read(key)))
            await asyncio.sleep(0.001)
        assert commands.asked == ["mget"] * 2
        joined = loop.time()
        third = asyncio.create_task(read("c"))
        await asyncio.sleep(0.001)
        asked._left_s = noted  # type: ignore[method-assign] # noqa: SLF001
        await asyncio.gather(*first, third)
        [(moment, left_s)] = sent
        assert moment - joined + left_s <= TIMEOUT_MS / 1000 + 0.005

    run(commands, readers)
    assert commands.asked == ["mget"] * 3
