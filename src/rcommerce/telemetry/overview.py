"""The whole fleet at a glance: the processes' heartbeats, this process's view of the databases, and
what has changed since the last look."""

import asyncio
import contextlib
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Literal

import msgspec
import psycopg

from rcommerce import clock
from rcommerce.commerce.shop import Services
from rcommerce.commerce.tenants import service as tenants
from rcommerce.database import Freshness
from rcommerce.database.shard import Shard
from rcommerce.errors import RCommerceError
from rcommerce.jobs import queue
from rcommerce.telemetry import heartbeats
from rcommerce.telemetry.heartbeats import Figures, Heart, Kind, Pool, Process

LOOK_EVERY_S = 1.0
ASK_TIMEOUT_S = 1.0
SILENT_S = 3 * heartbeats.BEAT_EVERY_S  # seconds without a heartbeat after which it may be dead
KEPT_EVENTS = 100
State = Literal["up", "draining", "silent"]
Mood = Literal["good", "bad", "neutral"]


class Instance(Figures, kw_only=True):
    """The processes of one server or worker together. Latencies are the worst process's."""

    name: str
    kind: Kind
    version: str
    state: State
    processes: int
    up_s: float
    drift: list[str] = []  # the settings in which it differs from most others


class Node(msgspec.Struct, kw_only=True):
    """A database server, as seen by the instance that was asked."""

    name: str
    state: str
    latency_ms: float
    lag_s: float = 0.0


class ShardView(msgspec.Struct, kw_only=True):
    """A shard. Counts are None if it could not be asked."""

    name: str
    primary: Node
    replicas: list[Node]
    tenants: int | None = None
    jobs_waiting: int | None = None
    jobs_running: int | None = None
    jobs_failed: int | None = None
    oldest_job_s: float | None = None


class Event(msgspec.Struct, kw_only=True):
    """A change. `at` is in seconds since 1970."""

    at: float
    mood: Mood
    text: str


class View(msgspec.Struct, kw_only=True):
    """The whole view. `heard_s`: the age of the heartbeats, while the control database is
    unavailable."""

    at: float
    seen_by: str
    heard_s: float
    instances: list[Instance]
    shards: list[ShardView]
    events: list[Event] = []


class Overview:
    """Looks while somebody watches: once for all."""

    def __init__(self, services: Services, heart: Heart, is_ending: Callable[[], bool]) -> None:
        self._services = services
        self._heart = heart
        self._is_ending = is_ending
        self._heard: list[Process] = []
        self._heard_at = 0.0
        self._view: View | None = None
        self._looked_at = 0.0
        self._looking = asyncio.Lock()
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)

    async def view(self) -> View:
        """The present view, or that of a moment ago."""
        async with self._looking:
            if self._view is None or time.monotonic() - self._looked_at >= LOOK_EVERY_S * 0.9:
                found = await self._look()
                if self._view is not None:
                    self._events.extend(changes(self._view, found))
                found.events = list(self._events)
                self._view, self._looked_at = found, time.monotonic()
            return self._view

    async def watch(self) -> AsyncIterator[View]:
        """One view after another, until the process shuts down."""
        while not self._is_ending():
            yield await self.view()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self) -> View:
        places, asked = await asyncio.gather(
            self._listen(), asyncio.gather(*(self._ask(each) for each in self._services.cluster))
        )
        for shard in asked:
            shard.tenants = None if places is None else places.get(shard.name, 0)
        passed_s = time.monotonic() - self._heard_at
        processes = list(self._heard)
        if places is None:  # the others may be healthy, but nobody can tell
            processes = processes or [self._heart.process()]
        return View(
            at=clock.now(),
            seen_by=self._heart.instance,
            heard_s=0.0 if places is not None else round(passed_s, 1),
            instances=together(processes),
            shards=asked,
        )

    async def _listen(self) -> dict[str, int] | None:
        """The heartbeats, and the number of tenants of each shard. None: the control database is
        unavailable."""
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                async with self._services.cluster.control.read(Freshness.LATEST) as conn:
                    self._heard = await heartbeats.heard(conn)
                    self._heard_at = time.monotonic()
                    return await tenants.residents(conn)
        except (RCommerceError, psycopg.Error, TimeoutError):
            return None

    async def _ask(self, shard: Shard) -> ShardView:
        primary, rotation = shard.primary, shard.rotation
        found = ShardView(
            name=shard.name,
            primary=Node(name="primary", state=primary.state, latency_ms=_ms(primary.latency_s)),
            replicas=[
                Node(
                    name=each.address,
                    state=rotation.state(each),
                    latency_ms=_ms(each.latency_s),
                    lag_s=round(rotation.lag_s(each), 3),
                )
                for each in shard.replicas
            ],
        )
        with contextlib.suppress(RCommerceError, psycopg.Error, TimeoutError):
            async with asyncio.timeout(ASK_TIMEOUT_S), shard.read(Freshness.FRESH) as conn:
                depths = await queue.depths(conn)
            by_state: Counter[str] = Counter()
            for _, state, count, _ in depths:
                by_state[state] += count
            found.jobs_waiting, found.jobs_running = by_state["todo"], by_state["doing"]
            found.jobs_failed = by_state["failed"]
            found.oldest_job_s = round(max((age_s for *_, age_s in depths), default=0.0), 1)
        return found


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)


def together(processes: Iterable[Process]) -> list[Instance]:
    """The processes by instance."""
    by_name: dict[str, list[Process]] = defaultdict(list)
    for each in processes:
        by_name[each.instance].append(each)
    differs = drift(by_name)
    return [_together(name, each, differs.get(name, [])) for name, each in by_name.items()]


def _together(name: str, processes: Sequence[Process], differs: list[str]) -> Instance:
    living = [each for each in processes if each.silent_s < SILENT_S]
    reported = living or processes
    figures = [each.figures for each in reported]
    state: State = "up" if living else "silent"
    if living and any(each.is_draining for each in living):
        state = "draining"
    pools: dict[str, Pool] = {}
    for pool in (pool for each in figures for pool in each.pools):
        found = pools.setdefault(pool.server, Pool(pool.server, 0, 0, 0))
        found.size += pool.size
        found.in_use += pool.in_use
        found.waiting += pool.waiting
    return Instance(
        name=name,
        kind=reported[0].kind,
        version=", ".join(sorted({each.version for each in reported})),
        state=state,
        processes=len(reported),
        up_s=round(max(each.up_s for each in reported), 1),
        requests_per_s=round(sum(each.requests_per_s for each in figures), 1),
        errors_per_s=round(sum(each.errors_per_s for each in figures), 2),
        refused_per_s=round(sum(each.refused_per_s for each in figures), 2),
        orders_per_s=round(sum(each.orders_per_s for each in figures), 2),
        p50_ms=_worst(each.p50_ms for each in figures),
        p99_ms=_worst(each.p99_ms for each in figures),
        in_flight=sum(each.in_flight for each in figures),
        memory_hit_ratio=_mean(each.memory_hit_ratio for each in figures),
        redis_hit_ratio=_mean(each.redis_hit_ratio for each in figures),
        cpu=round(sum(each.cpu for each in figures), 2),
        memory_mb=round(sum(each.memory_mb for each in figures), 1),
        clock_behind_s=max((each.clock_behind_s for each in figures), key=abs),
        pools=list(pools.values()),
        open_breakers={key: why for each in figures for key, why in each.open_breakers.items()},
        drift=differs,
    )


def _worst(values: Iterable[float | None]) -> float | None:
    return max((each for each in values if each is not None), default=None)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return round(sum(known) / len(known), 3) if known else None


def drift(by_name: dict[str, list[Process]]) -> dict[str, list[str]]:
    """The settings in which an instance differs from most others; without a majority, all that
    differ."""
    living = {
        name: each.settings
        for name, found in by_name.items()
        for each in found
        if each.silent_s < SILENT_S
    }
    found: dict[str, list[str]] = defaultdict(list)
    for key in sorted({key for settings in living.values() for key in settings}):
        counts = Counter(settings.get(key) for settings in living.values())
        if len(counts) < 2:
            continue
        (usual, most), (_, second) = counts.most_common(2)
        for name, settings in living.items():
            if most == second or settings.get(key) != usual:
                found[name].append(key)
    return dict(found)


def changes(before: View, now: View) -> list[Event]:
    """What has changed between two looks."""
    found: list[tuple[Mood, str]] = []
    old = {each.name: each for each in before.instances}
    new = {each.name: each for each in now.instances}
    for name in new.keys() - old.keys():
        found.append(("good", f"{name} has come up ({new[name].version})"))
    for name in old.keys() - new.keys():
        found.append(("neutral", f"{name} has stopped"))
    for name in sorted(new.keys() & old.keys()):
        found += _changed(old[name], new[name])
    shards = {each.name: each for each in before.shards}
    for shard in now.shards:
        if shard.name in shards:
            found += _moved(shards[shard.name], shard)
    if bool(before.heard_s) is not bool(now.heard_s):
        found.append(
            ("bad", "the control database is unavailable: no heartbeats of other instances")
            if now.heard_s
            else ("good", "the control database is available again")
        )
    return [Event(at=now.at, mood=mood, text=text) for mood, text in found]


_STATES: dict[State, tuple[Mood, str]] = {
    "up": ("good", "is up again"),
    "draining": ("neutral", "is draining"),
    "silent": ("bad", "sends no heartbeat"),
}


def _changed(old: Instance, new: Instance) -> list[tuple[Mood, str]]:
    found: list[tuple[Mood, str]] = []
    name = new.name
    if old.version != new.version:
        found.append(("neutral", f"{name} was upgraded from {old.version} to {new.version}"))
    elif new.up_s < old.up_s and new.state == "up":
        found.append(("good", f"{name} has restarted"))
    elif old.state != new.state:
        mood, text = _STATES[new.state]
        found.append((mood, f"{name} {text}"))
    for each in sorted(new.open_breakers.keys() - old.open_breakers.keys()):
        found.append(("bad", f"{name}: circuit breaker of {each} open: {new.open_breakers[each]}"))
    for each in sorted(old.open_breakers.keys() - new.open_breakers.keys()):
        found.append(("good", f"{name}: circuit breaker of {each} closed"))
    if new.drift and new.drift != old.drift:
        found.append(("bad", f"{name} has different settings: {', '.join(new.drift)}"))
    elif old.drift and not new.drift:
        found.append(("good", f"{name} has the same settings as the others again"))
    return found


def _moved(old: ShardView, new: ShardView) -> list[tuple[Mood, str]]:
    found: list[tuple[Mood, str]] = []
    for was, node in zip([old.primary, *old.replicas], [new.primary, *new.replicas], strict=False):
        if was.state != node.state:
            mood: Mood = "good" if node.state == "up" else "bad"
            found.append((mood, f"{new.name}: {node.name} is {node.state}"))
    if None not in (old.tenants, new.tenants) and old.tenants != new.tenants:
        found.append(("neutral", f"{new.name} has {new.tenants} tenants (before: {old.tenants})"))
    return found
