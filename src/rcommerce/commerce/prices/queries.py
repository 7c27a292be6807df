"""SQL of price lists and exchange rates."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from rcommerce.commerce.paging import Key, Window, list_sql
from rcommerce.commerce.prices.schema import ExchangeRate, NewPrice, PriceKey
from rcommerce.database import Connection

_JSON = """json_build_object(
    'id', t.id, 'name', t.name, 'currency', t.currency,
    'channel_ids', array(
        select c.channel_id from price_list_channel c
         where (c.tenant_id, c.price_list_id) = (t.tenant_id, t.id) order by c.channel_id),
    'customer_group_ids', array(
        select g.group_id from price_list_group g
         where (g.tenant_id, g.price_list_id) = (t.tenant_id, t.id) order by g.group_id),
    'priority', t.priority, 'starts_at', rfc3339(t.starts_at), 'ends_at', rfc3339(t.ends_at),
    'is_active', t.is_active,
    'adjustment', case when t.adjustment_type is not null then json_build_object(
        'type', t.adjustment_type, 'value', t.adjustment_value::text) end,
    'created_at', rfc3339(t.created_at), 'updated_at', rfc3339(t.updated_at))"""
KEYS = (Key("t.created_at", "timestamptz"), Key("t.id", "uuid"))
PRICE_KEYS = (Key("t.variant_id", "uuid"), Key("t.min_quantity", "int"))


class Held(NamedTuple):
    """A locked price list."""

    version: int
    currency: str
    starts_at: datetime | None
    ends_at: datetime | None
    has_adjustment: bool
    channels: list[UUID]


async def one(conn: Connection, tenant: UUID, price_list: UUID) -> tuple[str, bytes] | None:
    """Version and JSON of a price list."""
    row = await conn.raw_row(
        f"""
        select t.version::text, json_build_object('price_list', {_JSON}) from price_list t
         where (t.tenant_id, t.id) = (%(tenant)s, %(price_list)s)
        """,
        {"tenant": tenant, "price_list": price_list},
    )
    return (row[0].decode(), row[1]) if row else None


async def page(conn: Connection, tenant: UUID, window: Window) -> bytes:
    """A page of price lists as JSON, newest first."""
    sql = list_sql(
        name="price_lists",
        table="price_list",
        where="t.tenant_id = %(tenant)s",
        row=_JSON,
        keys=KEYS,
        descending=True,
        window=window,
    )
    return await conn.json(sql, {"tenant": tenant, **window.params()})


async def lock(conn: Connection, tenant: UUID, price_list: UUID) -> Held | None:
    """Locks a price list's row."""
    row = await conn.one_or_none(
        """
        select t.version, t.currency, t.starts_at, t.ends_at, t.adjustment_type is not null
          from price_list t where (t.tenant_id, t.id) = (%(tenant)s, %(price_list)s)
           for no key update
        """,
        {"tenant": tenant, "price_list": price_list},
    )
    if row is None:
        return None
    channels = await conn.all(
        """
        select channel_id from price_list_channel
         where (tenant_id, price_list_id) = (%(tenant)s, %(price_list)s)
        """,
        {"tenant": tenant, "price_list": price_list},
    )
    version, currency, starts_at, ends_at, adjusts = row
    their = [each[0] for each in channels]
    return Held(version, currency, starts_at, ends_at, adjusts, their)


async def update(
    conn: Connection, tenant: UUID, price_list: UUID, values: Mapping[str, Any]
) -> None:
    """Sets columns of a price list."""
    assignments = "".join(f"{name} = %({name})s, " for name in values)
    await conn.execute(
        f"""
        update price_list set {assignments} version = version + 1, updated_at = now()
         where (tenant_id, id) = (%(_tenant)s, %(_list)s)
        """,
        {**values, "_tenant": tenant, "_list": price_list},
    )


async def delete(conn: Connection, tenant: UUID, price_list: UUID) -> None:
    """Deletes a price list with its prices."""
    await conn.execute(
        "delete from price_list where (tenant_id, id) = (%(tenant)s, %(price_list)s)",
        {"tenant": tenant, "price_list": price_list},
    )


async def currencies(conn: Connection, tenant: UUID, channels: Sequence[UUID]) -> dict[UUID, str]:
    """The currencies of channels, by their ids."""
    rows = await conn.all(
        """
        select id, currency from channel
         where tenant_id = %(tenant)s and id = any(%(channels)s::uuid[])
        """,
        {"tenant": tenant, "channels": list(channels)},
    )
    return {row[0]: row[1] for row in rows}


async def set_channels(
    conn: Connection, tenant: UUID, price_list: UUID, currency: str, channels: Sequence[UUID]
) -> None:
    """Sets the channels that a price list is for."""
    await conn.execute(
        """
        with gone as (
            delete from price_list_channel
             where (tenant_id, price_list_id) = (%(tenant)s, %(price_list)s)
               and channel_id <> all(%(channels)s::uuid[]))
        insert into price_list_channel (tenant_id, price_list_id, channel_id, currency)
        select %(tenant)s, %(price_list)s, w.channel_id, %(currency)s
          from unnest(%(channels)s::uuid[]) as w (channel_id)
         order by w.channel_id
        on conflict do nothing
        """,
        {
            "tenant": tenant,
            "price_list": price_list,
            "currency": currency,
            "channels": list(channels),
        },
    )


async def set_groups(
    conn: Connection, tenant: UUID, price_list: UUID, groups: Sequence[UUID]
) -> None:
    """Sets the customer groups that a price list is for."""
    await conn.execute(
        """
        with gone as (
            delete from price_list_group
             where (tenant_id, price_list_id) = (%(tenant)s, %(price_list)s)
               and group_id <> all(%(groups)s::uuid[]))
        insert into price_list_group (tenant_id, price_list_id, group_id)
        select %(tenant)s, %(price_list)s, w.group_id
          from unnest(%(groups)s::uuid[]) as w (group_id)
         order by w.group_id
        on conflict do nothing
        """,
        {"tenant": tenant, "price_list": price_list, "groups": list(groups)},
    )


async def named(conn: Connection, tenant: UUID, name: str) -> list[tuple[UUID, str]]:
    """(id, currency) of the price lists with this name or id."""
    rows = await conn.all(
        """
        select id, currency from price_list
         where tenant_id = %(tenant)s and (name = %(name)s or id::text = %(name)s)
         order by created_at
        """,
        {"tenant": tenant, "name": name},
    )
    return [(row[0], row[1]) for row in rows]


async def by_sku(conn: Connection, tenant: UUID, skus: Sequence[str]) -> dict[str, UUID]:
    """Variants by their SKUs; missing ones are left out."""
    rows = await conn.all(
        """
        select sku, id from variant
         where tenant_id = %(tenant)s and sku = any(%(skus)s::text[])
        """,
        {"tenant": tenant, "skus": list(skus)},
    )
    return {row[0]: row[1] for row in rows}


async def products_of(conn: Connection, tenant: UUID, price_list: UUID) -> list[UUID]:
    """The products that a price list has prices for."""
    rows = await conn.all(
        """
        select distinct v.product_id
          from list_price p join variant v on (v.tenant_id, v.id) = (p.tenant_id, p.variant_id)
         where (p.tenant_id, p.price_list_id) = (%(tenant)s, %(price_list)s)
        """,
        {"tenant": tenant, "price_list": price_list},
    )
    return [row[0] for row in rows]


async def products(conn: Connection, tenant: UUID, variants: Sequence[UUID]) -> dict[UUID, UUID]:
    """The products of variants, by the variants' ids; missing ones are left out."""
    rows = await conn.all(
        """
        select id, product_id from variant
         where tenant_id = %(tenant)s and id = any(%(variants)s::uuid[])
        """,
        {"tenant": tenant, "variants": list(variants)},
    )
    return {row[0]: row[1] for row in rows}


async def put_prices(
    conn: Connection, tenant: UUID, price_list: UUID, currency: str, new: Sequence[NewPrice]
) -> int:
    """Sets prices of a list, in a fixed order of rows; returns how many have changed."""
    return await conn.execute(
        """
        insert into list_price
            (tenant_id, price_list_id, variant_id, min_quantity, currency, amount, compare_at)
        select %(tenant)s, %(price_list)s, w.variant_id, w.min_quantity, %(currency)s, w.amount,
               w.compare_at
          from unnest(%(variants)s::uuid[], %(quantities)s::int[], %(amounts)s::numeric[],
                      %(compare_at)s::numeric[])
               as w (variant_id, min_quantity, amount, compare_at)
         order by w.variant_id, w.min_quantity
        on conflict (tenant_id, price_list_id, variant_id, min_quantity) do update
           set amount = excluded.amount, compare_at = excluded.compare_at
         where (list_price.amount, list_price.compare_at)
               is distinct from (excluded.amount, excluded.compare_at)
        """,
        {
            "tenant": tenant,
            "price_list": price_list,
            "currency": currency,
            "variants": [each.variant_id for each in new],
            "quantities": [each.min_quantity for each in new],
            "amounts": [each.amount for each in new],
            "compare_at": [each.compare_at for each in new],
        },
    )


async def remove_prices(
    conn: Connection, tenant: UUID, price_list: UUID, keys: Sequence[PriceKey]
) -> int:
    """Removes prices of a list; returns how many."""
    return await conn.execute(
        """
        delete from list_price p
         using unnest(%(variants)s::uuid[], %(quantities)s::int[]) as w (variant_id, min_quantity)
         where (p.tenant_id, p.price_list_id, p.variant_id)
               = (%(tenant)s, %(price_list)s, w.variant_id)
           and (w.min_quantity is null or p.min_quantity = w.min_quantity)
        """,
        {
            "tenant": tenant,
            "price_list": price_list,
            "variants": [each.variant_id for each in keys],
            "quantities": [each.min_quantity for each in keys],
        },
    )


async def price_page(conn: Connection, tenant: UUID, price_list: UUID, window: Window) -> bytes:
    """A page of a list's prices as JSON."""
    sql = list_sql(
        name="prices",
        table="list_price",
        where="(t.tenant_id, t.price_list_id) = (%(tenant)s, %(price_list)s)",
        row="""json_build_object(
            'variant_id', t.variant_id,
            'sku', (select v.sku from variant v
                     where (v.tenant_id, v.id) = (t.tenant_id, t.variant_id)),
            'min_quantity', t.min_quantity, 'amount', t.amount::text,
            'compare_at', t.compare_at::text)""",
        keys=PRICE_KEYS,
        descending=False,
        window=window,
    )
    return await conn.json(sql, {"tenant": tenant, "price_list": price_list, **window.params()})


async def rates(conn: Connection, tenant: UUID) -> bytes:
    """A shop's exchange rates as JSON."""
    return await conn.json(
        """
        select json_build_object('exchange_rates', coalesce(json_agg(json_build_object(
                   'from', from_currency, 'to', to_currency, 'rate', rate::text,
                   'rounding', rounding, 'is_automatic', is_automatic)
                   order by from_currency, to_currency), '[]'))
          from exchange_rate where tenant_id = %(tenant)s
        """,
        {"tenant": tenant},
    )


async def set_rates(conn: Connection, tenant: UUID, new: Sequence[ExchangeRate]) -> None:
    """Replaces a shop's exchange rates."""
    await conn.execute("delete from exchange_rate where tenant_id = %(tenant)s", {"tenant": tenant})
    await conn.execute(
        """
        insert into exchange_rate
            (tenant_id, from_currency, to_currency, rate, rounding, is_automatic)
        select %(tenant)s, w.source, w.target, w.rate, w.rounding, w.is_automatic
          from unnest(%(sources)s::text[], %(targets)s::text[], %(rates)s::numeric[],
                      %(roundings)s::text[], %(automatic)s::boolean[])
               as w (source, target, rate, rounding, is_automatic)
        """,
        {
            "tenant": tenant,
            "sources": [each.source for each in new],
            "targets": [each.target for each in new],
            "rates": [each.rate for each in new],
            "roundings": [each.rounding for each in new],
            "automatic": [each.is_automatic for each in new],
        },
    )


async def with_automatic_rates(conn: Connection) -> list[UUID]:
    """Tenants of this shard with automatic exchange rates."""
    rows = await conn.all(
        """
        select p.tenant_id from tenant_placement p
         where p.state = 'active' and exists (
            select from exchange_rate r where r.tenant_id = p.tenant_id and r.is_automatic)
        """
    )
    return [row[0] for row in rows]


async def automatic_rates(conn: Connection, tenant: UUID) -> list[tuple[str, str]]:
    """(from, to) of the automatic exchange rates."""
    rows = await conn.all(
        """
        select from_currency, to_currency from exchange_rate
         where tenant_id = %(tenant)s and is_automatic
         order by from_currency, to_currency
        """,
        {"tenant": tenant},
    )
    return [(row[0], row[1]) for row in rows]


async def update_rates(
    conn: Connection, tenant: UUID, rates: Mapping[tuple[str, str], Decimal]
) -> int:
    """Sets automatic exchange rates; returns how many have changed."""
    return await conn.execute(
        """
        update exchange_rate r set rate = w.rate, updated_at = now()
          from unnest(%(sources)s::text[], %(targets)s::text[], %(rates)s::numeric[])
               as w (source, target, rate)
         where (r.tenant_id, r.from_currency, r.to_currency) = (%(tenant)s, w.source, w.target)
           and r.is_automatic and r.rate <> w.rate
        """,
        {
            "tenant": tenant,
            "sources": [source for source, _ in rates],
            "targets": [target for _, target in rates],
            "rates": list(rates.values()),
        },
    )


async def explained(
    conn: Connection,
    tenant: UUID,
    product: UUID,
    *,
    channel: UUID | None,
    currency: str,
    groups: Sequence[UUID],
    quantity: int,
    moment: datetime,
) -> bytes | None:
    """All that a product's variants could cost, as a JSON list; None: there is no such product."""
    return await conn.json_or_none(
        """
        select case when exists (select from product p
                                  where (p.tenant_id, p.id) = (%(tenant)s, %(product)s)) then (
            select coalesce(json_agg(json_build_object(
                       'variant_id', v.id, 'sku', v.sku, 'title', v.title,
                       'amount', possible.list -> 0 ->> 'amount',
                       'compare_at', possible.list -> 0 ->> 'compare_at',
                       'price_list_id', possible.list -> 0 ->> 'price_list_id',
                       'possible', possible.list) order by v.position, v.id), '[]')
              from variant v
             cross join lateral (
                select coalesce(json_agg(json_build_object(
                           'amount', p.amount::text, 'compare_at', p.compare_at::text,
                           'price_list_id', p.price_list_id, 'price_list', l.name,
                           'priority', p.priority)
                           order by p.priority desc nulls last, p.amount, p.price_list_id), '[]')
                  from possible_prices(%(tenant)s, %(channel)s, %(currency)s, %(groups)s::uuid[],
                                       v.id, %(quantity)s, %(moment)s) p
                  left join price_list l on (l.tenant_id, l.id) = (%(tenant)s, p.price_list_id)
                 where %(channel)s::uuid is not null or p.price_list_id is null) possible (list)
             where (v.tenant_id, v.product_id) = (%(tenant)s, %(product)s)) end
        """,
        {
            "tenant": tenant,
            "product": product,
            "channel": channel,
            "currency": currency,
            "groups": list(groups),
            "quantity": quantity,
            "moment": moment,
        },
    )
