"""What a response was made from."""

from collections.abc import Iterable

NOWHERE = 0
FOREVER = float("inf")


class Sources:
    """Collects the tags of a response while it is made, and the log position at which it was read.
    `required` is the lowest position that the server must have replayed. `until` is when it ends to
    be true by time alone, in seconds since 1970."""

    __slots__ = ("assignment", "position", "required", "tags", "until")

    def __init__(self, required: int = 0) -> None:
        self.required = required
        self.position = NOWHERE
        self.assignment = ("", 0)  # the shard, and the tenant's epoch there
        self.tags: set[str] = set()
        self.until = FOREVER

    def read_at(self, position: int) -> None:
        """Records a read at `position`; the lowest of several counts."""
        self.position = min(self.position, position) if self.position else position

    def show(self, tags: Iterable[str]) -> None:
        """Records that the response depends on these tags."""
        self.tags.update(tags)

    def hold_until(self, moment: float) -> None:
        """Records that the response is no longer true from `moment` on; the first of several
        counts."""
        self.until = min(self.until, moment)

    def show_only(self, tags: Iterable[str]) -> None:
        """Replaces the tags."""
        self.tags = set(tags)
