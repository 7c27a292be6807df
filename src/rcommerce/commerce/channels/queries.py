"""SQL of channels."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from rcommerce.commerce.channels.schema import Channel
from rcommerce.commerce.paging import Key, Window, list_sql
from rcommerce.database import Connection

_JSON = """json_build_object(
    'id', t.id, 'slug', t.slug, 'name', t.name, 'currency', t.currency, 'country', t.country,
    'prices_include_tax', t.prices_include_tax, 'is_active', t.is_active, 'listed', t.listed,
    'locations', coalesce(channel_locations(t.tenant_id, t.id), '{}'),
    'created_at', rfc3339(t.created_at), 'updated_at', rfc3339(t.updated_at))"""
KEYS = (Key("t.slug", "text"), Key("t.id", "uuid"))
# What a name in a path means: an id, or a slug.
_THIS = "t.tenant_id = %(tenant)s and (t.slug = %(key)s or t.id::text = %(key)s)"


async def active(conn: Connection, tenant: UUID) -> list[Channel]:
    """The channels that requests can name."""
    body = await conn.json(
        """
        select coalesce(json_agg(json_build_object(
                   'id', t.id, 'slug', t.slug, 'currency', t.currency, 'country', t.country,
                   'prices_include_tax', t.prices_include_tax) order by t.slug), '[]')
          from channel t where t.tenant_id = %(tenant)s and t.is_active
        """,
        {"tenant": tenant},
    )
    return msgspec.json.decode(body, type=list[Channel])


async def one(conn: Connection, tenant: UUID, key: str) -> tuple[str, bytes] | None:
    """Version and JSON of a channel, by its id or slug."""
    row = await conn.raw_row(
        f"select t.version::text, json_build_object('channel', {_JSON}) from channel t"
        f" where {_THIS}",
        {"tenant": tenant, "key": key},
    )
    return (row[0].decode(), row[1]) if row else None


async def page(conn: Connection, tenant: UUID, window: Window) -> bytes:
    """A page of channels as JSON."""
    sql = list_sql(
        name="channels",
        table="channel",
        where="t.tenant_id = %(tenant)s",
        row=_JSON,
        keys=KEYS,
        descending=False,
        window=window,
    )
    return await conn.json(sql, {"tenant": tenant, **window.params()})


async def lock(conn: Connection, tenant: UUID, key: str) -> tuple[UUID, int, str] | None:
    """Locks a channel's row: (id, version, slug)."""
    row = await conn.one_or_none(
        f"select t.id, t.version, t.slug from channel t where {_THIS} for no key update",
        {"tenant": tenant, "key": key},
    )
    return row and (row[0], row[1], row[2])


async def update(conn: Connection, tenant: UUID, channel: UUID, values: Mapping[str, Any]) -> None:
    """Sets columns of a channel."""
    assignments = "".join(f"{name} = %({name})s, " for name in values)
    await conn.execute(
        f"""
        update channel set {assignments} version = version + 1, updated_at = now()
         where (tenant_id, id) = (%(_tenant)s, %(_channel)s)
        """,
        {**values, "_tenant": tenant, "_channel": channel},
    )


async def set_locations(
    conn: Connection, tenant: UUID, channel: UUID, locations: Sequence[UUID]
) -> None:
    """Sets where a channel's orders are served from."""
    await conn.execute(
        """
        with gone as (
            delete from channel_location
             where (tenant_id, channel_id) = (%(tenant)s, %(channel)s)
               and location_id <> all(%(locations)s::uuid[]))
        insert into channel_location (tenant_id, channel_id, location_id)
        select %(tenant)s, %(channel)s, w.location_id
          from unnest(%(locations)s::uuid[]) as w (location_id)
         order by w.location_id
        on conflict do nothing
        """,
        {"tenant": tenant, "channel": channel, "locations": list(locations)},
    )


async def delete(conn: Connection, tenant: UUID, channel: UUID) -> None:
    """Deletes a channel."""
    await conn.execute(
        "delete from channel where (tenant_id, id) = (%(tenant)s, %(channel)s)",
        {"tenant": tenant, "channel": channel},
    )


async def put_product(
    conn: Connection,
    tenant: UUID,
    channel: UUID,
    product: UUID,
    since: datetime | None,
    until: datetime | None,
) -> bytes:
    """Sets when a product is sold in a channel; as JSON."""
    return await conn.json(
        """
        insert into channel_product as t
            (tenant_id, channel_id, product_id, available_from, available_until)
        values (%(tenant)s, %(channel)s, %(product)s, %(since)s, %(until)s)
        on conflict (tenant_id, channel_id, product_id) do update
           set available_from = excluded.available_from,
               available_until = excluded.available_until
        returning json_build_object('listing', json_build_object(
            'channel_id', t.channel_id, 'product_id', t.product_id,
            'available_from', rfc3339(t.available_from),
            'available_until', rfc3339(t.available_until)))
        """,
        {"tenant": tenant, "channel": channel, "product": product, "since": since, "until": until},
    )


async def remove_product(conn: Connection, tenant: UUID, channel: UUID, product: UUID) -> bool:
    """Removes a product from those chosen for a channel; False if it is not among them."""
    return bool(
        await conn.execute(
            """
            delete from channel_product
             where (tenant_id, channel_id, product_id) = (%(tenant)s, %(channel)s, %(product)s)
            """,
            {"tenant": tenant, "channel": channel, "product": product},
        )
    )


async def list_products(
    conn: Connection,
    tenant: UUID,
    channels: Sequence[UUID] | None,
    products: Sequence[UUID] | None = None,
) -> None:
    """Computes the prices of lists of products anew: for these channels and products, or all. A
    transaction locks no row after it."""
    await conn.execute(
        "select list_products(%(tenant)s, %(channels)s::uuid[], %(products)s::uuid[])",
        {
            "tenant": tenant,
            "channels": None if channels is None else list(channels),
            "products": None if products is None else list(products),
        },
    )


async def with_old_listings(conn: Connection) -> list[UUID]:
    """Tenants of this shard with listings that began or ended since they were made."""
    rows = await conn.all(
        """
        select p.tenant_id from tenant_placement p
         where p.state = 'active' and (
            (select min(l.starts_at) from channel_listing l
              where l.tenant_id = p.tenant_id and l.is_to_come) <= now()
            or (select min(l.ends_at) from channel_listing l
                 where l.tenant_id = p.tenant_id and l.ends_at < 'infinity') <= now())
        """
    )
    return [row[0] for row in rows]


async def renew_listings(conn: Connection, tenant: UUID) -> None:
    """Removes a shop's listings that have ended; those that have begun are no longer to come."""
    await conn.execute("select renew_listings(%(tenant)s)", {"tenant": tenant})


async def begin_channel(conn: Connection, tenant: UUID) -> None:
    """Waits for transactions that change variants and have seen no channel; those that begin later
    see the new one."""
    await conn.execute(
        "select pg_advisory_xact_lock(hashtextextended('channels ' || %(tenant)s::text, 0))",
        {"tenant": tenant},
    )
