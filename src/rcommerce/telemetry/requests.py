"""Counts requests: by method, route and status, and by duration.

Counting is a few additions to plain numbers, since cache hits take microseconds. They are passed to
Prometheus once a second.
"""

import time
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPMethod
from typing import Any

from rcommerce.resilience.shedding import Limiters, Priority
from rcommerce.telemetry.prometheus import Update

# Upper bounds of the histogram's buckets, in seconds. The alert on latency needs 0.1.
BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
UNMATCHED = "unmatched"  # the route of an unknown path: paths are client input
OTHER = "OTHER"
_METHODS = frozenset(HTTPMethod)
now = time.monotonic


@dataclass(slots=True)
class Series:
    """The requests of one method, route and status so far."""

    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))

    def add(self, took_s: float) -> None:
        """Counts one more."""
        self.seconds += took_s
        self.buckets[bisect_left(BOUNDS_S, took_s)] += 1


class Requests:
    """The requests of a process. `in_flight` are in progress; `refused` counts problems by code."""

    __slots__ = ("in_flight", "refused", "series")

    def __init__(self) -> None:
        self.in_flight = 0
        self.refused: Tally[str] = Tally()
        self.series: dict[tuple[str, str, int], Series] = {}

    def add(self, method: str, route: str, status: int, took_s: float) -> None:
        """Counts a finished request. `route` is a template, never a path."""
        key = (method, route, status)
        found = self.series.get(key)
        if found is None:
            method = method if method in _METHODS else OTHER
            found = self.series.setdefault((method, route, status), Series())
        found.add(took_s)


def of_requests(requests: Requests) -> Update:
    """Creates the metrics of requests; the result updates them."""
    from prometheus_client import Counter, Gauge, Histogram

    total = Counter("http_requests", "Requests answered", ["method", "route", "status"])
    took = Histogram(
        "http_request_duration_seconds",
        "From a request's arrival in the worker to the end of its answer",
        ["method", "route"],
        buckets=BOUNDS_S,
    )
    in_flight = Gauge("http_requests_in_flight", "In work now", multiprocess_mode="livesum")
    refused = Counter("rcommerce_refusals", "Answers that were problems, by their code", ["code"])
    for code in ("coupon_not_found", "gift_card_not_found", "price_changed"):  # alerts use them
        refused.labels(code)
    reported: dict[tuple[str, str, int], Series] = {}
    told_refusals: dict[str, int] = {}

    def update() -> None:
        in_flight.set(requests.in_flight)
        for key, series in list(requests.series.items()):
            method, route, status = key
            before = reported.setdefault(key, Series())
            counts = [new - old for new, old in zip(series.buckets, before.buckets, strict=True)]
            if not any(counts):
                continue
            total.labels(method, route, str(status)).inc(sum(counts))
            _add(took.labels(method, route), counts, series.seconds - before.seconds)
            before.buckets, before.seconds = list(series.buckets), series.seconds
        for code, count in list(requests.refused.items()):
            refused.labels(code).inc(count - told_refusals.get(code, 0))
            told_refusals[code] = count

    return update


def of_limiters(limiters: Limiters) -> Update:
    """The same for load shedding."""
    from prometheus_client import Counter, Gauge

    limit = Gauge(
        "rcommerce_concurrency_limit",
        "Requests that are worked on at a time, as adapted, of all workers",
        ["of"],
        multiprocess_mode="livesum",
    )
    waiting = Gauge(
        "rcommerce_concurrency_waiting",
        "Requests that wait in line to be worked on, of all workers",
        ["of"],
        multiprocess_mode="livesum",
    )
    shed = Counter("rcommerce_shed", "Requests refused under load", ["priority"])
    reported = dict.fromkeys(Priority, 0)

    def update() -> None:
        for of, limiter in (("buying", limiters.buying), ("looking", limiters.looking)):
            limit.labels(of).set(limiter.limit)
            waiting.labels(of).set(limiter.waiting)
        for priority in Priority:
            count = limiters.of(priority).refused[priority]
            shed.labels(priority.name.lower()).inc(count - reported[priority])
            reported[priority] = count

    return update


def _add(histogram: Any, counts: Sequence[int], seconds: float) -> None:
    """Adds many observations at once: the library itself adds one at a time."""
    histogram._sum.inc(seconds)  # noqa: SLF001
    for bucket, count in zip(histogram._buckets, counts, strict=True):  # noqa: SLF001
        if count:
            bucket.inc(count)
