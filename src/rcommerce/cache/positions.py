"""Where in a shard's write-ahead log each tag was last invalidated."""

from collections.abc import Iterable, Sequence
from uuid import UUID

MOST_TAGS = 50_000
EVERYTHING = "*"  # the tag of everything of a tenant


class TagPositions:
    """`is_live` while invalidations are received; all of those before `horizon` have been."""

    def __init__(self) -> None:
        self.is_live = False
        self.era = ""
        self.horizon = 0
        self._floor = 0  # for tags that were evicted from `_last`
        # In order of position, since positions only grow. The key has the tenant's number, since a
        # UUID computes its hash anew each time.
        self._last: dict[tuple[int, str], int] = {}

    def last(self, tenant: UUID, tags: Iterable[str]) -> int:
        """The last position at which one of these tags was invalidated."""
        last, shop, found = self._last, tenant.int, self._floor
        for tag in (EVERYTHING, *tags):
            at = last.get((shop, tag), 0)
            if at > found:
                found = at
        return found

    def holds(self, era: str, position: int, tenant: UUID, tags: Iterable[str]) -> bool:
        """Whether what was read at a position of an era is known to be current."""
        return self.is_live and era == self.era and position > self.last(tenant, tags)

    def note(self, position: int, tenant: UUID, tags: Iterable[str]) -> None:
        """Records that these tags were invalidated at `position`."""
        last, shop = self._last, tenant.int
        for tag in tags:
            last.pop((shop, tag), None)
            last[shop, tag] = position
        while len(last) > MOST_TAGS:
            oldest = next(iter(last))
            self._floor = max(self._floor, last.pop(oldest))

    def load(self, era: str, horizon: int, tags: Sequence[tuple[UUID, str, int]]) -> None:
        """Replaces everything by `tags`, the latest first."""
        self.era, self.horizon = era, horizon
        self._last = {(tenant.int, tag): position for tenant, tag, position in reversed(tags)}
        self._floor = tags[-1][2] if len(tags) >= MOST_TAGS else 0
        self.is_live = True
