"""Which shard a tenant is on, and how a write on another one is refused."""

from uuid import UUID

from rcommerce.errors import RCommerceError


class ShardAssignment:
    """A shard, and the tenant's epoch on it."""

    __slots__ = ("epoch", "shard", "tenant_id")

    def __init__(self, tenant_id: UUID, shard: str, epoch: int) -> None:
        self.tenant_id = tenant_id
        self.shard = shard
        self.epoch = epoch


class TenantMoved(RCommerceError):
    """The tenant is not on this shard, or has another epoch: the assignment is outdated. `to` is
    the new shard, if known."""

    def __init__(self, to: ShardAssignment | None) -> None:
        super().__init__("the tenant has moved")
        self.to = to


class TenantFenced(RCommerceError):
    """The tenant is about to move: its writes wait a moment."""
