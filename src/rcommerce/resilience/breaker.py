"""A circuit breaker (Nygard, Release It!): a failing dependency is not called until it has
recovered.

The owner chooses who finds out: a background probe (`try_again`), so that no request waits for an
unavailable dependency, or occasional trial calls (`admits`) if only a call can tell.
"""

import time
from enum import StrEnum

import structlog

FAILURES = 3  # consecutive failures until it opens
log = structlog.get_logger()


class State(StrEnum):
    """Closed lets calls through, open does not; half-open waits for the result of a trial."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """The breaker of one dependency. `cause` is the last failure; `transitions` counts those into
    each state; `since` is when it entered this one, by the monotonic clock."""

    __slots__ = ("_failures", "_opened_at", "cause", "name", "since", "state", "transitions")

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = State.CLOSED
        self.cause = ""
        self.transitions = dict.fromkeys(State, 0)
        self.since = self._opened_at = time.monotonic()
        self._failures = 0

    @property
    def is_open(self) -> bool:
        """Whether calls are skipped."""
        return self.state is not State.CLOSED

    @property
    def is_in_doubt(self) -> bool:
        """Whether the last call failed."""
        return self._failures > 0

    def try_again(self) -> None:
        """Its owner is about to probe."""
        if self.state is State.OPEN:
            self._turn(State.HALF_OPEN)

    def is_resting(self, rest_s: float) -> bool:
        """Whether the next call will be skipped: it failed less than `rest_s` ago, or a trial is in
        progress."""
        return self.is_open and time.monotonic() - self.since < rest_s

    def admits(self, rest_s: float) -> bool:
        """Whether a call may be made now: while it is open, one trial per `rest_s`, whose caller
        reports the result."""
        if self.is_resting(rest_s):
            return False
        if self.is_open:
            self._turn(State.HALF_OPEN)
        return True

    def succeeded(self) -> None:
        """Reports a success."""
        self._failures = 0
        if self.state is not State.CLOSED:
            self._turn(State.CLOSED)

    def failed(self, cause: str, *, surely: bool = False) -> None:
        """Reports a failure; `surely` opens it at once."""
        self._failures += FAILURES if surely else 1
        self.cause = cause
        if self.state is State.HALF_OPEN or (
            self.state is State.CLOSED and self._failures >= FAILURES
        ):
            self._turn(State.OPEN)

    def _turn(self, state: State) -> None:
        before, now = self.state, time.monotonic()
        self.state, self.since = state, now
        self.transitions[state] += 1
        if state is State.CLOSED:
            log.info("breaker_closed", dependency=self.name, open_s=round(now - self._opened_at, 2))
        elif before is State.CLOSED:
            self._opened_at = now
            log.warning("breaker_opened", dependency=self.name, cause=self.cause)
