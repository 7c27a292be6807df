"""A circuit breaker (Nygard, Release It!): a dependency that fails is left alone until it answers.

Who finds out that it does is the owner's choice: a probe in the background (`try_again`), so that
no request waits for an unavailable dependency, but for a trial call now and then where only a call
can tell (`admits`).
"""

import time
from enum import StrEnum

import structlog

FAILURES = 3  # in a row, until it opens
log = structlog.get_logger()


class State(StrEnum):
    """Closed lets requests through, open does not; half-open waits for the answer to one try."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """One dependency's. `cause` is why it failed last; `transitions` counts those into each state;
    `since` is when it went into this one, by the monotonic clock."""

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
        """Whether requests go without."""
        return self.state is not State.CLOSED

    @property
    def is_in_doubt(self) -> bool:
        """Whether it did not answer when it was asked last."""
        return self._failures > 0

    def try_again(self) -> None:
        """Its owner is about to ask whether it is back."""
        if self.state is State.OPEN:
            self._turn(State.HALF_OPEN)

    def is_resting(self, rest_s: float) -> bool:
        """Whether the next call is not to be made: it has failed less than `rest_s` ago, or another
        call is finding out."""
        return self.is_open and time.monotonic() - self.since < rest_s

    def admits(self, rest_s: float) -> bool:
        """Whether a call may be made now: of an open one a single call each `rest_s`, and whoever
        made it says how it went."""
        if self.is_resting(rest_s):
            return False
        if self.is_open:
            self._turn(State.HALF_OPEN)
        return True

    def succeeded(self) -> None:
        """It has answered."""
        self._failures = 0
        if self.state is not State.CLOSED:
            self._turn(State.CLOSED)

    def failed(self, cause: str, *, surely: bool = False) -> None:
        """It has not, or not in time; `surely` where to ask again would not help."""
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
