"""Values that a process has made from a shard's data, such as compiled rules: kept in its memory
until one of their tags is invalidated."""

from collections import OrderedDict
from typing import Generic, TypeVar
from uuid import UUID

from rcommerce.cache.positions import TagPositions

MOST_VALUES = 10_000
T = TypeVar("T")
Key = tuple[UUID, int]  # a tenant, and its epoch on its shard


class Values(Generic[T]):
    """One value for each tenant; all depend on the same tags."""

    def __init__(self, tags: tuple[str, ...]) -> None:
        self._tags = tags
        self._kept: OrderedDict[Key, tuple[str, int, T]] = OrderedDict()

    def get(self, key: Key, positions: TagPositions) -> T | None:
        """The tenant's value, if it is known to be current."""
        kept = self._kept.get(key)
        if kept is not None and positions.holds(kept[0], kept[1], key[0], self._tags):
            return kept[2]
        return None

    def put(self, key: Key, era: str, position: int, value: T) -> None:
        """Keeps a value that was read at a position of an era."""
        self._kept[key] = (era, position, value)
        self._kept.move_to_end(key)
        while len(self._kept) > MOST_VALUES:
            self._kept.popitem(last=False)
