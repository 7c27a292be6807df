"""The adaptive limit, on a clock of the test: a server is simulated that has so many processors."""

import asyncio
import heapq
import random

import pytest

from rcommerce.resilience import shedding
from rcommerce.resilience.shedding import (
    BUYING_S,
    FLOOR,
    LOOKING_S,
    MANY,
    START,
    TARGET_S,
    TICK_S,
    YIELDING,
    Limiter,
    Limiters,
    Priority,
)

WORK_S = 0.001  # that a request takes on a processor
AWAY_S = 0.002  # that it waits for others meanwhile


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    random.seed(7)  # the same requests each time
    made = Clock()
    monkeypatch.setattr(shedding, "now", made)
    return made


class Request:
    """One who comes at a moment, and waits for its turn where it has to."""

    def __init__(self, server: "Server", came: float) -> None:
        self.server = server
        self.came = came
        self.is_over = False

    def done(self) -> bool:
        return self.is_over

    def set_result(self, result: bool, /) -> None:
        self.is_over = True
        if result:
            self.server.work(self)


class Server:
    """One processor, which does one request after the other; each then waits for others."""

    def __init__(self, clock: Clock, limiter: Limiter, work_s: float, away_s: float) -> None:
        self.clock, self.limiter = clock, limiter
        self.work_s, self.away_s = work_s, away_s
        self.free_at = clock.now
        self.tick_at = clock.now
        self.under_way: list[tuple[float, float, float]] = []  # its end, when it began and came
        self.done: list[tuple[float, float]] = []  # (its end, its latency)

    def work(self, request: Request) -> None:
        self.free_at = max(self.free_at, self.clock.now) + self.work_s
        end = self.free_at + self.away_s
        heapq.heappush(self.under_way, (end, self.clock.now, request.came))

    def until(self, moment: float) -> None:
        """Goes on to then: what ends, and who has waited too long."""
        while True:
            end = self.under_way[0][0] if self.under_way else float("inf")
            if min(end, self.tick_at) > moment:
                break
            if end <= self.tick_at:
                end, began, came = heapq.heappop(self.under_way)
                self.clock.now = end
                self.done.append((end, end - came))
                self.limiter.leave("route", end - began, is_typical=True)
            else:
                self.clock.now = self.tick_at
                self.limiter.refuse()
                self.tick_at += TICK_S
        self.clock.now = moment

    def come(self, priority: Priority) -> None:
        request = Request(self, self.clock.now)
        if self.limiter.enter():
            self.work(request)
        elif not self.limiter.turns_away(priority):
            self.limiter.join(priority, request)


def simulate(
    clock: Clock,
    limiter: Limiter,
    per_second: float,
    seconds: float,
    away_s: float = AWAY_S,
    work_s: float = WORK_S,
) -> tuple[float, list[float]]:
    """(accepted a second, their latencies in the second half)."""
    random.seed(7)
    begun = clock.now
    server = Server(clock, limiter, work_s, away_s)
    while clock.now < begun + seconds:
        server.until(clock.now + random.expovariate(per_second))
        server.come(Priority.CHECKOUT)
    in_time = sum(end < begun + seconds for end, _ in server.done)
    server.until(clock.now + 60)
    assert (limiter.in_flight, limiter.waiting) == (0, 0)
    middle = begun + seconds / 2
    return in_time / seconds, sorted(took for end, took in server.done if end > middle)


def test_below_what_it_can_do_nothing_is_refused(clock: Clock) -> None:
    limiter = Limiter()
    simulate(clock, limiter, 0.8 / WORK_S, 20)
    assert not any(limiter.refused.values())


def test_above_it_what_is_accepted_stays_quick_and_is_all_that_it_can_do(clock: Clock) -> None:
    limiter = Limiter()
    _, usual = simulate(clock, limiter, 0.8 / WORK_S, 20)
    accepted, under = simulate(clock, limiter, 3 / WORK_S, 40)
    assert accepted * WORK_S > 0.95
    p99, before = under[int(len(under) * 0.99)], usual[int(len(usual) * 0.99)]
    assert p99 < max(2 * before, (FLOOR + MANY) * WORK_S), (p99, before, limiter.limit)
    assert FLOOR <= limiter.limit < START


def test_without_a_limit_the_same_load_waits_for_seconds(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The simulation would show it: the test above can fail."""
    monkeypatch.setattr(shedding, "FLOOR", 10**9)
    limiter = Limiter()
    limiter.limit = 10**9
    _, under = simulate(clock, limiter, 3 / WORK_S, 5)
    assert under[-1] > 1


def test_a_slow_dependency_is_not_taken_for_load_for_long(clock: Clock) -> None:
    limiter = Limiter()
    simulate(clock, limiter, 0.5 / WORK_S, 10)
    simulate(clock, limiter, 0.5 / WORK_S, 30, away_s=0.1)  # 50 in flight, none of them waiting
    refused = sum(limiter.refused.values())
    simulate(clock, limiter, 0.5 / WORK_S, 10, away_s=0.1)
    assert sum(limiter.refused.values()) == refused


def test_dear_requests_do_not_wait_for_seconds_until_the_limit_is_found(clock: Clock) -> None:
    """Thirty a second: there is little to learn from in a second."""
    limiter, work_s = Limiter(), 0.03
    simulate(clock, limiter, 0.5 / work_s, 20, work_s=work_s)
    accepted, latencies = simulate(clock, limiter, 3 / work_s, 8, work_s=work_s)
    assert accepted * work_s > 0.8
    assert latencies[-1] < 60 * work_s, (latencies[-1], limiter.limit)


@pytest.mark.parametrize(("patience_s", "burst"), [(LOOKING_S, 900), (BUYING_S, 1900)])
def test_a_burst_is_answered_in_full_if_that_takes_no_longer_than_one_waits(
    clock: Clock, patience_s: float, burst: int
) -> None:
    limiter = Limiter(patience_s)
    server = Server(clock, limiter, WORK_S, AWAY_S)
    for _ in range(burst):
        server.come(Priority.CATALOGUE)
    server.until(clock.now + 10)
    assert len(server.done) == burst
    assert not any(limiter.refused.values())


@pytest.mark.parametrize("clients", [16, 40, 400])
def test_clients_that_come_again_and_again_are_no_overload(clock: Clock, clients: int) -> None:
    """A line stands all the time, and nobody waits in it for long."""
    limiter = Limiter(LOOKING_S)
    server = Server(clock, limiter, WORK_S, AWAY_S)
    for _ in range(clients):
        server.come(Priority.CART)
    while clock.now < 10:
        before = len(server.done)
        server.until(clock.now + WORK_S)
        for _ in range(len(server.done) - before):
            server.come(Priority.CART)
    assert len(server.done) > 9 / WORK_S
    assert not any(limiter.refused.values())


def test_an_overload_is_over_once_few_are_refused(clock: Clock) -> None:
    limiter = Limiter(LOOKING_S)
    simulate(clock, limiter, 3 / WORK_S, 5)
    assert any(limiter.refused.values())
    simulate(clock, limiter, 0.8 / WORK_S, 3)
    before = sum(limiter.refused.values())
    server = Server(clock, limiter, WORK_S, AWAY_S)
    for _ in range(500):
        server.come(Priority.CHECKOUT)
    server.until(clock.now + 10)
    assert len(server.done) == 500
    assert sum(limiter.refused.values()) == before


def test_a_burst_that_was_too_much_is_forgotten_by_the_next(clock: Clock) -> None:
    limiter = Limiter(LOOKING_S)
    for size in (3000, 500):
        server = Server(clock, limiter, WORK_S, AWAY_S)
        for _ in range(size):
            server.come(Priority.CATALOGUE)
        server.until(clock.now + 5)
    assert len(server.done) == 500


def test_of_a_burst_that_takes_longer_the_rest_is_refused(clock: Clock) -> None:
    limiter = Limiter(LOOKING_S)
    server = Server(clock, limiter, WORK_S, AWAY_S)
    for _ in range(3000):
        server.come(Priority.CATALOGUE)
    server.until(clock.now + 10)
    assert 900 <= len(server.done) <= 1200
    assert len(server.done) + limiter.refused[Priority.CATALOGUE] == 3000


def test_under_a_lasting_overload_nobody_waits_long_for_a_refusal(clock: Clock) -> None:
    limiter = Limiter(LOOKING_S)
    simulate(clock, limiter, 3 / WORK_S, 3)
    server = Server(clock, limiter, WORK_S, AWAY_S)
    waits: list[float] = []

    class Waiting(Request):
        def set_result(self, result: bool, /) -> None:
            if not result:
                waits.append(clock.now - self.came)
            super().set_result(result)

    begun = clock.now
    while clock.now < begun + 4:
        server.until(clock.now + random.expovariate(3 / WORK_S))
        request = Waiting(server, clock.now)
        if limiter.enter():
            server.work(request)
        elif limiter.turns_away(Priority.CATALOGUE):
            waits.append(0.0)
        else:
            limiter.join(Priority.CATALOGUE, request)
    late = sorted(waits)[int(len(waits) * 0.5)]
    assert late < TARGET_S + 2 * TICK_S


def test_what_buys_goes_first_and_what_is_cheapest_to_try_again_is_refused_first(
    clock: Clock,
) -> None:
    limiter = Limiter(LOOKING_S)
    server = Server(clock, limiter, WORK_S, AWAY_S)
    while clock.now < 5:
        server.until(clock.now + WORK_S / 1.5)
        server.come(random.choice([Priority.CATALOGUE, Priority.SEARCH, Priority.ADMIN]))
    # One may be, in the moment that the overload is found.
    refused = limiter.refused
    assert refused[Priority.CATALOGUE] < refused[Priority.ADMIN] / 100
    assert refused[Priority.SEARCH] < refused[Priority.ADMIN] / 4


def test_what_looks_yields_while_what_buys_waits() -> None:
    limiters = Limiters()
    buying, looking = limiters.buying, limiters.looking
    while buying.enter():
        pass
    assert looking.enter()  # nobody waits

    async def main() -> None:
        waits = asyncio.create_task(buying.turn(Priority.CART))
        await asyncio.sleep(0)
        assert [looking.enter() for _ in range(YIELDING)] == [True] * (YIELDING - 1) + [False]
        buying.leave("route", 0.001, is_typical=False)
        assert await waits
        assert looking.enter()

    asyncio.run(main())


def test_an_overload_is_one_for_all_who_wait(clock: Clock) -> None:
    """Those who buy would else stand in a long line that grows no more: the oldest of it first."""
    limiters = Limiters()
    for limiter in (limiters.buying, limiters.looking):
        while limiter.enter():
            pass

    class Waiting:
        reported: bool | None = None

        def done(self) -> bool:
            return self.reported is not None

        def set_result(self, result: bool, /) -> None:
            self.reported = result

    first, last = Waiting(), Waiting()
    limiters.looking.join(Priority.CATALOGUE, Waiting())
    clock.now += LOOKING_S + TICK_S
    limiters.buying.join(Priority.CART, first)
    limiters.buying.join(Priority.CART, last)
    limiters.looking.refuse()
    limiters.buying.leave("route", 0.001, is_typical=False)
    assert (first.reported, last.reported) == (None, True)  # the newest first
    clock.now += TARGET_S + TICK_S
    limiters.buying.refuse()
    assert first.reported is False


def test_one_who_gives_up_in_line_takes_nobodys_place() -> None:
    async def main() -> None:
        limiter = Limiter()
        for _ in range(START):
            assert limiter.enter()
        first, second = (asyncio.create_task(limiter.turn(Priority.CART)) for _ in range(2))
        await asyncio.sleep(0)
        assert limiter.waiting == 2
        first.cancel()  # the oldest, whose turn is next
        await asyncio.sleep(0)
        limiter.leave("route", 0.001, is_typical=False)
        assert await second
        # Let in and cancelled in the same moment: the place goes to who waits after him.
        third, fourth = (asyncio.create_task(limiter.turn(Priority.CART)) for _ in range(2))
        await asyncio.sleep(0)
        limiter.leave("route", 0.001, is_typical=False)
        third.cancel()
        assert await fourth
        assert (limiter.in_flight, limiter.waiting) == (START, 0)

    asyncio.run(main())


def test_one_who_waits_too_long_is_told() -> None:
    async def main() -> None:
        limiter = Limiter(patience_s=0.05)
        for _ in range(START):
            assert limiter.enter()
        assert not await limiter.turn(Priority.CART)
        assert limiter.refused[Priority.CART] == 1

    asyncio.run(main())
