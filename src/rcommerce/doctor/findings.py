"""What the doctor tells: findings, and how far away a server is."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, NamedTuple, TypedDict

State = Literal["green", "yellow", "red"]
ASKED = range(5)  # how often a server is asked what time it has


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at. Red: something does not work, or will not with so many instances. Yellow:
    it works, and would be better otherwise. `advice` says what would be right.

    `clock_differs_s` is the server's clock less that of this machine.
    """

    state: State
    about: str
    message: str
    advice: str = ""
    round_trip_ms: float | None = None
    clock_differs_s: float | None = None


class Sample(NamedTuple):
    """A server was asked for its time: when, what it said, and when that came. Seconds since
    1970."""

    sent: float
    said: float
    came: float


class Distance(TypedDict):
    """How far away a server is, in time and in its own time."""

    round_trip_ms: float
    clock_differs_s: float


def distance(samples: Sequence[Sample]) -> Distance:
    """The middle round trip; and the clock's difference by the fastest, which is the surest."""
    fastest = min(samples, key=lambda each: each.came - each.sent)
    return {
        "round_trip_ms": round(median(each.came - each.sent for each in samples) * 1000, 3),
        "clock_differs_s": round(fastest.said - (fastest.sent + fastest.came) / 2, 4),
    }
