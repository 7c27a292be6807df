"""A circuit breaker (Nygard, Release It!): a dependency that fails is left alone until it answers.

Nobody is sent ahead to try: whoever owns the breaker probes in the background, so that no request
pays for a dependency that is away.
"""

import time
from enum import StrEnum

import structlog

FAILURES = 3  # in a row, until it opens
log = structlog.get_logger()


class State(StrEnum):
    """Closed lets requests through; open does not."""

    CLOSED = "closed"
    OPEN = "open"


class Breaker:
    """One dependency's. `cause` is why it failed last; `opened` counts how often it did."""

    __slots__ = ("_failures", "cause", "name", "opened", "since", "state")

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = State.CLOSED
        self.cause = ""
        self.opened = 0
        self.since = time.monotonic()
        self._failures = 0

    @property
    def is_open(self) -> bool:
        """Whether requests go without."""
        return self.state is State.OPEN

    @property
    def is_in_doubt(self) -> bool:
        """Whether it did not answer when it was asked last."""
        return self._failures > 0

    def succeeded(self) -> None:
        """It has answered."""
        self._failures = 0
        if self.state is State.OPEN:
            self._turn(State.CLOSED)

    def failed(self, cause: str, *, surely: bool = False) -> None:
        """It has not, or not in time; `surely` where to ask again would not help."""
        self._failures += FAILURES if surely else 1
        self.cause = cause
        if self.state is State.CLOSED and self._failures >= FAILURES:
            self.opened += 1
            self._turn(State.OPEN)

    def _turn(self, state: State) -> None:
        now = time.monotonic()
        self.state, before_s, self.since = state, now - self.since, now
        if state is State.OPEN:
            log.warning("breaker_opened", dependency=self.name, cause=self.cause)
        else:
            log.info("breaker_closed", dependency=self.name, open_s=round(before_s, 2))
