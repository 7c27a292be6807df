"""Plots of a simulation: load and responses, number of instances, latency."""

from collections.abc import Sequence
from pathlib import Path

from rcommerce import figures
from rcommerce.simulation.fleet import Outcome


def save(outcomes: Sequence[Outcome], folder: Path) -> list[Path]:
    """Draws one or several runs of a trace beside each other. Raises OSError."""
    trace = outcomes[0].trace
    with figures.drawn(f"autoscale-{trace.name}", folder, rows=3) as (paths, axes):
        requests, instances, latency = axes
        minutes = [row.at_s / 60 for row in outcomes[0].rows]
        requests.plot(minutes, [row.asked for row in outcomes[0].rows], color=figures.SOFT,
                      label="asked", linestyle=":", zorder=3)  # fmt: skip
        for outcome in outcomes:
            name = outcome.setup.name
            requests.plot(minutes, [row.served for row in outcome.rows], label=f"answered, {name}")
            instances.step(minutes, [row.ready for row in outcome.rows], label=name, where="post")
            latency.plot(minutes, [min(row.p99_ms, 10_000) for row in outcome.rows], label=name)
        requests.set_ylabel("requests/s")
        requests.yaxis.set_major_formatter("{x:,.0f}")
        instances.set_ylabel("instances ready")
        latency.set_ylabel("p99, ms")
        figures.logarithmic(latency)
        latency.set_xlabel("minutes")
        for each in axes:
            each.set_ylim(bottom=None if each is latency else 0)
            each.legend(frameon=False, fontsize=8)
        requests.set_title(f"{trace.name}, simulated", loc="left")
    return paths
