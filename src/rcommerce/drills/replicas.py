"""Replicas that lag."""

import threading
import time
from dataclasses import dataclass, field

import httpx

from rcommerce.drills.course import course
from rcommerce.drills.outcome import Check, Outcome
from rcommerce.drills.stage import Stage
from rcommerce.drills.waiting import until

LAGS = {"replica-1": "2s", "replica-2": "300ms"}
LAGGING_S = 6.0
WRITTEN = 5  # products, each again and again
PROPAGATED_S = 1.0  # a change reaches every process within 250 ms (docs/caching.md), on a busy day


@dataclass(slots=True)
class _Writer:
    """A shopkeeper who changes products, and reads each at once."""

    stage: Stage
    products: list[str]
    titles: dict[str, str] = field(default_factory=dict)
    writes: int = 0
    stale: int = 0
    faults: list[str] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.is_over.is_set():
            for product in self.products:
                self._write(product)

    def _write(self, product: str) -> None:
        title, path = f"Title {time.time_ns()}", f"/api/v1/products/{product}"
        written = self.stage.staff.patch(path, json={"title": title})
        if written.status_code != 200:
            self.faults.append(f"{written.status_code}: {written.text[:200]}")
            return
        self.titles[product] = title
        self.writes += 1
        token = {"X-Consistency-Token": written.headers["x-consistency-token"]}
        read = httpx.get(f"{self.stage.fleet.url}{path}", headers=token, timeout=10)
        self.stale += read.json()["product"]["title"] != title


def replica_lag(stage: Stage) -> Outcome:
    """Both replicas replay late, one of them by seconds."""
    writer = _Writer(stage, [stage.product(1)["id"] for _ in range(WRITTEN)])
    writing = threading.Thread(target=writer.run)

    def lag() -> None:
        for name, by in LAGS.items():
            stage.postgres(name).configure({"recovery_min_apply_delay": by})
        writing.start()
        time.sleep(LAGGING_S)

    poisoned: list[str] = []

    def catch_up() -> None:
        writer.is_over.set()
        writing.join()
        time.sleep(PROPAGATED_S)
        poisoned.extend(_untrue(stage, writer.titles))  # while they lag still
        for name in LAGS:
            stage.postgres(name).configure({"recovery_min_apply_delay": "0"})

    try:
        found = course(stage, lag, catch_up)
    finally:
        writer.is_over.set()
        for name in LAGS:
            stage.postgres(name).configure({"recovery_min_apply_delay": "0"})
    until(lambda: not _untrue(stage, writer.titles), PROPAGATED_S)
    late = _untrue(stage, writer.titles)
    return found.outcome(
        "replica-lag",
        "replicas that lag show nobody less than he has written, and poison no cache",
        [
            found.no_read_failed(),
            Check("products are written", writer.writes > 0 and not writer.faults),
            Check(
                "each writer reads what he has written",
                writer.stale == 0,
                f"{writer.stale} of {writer.writes} reads were stale",
            ),
            Check(
                f"{PROPAGATED_S:g} s later no instance shows anybody less",
                not poisoned,
                f"{poisoned}",
            ),
            Check("nor once the replicas are back", not late, f"{late}"),
        ],
    )


def _untrue(stage: Stage, titles: dict[str, str]) -> list[str]:
    """The instances and products whose title is not the last that was written."""
    return [
        f"{each.address} {product}"
        for each in stage.instances
        for product, title in titles.items()
        if httpx.get(f"{each.url}/api/v1/products/{product}", timeout=10).json()["product"]["title"]
        != title
    ]
