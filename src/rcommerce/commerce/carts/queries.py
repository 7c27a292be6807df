"""SQL of carts."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from itertools import product
from typing import Any
from uuid import UUID

import msgspec

from rcommerce.commerce.carts.schema import Access, CartRow, Needs
from rcommerce.commerce.promotions.queries import OF_CART, WANTED
from rcommerce.commerce.promotions.schema import CartCode
from rcommerce.database import Connection, Later, Statement

# Access: a guest's token, the cart's customer, or staff. An id alone gives none.
_MAY = """(c.token_hash = %(token_hash)s or c.customer_id = %(caller)s or %(is_staff)s)"""
_THIS = f"c.tenant_id = %(tenant)s and c.id = %(cart)s and {_MAY}"
_LIVE = "c.status = 'active' and c.expires_at > now()"
LARGEST_CART = 500  # lines
# The groups of a cart's customer, whose prices count.
_GROUPS = """array(
    select m.group_id from customer_group_member m
     where (m.tenant_id, m.customer_id) = (c.tenant_id, c.customer_id))"""

_IMAGE = """(select image_src(m.src, m.media_id, %(media)s) from product_image m
                    where (m.tenant_id, m.product_id) = (i.tenant_id, i.product_id)
                    order by m.id is distinct from v.image_id, m.position, m.id limit 1)"""
# A deleted variant has the price that the buyer was shown.
_PLAIN_PRICE, _PRICE = (
    "v.price",
    "case when c.channel_id is null then v.price else offered.amount end",
)
# What can be bought now. The row of a deleted variant is null, and so is its status.
_PLAIN_SOLD, _SOLD = (
    "v.currency = c.currency",
    """case when c.channel_id is null then v.currency = c.currency
                    else offered.amount is not null and offered.is_listed end""",
)
_OFFERED = f"""
      left join lateral (
        select o.amount,
               h.is_active and is_listed(i.tenant_id, c.channel_id, i.product_id, %(at)s)
          from channel h
         cross join lateral channel_price(
            i.tenant_id, c.channel_id, c.currency, {_GROUPS}, i.variant_id, i.quantity, %(at)s) o
         where (h.tenant_id, h.id) = (c.tenant_id, c.channel_id)) offered (amount, is_listed)
        on c.channel_id is not null"""


def _lines(*, in_channel: bool, images: bool) -> str:
    """The lines of a cart c, which may be in a channel or is in none."""
    price, sold, offered = _PLAIN_PRICE, _PLAIN_SOLD, ""
    if in_channel:
        price, sold, offered = _PRICE, _SOLD, _OFFERED
    return f"""(
    select coalesce(json_agg(json_build_object(
               'item_id', i.id, 'product_id', i.product_id, 'variant_id', i.variant_id,
               'sku', case when v.id is null then i.sku else v.sku end,
               'title', coalesce(p.title, i.title, ''),
               'variant_title', coalesce(v.title, i.variant_title, ''),
               'image_url', {_IMAGE if images else "null"},
               'quantity', i.quantity, 'seen_price', i.unit_price::text,
               'price', coalesce({price}, i.unit_price)::text,
               'requires_shipping', coalesce(p.requires_shipping, true),
               'is_gift_card', coalesce(p.product_type = 'gift_card', false),
               'is_available', coalesce(p.status = 'active' and {sold}, false),
               'category_id', p.category_id,
               'collection_ids', array(
                   select n.collection_id from collection_product n
                    where (n.tenant_id, n.product_id) = (i.tenant_id, i.product_id)))
               order by i.id), '[]')
      from cart_item i
      left join variant v on (v.tenant_id, v.id) = (i.tenant_id, i.variant_id)
      left join product p on (p.tenant_id, p.id) = (i.tenant_id, i.product_id){offered}
     where (i.tenant_id, i.cart_id) = (c.tenant_id, c.id))"""


_CREDIT = """array(select k.account_id from cart_credit k
                    where (k.tenant_id, k.cart_id) = (c.tenant_id, c.id)
                    order by k.added_at, k.account_id)"""
_CART = """'id', c.id, 'customer_id', c.customer_id, 'currency', c.currency, 'status', c.status,
            'channel_id', c.channel_id,
            'channel', (select h.slug from channel h
                         where (h.tenant_id, h.id) = (c.tenant_id, c.channel_id)),
            'email', c.email, 'shipping_address', c.shipping_address,
            'created_at', rfc3339(c.created_at), 'updated_at', rfc3339(c.updated_at),
            'expires_at', rfc3339(c.expires_at)"""


def _parts(needs: Needs, *, images: bool) -> str:
    """The codes, credit and lines of a cart c."""
    codes, credit = (OF_CART, _CREDIT) if needs.codes else ("array[]::int[]", "array[]::int[]")
    lines = _lines(in_channel=needs.channel, images=images)
    return f"'codes', {codes}, 'credit', {credit}, 'lines', {lines}"


# An ordered cart shows its order's prices, whatever happens to the catalogue.
_VIEW = f"""
    select json_build_object({_CART}, {_parts(Needs(channel=True, codes=True), images=True)},
        'order', (select json_build_object(
                      'subtotal', o.subtotal::text, 'discount_total', o.discount_total::text,
                      'tax_total', o.tax_total::text, 'shipping_total', o.shipping_total::text,
                      'total', o.total::text, 'discounts', o.discounts,
                      'due', (o.total - coalesce(o.credit_total, 0))::text,
                      'gift_cards', (
                          select coalesce(json_agg(json_build_object(
                                     'id', e.account_id, 'kind', a.kind,
                                     'last_characters', a.last_characters,
                                     'amount', (-e.amount)::text) order by e.account_id), '[]')
                            from credit_entry e
                            join credit_account a
                              on (a.tenant_id, a.id) = (e.tenant_id, e.account_id)
                           where (e.tenant_id, e.order_id) = (o.tenant_id, o.id)
                             and e.kind = 'redeemed'),
                      'lines', (select json_agg(json_build_object(
                                    'id', l.id, 'product_id', l.product_id,
                                    'variant_id', l.variant_id, 'sku', l.sku, 'title', l.title,
                                    'variant_title', l.variant_title, 'quantity', l.quantity,
                                    'price', l.price::text, 'is_gift', l.is_gift,
                                    'discount', coalesce(
                                        l.discount_amount, l.total - l.total)::text,
                                    'discounts', l.discounts) order by l.position)
                                  from order_item l
                                 where (l.tenant_id, l.order_id) = (o.tenant_id, o.id)))
                    from sales_order o
                   where (o.tenant_id, o.cart_id) = (c.tenant_id, c.id)
                     and c.status = 'ordered' and o.status <> 'cancelled'))
      from cart c
     where {_THIS} and c.expires_at > now() and c.status <> 'merged'
    """


def _params(tenant: UUID, cart: UUID, access: Access, **more: Any) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "cart": cart,
        "token_hash": access.token_hash,
        "caller": access.customer_id,
        "is_staff": access.is_staff,
        **more,
    }


async def view(
    conn: Connection, tenant: UUID, cart: UUID, access: Access, media: str, at: datetime
) -> CartRow | None:
    """A cart with its lines and codes at a moment; URLs of uploads begin with `media`."""
    body = await conn.json_or_none(_VIEW, _params(tenant, cart, access, media=media, at=at))
    return None if body is None else msgspec.json.decode(body, type=CartRow)


async def insert_guest(
    conn: Connection,
    tenant: UUID,
    cart: UUID,
    token_hash: bytes,
    channel: UUID | None,
    currency: str,
    email: str | None,
    days: int,
) -> CartRow:
    """A guest's empty cart."""
    body = await conn.json(
        f"""
        with c as (
            insert into cart (tenant_id, id, token_hash, channel_id, currency, email, expires_at)
            values (%(tenant)s, %(cart)s, %(token_hash)s, %(channel)s, %(currency)s, %(email)s,
                    now() + make_interval(days => %(days)s))
            returning *)
        select json_build_object({_CART}, 'codes', array[]::int[], 'credit', array[]::int[],
                                 'lines', array[]::int[])
          from c
        """,
        {
            "tenant": tenant,
            "cart": cart,
            "token_hash": token_hash,
            "channel": channel,
            "currency": currency,
            "email": email,
            "days": days,
        },
    )
    return msgspec.json.decode(body, type=CartRow)


async def of_customer(conn: Connection, tenant: UUID, customer: UUID) -> UUID | None:
    """The customer's active cart."""
    cart: UUID | None = await conn.value(
        """
        select id from cart
         where (tenant_id, customer_id) = (%(tenant)s, %(customer)s)
           and status = 'active' and expires_at > now()
        """,
        {"tenant": tenant, "customer": customer},
    )
    return cart


async def forget_expired_of(conn: Connection, tenant: UUID, customer: UUID) -> None:
    """Deletes a customer's active cart if it has expired."""
    await conn.execute(
        """
        delete from cart
         where (tenant_id, customer_id) = (%(tenant)s, %(customer)s)
           and status = 'active' and expires_at <= now()
        """,
        {"tenant": tenant, "customer": customer},
    )


async def make_for_customer(
    conn: Connection,
    tenant: UUID,
    customer: UUID,
    new: UUID,
    channel: UUID | None,
    currency: str,
    days: int,
) -> tuple[UUID, UUID | None, str]:
    """(id, channel, currency) of the customer's active cart, created if there is none. Locks its
    row."""
    row = await conn.one(
        """
        insert into cart (tenant_id, id, customer_id, channel_id, currency, expires_at)
        values (%(tenant)s, %(new)s, %(customer)s, %(channel)s, %(currency)s,
                now() + make_interval(days => %(days)s))
        on conflict (tenant_id, customer_id) where status = 'active'
        do update set updated_at = now(), expires_at = excluded.expires_at
        returning id, channel_id, currency
        """,
        {
            "tenant": tenant,
            "customer": customer,
            "new": new,
            "channel": channel,
            "currency": currency,
            "days": days,
        },
    )
    return row[0], row[1], row[2]


async def by_token(conn: Connection, tenant: UUID, token_hash: bytes) -> tuple[UUID, str] | None:
    """(id, status) of the guest cart of a token."""
    row = await conn.one_or_none(
        """
        select id, status from cart c
         where (c.tenant_id, c.token_hash) = (%(tenant)s, %(token_hash)s) and c.expires_at > now()
        """,
        {"tenant": tenant, "token_hash": token_hash},
    )
    return row and (row[0], row[1])


async def status(conn: Connection, tenant: UUID, cart: UUID, access: Access) -> str | None:
    """A cart's status; None if it does not exist or has expired."""
    found: str | None = await conn.value(
        f"select c.status from cart c where {_THIS} and c.expires_at > now()",
        _params(tenant, cart, access),
    )
    return found


def opening(tenant: UUID, cart: UUID, access: Access, days: int) -> Statement:
    """Locks an active cart's row and extends its life to `days`: (currency, seen_discount,
    seen_credit, channel_id, has_codes).

    The expiry is only written if it changes by more than a tenth, so that its index is not updated
    at each change.
    """
    return Statement(
        f"""
        update cart c
           set updated_at = now(),
               expires_at = case when c.expires_at < now() + make_interval(days => %(days)s) * 0.9
                                 then now() + make_interval(days => %(days)s)
                                 else c.expires_at end
         where {_THIS} and {_LIVE}
        returning c.currency, c.seen_discount, c.seen_credit, c.channel_id, c.has_codes
        """,
        _params(tenant, cart, access, days=days),
    )


async def add_item(
    conn: Connection,
    tenant: UUID,
    cart: UUID,
    currency: str,
    channel: UUID | None,
    *,
    item: UUID,
    product_id: UUID,
    variant: UUID | None,
    quantity: int,
    at: datetime,
) -> Later:
    """Adds units of a variant to a locked cart, on top of those that are there.

    Its row is (how many variants match, the variant's currency, number of other lines in the cart,
    whether it was added). What is not sold in the cart's channel has no currency.
    """
    params = {
        "tenant": tenant,
        "cart": cart,
        "currency": currency,
        "item": item,
        "product": product_id,
        "variant": variant,
        "quantity": quantity,
    }
    if channel is not None:
        params |= {"channel": channel, "at": at}
    return await conn.later(_ADD if channel is None else _ADD_IN_CHANNEL, params)


def _adding(*, in_channel: bool) -> str:
    price, its_currency, offered = "v.price", "v.currency", ""
    if in_channel:
        price = "offered.amount"
        its_currency = "case when offered.amount is not null then %(currency)s end"
        offered = """
              left join lateral (
                select o.amount
                  from channel_price(v.tenant_id, %(channel)s, %(currency)s, array(
                    select m.group_id
                      from cart c
                      join customer_group_member m
                        on (m.tenant_id, m.customer_id) = (c.tenant_id, c.customer_id)
                     where (c.tenant_id, c.id) = (%(tenant)s, %(cart)s)),
                    v.id, %(quantity)s, %(at)s) o
                 where is_listed(v.tenant_id, %(channel)s, v.product_id, %(at)s)) offered
                on true"""
    return f"""
        with fitting as (
            select v.id, {price} as price, p.title, v.title as variant_title, v.sku,
                   {its_currency} as currency
              from variant v
              join product p on (p.tenant_id, p.id) = (v.tenant_id, v.product_id){offered}
             where (v.tenant_id, v.product_id) = (%(tenant)s, %(product)s)
               and p.status = 'active'
               and (%(variant)s::uuid is null or v.id = %(variant)s)
             order by v.position, v.id
             limit 2
        ), lines as (
            select count(*) as number from cart_item
             where (tenant_id, cart_id) = (%(tenant)s, %(cart)s)
               and variant_id not in (select id from fitting)
        ), added as (
            insert into cart_item as kept
                (tenant_id, id, cart_id, product_id, variant_id, quantity, unit_price, title,
                 variant_title, sku)
            select %(tenant)s, %(item)s, %(cart)s, %(product)s, fitting.id, %(quantity)s,
                   fitting.price, fitting.title, fitting.variant_title, fitting.sku
              from fitting
             where (select count(*) from fitting) = 1
               and fitting.currency = %(currency)s
               and (select number from lines) < {LARGEST_CART}
            on conflict (tenant_id, cart_id, variant_id) do update
               set quantity = kept.quantity + excluded.quantity,
                   unit_price = excluded.unit_price
             where kept.quantity + excluded.quantity <= 9999
            returning id
        )
        select (select count(*) from fitting), (select min(currency) from fitting),
               (select number from lines), exists (select from added)
        """


_ADD, _ADD_IN_CHANNEL = _adding(in_channel=False), _adding(in_channel=True)


async def set_quantity(
    conn: Connection, tenant: UUID, cart: UUID, item: UUID, quantity: int
) -> bool:
    """Sets a line's quantity in a locked cart; False if it has no such line."""
    return bool(
        await conn.execute(
            """
            update cart_item set quantity = %(quantity)s
             where (tenant_id, cart_id, id) = (%(tenant)s, %(cart)s, %(item)s)
            """,
            {"tenant": tenant, "cart": cart, "item": item, "quantity": quantity},
        )
    )


async def remove_items(conn: Connection, tenant: UUID, cart: UUID, item: UUID | None) -> int:
    """Deletes one line of a locked cart, or all; returns how many."""
    return await conn.execute(
        """
        delete from cart_item
         where (tenant_id, cart_id) = (%(tenant)s, %(cart)s)
           and (%(item)s::uuid is null or id = %(item)s)
        """,
        {"tenant": tenant, "cart": cart, "item": item},
    )


async def delete(conn: Connection, tenant: UUID, cart: UUID, access: Access) -> bool:
    """Deletes an active cart."""
    return bool(
        await conn.execute(
            f"delete from cart c where {_THIS} and c.status = 'active'",
            _params(tenant, cart, access),
        )
    )


async def close_merged(
    conn: Connection, tenant: UUID, token_hash: bytes
) -> tuple[UUID, UUID | None, str] | None:
    """Closes the active guest cart of a token, whose lines are merged into another: (id, channel,
    currency)."""
    row = await conn.one_or_none(
        f"""
        update cart c set status = 'merged', updated_at = now()
         where (c.tenant_id, c.token_hash) = (%(tenant)s, %(token_hash)s) and {_LIVE}
        returning c.id, c.channel_id, c.currency
        """,
        {"tenant": tenant, "token_hash": token_hash},
    )
    return row and (row[0], row[1], row[2])


async def move_items(conn: Connection, tenant: UUID, source: UUID, target: UUID) -> bool:
    """Merges the lines of one locked cart into another of the same currency. Returns False if a
    line would exceed 9999 units: the lines are lost then, so roll back."""
    row = await conn.one(
        """
        with gone as (
            delete from cart_item
             where (tenant_id, cart_id) = (%(tenant)s, %(source)s)
            returning *
        ), moved as (
            insert into cart_item as kept
                (tenant_id, id, cart_id, product_id, variant_id, quantity, unit_price, title,
                 variant_title, sku)
            select tenant_id, id, %(target)s, product_id, variant_id, quantity, unit_price, title,
                   variant_title, sku
              from gone
             order by variant_id
            on conflict (tenant_id, cart_id, variant_id) do update
               set quantity = kept.quantity + excluded.quantity, unit_price = excluded.unit_price
             where kept.quantity + excluded.quantity <= 9999
            returning id
        )
        select (select count(*) from gone) = (select count(*) from moved)
        """,
        {"tenant": tenant, "source": source, "target": target},
    )
    return bool(row[0])


def holding(tenant: UUID, cart: UUID, access: Access) -> Statement:
    """Locks a cart's row, whatever its status: (status,)."""
    return Statement(
        f"""
        select c.status from cart c
         where {_THIS} and c.expires_at > now()
           for no key update
        """,
        _params(tenant, cart, access),
    )


_OF_LOCKED = " from cart c where (c.tenant_id, c.id) = (%(tenant)s, %(cart)s)"
_EVERY = [Needs(*each) for each in product((True, False), repeat=2)]
_OPENED, _OPENED_WITH_CODE = (
    {
        needs: f"select json_build_object({_CART}, {_parts(needs, images=True)}{more}) {_OF_LOCKED}"
        for needs in _EVERY
    }
    for more in ("", f", 'wanted', {WANTED}")
)
# What a cart needs is not known before it is read: PostgreSQL decides.
_HELD = f"""
    select json_build_object({_CART}, 'shipping_service', c.shipping_service, 'shown', c.shown,
        'seen_discount', c.seen_discount::text, 'seen_credit', c.seen_credit::text,
        'codes', case when c.has_codes then {OF_CART} else '[]' end,
        'credit', case when c.has_codes then {_CREDIT} else '{{}}' end,
        'lines', case when c.channel_id is null
                      then {_lines(in_channel=False, images=False)}
                      else {_lines(in_channel=True, images=False)} end)::text
    {_OF_LOCKED}"""


async def opened(
    conn: Connection,
    tenant: UUID,
    cart: UUID,
    needs: Needs,
    media: str,
    at: datetime,
    code: str | None = None,
) -> CartRow:
    """An active cart that this transaction has locked, to be shown; with what a code stands for, as
    it is compared."""
    params: dict[str, Any] = {"tenant": tenant, "cart": cart, "media": media}
    if needs.channel:
        params["at"] = at
    if code is not None:
        params["code"] = code
    body = await conn.json((_OPENED if code is None else _OPENED_WITH_CODE)[needs], params)
    return msgspec.json.decode(body, type=CartRow)


def held(tenant: UUID, cart: UUID, at: datetime) -> Statement:
    """A cart that this transaction has locked, with its lines and codes: (a HeldCart's JSON,)."""
    return Statement(_HELD, {"tenant": tenant, "cart": cart, "at": at})


async def add_code(
    conn: Connection,
    tenant: UUID,
    cart: UUID,
    code: CartCode,
    seen_discount: Decimal,
    seen_credit: Decimal,
) -> None:
    """Puts a code into a locked cart, with what the buyer is shown then."""
    await conn.later(
        """
        with seen as (
            update cart set has_codes = true, seen_discount = %(discount)s,
                            seen_credit = %(credit)s, updated_at = now()
             where (tenant_id, id) = (%(tenant)s, %(cart)s))
        insert into cart_coupon (tenant_id, cart_id, code, shown)
        values (%(tenant)s, %(cart)s, %(code)s, %(shown)s)
        """,
        {
            "tenant": tenant,
            "cart": cart,
            "code": code.code,
            "shown": code.shown,
            "discount": seen_discount,
            "credit": seen_credit,
        },
    )


async def remove_codes(conn: Connection, tenant: UUID, cart: UUID, code: str | None) -> int:
    """Removes a code of a locked cart, or all; returns how many."""
    return await conn.execute(
        """
        delete from cart_coupon
         where (tenant_id, cart_id) = (%(tenant)s, %(cart)s)
           and (%(code)s::text is null or code = %(code)s)
        """,
        {"tenant": tenant, "cart": cart, "code": code},
    )


async def move_codes(conn: Connection, tenant: UUID, source: UUID, target: UUID) -> None:
    """Merges the codes and gift cards of one locked cart into another."""
    await update(conn, tenant, target, {"has_codes": True})
    await conn.execute(
        """
        with gone as (
            delete from cart_coupon
             where (tenant_id, cart_id) = (%(tenant)s, %(source)s)
            returning *
        )
        insert into cart_coupon (tenant_id, cart_id, code, shown, added_at)
        select tenant_id, %(cart)s, code, shown, added_at from gone order by code
        on conflict (tenant_id, cart_id, code) do nothing
        """,
        {"tenant": tenant, "source": source, "cart": target},
    )
    await conn.execute(
        """
        with gone as (
            delete from cart_credit
             where (tenant_id, cart_id) = (%(tenant)s, %(source)s)
            returning *
        )
        insert into cart_credit (tenant_id, cart_id, account_id, added_at)
        select tenant_id, %(target)s, account_id, added_at from gone order by account_id
        on conflict (tenant_id, cart_id, account_id) do nothing
        """,
        {"tenant": tenant, "source": source, "target": target},
    )


async def add_credit(conn: Connection, tenant: UUID, cart: UUID, account: UUID) -> bool:
    """Lets a gift card or credit pay for a locked cart; False if it does already."""
    return bool(
        await conn.execute(
            """
            with marked as (
                update cart set has_codes = true
                 where (tenant_id, id) = (%(tenant)s, %(cart)s) and not has_codes)
            insert into cart_credit (tenant_id, cart_id, account_id)
            values (%(tenant)s, %(cart)s, %(account)s)
            on conflict (tenant_id, cart_id, account_id) do nothing
            """,
            {"tenant": tenant, "cart": cart, "account": account},
        )
    )


async def remove_credit(conn: Connection, tenant: UUID, cart: UUID, account: UUID | None) -> int:
    """Takes a gift card or credit out of a locked cart, or all; returns how many."""
    return await conn.execute(
        """
        delete from cart_credit
         where (tenant_id, cart_id) = (%(tenant)s, %(cart)s)
           and (%(account)s::uuid is null or account_id = %(account)s)
        """,
        {"tenant": tenant, "cart": cart, "account": account},
    )


async def set_prices(conn: Connection, tenant: UUID, cart: UUID) -> None:
    """Stores the variants' present prices with the lines: the buyer is shown them."""
    await conn.later(
        """
        update cart_item i set unit_price = v.price
          from variant v
         where (i.tenant_id, i.cart_id) = (%(tenant)s, %(cart)s)
           and (v.tenant_id, v.id) = (i.tenant_id, i.variant_id)
           and i.unit_price <> v.price
        """,
        {"tenant": tenant, "cart": cart},
    )


async def set_channel_prices(conn: Connection, tenant: UUID, cart: UUID, at: datetime) -> None:
    """The same for a cart in a channel, where the price depends on more."""
    await conn.later(
        f"""
        update cart_item i set unit_price = offered.amount
          from cart c
          join cart_item k on (k.tenant_id, k.cart_id) = (c.tenant_id, c.id)
         cross join lateral channel_price(
            k.tenant_id, c.channel_id, c.currency, {_GROUPS}, k.variant_id, k.quantity, %(at)s
         ) offered
         where (c.tenant_id, c.id) = (%(tenant)s, %(cart)s)
           and (i.tenant_id, i.id) = (k.tenant_id, k.id)
           and i.unit_price <> offered.amount
        """,
        {"tenant": tenant, "cart": cart, "at": at},
    )


async def update(conn: Connection, tenant: UUID, cart: UUID, values: Mapping[str, Any]) -> None:
    """Sets columns of a cart."""
    assignments = "".join(f"{name} = %({name})s, " for name in values)
    await conn.later(
        f"""
        update cart set {assignments} updated_at = now()
         where (tenant_id, id) = (%(_tenant)s, %(_cart)s)
        """,
        {**values, "_tenant": tenant, "_cart": cart},
    )


async def with_expired(conn: Connection) -> list[UUID]:
    """Tenants of this shard with expired active carts."""
    rows = await conn.all(
        """
        select p.tenant_id from tenant_placement p
         where p.state = 'active' and exists (
            select from cart c
             where c.tenant_id = p.tenant_id and c.status = 'active' and c.expires_at < now())
        """
    )
    return [row[0] for row in rows]


async def delete_expired(conn: Connection, tenant: UUID, limit: int) -> int:
    """Deletes expired active carts; returns how many."""
    return await conn.execute(
        """
        delete from cart c
         using (
            select id from cart
             where tenant_id = %(tenant)s and status = 'active' and expires_at < now()
             order by expires_at
             limit %(limit)s
               for update skip locked) due
         where (c.tenant_id, c.id) = (%(tenant)s, due.id)
        """,
        {"tenant": tenant, "limit": limit},
    )
