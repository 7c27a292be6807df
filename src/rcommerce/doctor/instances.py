"""Running instances: their releases, settings and dependencies.

They report these themselves, in the control database.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import psycopg

from rcommerce import __version__
from rcommerce.database import Connection
from rcommerce.database.connection import Raw
from rcommerce.doctor.clocks import OFF_S, off
from rcommerce.doctor.findings import Finding
from rcommerce.errors import SettingsError
from rcommerce.services import jwt_secret
from rcommerce.settings import Settings
from rcommerce.settings.digests import digests
from rcommerce.telemetry.heartbeats import Process, heard
from rcommerce.telemetry.overview import SILENT_S, Instance, together

TIMEOUT_S = 10.0


async def listen(dsn: str) -> list[Process] | None:
    """The recent heartbeats of all processes. None: the control database cannot be queried, or is
    not migrated."""
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            await Raw.connect(dsn, autocommit=True, prepare_threshold=None) as raw,
        ):
            return await heard(Connection(raw))
    except (psycopg.Error, TimeoutError):
        return None


def examine(processes: Sequence[Process] | None, settings: Settings) -> Iterator[Finding]:
    """Faults of running instances, and differences from this command's settings."""
    if processes is None:
        yield Finding("yellow", "instances", "unknown: the control database does not answer",
                      "fix the database first")  # fmt: skip
        return
    instances = together(processes)
    if not instances:
        yield Finding("green", "instances", "none is running")
        return
    for each in instances:
        yield from _instance(each)
    versions = Counter(each.version for each in instances)
    if set(versions) != {__version__}:
        shown = ", ".join(f"{count} of {version}" for version, count in versions.items())
        yield Finding("yellow", "releases", f"{shown} are running; this command is {__version__}",
                      "expected only during an upgrade")  # fmt: skip
    else:
        yield Finding("green", "releases", f"all are {__version__}")
    try:
        differs = _differs(processes, digests(settings, jwt_secret(settings)))
    # the digests' own key; the other findings were useful all the same
    except SettingsError as error:
        yield Finding("yellow", "settings", f"cannot be compared with those that run: {error}")
        return
    if differs:
        yield Finding("yellow", "settings", f"those that run have others than this command:"
                      f" {', '.join(differs)}", "restart them, or give this command their file"
                      " with --config")  # fmt: skip
    elif not any(each.drift for each in instances):
        yield Finding("green", "settings", "the instances and this command have the same")


def _instance(each: Instance) -> Iterator[Finding]:
    label = f"instance {each.name}" if each.kind == "server" else each.name
    if each.state == "silent":
        yield Finding("red", label, f"no heartbeat for {SILENT_S:.0f} s: dead, or cannot reach the"
                      " control database", "look at its log")  # fmt: skip
        return
    away = [f"{name}: {why.splitlines()[0]}" for name, why in sorted(each.open_breakers.items())]
    troubles = [
        *(f"circuit breaker open: {what}" for what in away),
        *([f"settings differ from the others: {', '.join(each.drift)}"] if each.drift else []),
        *([f"its clock is {off(-each.clock_behind_s)} the database's"]
          if abs(each.clock_behind_s) > OFF_S else []),
    ]  # fmt: skip
    for trouble in troubles:
        yield Finding("yellow", label, trouble)
    if not troubles:
        state = "is draining" if each.state == "draining" else "is up"
        p99 = f", p99 {each.p99_ms:.1f} ms" if each.p99_ms is not None else ""
        yield Finding("green", label, f"{state}: {each.requests_per_s:,.0f} requests/s{p99}")


def _differs(processes: Sequence[Process], own: Mapping[str, str]) -> list[str]:
    """Settings for which no running process has this command's value."""
    living = [each.settings for each in processes if each.silent_s < SILENT_S]
    return [
        key
        for key, digest in own.items()
        if living and all(each.get(key) != digest for each in living)
    ]
