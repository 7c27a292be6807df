"""The decisions of AWS target tracking (Amazon EC2 Auto Scaling User Guide, "Target tracking
scaling policies"): out after three minutes above the target, in after fifteen well below it."""

import math
from dataclasses import dataclass, field

PERIOD_S = 60.0  # of a figure of CloudWatch
OUT_AFTER, IN_AFTER = 3, 15  # figures, in a row
WELL_BELOW = 0.9


@dataclass(slots=True)
class TargetTracking:
    """A group's policy. `warmup_s`: only after that does an instance count, for metrics and as
    started."""

    least: int
    most: int
    target_percent: float
    warmup_s: float = 300.0
    _figures: list[float] = field(default_factory=list)

    def decide(self, current: int, percent: float | None) -> int:
        """The desired number, once a minute; `percent` is the mean of the warm instances, None
        without any."""
        if percent is None:
            return current
        self._figures = [*self._figures, percent][-IN_AFTER:]
        recent = self._figures[-OUT_AFTER:]
        if len(recent) == OUT_AFTER and min(recent) > self.target_percent:
            wanted = math.ceil(current * percent / self.target_percent)
            return self._bounded(max(current, wanted))
        quiet = self._figures
        if len(quiet) == IN_AFTER and max(quiet) < WELL_BELOW * self.target_percent:
            # As many as keep it below the target: one at a time if that is not certain.
            wanted = math.ceil(current * percent / self.target_percent)
            self._figures = []
            return self._bounded(min(current, max(wanted, current - max(1, current // 4))))
        return self._bounded(current)

    def _bounded(self, count: int) -> int:
        return min(self.most, max(self.least, count))
