"""The decisions of Kubernetes' HorizontalPodAutoscaler.

The rules are those of its documentation ("Algorithm details", "Configurable scaling behavior") and,
where that is brief, of its source (pkg/controller/podautoscaler, release 1.32). Times are seconds
of any clock.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

TOLERANCE = 0.1  # --horizontal-pod-autoscaler-tolerance
SYNC_S = 15.0  # --horizontal-pod-autoscaler-sync-period
CPU_INITIALIZATION_S = 300.0  # --horizontal-pod-autoscaler-cpu-initialization-period
WINDOW_S = 15.0  # over which the metrics server averages
FALLBACK_PERCENT = 100.0  # percent of its request that a pod without metrics counts with


@dataclass(frozen=True, slots=True)
class Policy:
    """At most so many pods, or percent of them, in a period."""

    type: Literal["Percent", "Pods"]
    value: int
    period_s: float


@dataclass(frozen=True, slots=True)
class Rules:
    """How fast it scales in one direction. Of several policies `select` takes the one that changes
    most, or least, or disables the direction."""

    stabilization_s: float
    policies: Sequence[Policy]
    select: Literal["Max", "Min", "Disabled"] = "Max"


# Kubernetes' defaults.
USUAL_UP = Rules(0, (Policy("Percent", 100, 15), Policy("Pods", 4, 15)))
USUAL_DOWN = Rules(300, (Policy("Percent", 100, 15),))


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as the autoscaler sees it. `usage` is in the unit of its request; None without metrics.
    `ready_s` is when it became ready, or None; `is_pending` while its container has not started."""

    started_s: float = 0.0
    ready_s: float | None = 0.0
    usage: float | None = None
    measured_s: float = math.inf
    is_pending: bool = False
    is_going: bool = False


@dataclass(slots=True)
class Autoscaler:
    """One HorizontalPodAutoscaler. `targets` are percent of a request, by metric."""

    least: int
    most: int
    targets: Mapping[str, float]
    up: Rules = USUAL_UP
    down: Rules = USUAL_DOWN
    tolerance: float = TOLERANCE
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _added: list[tuple[float, int]] = field(default_factory=list)
    _removed: list[tuple[float, int]] = field(default_factory=list)

    def decide(
        self, now_s: float, current: int, pods: Mapping[str, Sequence[Pod]], request: float = 100.0
    ) -> int:
        """The desired number of replicas. `pods` are the same ones for each metric."""
        if current == 0:
            return 0  # it is disabled
        if not self.least <= current <= self.most:
            wanted = min(max(current, self.least), self.most)
        else:
            proposals = [
                replicas(
                    now_s,
                    current,
                    pods[name],
                    target,
                    request,
                    self.tolerance,
                    is_cpu=name == "cpu",
                )
                for name, target in self.targets.items()
            ]
            wanted = self._normalized(now_s, current, max(proposals))
        if wanted > current:
            self._added.append((now_s, wanted - current))
        elif wanted < current:
            self._removed.append((now_s, current - wanted))
        return wanted

    def _normalized(self, now_s: float, current: int, proposed: int) -> int:
        wanted = self._stabilized(now_s, current, proposed)
        if wanted > current:
            limit = max(self._up_limit(now_s, current), current)
            return min(wanted, self.most, limit)
        if wanted < current:
            limit = min(self._down_limit(now_s, current), current)
            return max(wanted, self.least, limit)
        return current

    def _stabilized(self, now_s: float, current: int, proposed: int) -> int:
        """Up by the lowest proposal in its window, down by the highest."""
        up = down = proposed
        for when, earlier in self._recommended:
            if when > now_s - self.up.stabilization_s:
                up = min(up, earlier)
            if when > now_s - self.down.stabilization_s:
                down = max(down, earlier)
        oldest = now_s - max(self.up.stabilization_s, self.down.stabilization_s)
        self._recommended = [each for each in self._recommended if each[0] > oldest]
        self._recommended.append((now_s, proposed))
        return min(max(current, up), down)

    def _up_limit(self, now_s: float, current: int) -> int:
        if self.up.select == "Disabled":
            return current
        limits = []
        for policy in self.up.policies:
            begun = self._at_the_beginning(now_s, current, policy.period_s)
            if policy.type == "Pods":
                limits.append(begun + policy.value)
            else:
                limits.append(math.ceil(begun * (1 + policy.value / 100)))
        return (max if self.up.select == "Max" else min)(limits)

    def _down_limit(self, now_s: float, current: int) -> int:
        if self.down.select == "Disabled":
            return current
        limits = []
        for policy in self.down.policies:
            begun = self._at_the_beginning(now_s, current, policy.period_s)
            if policy.type == "Pods":
                limits.append(begun - policy.value)
            else:
                limits.append(int(begun * (1 - policy.value / 100)))
        return (min if self.down.select == "Max" else max)(limits)

    def _at_the_beginning(self, now_s: float, current: int, period_s: float) -> int:
        """The number at the beginning of a period that ends now."""
        since = now_s - period_s
        added = sum(count for when, count in self._added if when > since)
        removed = sum(count for when, count in self._removed if when > since)
        return current - added + removed


def replicas(
    now_s: float,
    current: int,
    pods: Sequence[Pod],
    target_percent: float,
    request: float = 100.0,
    tolerance: float = TOLERANCE,
    *,
    is_cpu: bool = True,
) -> int:
    """The proposal of one metric: as many as bring its mean to the target. Pods that are not ready,
    or have no metrics, count so that less is changed."""
    here = [each for each in pods if not each.is_going]
    waiting = [each for each in here if each.is_pending]
    running = [each for each in here if not each.is_pending]
    missing = [each for each in running if each.usage is None]
    known = []
    for each in running:
        if each.usage is None:
            continue
        if is_cpu and _is_starting(each, now_s):
            waiting.append(each)
        else:
            known.append(each.usage)
    if not known:
        return current  # nothing is known, so nothing is changed
    ratio = _ratio(known, request, target_percent)
    is_up_with_waiting = bool(waiting) and ratio > 1
    if not is_up_with_waiting and not missing:
        if abs(1 - ratio) <= tolerance:
            return current
        return math.ceil(ratio * len(known))
    usages = [*known]
    if missing:
        fallback = max(FALLBACK_PERCENT, target_percent) / 100 * request
        usages += [fallback if ratio < 1 else 0.0] * len(missing)
    if is_up_with_waiting:
        usages += [0.0] * len(waiting)
    again = _ratio(usages, request, target_percent)
    if abs(1 - again) <= tolerance or (ratio < 1 < again) or (again < 1 < ratio):
        return current
    wanted = math.ceil(again * len(usages))
    if (again < 1 and wanted > current) or (again > 1 and wanted < current):
        return current
    return wanted


def _is_starting(pod: Pod, now_s: float) -> bool:
    """Whether a pod's usage is that of a starting process."""
    if now_s < pod.started_s + CPU_INITIALIZATION_S:
        return pod.ready_s is None or pod.measured_s < pod.ready_s + WINDOW_S
    return pod.ready_s is None


def _ratio(usages: Iterable[float], request: float, target_percent: float) -> float:
    values = list(usages)
    utilization = int(sum(values) * 100 / (request * len(values)))  # whole per cent, as there
    return utilization / target_percent
