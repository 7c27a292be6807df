"""The adaptive limit, on a clock of the test: a server is simulated that has so many processors."""

import heapq
import random

import pytest

from rcommerce.resilience import shedding
from rcommerce.resilience.shedding import FLOOR, MANY, SHARES, START, Limiter, Priority

WORK_S = 0.001  # that a request takes on a processor
AWAY_S = 0.002  # that it waits for others meanwhile


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(shedding, "now", made)
    return made


def simulate(
    clock: Clock,
    limiter: Limiter,
    per_second: float,
    seconds: float,
    away_s: float = AWAY_S,
    work_s: float = WORK_S,
) -> tuple[float, list[float]]:
    """One processor, which does one request after the other: (accepted a second, their latencies in
    the second half)."""
    random.seed(7)
    begun, free_at, done = clock.now, clock.now, 0
    ends: list[tuple[float, float]] = []
    latencies: list[float] = []
    arrival = begun
    while arrival < begun + seconds:
        arrival += random.expovariate(per_second)
        while ends and ends[0][0] <= arrival:
            clock.now, came = heapq.heappop(ends)
            limiter.leave("route", clock.now - came, is_typical=True)
            done += 1
            if clock.now > begun + seconds / 2:
                latencies.append(clock.now - came)
        clock.now = arrival
        if limiter.enter(Priority.CHECKOUT):
            free_at = max(free_at, arrival) + work_s
            heapq.heappush(ends, (free_at + away_s, arrival))
    while ends:
        _, came = heapq.heappop(ends)
        limiter.leave("route", clock.now - came, is_typical=False)
    return done / seconds, sorted(latencies)


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
    assert FLOOR <= limiter.limit < START / 2


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


def test_after_an_overload_a_moment_in_which_nothing_moves_refuses_nobody(clock: Clock) -> None:
    """Such as the start of another process on the same processor, half a minute later."""
    limiter = Limiter()
    simulate(clock, limiter, 3 / WORK_S, 20)
    assert limiter.limit < START / 2
    simulate(clock, limiter, 0.1 / WORK_S, 30)
    before = sum(limiter.refused.values())
    assert all(limiter.enter(Priority.CATALOGUE) for _ in range(START * 3 // 4))
    assert sum(limiter.refused.values()) == before


def test_what_is_cheapest_to_try_again_is_refused_first() -> None:
    limiter = Limiter()
    admitted = []
    for priority in reversed(Priority):
        before = limiter.in_flight
        while limiter.enter(priority):
            pass
        admitted.append(limiter.in_flight - before)
    assert all(admitted)
    assert limiter.in_flight == START
    assert admitted[0] == START * SHARES[Priority.ADMIN]
    assert limiter.refused == dict.fromkeys(Priority, 1)
