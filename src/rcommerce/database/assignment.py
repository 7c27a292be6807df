"""Where a tenant lives, and what a write is told that comes to the wrong place."""

from uuid import UUID

from rcommerce.errors import RCommerceError


class ShardAssignment:
    """Where a tenant lives: a shard, and the epoch of its stay there."""

    __slots__ = ("epoch", "shard", "tenant_id")

    def __init__(self, tenant_id: UUID, shard: str, epoch: int) -> None:
        self.tenant_id = tenant_id
        self.shard = shard
        self.epoch = epoch


class TenantMoved(RCommerceError):
    """The tenant does not live on this shard, or not in this epoch: the map is old. `to` is the
    forwarding address that it has left, if any."""

    def __init__(self, to: ShardAssignment | None) -> None:
        super().__init__("the tenant has moved")
        self.to = to


class TenantFenced(RCommerceError):
    """The tenant is about to move: its writes wait a moment."""
