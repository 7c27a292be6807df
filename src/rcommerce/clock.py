"""The time of day that all processes of a fleet share: the control database's.

Machines' clocks differ, by milliseconds or by hours. Whatever one process signs or stamps and
another one checks (access tokens, upload tickets, the age of Redis entries) uses this clock. Within
a process, use `time.monotonic`.
"""

import time
from datetime import UTC, datetime

import structlog

AGREES_S = 0.25  # seconds; smaller differences are ignored, since a probe takes time itself
FAR_S = 2.0  # seconds; larger differences are logged
log = structlog.get_logger()


class _Difference:
    """The database's clock minus this machine's, in seconds."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = 0.0


_difference = _Difference()


def now() -> float:
    """Seconds since 1970."""
    return time.time() + _difference.seconds


def today() -> datetime:
    """The same, in UTC."""
    return datetime.fromtimestamp(now(), UTC)


def differs_by_s() -> float:
    """How far this machine's clock is behind the database's, in seconds."""
    return _difference.seconds


def agree(theirs: float, took_s: float) -> None:
    """Records the database's time, from a probe that took so long."""
    found = theirs + took_s / 2 - time.time()
    if abs(found - _difference.seconds) <= AGREES_S + took_s:
        return
    _difference.seconds = 0.0 if abs(found) <= AGREES_S + took_s else found
    if abs(found) > FAR_S:
        log.warning("clock_differs", behind_s=round(found, 1))
