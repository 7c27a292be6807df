"""The result of a benchmark: a figure, its ceiling, and its bar."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import msgspec


class Result(msgspec.Struct, kw_only=True):
    """A benchmark's figure. `ratio` is value to ceiling; `ok` says whether it meets its `bar`.

    Where less is better (memory, time) the bar is an upper bound and there is no ceiling. `rows`
    are a table, beside the seed's figures where it has some.
    """

    name: str
    value: float
    unit: str
    ceiling: float | None
    ratio: float | None
    bar: float
    ok: bool
    details: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []


def against(
    name: str,
    unit: str,
    bar: float,
    values: Sequence[float],
    ceilings: Sequence[float],
    details: dict[str, Any],
) -> Result:
    """A result from rounds in which two sides ran in turn.

    The ratio is the median of the rounds' ratios: whatever else the machine did affected both sides
    of a round.
    """
    ratio = median(value / ceiling for value, ceiling in zip(values, ceilings, strict=True))
    return Result(
        name=name,
        value=round(median(values), 1),
        unit=unit,
        ceiling=round(median(ceilings), 1),
        ratio=round(ratio, 3),
        bar=bar,
        ok=ratio >= bar,
        details={
            **details,
            "rounds": [
                {"value": round(value, 1), "ceiling": round(ceiling, 1)}
                for value, ceiling in zip(values, ceilings, strict=True)
            ],
        },
    )


def at_most(
    name: str, unit: str, bar: float, values: Sequence[float], details: dict[str, Any]
) -> Result:
    """A result where less is better."""
    value = median(values)
    return Result(
        name=name,
        value=round(value, 2),
        unit=unit,
        ceiling=None,
        ratio=None,
        bar=bar,
        ok=value <= bar,
        details={**details, "rounds": [round(each, 2) for each in values]},
    )


def percentile(latencies_s: Sequence[float], share: float) -> float:
    """A percentile in milliseconds."""
    ordered = sorted(latencies_s)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 2)
