"""Retry budgets: retries are limited to a share of recent calls, so that they do not make an outage
worse (Finagle's RetryBudget). Each process counts for itself; the share is then the fleet's,
too."""

SHARE = 0.2  # of recent calls
RESERVE = 100.0  # for a server that fails with so many calls in progress, and at the beginning


class RetryBudget:
    """The budget for one server. `refused` counts retries that were not allowed."""

    __slots__ = ("_left", "refused")

    def __init__(self) -> None:
        self._left = RESERVE
        self.refused = 0

    def earn(self) -> None:
        """Counts a call."""
        if self._left < RESERVE:
            self._left += SHARE

    def spend(self) -> bool:
        """Whether a failed call may be retried."""
        if self._left < 1:
            self.refused += 1
            return False
        self._left -= 1
        return True
