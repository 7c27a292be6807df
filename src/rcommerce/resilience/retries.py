"""How often may be tried again: a share of what is asked, so that an outage is not made worse by
those who ask twice (Finagle's RetryBudget). Each process counts for itself; the share is then the
fleet's, too."""

SHARE = 0.2  # of the calls of late
RESERVE = 100.0  # for a server that dies with that many calls under way, and at the beginning


class RetryBudget:
    """Of the calls to one server. `refused` counts what was not tried again."""

    __slots__ = ("_left", "refused")

    def __init__(self) -> None:
        self._left = RESERVE
        self.refused = 0

    def earn(self) -> None:
        """A call is made."""
        if self._left < RESERVE:
            self._left += SHARE

    def spend(self) -> bool:
        """Whether one that has failed may be made again."""
        if self._left < 1:
            self.refused += 1
            return False
        self._left -= 1
        return True
