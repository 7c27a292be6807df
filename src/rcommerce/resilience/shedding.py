"""Load shedding: limits the concurrent requests to what keeps latency low; others wait in a queue,
and are refused according to how long they would wait, not how many there are.

The concurrency limit follows TCP Vegas (Brakmo and Peterson, 1995), as Netflix's concurrency-limits
does: of the requests in flight, those that the latency without load does not explain are a queue.
Latencies are compared with the best of the same route, so that a checkout among reads is no sign of
load.

The queue follows CoDel (RFC 8289), as Facebook's servers do (Maurer, "Fail at scale", ACM Queue
13(8), 2015): what counts is the waiting time. While nobody waits for a second (two for purchases),
it is a burst: first in, first out, and nobody is refused. Once somebody has, it is an overload: the
queue is kept just long enough to leave no worker idle, the newest request goes first, so that
accepted ones are fast, and requests that find it full are refused at once, which costs next to
nothing; until few are refused. The state is shared by all queues: otherwise purchases, just as many
as can be served, would stay in a long queue for good. Purchases go before reads, search after the
catalogue, reports last.
"""

import asyncio
import time
from collections import deque
from enum import IntEnum
from typing import Protocol

# Lowest limits, so that waiting for the database leaves no worker idle; purchases also wait for its
# disk, which takes many commits as quickly as one.
FLOOR, BUYING_FLOOR = 8, 12
CEILING = 1000
START = 32
# The limit of reads while purchases wait: the processor that both need is for the purchases; the
# disk that these wait for does not prevent reads.
YIELDING = 2
# Requests that wait beyond what the work itself needs: below FEW the limit grows, above MANY it
# falls.
FEW, MANY = 4.0, 8.0
# How much it falls at a time: the more, the longer all wait (like the gradient in Netflix's
# concurrency-limits). Expensive requests give few measurements per second.
MOST_FALL, LEAST_FALL = 0.5, 0.9
TOLERANCE = 2.0  # times the latency without load
WINDOW_S = 0.1
LEAST_SAMPLES = 10
PROBE_S = 0.2
BEST_OF_S = 5.0  # seconds that the best latency is kept: twice this at most
LOOKING_S, BUYING_S = 1.0, 2.0  # longest wait in seconds, while there is no overload
# In an overload: the longest wait, and the most waiting requests.
TARGET_S = 0.01
SHORT = 8
FEW_REFUSED = 0.1  # of those served: if fewer are refused, the overload is over
TICK_S = 0.005  # seconds between two checks of the queue
LONGEST = 20_000  # most requests of a burst
now = time.monotonic


class Priority(IntEnum):
    """Highest priority first. Health and metrics are never refused."""

    CHECKOUT = 0
    CART = 1
    CATALOGUE = 2
    SEARCH = 3
    ADMIN = 4


class Turn(Protocol):
    """A waiting request, such as a future: True for its turn, False for a refusal."""

    def done(self) -> bool:
        """Whether it has stopped waiting."""

    def set_result(self, result: bool, /) -> None:
        """Sets its result."""


class Overload:
    """Whether a process is overloaded: shared by all queues."""

    __slots__ = ("_counted_from", "_refused", "_refused_at", "_served", "is_on")

    def __init__(self) -> None:
        self.is_on = False
        self._refused_at = 0.0
        # Since the last check:
        self._counted_from = 0.0
        self._served = self._refused = 0

    def begin(self, moment: float) -> None:
        """A request has waited too long."""
        if not self.is_on:
            self.is_on = True
            self._count_anew(moment)

    def look(self, moment: float) -> None:
        """It is over if those refused would not have waited long in the queue, and if nobody was
        refused lately."""
        if self.is_on and moment > self._counted_from + LOOKING_S:
            self.is_on = (
                self._refused > FEW_REFUSED * self._served and moment < self._refused_at + LOOKING_S
            )
            self._count_anew(moment)

    def serves(self) -> None:
        """Counts a request that waited and was admitted."""
        self._served += 1

    def refuses(self, moment: float) -> None:
        """Counts a refusal."""
        self._refused += 1
        self._refused_at = moment

    def _count_anew(self, moment: float) -> None:
        self._counted_from = moment
        self._served = self._refused = 0


class Line:
    """The waiting requests of one priority, oldest first; none for longer than `patience_s`."""

    __slots__ = ("_overload", "_patience_s", "refused", "waiting")

    def __init__(self, patience_s: float, overload: Overload) -> None:
        self.waiting: deque[tuple[float, Turn]] = deque()
        self.refused = 0
        self._patience_s = patience_s
        self._overload = overload

    def turns_away(self, moment: float) -> bool:
        """Whether a new request is refused."""
        self._overload.look(moment)
        if len(self.waiting) < (SHORT if self._overload.is_on else LONGEST):
            return False
        self._refuse_one(moment)
        return True

    def join(self, turn: Turn, moment: float) -> None:
        """Adds a request."""
        self.waiting.append((moment, turn))

    def next(self) -> Turn | None:
        """Removes the next request; None if there is none."""
        while self.waiting:
            turn = (self.waiting.pop() if self._overload.is_on else self.waiting.popleft())[1]
            if not turn.done():
                self._overload.serves()
                return turn
        return None

    def refuse(self, moment: float) -> None:
        """Refuses those that have waited too long."""
        while self.waiting:
            came, turn = self.waiting[0]
            if not turn.done():
                if came >= moment - (TARGET_S if self._overload.is_on else self._patience_s):
                    break
                self._overload.begin(moment)
                turn.set_result(False)
                self._refuse_one(moment)
            self.waiting.popleft()

    def _refuse_one(self, moment: float) -> None:
        self.refused += 1
        self._overload.refuses(moment)


class Limiter:
    """The limiter of a process: `in_flight` are running, `waiting` are in the queue, `refused` are
    counted."""

    __slots__ = (
        "_begun", "_best", "_best_before", "_expected_s", "_floor", "_lines", "_most",
        "_refused_before", "_resumes_at", "_samples", "_thrown_at", "_timer", "_took_s",
        "_yields_to", "in_flight", "limit", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        patience_s: float = LOOKING_S,
        floor: int = FLOOR,
        yields_to: "Limiter | None" = None,
        overload: Overload | None = None,
    ) -> None:
        overload = overload or Overload()
        self._floor = floor
        self._yields_to = yields_to
        self.limit = float(START)
        self.in_flight = self.waiting = 0
        self._lines = {priority: Line(patience_s, overload) for priority in Priority}
        self._timer: asyncio.TimerHandle | None = None
        self._best: dict[str, float] = {}
        self._best_before: dict[str, float] = {}
        self._begun = self._thrown_at = now()
        self._samples = self._most = self._refused_before = 0
        self._resumes_at: float | None = None  # the limit after a probe
        self._took_s = self._expected_s = 0.0

    @property
    def refused(self) -> dict[Priority, int]:
        """How many were refused."""
        return {priority: line.refused for priority, line in self._lines.items()}

    def enter(self) -> bool:
        """Whether a request may run at once; whoever was admitted must `leave`."""
        if self.waiting or self.in_flight >= self._room():
            return False
        self._let_in()
        return True

    def turns_away(self, priority: Priority) -> bool:
        """Whether a request that could not `enter` is refused at once; otherwise it waits for its
        `turn`."""
        return self._lines[priority].turns_away(now())

    async def turn(self, priority: Priority) -> bool:
        """Waits in the queue; False: refused."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        self.join(priority, future)
        if self._timer is None:
            self._timer = loop.call_later(TICK_S, self._tick, loop)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.result():
                self.in_flight -= 1  # admitted at the same moment
                self.admit()
            raise

    def join(self, priority: Priority, turn: Turn) -> None:
        """Adds a waiting request."""
        self._lines[priority].join(turn, now())
        self.waiting += 1
        self.admit()

    def admit(self) -> None:
        """Admits as many waiting requests as may run."""
        while self.waiting and self.in_flight < self._room():
            for line in self._lines.values():
                before = len(line.waiting)
                turn = line.next()
                self.waiting -= before - len(line.waiting)
                if turn is not None:
                    self._let_in()
                    turn.set_result(True)
                    break

    def refuse(self) -> None:
        """Refuses those that have waited too long."""
        moment = now()
        for line in self._lines.values():
            before = len(line.waiting)
            line.refuse(moment)
            self.waiting -= before - len(line.waiting)

    def leave(self, route: str, took_s: float, *, is_typical: bool) -> None:
        """Ends a request. `is_typical`: it did what its route is for, so its latency is
        measured."""
        self.in_flight -= 1
        if is_typical:
            self._learn(route, took_s)
        if self.waiting:
            self.admit()

    def _room(self) -> float:
        """How many may be worked on now."""
        first = self._yields_to
        return self.limit if first is None or not first.waiting else YIELDING

    def _let_in(self) -> None:
        self.in_flight += 1
        if self.in_flight > self._most:
            self._most = self.in_flight

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self.refuse()
        self._timer = loop.call_later(TICK_S, self._tick, loop) if self.waiting else None

    def _learn(self, route: str, took_s: float) -> None:
        best = self._best.get(route)
        if best is None or took_s < best:
            best = self._best[route] = took_s
        before = self._best_before.get(route)
        self._took_s += took_s
        self._expected_s += best if before is None or best < before else before
        self._samples += 1
        if self._samples >= LEAST_SAMPLES and (moment := now()) - self._begun >= WINDOW_S:
            self._adapt(moment)

    def _adapt(self, moment: float) -> None:
        queue = self._most * (1 - self._expected_s / self._took_s)
        if self._resumes_at is not None:
            if moment - self._thrown_at >= PROBE_S:
                self.limit, self._resumes_at = self._resumes_at, None
                self._refused_before = sum(self.refused.values())  # caused by its own requests
        elif queue > MANY:
            gradient = TOLERANCE * self._expected_s / self._took_s
            self.limit = max(self._floor, self.limit * min(LEAST_FALL, max(MOST_FALL, gradient)))
        elif queue < FEW and self._most * 2 >= self.limit:
            self.limit = min(CEILING, self.limit + 1 + self.limit / 20)
        self._begun, self._samples, self._most = moment, 0, self.in_flight
        self._took_s = self._expected_s = 0.0
        if moment - self._thrown_at >= BEST_OF_S:
            self._forget(moment)

    def _forget(self, moment: float) -> None:
        """Measures the best latencies again. Under load no request meets an idle server, and even
        the best would have waited: so few are admitted for a moment (like BBR's ProbeRTT)."""
        self._best_before, self._best, self._thrown_at = self._best, {}, moment
        refused = sum(self.refused.values())
        if refused > self._refused_before:
            self._best_before = {}
            self._resumes_at, self.limit = self.limit, float(self._floor)
        elif self.limit < START:  # the load that it was for is over
            self.limit = min(START, self.limit * 2)
        self._refused_before = refused


class Limiters:
    """The limiters of a process: purchases have one of their own. If the primary's disk is slow,
    purchases wait for it, and no read is refused for that."""

    __slots__ = ("buying", "looking")

    def __init__(self) -> None:
        overload = Overload()
        self.buying = Limiter(BUYING_S, BUYING_FLOOR, overload=overload)
        self.looking = Limiter(LOOKING_S, yields_to=self.buying, overload=overload)

    def of(self, priority: Priority) -> Limiter:
        """The limiter for this priority."""
        return self.buying if priority <= Priority.CART else self.looking
