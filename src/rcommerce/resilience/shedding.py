"""Adaptive load shedding: as much work at a time as makes answers quick, and the rest refused at
once, the cheapest to try again first.

The limit follows TCP Vegas (Brakmo and Peterson, 1995), as Netflix's concurrency-limits does: of
what is in flight, that part is a queue which the latency without load does not explain. Latencies
are compared with the best of the same route, so that a checkout among reads is no sign of load.
"""

import time
from enum import IntEnum

FLOOR = 32  # in flight at the least: below, a slow dependency would be taken for load
CEILING = 1000
START = 100
# Waiting beyond what the work itself needs: fewer, and the limit grows; more, and it falls.
FEW, MANY = 8.0, 16.0
PATIENT_S = 0.02  # so long a wait, on average, is no overload
# By how much it falls at a time: the more, the longer all wait (as the gradient of Netflix's
# concurrency-limits). Dear requests give little to learn from in a second.
MOST_FALL, LEAST_FALL = 0.5, 0.9
TOLERANCE = 2.0  # times the latency without load
WINDOW_S = 0.1
LEAST_SAMPLES = 10
PROBE_S = 0.2
BEST_OF_S = 5.0  # how long the best latency is kept: twice this at the most
now = time.monotonic


class Priority(IntEnum):
    """What goes on longest comes first. Health and figures are never refused."""

    CHECKOUT = 0
    CART = 1
    CATALOGUE = 2
    SEARCH = 3
    ADMIN = 4


SHARES = (1.0, 0.9, 0.8, 0.7, 0.6)  # of the limit that each may fill


class Limiter:
    """Of a process. `refused` counts by priority."""

    __slots__ = (
        "_begun", "_best", "_best_before", "_expected_s", "_most", "_refused_before", "_resumes_at",
        "_samples", "_thrown_at", "_took_s", "in_flight", "limit", "refused",
    )  # fmt: skip

    def __init__(self) -> None:
        self.limit = float(START)
        self.in_flight = 0
        self.refused = dict.fromkeys(Priority, 0)
        self._best: dict[str, float] = {}
        self._best_before: dict[str, float] = {}
        self._begun = self._thrown_at = now()
        self._samples = self._most = self._refused_before = 0
        self._resumes_at: float | None = None  # the limit after a probe
        self._took_s = self._expected_s = 0.0

    def enter(self, priority: Priority) -> bool:
        """Whether a request may be worked on; whoever was let in `leave`s."""
        if self.in_flight >= self.limit * SHARES[priority]:
            self.refused[priority] += 1
            return False
        self.in_flight += 1
        if self.in_flight > self._most:
            self._most = self.in_flight
        return True

    def leave(self, route: str, took_s: float, *, is_typical: bool) -> None:
        """One is done. `is_typical`: it did what its route is for, so its time says something."""
        self.in_flight -= 1
        if not is_typical:
            return
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
                self._refused_before = sum(self.refused.values())  # these were its own doing
        elif queue > MANY and self._took_s - self._expected_s > PATIENT_S * self._samples:
            gradient = TOLERANCE * self._expected_s / self._took_s
            self.limit = max(FLOOR, self.limit * min(LEAST_FALL, max(MOST_FALL, gradient)))
        elif queue < FEW and self._most * 2 >= self.limit:
            self.limit = min(CEILING, self.limit + 1 + self.limit / 20)
        self._begun, self._samples, self._most = moment, 0, self.in_flight
        self._took_s = self._expected_s = 0.0
        if moment - self._thrown_at >= BEST_OF_S:
            self._forget(moment)

    def _forget(self, moment: float) -> None:
        """Latencies change: the best are found anew. Under load nobody meets an idle server, and
        even the best would have waited: little is let in for a moment (as BBR's ProbeRTT does)."""
        self._best_before, self._best, self._thrown_at = self._best, {}, moment
        refused = sum(self.refused.values())
        if refused > self._refused_before:
            self._best_before = {}
            self._resumes_at, self.limit = self.limit, float(FLOOR)
        elif self.limit < START:  # the load that it was for is over
            self.limit = min(START, self.limit * 2)
        self._refused_before = refused


class Limiters:
    """Those of a process: what buys has a limit of its own. Where the disk of the primary is slow,
    writes wait for it, and nobody who only looks is refused for that."""

    __slots__ = ("buying", "looking")

    def __init__(self) -> None:
        self.buying, self.looking = Limiter(), Limiter()

    def of(self, priority: Priority) -> Limiter:
        """That which a request of this priority is let in by."""
        return self.buying if priority <= Priority.CART else self.looking
