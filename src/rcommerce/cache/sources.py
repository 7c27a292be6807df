"""What an answer was made from."""

from collections.abc import Iterable

NOWHERE = 0


class Sources:
    """Filled in by whoever makes the answer: the tags of what it shows, and how far the server was
    that it was read from. `required` is how far that server has to be at the least."""

    __slots__ = ("assignment", "position", "required", "tags")

    def __init__(self, required: int = 0) -> None:
        self.required = required
        self.position = NOWHERE
        self.assignment = ("", 0)  # the shard, and the epoch of the shop's stay there
        self.tags: set[str] = set()

    def read_at(self, position: int) -> None:
        """Something was read at `position`; of several the earliest counts."""
        self.position = min(self.position, position) if self.position else position

    def show(self, tags: Iterable[str]) -> None:
        """The answer shows what these tags stand for."""
        self.tags.update(tags)

    def show_only(self, tags: Iterable[str]) -> None:
        """These instead of what was said before."""
        self.tags = set(tags)
