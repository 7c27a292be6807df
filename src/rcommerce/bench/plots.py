"""Plots of results, as SVG and PNG, for the README."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rcommerce.bench.report import Result
from rcommerce.figures import OURS, SEED, drawn, logarithmic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NINES = {0: "0 %", 1: "90 %", 2: "99 %", 3: "99.9 %"}


def save(result: Result, folder: Path) -> list[Path]:
    """Plots a result; the files written: none if there is nothing to plot. Raises OSError."""
    draw = DRAWN.get(result.name)
    if draw is None:
        return []
    with drawn(result.name, folder) as (paths, [axes]):
        draw(axes, result)
    return paths


def _percentiles(axes: "Axes", result: Result) -> None:
    """Latency by percentile, as HdrHistogram's plots have it."""
    for name, points in result.details["curves"].items():
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    logarithmic(axes)
    axes.set_xticks(list(NINES), list(NINES.values()))
    axes.set_xlabel("of all requests, at the most")
    axes.set_ylabel("milliseconds, from when it was due")
    axes.set_title(f"{result.name}: latency by percentile", loc="left")
    axes.legend(frameon=False, title="requests/s" if result.name == "mixed" else None)


def _beside_seed(axes: "Axes", result: Result, key: str, ours: str) -> None:
    names = [f"{row[key]:,}" for row in result.rows]
    at = range(len(names))
    rates = [row[ours] for row in result.rows]
    seeds = [row["seed_requests/s"] for row in result.rows]
    axes.bar([n - 0.2 for n in at], rates, 0.4, color=OURS, label="R Commerce")
    axes.bar([n + 0.2 for n in at], seeds, 0.4, color=SEED, label="asked for")
    for n, rate in zip(at, rates, strict=True):
        axes.annotate(f"{rate:,}", (n - 0.2, rate), ha="center", va="bottom", fontsize=8)
    axes.set_xticks(list(at), names)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylabel("requests/s")
    axes.legend(frameon=False)


def _single(axes: "Axes", result: Result) -> None:
    _beside_seed(axes, result, "processors", "requests/s")
    axes.set_xlabel("processors (1 measured, more modelled)")
    axes.set_title("one instance: product reads a second", loc="left")


def _horizontal(axes: "Axes", result: Result) -> None:
    _beside_seed(axes, result, "instances", "requests/s_modelled")
    axes.set_xlabel(
        "instances of one processor each (modelled from the measured cost of a request)"
    )
    axes.set_title("a fleet: product reads a second", loc="left")


def _growth(axes: "Axes", result: Result) -> None:
    of = "products" if "products" in result.rows[0] else "tenants"
    sizes = [row[of] for row in result.rows]
    for key, name in (("detail_ms", "product detail"), ("list_ms", "a page of a list")):
        times = [row[key] for row in result.rows]
        axes.plot(sizes, times, marker="o", markersize=4, label=name)
        axes.annotate(f"{times[-1]:g}", (sizes[-1], times[-1]), va="bottom", ha="right", fontsize=8)
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel(of)
    axes.set_ylabel("milliseconds, without caches")
    axes.set_title(f"{result.name}: time of a request", loc="left")
    axes.legend(frameon=False)


DRAWN: dict[str, Callable[[Any, Result], None]] = {
    "mixed": _percentiles,
    "connections": _percentiles,
    "single-instance": _single,
    "horizontal": _horizontal,
    "catalogue-growth": _growth,
    "tenant-growth": _growth,
}
