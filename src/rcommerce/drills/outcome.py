"""The outcome of a drill: its guarantees, what happened, and whether they held."""

from collections.abc import Sequence
from typing import Any

import msgspec

from rcommerce.bench.open_load import Sample
from rcommerce.bench.report import percentile
from rcommerce.errors import StartError


class NotHere(StartError):
    """The drill needs something that this machine lacks."""


class Phase(msgspec.Struct, kw_only=True):
    """Requests of a stretch of time. Latencies in milliseconds, from when each was due."""

    requests: int
    failed: int
    p50_ms: float | None = None
    p99_ms: float | None = None


class Check(msgspec.Struct):
    """A part of the guarantee: in words, and whether it held."""

    promise: str
    held: bool
    found: str = ""


class Outcome(msgspec.Struct, kw_only=True):
    """The outcome of one drill. Counts compare what clients were told with the databases. `not_run`
    is the reason if this machine lacks what it needs."""

    name: str
    promise: str
    load: str
    passed: bool
    checks: list[Check]
    before: Phase | None = None
    during: Phase | None = None
    after: Phase | None = None
    recovered_s: float | None = None
    acknowledged: int = 0
    lost: int = 0
    duplicated: int = 0
    oversold: int = 0
    seconds: float = 0.0
    details: dict[str, Any] = {}
    not_run: str = ""


def phase(samples: Sequence[Sample]) -> Phase:
    """The figures of these."""
    took_s = [each.took_s for each in samples if each.is_accepted]
    return Phase(
        requests=len(samples),
        failed=len(samples) - len(took_s),
        p50_ms=percentile(took_s, 0.5) if took_s else None,
        p99_ms=percentile(took_s, 0.99) if took_s else None,
    )
