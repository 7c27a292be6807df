"""SQL of stock. A level is changed only by a conditional statement, rows in a fixed order; the same
statement writes the movement with its reason."""

from collections.abc import Sequence
from uuid import UUID

from rcommerce.commerce.inventory.schema import Level, Short
from rcommerce.commerce.paging import Key, Window, list_sql
from rcommerce.database import Connection

_LEVEL = "variant_id, location_id, on_hand, reserved, on_hand - reserved as available"


_IN_CHANNEL = """
               and (channel_locations(%(tenant)s, %(channel)s) is null
                    or level.location_id = any(channel_locations(%(tenant)s, %(channel)s)))"""


async def reserve(
    conn: Connection,
    tenant: UUID,
    *,
    variants: list[UUID],
    quantities: list[int],
    order: UUID | None,
    reservation: UUID | None,
    ttl_s: int,
    reason: str,
    actor: str,
    channel: UUID | None = None,
) -> list[Short]:
    """Reserves units of every line, or of none: returns the lines that are short.

    Units come from the default location first, then from others, of the channel's locations. A
    variant that may be oversold (`inventory_policy` continue) reserves what is there; one that is
    not tracked reserves nothing.
    """
    in_channel = "" if channel is None else _IN_CHANNEL
    return await conn.records(
        Short,
        f"""
        with line as (
            select w.variant_id, w.quantity, v.tracks_inventory, v.inventory_policy
              from unnest(%(variants)s::uuid[], %(quantities)s::bigint[])
                   as w (variant_id, quantity)
              join variant v on (v.tenant_id, v.id) = (%(tenant)s, w.variant_id)
        ), stock as (
            select level.variant_id, level.location_id, level.on_hand - level.reserved as free,
                   place.is_default
              from line
              join inventory_level level
                on (level.tenant_id, level.variant_id) = (%(tenant)s, line.variant_id)
              join location place
                on (place.tenant_id, place.id) = (%(tenant)s, level.location_id)
             where line.tracks_inventory{in_channel}
             order by level.variant_id, level.location_id
               for update of level
        ), share as (
            select stock.variant_id, stock.location_id,
                   least(stock.free, greatest(0, line.quantity - coalesce(sum(stock.free) over (
                       partition by stock.variant_id
                       order by stock.is_default desc, stock.location_id
                       rows between unbounded preceding and 1 preceding), 0)))::bigint as taken
              from stock join line using (variant_id)
        ), short as (
            select line.variant_id, line.quantity,
                   coalesce(sum(share.taken), 0)::bigint as available
              from line left join share using (variant_id)
             where line.tracks_inventory and line.inventory_policy = 'deny'
             group by line.variant_id, line.quantity
            having coalesce(sum(share.taken), 0) < line.quantity
        ), moved as (
            update inventory_level level
               set reserved = level.reserved + share.taken, updated_at = now()
              from share
             where (level.tenant_id, level.variant_id, level.location_id)
                   = (%(tenant)s, share.variant_id, share.location_id)
               and share.taken > 0
               and not exists (select from short)
            returning level.variant_id, level.location_id, share.taken
        ), held as (
            insert into reservation
                (tenant_id, id, variant_id, location_id, quantity, order_id, expires_at)
            select %(tenant)s, coalesce(%(reservation)s::uuid, new_id()), variant_id, location_id,
                   taken, %(order)s, now() + make_interval(secs => %(ttl_s)s)
              from moved
        ), noted as (
            insert into inventory_movement
                (tenant_id, id, variant_id, location_id, kind, reserved_change, reason, order_id,
                 actor)
            select %(tenant)s, new_id(), variant_id, location_id, 'reserve', taken, %(reason)s,
                   %(order)s, %(actor)s
              from moved
        )
        select variant_id, quantity, available from short
        """,
        {
            "tenant": tenant,
            "variants": variants,
            "quantities": quantities,
            "order": order,
            "reservation": reservation,
            "ttl_s": ttl_s,
            "reason": reason,
            "actor": actor,
            **({} if channel is None else {"channel": channel}),
        },
    )


# Releases reserved units, from a CTE `gone` of deleted reservations.
_RELEASE = """
        , ordered as (
            select gone.tenant_id, gone.variant_id, gone.location_id, gone.order_id,
                   sum(gone.quantity)::bigint as quantity
              from gone group by 1, 2, 3, 4
        ), locked as (
            select level.tenant_id, level.variant_id, level.location_id
              from inventory_level level
             where level.tenant_id = %(tenant)s
               and (level.variant_id, level.location_id)
                   in (select variant_id, location_id from ordered)
             order by 1, 2, 3
               for update
        ), back as (
            update inventory_level level
               set reserved = level.reserved - total.quantity, updated_at = now()
              from locked
              join (select tenant_id, variant_id, location_id, sum(quantity) as quantity
                      from ordered group by 1, 2, 3) total
             using (tenant_id, variant_id, location_id)
             where (level.tenant_id, level.variant_id, level.location_id)
                   = (locked.tenant_id, locked.variant_id, locked.location_id)
        ), noted as (
            insert into inventory_movement
                (tenant_id, id, variant_id, location_id, kind, reserved_change, reason, order_id,
                 actor)
            select tenant_id, new_id(), variant_id, location_id, 'release', -quantity, %(reason)s,
                   order_id, %(actor)s
              from ordered
        )
        select count(*) from gone
        """


async def release_order(
    conn: Connection, tenant: UUID, order: UUID, *, reason: str, actor: str
) -> int:
    """Releases an order's reservations; returns how many."""
    count = await conn.value(
        """
        with gone as (
            delete from reservation where (tenant_id, order_id) = (%(tenant)s, %(order)s)
            returning tenant_id, variant_id, location_id, order_id, quantity
        )
        """
        + _RELEASE,
        {"tenant": tenant, "order": order, "reason": reason, "actor": actor},
    )
    return int(count)


async def release(
    conn: Connection, tenant: UUID, reservation: UUID, *, reason: str, actor: str
) -> int:
    """Releases one reservation made by hand; returns 0 if there is none."""
    count = await conn.value(
        """
        with gone as (
            delete from reservation
             where (tenant_id, id) = (%(tenant)s, %(reservation)s) and order_id is null
            returning tenant_id, variant_id, location_id, order_id, quantity
        )
        """
        + _RELEASE,
        {"tenant": tenant, "reservation": reservation, "reason": reason, "actor": actor},
    )
    return int(count)


async def with_expired(conn: Connection) -> list[UUID]:
    """Tenants of this shard with expired reservations made by hand."""
    rows = await conn.all(
        """
        select p.tenant_id from tenant_placement p
         where p.state = 'active' and exists (
            select from reservation r
             where r.tenant_id = p.tenant_id and r.expires_at < now() and r.order_id is null)
        """
    )
    return [row[0] for row in rows]


async def release_expired(conn: Connection, tenant: UUID, limit: int) -> int:
    """Releases expired reservations that were made by hand.

    An order's reservation expires with the order: see the checkout's sweep.
    """
    count = await conn.value(
        """
        with due as (
            select id from reservation
             where tenant_id = %(tenant)s and expires_at < now() and order_id is null
             order by expires_at
             limit %(limit)s
               for update skip locked
        ), gone as (
            delete from reservation r using due
             where (r.tenant_id, r.id) = (%(tenant)s, due.id)
            returning r.tenant_id, r.variant_id, r.location_id, r.order_id, r.quantity
        )
        """
        + _RELEASE,
        {"tenant": tenant, "limit": limit, "reason": "expired", "actor": "sweep"},
    )
    return int(count)


async def sell(conn: Connection, tenant: UUID, order: UUID, *, actor: str) -> None:
    """Takes an order's reserved units out of stock."""
    await conn.later(
        """
        with gone as (
            delete from reservation where (tenant_id, order_id) = (%(tenant)s, %(order)s)
            returning variant_id, location_id, quantity
        ), locked as (
            select level.variant_id, level.location_id, total.quantity
              from (select variant_id, location_id, sum(quantity)::bigint as quantity
                      from gone group by 1, 2) total
              join inventory_level level
                on (level.tenant_id, level.variant_id, level.location_id)
                   = (%(tenant)s, total.variant_id, total.location_id)
             order by 1, 2
               for update of level
        ), sold as (
            update inventory_level level
               set on_hand = level.on_hand - locked.quantity,
                   reserved = level.reserved - locked.quantity,
                   updated_at = now()
              from locked
             where (level.tenant_id, level.variant_id, level.location_id)
                   = (%(tenant)s, locked.variant_id, locked.location_id)
        )
        insert into inventory_movement
            (tenant_id, id, variant_id, location_id, kind, on_hand_change, reserved_change,
             order_id, actor)
        select %(tenant)s, new_id(), variant_id, location_id, 'sell', -quantity, -quantity,
               %(order)s, %(actor)s
          from locked
        """,
        {"tenant": tenant, "order": order, "actor": actor},
    )


async def put_back(
    conn: Connection,
    tenant: UUID,
    *,
    variants: list[UUID],
    quantities: list[int],
    order: UUID,
    actor: str,
) -> None:
    """Returns an order's units to the default location, except those of deleted variants."""
    await conn.execute(
        """
        with line as (
            select w.variant_id, place.id as location_id, sum(w.quantity)::bigint as quantity
              from unnest(%(variants)s::uuid[], %(quantities)s::bigint[])
                   as w (variant_id, quantity)
              join variant v on (v.tenant_id, v.id) = (%(tenant)s, w.variant_id)
              join location place on place.tenant_id = %(tenant)s and place.is_default
             where v.tracks_inventory
             group by 1, 2
        ), moved as (
            insert into inventory_level as level (tenant_id, variant_id, location_id, on_hand)
            select %(tenant)s, variant_id, location_id, quantity from line order by 1, 2, 3
            on conflict (tenant_id, variant_id, location_id)
            do update set on_hand = level.on_hand + excluded.on_hand, updated_at = now()
        )
        insert into inventory_movement
            (tenant_id, id, variant_id, location_id, kind, on_hand_change, order_id, actor)
        select %(tenant)s, new_id(), variant_id, location_id, 'return', quantity, %(order)s,
               %(actor)s
          from line
        """,
        {
            "tenant": tenant,
            "variants": variants,
            "quantities": quantities,
            "order": order,
            "actor": actor,
        },
    )


async def change(
    conn: Connection,
    tenant: UUID,
    *,
    variant: UUID,
    location: UUID | None,
    kind: str,
    by: int | None,
    to: int | None,
    reason: str,
    actor: str,
) -> Level | None:
    """Adds `by` units, or sets on_hand `to`, at a location (None: the default one).

    Returns the level afterwards; None if there is no such level, or if less than what is reserved
    would remain: nothing has changed then.
    """
    return await conn.record(
        Level,
        f"""
        with place as (
            select id from location
             where tenant_id = %(tenant)s
               and case when %(location)s::uuid is null then is_default
                        else id = %(location)s end
        ), before as (
            select level.variant_id, level.location_id, level.on_hand, level.reserved
              from inventory_level level, place
             where (level.tenant_id, level.variant_id, level.location_id)
                   = (%(tenant)s, %(variant)s, place.id)
               for update of level
        ), target as (
            select variant_id, location_id, on_hand as old, reserved,
                   coalesce(%(to)s::bigint, on_hand + %(by)s::bigint) as new
              from before
        ), moved as (
            update inventory_level level
               set on_hand = target.new, updated_at = now()
              from target
             where (level.tenant_id, level.variant_id, level.location_id)
                   = (%(tenant)s, target.variant_id, target.location_id)
               and target.new between target.reserved and 1000000000
            returning level.*, target.new - target.old as difference
        ), noted as (
            insert into inventory_movement
                (tenant_id, id, variant_id, location_id, kind, on_hand_change, reason, actor)
            select %(tenant)s, new_id(), variant_id, location_id, %(kind)s, difference, %(reason)s,
                   %(actor)s
              from moved where difference <> 0
        )
        select {_LEVEL} from moved
        """,
        {
            "tenant": tenant,
            "variant": variant,
            "location": location,
            "kind": kind,
            "by": by,
            "to": to,
            "reason": reason,
            "actor": actor,
        },
    )


async def ensure_level(
    conn: Connection, tenant: UUID, variant: UUID, location: UUID | None
) -> bool:
    """Creates a level of zero if there is none; False if there is no such variant or location."""
    return bool(
        await conn.value(
            """
            with place as (
                select id from location
                 where tenant_id = %(tenant)s
                   and case when %(location)s::uuid is null then is_default
                            else id = %(location)s end
            ), stocked as (
                select v.id as variant_id, place.id as location_id
                  from variant v, place
                 where (v.tenant_id, v.id) = (%(tenant)s, %(variant)s)
            ), made as (
                insert into inventory_level (tenant_id, variant_id, location_id)
                select %(tenant)s, variant_id, location_id from stocked
                on conflict do nothing
            )
            select count(*) from stocked
            """,
            {"tenant": tenant, "variant": variant, "location": location},
        )
    )


async def levels(conn: Connection, tenant: UUID, variant: UUID) -> list[Level]:
    """The levels of a variant at every location."""
    return await conn.records(
        Level,
        f"""
        select {_LEVEL} from inventory_level
         where (tenant_id, variant_id) = (%(tenant)s, %(variant)s)
         order by location_id
        """,
        {"tenant": tenant, "variant": variant},
    )


async def available(
    conn: Connection, tenant: UUID, variants: Sequence[UUID], channel: UUID | None
) -> dict[UUID, int | None]:
    """Units of variants that can be sold in a channel; None: as many as wanted."""
    rows = await conn.all(
        """
        select v.id,
               case when v.tracks_inventory and v.inventory_policy = 'deny'
                    then coalesce(sum(l.on_hand - l.reserved), 0)::bigint end
          from variant v
          left join inventory_level l
            on (l.tenant_id, l.variant_id) = (v.tenant_id, v.id)
           and (%(channel)s::uuid is null
                or channel_locations(%(tenant)s, %(channel)s) is null
                or l.location_id = any(channel_locations(%(tenant)s, %(channel)s)))
         where v.tenant_id = %(tenant)s and v.id = any(%(variants)s::uuid[])
         group by v.tenant_id, v.id
        """,
        {"tenant": tenant, "variants": list(variants), "channel": channel},
    )
    return {row[0]: row[1] for row in rows}


async def variant_exists(conn: Connection, tenant: UUID, variant: UUID) -> bool:
    """Whether the tenant has this variant."""
    return bool(
        await conn.value(
            "select true from variant where (tenant_id, id) = (%(tenant)s, %(variant)s)",
            {"tenant": tenant, "variant": variant},
        )
    )


LEVEL_KEYS = (Key("t.variant_id", "uuid"), Key("t.location_id", "uuid"))
MOVEMENT_KEYS = (Key("t.id", "uuid"),)


async def list_levels(
    conn: Connection, tenant: UUID, window: Window, location: UUID | None
) -> bytes:
    """A page of levels as JSON, by variant and location."""
    where = "t.tenant_id = %(tenant)s"
    if location is not None:
        where += " and t.location_id = %(location)s"
    row = """json_build_object(
        'variant_id', t.variant_id, 'location_id', t.location_id, 'on_hand', t.on_hand,
        'reserved', t.reserved, 'available', t.on_hand - t.reserved)"""
    sql = list_sql(
        name="levels", table="inventory_level", where=where, row=row, keys=LEVEL_KEYS,
        descending=False, window=window,
    )  # fmt: skip
    return await conn.json(sql, {"tenant": tenant, "location": location, **window.params()})


async def list_movements(
    conn: Connection, tenant: UUID, window: Window, variant: UUID | None
) -> bytes:
    """A page of movements as JSON, newest first."""
    where = "t.tenant_id = %(tenant)s"
    if variant is not None:
        where += " and t.variant_id = %(variant)s"
    row = """json_build_object(
        'id', t.id, 'variant_id', t.variant_id, 'location_id', t.location_id, 'kind', t.kind,
        'on_hand_change', t.on_hand_change, 'reserved_change', t.reserved_change,
        'reason', t.reason, 'order_id', t.order_id, 'actor', t.actor,
        'created_at', rfc3339(t.created_at))"""
    sql = list_sql(
        name="movements", table="inventory_movement", where=where, row=row, keys=MOVEMENT_KEYS,
        descending=True, window=window,
    )  # fmt: skip
    return await conn.json(sql, {"tenant": tenant, "variant": variant, **window.params()})


async def locations(conn: Connection, tenant: UUID) -> bytes:
    """The tenant's locations as JSON."""
    return await conn.json(
        """
        select json_build_object('locations', coalesce(json_agg(json_build_object(
            'id', id, 'name', name, 'is_default', is_default) order by is_default desc, name),
            '[]'))
          from location where tenant_id = %(tenant)s
        """,
        {"tenant": tenant},
    )


async def insert_location(conn: Connection, tenant: UUID, location: UUID, name: str) -> bool:
    """A new location; False if the name is taken."""
    return bool(
        await conn.execute(
            """
            insert into location (tenant_id, id, name) values (%(tenant)s, %(id)s, %(name)s)
            on conflict (tenant_id, name) do nothing
            """,
            {"tenant": tenant, "id": location, "name": name},
        )
    )
