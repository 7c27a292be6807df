"""Latencies of an open-loop load, in an HdrHistogram (Gil Tene), from when each request was due."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # of the extra `lab`: the command's help works without
    from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]

LONGEST_US, DIGITS = 60_000_000, 3
SHARES = (50.0, 90.0, 99.0, 99.9)


def histogram(latencies_s: Iterable[float]) -> HdrHistogram:
    """Of these, in microseconds."""
    from hdrh.histogram import HdrHistogram

    made = HdrHistogram(1, LONGEST_US, DIGITS)
    for each in latencies_s:
        made.record_value(min(LONGEST_US, max(1, round(each * 1e6))))
    return made


def percentiles_ms(of: HdrHistogram) -> dict[str, float]:
    """Those that a table shows."""
    return {f"p{share:g}_ms": at(of, share) for share in SHARES}


def at(of: HdrHistogram, share: float) -> float:
    """A percentile in milliseconds, by a share in percent."""
    return round(float(of.get_value_at_percentile(share)) / 1000, 2)


def curve(of: HdrHistogram) -> list[tuple[float, float]]:
    """(nines, milliseconds): what a plot of percentiles shows; 2 nines are 99 %."""
    return [(nines / 4, at(of, 100 * (1 - 10 ** (-nines / 4)))) for nines in range(13)]
