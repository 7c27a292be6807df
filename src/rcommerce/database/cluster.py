"""All databases of an installation: the control database, and the tenants' shards.

`[database]` is the control database; without `[[database.shards]]` it is the only shard, too.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from uuid import UUID

from rcommerce.database.assignment import ShardAssignment
from rcommerce.database.connection import Statement
from rcommerce.database.server import Role, Server, conninfo
from rcommerce.database.shard import Freshness, Reading, Shard
from rcommerce.database.writing import Writing
from rcommerce.errors import SettingsError, Unavailable
from rcommerce.settings import DatabaseSettings
from rcommerce.settings.load import MAIN
from rcommerce.settings.schema import Node


class Cluster:
    """Provides connections by a tenant's shard, never by a server's name."""

    def __init__(self, control: Shard, shards: Mapping[str, Shard]) -> None:
        self.control = control
        self._shards = {**shards, MAIN: control}
        self._places = list(shards) or [MAIN]

    def __iter__(self) -> Iterator[Shard]:
        """Every shard, the control database first."""
        yield self.control
        for name, shard in self._shards.items():
            if name != MAIN:
                yield shard

    def place(self, tenant_id: UUID) -> str:
        """The initial shard of a tenant: `tenant_id.int % number_of_shards`."""
        return self._places[tenant_id.int % len(self._places)]

    def shard(self, name: str) -> Shard:
        """The shard of this name. Raises Unavailable if this instance's settings lack it."""
        try:
            return self._shards[name]
        except KeyError:
            raise Unavailable(
                f"the shard {name} is not in this instance's settings", code="shard_unknown"
            ) from None

    def read(
        self,
        assignment: ShardAssignment,
        freshness: Freshness,
        position: int = 0,
        seen: Callable[[int], None] | None = None,
    ) -> Reading:
        """A connection to a server of the tenant's shard, see Shard.read."""
        return self.shard(assignment.shard).read(freshness, position, seen)

    def write(self, assignment: ShardAssignment, first: Sequence[Statement] = ()) -> Writing:
        """A transaction on the primary of the tenant's shard, see Shard.write."""
        return self.shard(assignment.shard).write(assignment, first)

    async def open(self) -> None:
        """Starts to probe every server; connections are opened on demand."""
        await asyncio.gather(*(shard.open() for shard in self))

    async def close(self) -> None:
        """Closes all connections."""
        for shard in self:
            await shard.close()


def cluster(
    settings: DatabaseSettings, workers: int = 1, dsn: str | None = None, *, listens: bool = False
) -> Cluster:
    """The cluster for the settings, for one of so many worker processes of an instance.

    `dsn` is the embedded server's, if that is the database. A process that `listens` uses one
    connection to each primary for that, which counts towards its share. Raises SettingsError.
    """
    control = _shard(MAIN, settings, settings, workers, dsn, listens=listens)
    control.primary.sets_clock = True
    shards = {
        each.name: _shard(each.name, each, settings, workers, listens=listens)
        for each in settings.shards
    }
    return Cluster(control, shards)


def _shard(
    name: str,
    node: Node,
    limits: DatabaseSettings,
    workers: int,
    dsn: str | None = None,
    *,
    listens: bool,
) -> Shard:
    sizes = shares(node, workers)
    if listens and node.pooler == "None" and sizes[0] > 1:
        sizes[0] -= 1
    label = "the database" if name == MAIN else f"the shard {name}"
    prefix = "" if name == MAIN else f"shard {name} "
    through_pooler = node.pooler != "None"
    primary = Server(
        label,
        dsn or conninfo(node, node.addresses, Role.PRIMARY),
        dependency=prefix.strip() or "database",
        size=sizes[0],
        limits=limits,
        through_pooler=through_pooler,
    )
    replicas = [
        Server(
            f"the replica {address} of {label}",
            conninfo(node, [address], Role.ANY),
            address=address,
            dependency=f"{prefix}replica {address}",
            size=size,
            limits=limits,
            through_pooler=through_pooler,
        )
        for address, size in zip(node.read_replicas, sizes[1:], strict=True)
    ]
    return Shard(name, primary, replicas, limits)


def direct(settings: DatabaseSettings) -> dict[str, str]:
    """Connection strings of each shard's primary without a pooler, by name; the control database
    first."""
    nodes: dict[str, Node] = {MAIN: settings, **{each.name: each for each in settings.shards}}
    return {
        name: conninfo(node, node.direct_addresses, Role.PRIMARY) for name, node in nodes.items()
    }


def replicas(settings: DatabaseSettings, shard: str) -> list[str]:
    """Connection strings of a shard's replicas, without a pooler if those are known."""
    nodes: dict[str, Node] = {MAIN: settings, **{each.name: each for each in settings.shards}}
    node = nodes.get(shard)
    if node is None or node.pooler != "None":
        return []
    return [conninfo(node, [address], Role.ANY) for address in node.read_replicas]


def require_room(settings: DatabaseSettings, workers: int) -> None:
    """Raises SettingsError if a pool is too small for the workers and servers."""
    for node in (settings, *settings.shards):
        shares(node, workers)


def shares(node: Node, workers: int) -> list[int]:
    """One worker's pool sizes, for the primary and for each replica: `pool_size` is for the whole
    instance. Raises SettingsError if it is too small."""
    servers = 1 + len(node.read_replicas)
    size, rest = divmod(node.pool_size // workers, servers)
    if size == 0:
        raise SettingsError(
            f"database.pool_size = {node.pool_size} is shared out among {workers} workers and"
            f" {servers} servers: at least {workers * servers} are needed"
        )
    return [size + (number < rest) for number in range(servers)]
