"""Findings, and the round-trip time of a server."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, NamedTuple, TypedDict

State = Literal["green", "yellow", "red"]
ASKED = range(5)  # how often a server is asked for its time


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. Red: something does not work, or will not with that many instances. Yellow: it
    works, but should be improved. `advice` says how.

    `clock_differs_s` is the server's clock minus this machine's.
    """

    state: State
    about: str
    message: str
    advice: str = ""
    round_trip_ms: float | None = None
    clock_differs_s: float | None = None


class Sample(NamedTuple):
    """One request for a server's time: when it was sent, the answer, and when that arrived. Seconds
    since 1970."""

    sent: float
    said: float
    came: float


class Distance(TypedDict):
    """A server's round-trip time and clock difference."""

    round_trip_ms: float
    clock_differs_s: float


def distance(samples: Sequence[Sample]) -> Distance:
    """The median round trip; and the clock difference of the fastest, which is the most
    accurate."""
    fastest = min(samples, key=lambda each: each.came - each.sent)
    return {
        "round_trip_ms": round(median(each.came - each.sent for each in samples) * 1000, 3),
        "clock_differs_s": round(fastest.said - (fastest.sent + fastest.came) / 2, 4),
    }
