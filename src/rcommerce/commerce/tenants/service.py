"""Tenants: resolving a request's tenant, and API keys."""

import difflib
import hmac
import secrets
import string
import time
import zoneinfo
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from rcommerce import ids, money
from rcommerce.commerce.shop import SCOPES, Caller, Tenant
from rcommerce.commerce.tenants import queries
from rcommerce.database import Cluster, Connection, Freshness, ShardAssignment
from rcommerce.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated, Unavailable
from rcommerce.settings.load import MAIN

REMEMBERED_S = 5.0  # seconds that a process may use what it knows of a tenant
REMEMBERED = 10_000  # most tenants and host names
_LETTERS = string.ascii_letters + string.digits


class Directory:
    """Finds the tenant of a request, with a cache of `REMEMBERED_S`."""

    def __init__(self, cluster: Cluster) -> None:
        self._control = cluster.control
        self._heard: datetime | None = None
        self._known: dict[UUID | str, tuple[float, Tenant | None]] = {}

    async def by_id(self, tenant_id: UUID) -> Tenant:
        """The tenant of this id. Raises NotFound, or Forbidden if it is suspended."""
        return _open(await self._find(tenant_id))

    async def find_by_host(self, host: str) -> Tenant:
        """The tenant with this host name, otherwise the default one."""
        return _open(await self._find(host))

    async def _find(self, key: UUID | str) -> Tenant | None:
        found = self._known.get(key)
        now = time.monotonic()
        if found is not None and found[0] > now:
            return found[1]
        try:
            async with self._control.read(Freshness.FRESH) as conn:
                tenant = await (
                    queries.by_id(conn, key)
                    if isinstance(key, UUID)
                    else queries.find_by_host(conn, key)
                )
        except Unavailable:
            if found is None:
                raise
            # Without the control database, the known state stays in use: shards check every write.
            tenant = found[1]
        self._remember(key, tenant)
        return tenant

    async def relocated(self, tenant_id: UUID, to: ShardAssignment | None) -> Tenant:
        """The tenant's present shard, after it was not found where it was expected. Raises
        NotFound.

        A move that was interrupted after its last step has left the new shard's name only on the
        old one: then `to` is right, not the directory.
        """
        self._known.clear()  # host names may lead to it, too
        tenant = await self.by_id(tenant_id)
        if to is not None and to.epoch > tenant.epoch:
            tenant = msgspec.structs.replace(tenant, shard=to.shard, epoch=to.epoch)
            self._remember(tenant_id, tenant)
        return tenant

    async def listen(self) -> None:
        """Forgets tenants whose shard or status has changed since the last call. Raises
        Unavailable."""
        async with self._control.read(Freshness.FRESH) as conn:
            moment, changed = await queries.changed_since(conn, self._heard)
        self._heard = moment
        for key in [
            key
            for key, (_, tenant) in self._known.items()
            if tenant is not None and tenant.id in changed
        ]:
            del self._known[key]

    def _remember(self, key: UUID | str, tenant: Tenant | None) -> None:
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[key] = (time.monotonic() + REMEMBERED_S, tenant)


def _open(tenant: Tenant | None) -> Tenant:
    if tenant is None:
        raise NotFound("shop not found", code="tenant_not_found")
    if tenant.status == "suspended":
        raise Forbidden("this shop is suspended", code="tenant_suspended")
    return tenant


async def create(
    cluster: Cluster,
    *,
    slug: str,
    name: str,
    currency: str,
    hosts: list[str],
    time_zone: str = "UTC",
) -> Tenant:
    """A new shop with one location, on its shard. Raises Invalid, Unavailable, or Conflict if the
    slug is taken."""
    if not slug or len(slug) > 255 or any(character in slug for character in " /?#%"):
        raise Invalid.field("slug", "must have 1 to 255 characters and no space, /, ?, # or %")
    tenant_id = ids.new_id()
    shard = cluster.place(tenant_id)
    tenant = Tenant(
        tenant_id,
        slug,
        name,
        money.currency(currency),
        "active",
        shard,
        time_zone=checked_time_zone(time_zone),
    )
    async with cluster.control.read() as conn:
        if await queries.by_slug(conn, slug) is not None:
            raise Conflict(f"a tenant “{slug}” already exists", code="duplicate")
    # The shard first: once the directory has the tenant, it can receive orders.
    if cluster.shard(shard) is not cluster.control:
        async with cluster.shard(shard).write() as tx:
            await queries.welcome(tx, tenant, ids.new_id())
    async with cluster.control.write() as tx:
        if not await queries.insert(tx, tenant, hosts):
            raise Conflict(f"a tenant “{slug}” already exists", code="duplicate")
        if cluster.shard(shard) is cluster.control:
            await queries.welcome(tx, tenant, ids.new_id())
    return tenant


async def settle(cluster: Cluster) -> int:
    """Assigns a shard to every tenant that has none, as after the upgrade that introduced shards;
    returns how many there were. Safe to repeat. Raises Unavailable.

    A tenant whose rows are in the control database stays there, even with shards in the settings:
    only a move changes that.
    """
    async with cluster.control.read() as conn:
        found = await queries.unplaced(conn)
    for each in found:
        async with cluster.control.read() as conn:
            is_here = await queries.has_rows(conn, each.id)
        shard = MAIN if is_here else cluster.place(each.id)
        tenant = msgspec.structs.replace(each, shard=shard, epoch=1)
        async with cluster.shard(shard).write() as tx:
            await queries.welcome(tx, tenant, ids.new_id())
        async with cluster.control.write() as tx:
            await queries.place(tx, tenant)
    return len(found)


async def describe(cluster: Cluster, name: str) -> dict[str, Any]:
    """A tenant's data, by its slug or id. Raises NotFound."""
    async with cluster.control.read() as conn:
        tenant = await named(conn, name)
        found = await queries.details(conn, tenant.id)
    try:
        async with cluster.shard(tenant.shard or cluster.place(tenant.id)).read() as conn:
            found["placement"] = await queries.placement(conn, tenant.id) or "missing"
    except Unavailable as error:
        found["placement"] = error.detail
    return found


class Misplaced(msgspec.Struct, frozen=True):
    """A tenant that is not on the shard of its id."""

    id: UUID
    slug: str
    at: str
    to: str


async def misplaced(cluster: Cluster) -> list[Misplaced]:
    """Tenants to move after shards were added, by their present shard. Raises Unavailable."""
    async with cluster.control.read() as conn:
        tenants = await queries.every(conn)
    found = [
        Misplaced(tenant.id, tenant.slug, tenant.shard, cluster.place(tenant.id))
        for tenant in tenants
        if tenant.shard is not None and tenant.shard != cluster.place(tenant.id)
    ]
    return sorted(found, key=lambda each: (each.at, each.slug))


async def shards(cluster: Cluster) -> list[dict[str, Any]]:
    """Each shard with its state, and how many tenants are there, are coming and are leaving.

    Raises Unavailable without the control database.
    """
    async with cluster.control.read() as conn:
        counts = await queries.residents(conn)
    found = []
    for shard in cluster:
        size = None
        with suppress(Unavailable):
            async with shard.read() as conn:
                size = await conn.value("select pg_database_size(current_database())")
        row = counts.get(shard.name, (0, 0, 0))
        found.append(
            {
                "name": shard.name,
                "state": shard.primary.state,
                "tenants": row[0],
                "coming": row[1],
                "going": row[2],
                "bytes": size,
            }
        )
    return found


async def residents(conn: Connection) -> dict[str, int]:
    """How many tenants are on each shard."""
    return {name: row[0] for name, row in (await queries.residents(conn)).items()}


def checked_time_zone(name: str) -> str:
    """A time zone of the IANA database. Raises Invalid."""
    known = zoneinfo.available_timezones()
    if name not in known:
        similar = difflib.get_close_matches(name, sorted(known), n=1)
        nearest = f"; the nearest is {similar[0]}" if similar else ""
        raise Invalid.field(
            "time_zone", f"unknown time zone “{name}”, such as Europe/Berlin{nearest}"
        )
    return name


async def configure(cluster: Cluster, tenant: Tenant, values: Mapping[str, str | None]) -> None:
    """Sets a shop's `time_zone` and `channel`; every process knows within seconds. Raises
    Invalid."""
    zone = values.get("time_zone")
    if zone is not None:
        checked_time_zone(zone)
    async with cluster.control.write() as tx:
        await queries.configure(tx, tenant.id, values)


async def set_status(cluster: Cluster, tenant: Tenant, status: str) -> None:
    """Sets a shop's status, `active` or `suspended`; every process knows within seconds."""
    async with cluster.control.write() as tx:
        await queries.set_status(tx, tenant.id, status)


async def named(conn: Connection, name: str | None) -> Tenant:
    """The tenant of a slug or id, the default one for None. Raises NotFound."""
    if name is None:
        tenant = await queries.find_by_host(conn, "")
    elif ids.is_uuid(name):
        tenant = await queries.by_id(conn, UUID(name))
    else:
        tenant = await queries.by_slug(conn, name)
    if tenant is None:
        raise NotFound(f"there is no tenant {name or 'marked as the default'}")
    return tenant


async def by_id(conn: Connection, tenant_id: UUID) -> Tenant | None:
    """The tenant of this id."""
    return await queries.by_id(conn, tenant_id)


async def create_key(
    conn: Connection,
    tenant: Tenant,
    scopes: list[str],
    *,
    name: str = "",
    channel: str | None = None,
    prefix_length: int = 8,
    secret_length: int = 32,
) -> str:
    """A new key as `ak_<prefix>.<secret>`, shown only here; its requests are in a `channel`, unless
    they name another one. Raises Invalid for unknown scopes."""
    unknown = sorted(set(scopes) - SCOPES)
    if unknown:
        raise Invalid.field("scopes", f"unknown scope {unknown[0]}; available: {sorted(SCOPES)}")
    if not scopes:
        raise Invalid.field("scopes", "a key needs at least one, such as products:read")
    prefix = "".join(secrets.choice(_LETTERS) for _ in range(prefix_length))
    secret = "".join(secrets.choice(_LETTERS) for _ in range(secret_length))
    await queries.insert_key(
        conn, tenant.id, prefix, ids.token_hash(secret), name, sorted(set(scopes)), channel
    )
    return f"ak_{prefix}.{secret}"


async def authenticate_key(conn: Connection, key: str) -> tuple[UUID, Caller]:
    """The tenant and the caller of an API key. Raises Unauthenticated."""
    prefix, _, secret = key.removeprefix("ak_").partition(".")
    found = await queries.key(conn, prefix)
    # Compared even if there is no such key, so that the time reveals nothing.
    tenant_id, stored, scopes, channel = found or (None, b"", [], None)
    if not hmac.compare_digest(stored, ids.token_hash(secret)) or tenant_id is None:
        raise Unauthenticated("unknown API key", code="invalid_api_key")
    return tenant_id, Caller(key=prefix, channel=channel, scopes=frozenset(scopes))
