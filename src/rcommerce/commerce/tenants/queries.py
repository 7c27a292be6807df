"""SQL of tenants and their API keys."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from rcommerce.commerce.shop import Tenant
from rcommerce.database import Connection

_COLUMNS = """select id, slug, name, currency, status, shard, coalesce(epoch, 1) as epoch,
  time_zone, channel
  from tenant left join tenant_directory on tenant_id = id"""


async def by_id(conn: Connection, tenant_id: UUID) -> Tenant | None:
    """The tenant of this id."""
    return await conn.record(Tenant, f"{_COLUMNS} where id = %(id)s", {"id": tenant_id})


async def find_by_host(conn: Connection, host: str) -> Tenant | None:
    """The tenant with this host name, otherwise the default one."""
    sql = f"""
        ({_COLUMNS} where hosts @> array[%(host)s::text] limit 1)
        union all
        ({_COLUMNS} where is_default)
        limit 1
        """
    return await conn.record(Tenant, sql, {"host": host})


async def by_slug(conn: Connection, slug: str) -> Tenant | None:
    """The tenant of this slug."""
    return await conn.record(Tenant, f"{_COLUMNS} where slug = %(slug)s", {"slug": slug})


async def every(conn: Connection) -> list[Tenant]:
    """Every tenant, by slug."""
    return await conn.records(Tenant, f"{_COLUMNS} order by slug")


async def insert(conn: Connection, tenant: Tenant, hosts: list[str]) -> bool:
    """A new tenant with its shard; False if its slug is taken."""
    return bool(
        await conn.execute(
            """
            with made as (
                insert into tenant (id, slug, name, currency, time_zone, hosts)
                values (%(id)s, %(slug)s, %(name)s, %(currency)s, %(time_zone)s, %(hosts)s)
                on conflict (slug) do nothing
                returning id
            )
            insert into tenant_directory (tenant_id, shard, epoch)
            select id, %(shard)s, %(epoch)s from made
            """,
            {
                "id": tenant.id,
                "slug": tenant.slug,
                "name": tenant.name,
                "currency": tenant.currency,
                "time_zone": tenant.time_zone,
                "hosts": hosts,
                "shard": tenant.shard,
                "epoch": tenant.epoch,
            },
        )
    )


async def place(conn: Connection, tenant: Tenant) -> None:
    """Stores the shard of a tenant that has none yet."""
    await conn.execute(
        """
        insert into tenant_directory (tenant_id, shard, epoch)
        values (%(id)s, %(shard)s, %(epoch)s)
        on conflict do nothing
        """,
        {"id": tenant.id, "shard": tenant.shard, "epoch": tenant.epoch},
    )


async def welcome(conn: Connection, tenant: Tenant, location_id: UUID) -> None:
    """On its shard: the rows that a tenant's other rows refer to, a location, and its placement.
    Repeating it changes nothing."""
    params = {
        "id": tenant.id,
        "slug": tenant.slug,
        "name": tenant.name,
        "currency": tenant.currency,
        "epoch": tenant.epoch,
        "location": location_id,
    }
    await conn.execute(
        """
        insert into tenant (id, slug, name, currency)
        values (%(id)s, %(slug)s, %(name)s, %(currency)s)
        on conflict (id) do nothing
        """,
        params,
    )
    await conn.execute(
        """
        insert into location (tenant_id, id, name, is_default)
        select %(id)s, %(location)s, 'Main warehouse', true
         where not exists (select from location where tenant_id = %(id)s)
        """,
        params,
    )
    await conn.execute(
        """
        insert into tenant_placement (tenant_id, epoch, state)
        values (%(id)s, %(epoch)s, 'active')
        on conflict do nothing
        """,
        params,
    )


async def unplaced(conn: Connection) -> list[Tenant]:
    """Tenants that are missing from the directory."""
    return await conn.records(Tenant, f"{_COLUMNS} where shard is null order by id")


async def has_rows(conn: Connection, tenant: UUID) -> bool:
    """Whether this database holds any data of a tenant."""
    return bool(
        await conn.value(
            """
            select exists (select from product where tenant_id = %(tenant)s)
                or exists (select from customer where tenant_id = %(tenant)s)
                or exists (select from cart where tenant_id = %(tenant)s)
                or exists (select from sales_order where tenant_id = %(tenant)s)
            """,
            {"tenant": tenant},
        )
    )


async def details(conn: Connection, tenant: UUID) -> dict[str, Any]:
    """The control database's data about a tenant."""
    rows = await conn.dicts(
        """
        select id, slug, name, currency, status, hosts, created_at, d.shard, d.epoch,
               m.phase as move, m.target as moves_to
          from tenant t
          left join tenant_directory d on d.tenant_id = t.id
          left join tenant_move m on m.tenant_id = t.id
         where id = %(tenant)s
        """,
        {"tenant": tenant},
    )
    return rows[0]


async def placement(conn: Connection, tenant: UUID) -> str | None:
    """A shard's state of a tenant: active, fenced or left; None if it does not know it."""
    state: str | None = await conn.value(
        "select state from tenant_placement where tenant_id = %(tenant)s", {"tenant": tenant}
    )
    return state


async def residents(conn: Connection) -> dict[str, tuple[int, int, int]]:
    """For each shard how many tenants are there, are coming and are leaving."""
    rows = await conn.all(
        """
        select shard, sum(here)::int, sum(coming)::int, sum(going)::int
          from (select shard, 1 as here, 0 as coming, 0 as going from tenant_directory
                union all
                select target, 0, 1, 0 from tenant_move
                union all
                select source, 0, 0, 1 from tenant_move) found
         group by shard
        """
    )
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


async def set_status(conn: Connection, tenant: UUID, status: str) -> None:
    """Sets a shop's status."""
    await conn.execute(
        """
        with changed as (update tenant set status = %(status)s where id = %(tenant)s)
        update tenant_directory set changed_at = now() where tenant_id = %(tenant)s
        """,
        {"tenant": tenant, "status": status},
    )


async def configure(conn: Connection, tenant: UUID, values: Mapping[str, str | None]) -> None:
    """Sets columns of a shop."""
    assignments = ", ".join(f"{name} = %({name})s" for name in values)
    await conn.execute(
        f"""
        with changed as (update tenant set {assignments} where id = %(_tenant)s)
        update tenant_directory set changed_at = now() where tenant_id = %(_tenant)s
        """,
        {**values, "_tenant": tenant},
    )


async def changed_since(conn: Connection, moment: datetime | None) -> tuple[datetime, list[UUID]]:
    """The database's time, and the tenants whose shard, status or settings have changed since
    `moment`, if given.

    The range begins a few seconds earlier, so that late commits are not missed.
    """
    rows = await conn.all(
        """
        select now(), array_agg(tenant_id) filter (where tenant_id is not null)
          from tenant_directory
         where changed_at > %(moment)s::timestamptz - interval '10 seconds'
        """,
        {"moment": moment},
    )
    return rows[0][0], rows[0][1] or []


async def insert_key(
    conn: Connection,
    tenant: UUID,
    prefix: str,
    secret_hash: bytes,
    name: str,
    scopes: list[str],
    channel: str | None,
) -> None:
    """Inserts an API key; only the hash of its secret is stored."""
    await conn.execute(
        """
        insert into api_key (prefix, tenant_id, secret_hash, name, scopes, channel)
        values (%(prefix)s, %(tenant)s, %(hash)s, %(name)s, %(scopes)s, %(channel)s)
        """,
        {
            "prefix": prefix,
            "tenant": tenant,
            "hash": secret_hash,
            "name": name,
            "scopes": scopes,
            "channel": channel,
        },
    )


async def key(conn: Connection, prefix: str) -> Any:
    """(tenant_id, secret_hash, scopes, channel) of a key that is not revoked, or None."""
    return await conn.one_or_none(
        """
        select tenant_id, secret_hash, scopes, channel from api_key
         where prefix = %(prefix)s and revoked_at is null
        """,
        {"prefix": prefix},
    )


async def keys(conn: Connection, tenant: UUID) -> list[dict[str, Any]]:
    """The tenant's keys, without their secrets."""
    return await conn.dicts(
        """
        select prefix, name, scopes, channel, created_at, revoked_at from api_key
         where tenant_id = %(tenant)s order by created_at
        """,
        {"tenant": tenant},
    )


async def revoke_key(conn: Connection, tenant: UUID, prefix: str) -> bool:
    """Revokes a key; False if there is none."""
    return bool(
        await conn.execute(
            """
            update api_key set revoked_at = now()
             where (tenant_id, prefix) = (%(tenant)s, %(prefix)s) and revoked_at is null
            """,
            {"tenant": tenant, "prefix": prefix},
        )
    )
