"""SQL of promotions, coupons and their uses."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from rcommerce.commerce.paging import Key, Window, list_sql
from rcommerce.commerce.promotions.schema import CartCode, Row
from rcommerce.database import Connection

# What a row says, for the compiler.
ROW = """json_build_object(
    'id', t.id, 'title', t.title, 'type', t.type, 'currency', t.currency,
    'is_active', t.is_active, 'starts_at', rfc3339(t.starts_at),
    'expires_at', rfc3339(t.expires_at), 'priority', t.priority, 'usage_limit', t.usage_limit,
    'usage_limit_per_customer', t.usage_limit_per_customer,
    'usage_limit_per_day', t.usage_limit_per_day, 'rules', t.rules)"""
_JSON = """(jsonb_build_object(
    'id', t.id, 'title', t.title, 'description', t.description, 'type', t.type,
    'currency', t.currency, 'is_active', t.is_active, 'starts_at', rfc3339(t.starts_at),
    'expires_at', rfc3339(t.expires_at), 'priority', t.priority, 'usage_limit', t.usage_limit,
    'usage_limit_per_customer', t.usage_limit_per_customer,
    'usage_limit_per_day', t.usage_limit_per_day,
    'usage_count', coalesce(
        (select u.used from promotion_use u
          where (u.tenant_id, u.promotion_id, u.key) = (t.tenant_id, t.id, '')),
        (select count(*) from redemption r
          where (r.tenant_id, r.promotion_id) = (t.tenant_id, t.id) and r.released_at is null)),
    'created_at', rfc3339(t.created_at), 'updated_at', rfc3339(t.updated_at)) || t.rules)"""
# A coupon shows its first code; those that were generated are listed by themselves.
_CODE = """(select k.shown from coupon_code k
             where (k.tenant_id, k.promotion_id) = (t.tenant_id, t.id)
             order by k.created_at, k.code limit 1)"""
_SHOWN = {True: f"({_JSON} || jsonb_build_object('code', {_CODE}))", False: _JSON}
_NAMES = {True: ("coupon", "coupons"), False: ("promotion", "promotions")}
KEYS = (Key("t.created_at", "timestamptz"), Key("t.id", "uuid"))
USAGE_KEYS = (Key("t.redeemed_at", "timestamptz"), Key("t.order_id", "uuid"))


async def one(
    conn: Connection, tenant: UUID, promotion: UUID, *, is_coupon: bool
) -> tuple[str, bytes] | None:
    """Version and JSON of a promotion or coupon."""
    row = await conn.raw_row(
        f"""
        select t.version::text, json_build_object('{_NAMES[is_coupon][0]}', {_SHOWN[is_coupon]})
          from promotion t
         where (t.tenant_id, t.id) = (%(tenant)s, %(promotion)s) and t.is_coupon = %(is_coupon)s
        """,
        {"tenant": tenant, "promotion": promotion, "is_coupon": is_coupon},
    )
    return (row[0].decode(), row[1]) if row else None


async def page(conn: Connection, tenant: UUID, window: Window, *, is_coupon: bool) -> bytes:
    """A page of promotions or coupons as JSON, newest first."""
    sql = list_sql(
        name=_NAMES[is_coupon][1],
        table="promotion",
        where=f"t.tenant_id = %(tenant)s and {'t.is_coupon' if is_coupon else 'not t.is_coupon'}",
        row=_SHOWN[is_coupon],
        keys=KEYS,
        descending=True,
        window=window,
    )
    return await conn.json(sql, {"tenant": tenant, **window.params()})


async def by_code(conn: Connection, tenant: UUID, code: str) -> UUID | None:
    """The coupon of a code, as it is compared."""
    found: UUID | None = await conn.value(
        """
        select promotion_id from coupon_code where (tenant_id, code) = (%(tenant)s, %(code)s)
        """,
        {"tenant": tenant, "code": code},
    )
    return found


_CODE_JSON = f"""json_build_object(
    'code', k.code, 'shown', k.shown, 'usage_limit', k.usage_limit, 'promotion', {ROW})"""
# What the code %(code)s stands for, as a CartCode, in the shop of a cart c.
WANTED = f"""(
    select {_CODE_JSON} from coupon_code k
      join promotion t on (t.tenant_id, t.id) = (k.tenant_id, k.promotion_id)
     where (k.tenant_id, k.code) = (c.tenant_id, %(code)s))"""
# The codes of a cart c, as CartCodes.
OF_CART = f"""(
    select coalesce(json_agg(json_build_object(
               'code', w.code, 'shown', w.shown, 'usage_limit', k.usage_limit,
               'promotion', case when t.id is not null then {ROW} end)
               order by w.added_at, w.code), '[]')
      from cart_coupon w
      left join coupon_code k on (k.tenant_id, k.code) = (w.tenant_id, w.code)
      left join promotion t on (t.tenant_id, t.id) = (k.tenant_id, k.promotion_id)
     where (w.tenant_id, w.cart_id) = (c.tenant_id, c.id))"""


async def codes(conn: Connection, tenant: UUID, written: Sequence[str]) -> dict[str, CartCode]:
    """What codes stand for, by the codes as they are compared."""
    body = await conn.json(
        f"""
        select coalesce(json_agg({_CODE_JSON}), '[]') from coupon_code k
          join promotion t on (t.tenant_id, t.id) = (k.tenant_id, k.promotion_id)
         where k.tenant_id = %(tenant)s and k.code = any(%(codes)s::text[])
        """,
        {"tenant": tenant, "codes": list(written)},
    )
    return {code.code: code for code in msgspec.json.decode(body, type=list[CartCode])}


async def add_code(
    conn: Connection, tenant: UUID, promotion: UUID, code: str, shown: str, limit: int | None
) -> None:
    """A code of a coupon."""
    await conn.insert(
        "coupon_code",
        {
            "tenant_id": tenant,
            "code": code,
            "shown": shown,
            "promotion_id": promotion,
            "usage_limit": limit,
        },
    )


CODE_KEYS = (Key("t.created_at", "timestamptz"), Key("t.code", "text"))
_CODE_USED = """coalesce((select u.used from promotion_use u
                 where (u.tenant_id, u.promotion_id) = (t.tenant_id, t.promotion_id)
                   and u.key = 'code ' || t.code), 0)"""


async def add_codes(
    conn: Connection,
    tenant: UUID,
    promotion: UUID,
    made: Sequence[tuple[str, str]],
    limit: int | None,
) -> int:
    """Those of these codes, (compared, shown), that nobody has; how many they were."""
    return await conn.execute(
        """
        insert into coupon_code (tenant_id, code, shown, promotion_id, usage_limit)
        select %(tenant)s, w.code, w.shown, %(promotion)s, %(limit)s
          from unnest(%(codes)s::text[], %(shown)s::text[]) as w (code, shown)
        on conflict (tenant_id, code) do nothing
        """,
        {
            "tenant": tenant,
            "promotion": promotion,
            "codes": [code for code, _ in made],
            "shown": [shown for _, shown in made],
            "limit": limit,
        },
    )


async def code_page(conn: Connection, tenant: UUID, promotion: UUID, window: Window) -> bytes:
    """A page of a coupon's codes as JSON, oldest first."""
    sql = list_sql(
        name="codes",
        table="coupon_code",
        where="t.tenant_id = %(tenant)s and t.promotion_id = %(promotion)s",
        row=f"""json_build_object(
            'code', t.shown, 'usage_limit', t.usage_limit, 'usage_count', {_CODE_USED},
            'created_at', rfc3339(t.created_at))""",
        keys=CODE_KEYS,
        descending=False,
        window=window,
    )
    return await conn.json(sql, {"tenant": tenant, "promotion": promotion, **window.params()})


async def all_codes(
    conn: Connection, tenant: UUID, promotion: UUID
) -> list[tuple[str, int | None, int]]:
    """(code, usage limit, uses) of every code of a coupon, oldest first."""
    rows = await conn.all(
        f"""
        select t.shown, t.usage_limit, {_CODE_USED} from coupon_code t
         where (t.tenant_id, t.promotion_id) = (%(tenant)s, %(promotion)s)
         order by t.created_at, t.code
        """,
        {"tenant": tenant, "promotion": promotion},
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def lock(conn: Connection, tenant: UUID, promotion: UUID, *, is_coupon: bool) -> Any:
    """(version, row as JSON) of a promotion whose row this transaction locks; None if there is
    none."""
    return await conn.one_or_none(
        f"""
        select t.version, {ROW}, t.description from promotion t
         where (t.tenant_id, t.id) = (%(tenant)s, %(promotion)s) and t.is_coupon = %(is_coupon)s
           for no key update
        """,
        {"tenant": tenant, "promotion": promotion, "is_coupon": is_coupon},
    )


async def update(
    conn: Connection, tenant: UUID, promotion: UUID, values: Mapping[str, Any]
) -> None:
    """Sets columns, and increments the version."""
    assignments = "".join(f"{name} = %({name})s, " for name in values)
    await conn.execute(
        f"""
        update promotion set {assignments} version = version + 1, updated_at = now()
         where (tenant_id, id) = (%(_tenant)s, %(_promotion)s)
        """,
        {**values, "_tenant": tenant, "_promotion": promotion},
    )


async def delete(conn: Connection, tenant: UUID, promotion: UUID) -> None:
    """Deletes a promotion with its codes; what was redeemed stays with its orders."""
    await conn.execute(
        "delete from promotion where (tenant_id, id) = (%(tenant)s, %(promotion)s)",
        {"tenant": tenant, "promotion": promotion},
    )


async def usage(conn: Connection, tenant: UUID, promotion: UUID, window: Window) -> bytes:
    """A page of a promotion's redemptions as JSON, newest first."""
    sql = list_sql(
        name="usage",
        table="redemption",
        where="t.tenant_id = %(tenant)s and t.promotion_id = %(promotion)s",
        row="""json_build_object(
            'order_id', t.order_id,
            'order_number', (select o.order_number from sales_order o
                              where (o.tenant_id, o.id) = (t.tenant_id, t.order_id)),
            'code', t.code, 'customer_id', t.customer_id, 'email', t.email,
            'amount', t.amount::text, 'currency', t.currency,
            'redeemed_at', rfc3339(t.redeemed_at), 'released_at', rfc3339(t.released_at))""",
        keys=USAGE_KEYS,
        descending=True,
        window=window,
    )
    return await conn.json(sql, {"tenant": tenant, "promotion": promotion, **window.params()})


async def automatic(conn: Connection, tenant: UUID) -> list[Row]:
    """The automatic promotions that apply now or later."""
    body = await conn.json(
        f"""
        select coalesce(json_agg({ROW} order by t.id), '[]') from promotion t
         where t.tenant_id = %(tenant)s and not t.is_coupon and t.is_active
           and (t.expires_at is null or t.expires_at > now())
        """,
        {"tenant": tenant},
    )
    return msgspec.json.decode(body, type=list[Row])


async def categories(conn: Connection, tenant: UUID) -> list[tuple[UUID, UUID | None]]:
    """(category, its parent) of all categories."""
    rows = await conn.all(
        "select id, parent_id from category where tenant_id = %(tenant)s", {"tenant": tenant}
    )
    return [(row[0], row[1]) for row in rows]


async def sold_variants(conn: Connection, tenant: UUID, variants: Sequence[UUID]) -> set[UUID]:
    """Those of these variants that are sold now."""
    rows = await conn.all(
        """
        select v.id from variant v
          join product p on (p.tenant_id, p.id) = (v.tenant_id, v.product_id)
         where v.tenant_id = %(tenant)s and v.id = any(%(variants)s::uuid[])
           and p.status = 'active'
        """,
        {"tenant": tenant, "variants": list(variants)},
    )
    return {row[0] for row in rows}


# Uses -------------------------------------------------------------------------------------------


async def uses(
    conn: Connection, tenant: UUID, keys: Sequence[tuple[UUID, str]]
) -> dict[tuple[UUID, str], int]:
    """How often each was used: (promotion, key) of promotion_use."""
    rows = await conn.all(
        """
        select u.promotion_id, u.key, u.used
          from unnest(%(promotions)s::uuid[], %(keys)s::text[]) as w (promotion_id, key)
          join promotion_use u
            on (u.tenant_id, u.promotion_id, u.key) = (%(tenant)s, w.promotion_id, w.key)
        """,
        {
            "tenant": tenant,
            "promotions": [promotion for promotion, _ in keys],
            "keys": [key for _, key in keys],
        },
    )
    return {(row[0], row[1]): row[2] for row in rows}


async def hold_uses(conn: Connection, tenant: UUID, keys: Sequence[tuple[UUID, str]]) -> None:
    """Locks the rows that count uses, made where there are none: (promotion, key)."""
    await conn.execute(
        """
        insert into promotion_use as u (tenant_id, promotion_id, key, used)
        select %(tenant)s, w.promotion_id, w.key, 0
          from unnest(%(promotions)s::uuid[], %(keys)s::text[]) as w (promotion_id, key)
         order by w.promotion_id, w.key
        on conflict (tenant_id, promotion_id, key) do update set used = u.used
        """,
        {
            "tenant": tenant,
            "promotions": [promotion for promotion, _ in keys],
            "keys": [key for _, key in keys],
        },
    )


async def recount(
    conn: Connection, tenant: UUID, promotion: UUID, key: str, since: datetime
) -> None:
    """Counts a promotion's uses since a moment under a key whose row is locked, and gives each of
    them the key: for a limit that was set after they were made."""
    await conn.execute(
        """
        with counted as (
            update redemption set keys = array_remove(keys, %(key)s) || %(key)s
             where (tenant_id, promotion_id) = (%(tenant)s, %(promotion)s)
               and released_at is null and redeemed_at >= %(since)s
            returning order_id
        )
        update promotion_use set used = (select count(*) from counted)
         where (tenant_id, promotion_id, key) = (%(tenant)s, %(promotion)s, %(key)s)
        """,
        {"tenant": tenant, "promotion": promotion, "key": key, "since": since},
    )


async def hold_customer(conn: Connection, tenant: UUID, promotions: Sequence[UUID]) -> None:
    """Locks the counting of these promotions' uses by customers until the end of the
    transaction."""
    await conn.execute(
        """
        select pg_advisory_xact_lock(hashtextextended('promotion:' || w.id::text, 0))
          from (select unnest(%(promotions)s::uuid[]) as id order by 1) w
        """,
        {"tenant": tenant, "promotions": list(promotions)},
    )


async def uses_of_customer(
    conn: Connection,
    tenant: UUID,
    promotions: Sequence[UUID],
    customer: UUID | None,
    email: str | None,
) -> dict[UUID, int]:
    """How often a customer has used promotions, by account or by e-mail address."""
    rows = await conn.all(
        """
        select promotion_id, count(*) from redemption
         where tenant_id = %(tenant)s and promotion_id = any(%(promotions)s::uuid[])
           and (customer_id = %(customer)s or email = %(email)s) and released_at is null
         group by promotion_id
        """,
        {"tenant": tenant, "promotions": list(promotions), "customer": customer, "email": email},
    )
    return {row[0]: row[1] for row in rows}


# Inserts what an %(order)s uses, of %(uses)s: the JSON of Redemptions.
REDEEM = """
    insert into redemption (tenant_id, promotion_id, order_id, code, customer_id, email, amount,
                            currency, keys)
    select %(tenant)s, r.promotion_id, %(order)s, r.code, %(customer)s, %(email)s, r.amount,
           %(currency)s, r.keys
      from json_to_recordset(%(uses)s) as r (
           promotion_id uuid, code text, amount numeric, keys text[])"""


async def count(conn: Connection, tenant: UUID, keys: Sequence[tuple[UUID, str]]) -> None:
    """Counts one use more of each (promotion, key); they are held (`hold_uses`)."""
    await conn.later(
        """
        update promotion_use u set used = u.used + 1
          from unnest(%(promotions)s::uuid[], %(keys)s::text[]) as w (promotion_id, key)
         where (u.tenant_id, u.promotion_id, u.key) = (%(tenant)s, w.promotion_id, w.key)
        """,
        {
            "tenant": tenant,
            "promotions": [promotion for promotion, _ in keys],
            "keys": [key for _, key in keys],
        },
    )


async def counted(conn: Connection, tenant: UUID, order: UUID) -> list[tuple[UUID, str]]:
    """What counts the uses of an order: (promotion, key)."""
    rows = await conn.all(
        """
        select promotion_id, unnest(keys) from redemption
         where (tenant_id, order_id) = (%(tenant)s, %(order)s) and released_at is null
        """,
        {"tenant": tenant, "order": order},
    )
    return [(row[0], row[1]) for row in rows]


async def release(conn: Connection, tenant: UUID, order: UUID) -> None:
    """Gives back what an order has used, once; what counts it is held (`hold_uses`)."""
    await conn.execute(
        """
        with released as (
            update redemption set released_at = now()
             where (tenant_id, order_id) = (%(tenant)s, %(order)s) and released_at is null
            returning promotion_id, keys
        )
        update promotion_use u set used = u.used - 1
          from released
         where u.tenant_id = %(tenant)s and u.promotion_id = released.promotion_id
           and u.key = any(released.keys)
        """,
        {"tenant": tenant, "order": order},
    )


async def has_ordered(
    conn: Connection, tenant: UUID, customer: UUID | None, email: str | None
) -> bool:
    """Whether a customer has an order that was not cancelled, by account or e-mail address."""
    return bool(
        await conn.value(
            """
            select exists (select from sales_order
                            where (tenant_id, customer_id) = (%(tenant)s, %(customer)s)
                              and status <> 'cancelled')
                or exists (select from sales_order
                            where (tenant_id, customer_email) = (%(tenant)s, %(email)s)
                              and status <> 'cancelled')
            """,
            {"tenant": tenant, "customer": customer, "email": email},
        )
    )
