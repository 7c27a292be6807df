"""Metrics for Prometheus, of all worker processes of this instance together.

The library is imported when a worker starts: it then decides, by PROMETHEUS_MULTIPROC_DIR, that its
metrics are shared between processes.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
Update = Callable[[], None]


def exposition(port: int) -> tuple[bytes, str]:
    """The metrics of all workers of this instance, which listen on `port`, as text; and its media
    type."""
    from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.multiprocess import MultiProcessCollector

    shared, own = REGISTRY, CollectorRegistry()
    if os.environ.get(FOLDER):
        shared = CollectorRegistry()
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
    about = "Open to the server's port"
    connections = GaugeMetricFamily("http_connections", about, value=_connections(port))
    own.register(_Once([connections]))
    return generate_latest(shared) + generate_latest(own), CONTENT_TYPE_LATEST


class _Once:
    """Metrics that are computed when they are scraped."""

    def __init__(self, families: list[Any]) -> None:
        self._families = families

    def collect(self) -> list[Any]:
        return self._families


def _connections(port: int) -> int:
    """Established connections to a port, from Linux' list; those of all workers. Elsewhere 0."""
    ours = re.compile(rb"^ *\d+: [0-9A-F]+:%04X [0-9A-F]+:[0-9A-F]{4} 01 " % port, re.MULTILINE)
    found = 0
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            found += len(ours.findall(Path("/proc/self/net", name).read_bytes()))
    return found


def forget_the_dead() -> None:
    """Removes the gauges of killed workers, before any metric is created."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return
    from prometheus_client.multiprocess import mark_process_dead

    for path in Path(folder).glob("gauge_live*_*.db"):
        pid = path.stem.rpartition("_")[2]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            mark_process_dead(int(pid))  # type: ignore[no-untyped-call]


def counting(prefix: str, about: Mapping[str, str], *parts: object) -> Update:
    """Counters of what attributes of some objects count together."""
    from prometheus_client import Counter

    counters = {
        name: Counter(f"{prefix}_{name.replace('_s', '_seconds')}", text)
        for name, text in about.items()
    }
    reported = dict.fromkeys(counters, 0.0)

    def update() -> None:
        for name, counter in counters.items():
            now = sum(getattr(part, name) for part in parts)
            counter.inc(now - reported[name])
            reported[name] = now

    return update


def together(updates: Iterable[Update]) -> Update:
    """Runs all updates."""
    every = list(updates)

    def update() -> None:
        for each in every:
            each()

    return update
