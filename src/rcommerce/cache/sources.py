"""What a response was made from."""

from collections.abc import Iterable

NOWHERE = 0


class Sources:
    """Collects the tags of a response while it is made, and the log position at which it was read.
    `required` is the lowest position that the server must have replayed."""

    __slots__ = ("assignment", "position", "required", "tags")

    def __init__(self, required: int = 0) -> None:
        self.required = required
        self.position = NOWHERE
        self.assignment = ("", 0)  # the shard, and the tenant's epoch there
        self.tags: set[str] = set()

    def read_at(self, position: int) -> None:
        """Records a read at `position`; the lowest of several counts."""
        self.position = min(self.position, position) if self.position else position

    def show(self, tags: Iterable[str]) -> None:
        """Records that the response depends on these tags."""
        self.tags.update(tags)

    def show_only(self, tags: Iterable[str]) -> None:
        """Replaces the tags."""
        self.tags = set(tags)
