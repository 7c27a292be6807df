"""SQL of carts."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from rcommerce.commerce.carts.schema import Access, OpenCart
from rcommerce.database import Connection

# A guest's token, the cart's customer, or staff: an id alone opens nothing.
_MAY = """(c.token_hash = %(token_hash)s or c.customer_id = %(caller)s or %(is_staff)s)"""
_THIS = f"c.tenant_id = %(tenant)s and c.id = %(cart)s and {_MAY}"
_LIVE = "c.status = 'active' and c.expires_at > now()"
LARGEST_CART = 500  # lines

_JSON = """
    select json_build_object(
        'cart', json_build_object(
            'id', c.id, 'session_token', %(token)s::text, 'customer_id', c.customer_id,
            'currency', c.currency, 'status', c.status,
            'subtotal', sums.subtotal::text, 'discount_total', zero.amount::text,
            'tax_total', zero.amount::text, 'shipping_total', zero.amount::text,
            'total', sums.subtotal::text,
            'coupon_code', c.coupon_code, 'email', c.email,
            'created_at', rfc3339(c.created_at), 'updated_at', rfc3339(c.updated_at),
            'expires_at', rfc3339(c.expires_at)),
        'items', sums.items)
    """
_ZERO = "(select round(0::numeric, currency_digits(c.currency)) as amount) zero"
_VIEW = f"""
    {_JSON}
      from cart c
     cross join lateral {_ZERO}
     cross join lateral (
        select coalesce(sum(i.unit_price * i.quantity), zero.amount) as subtotal,
               coalesce(json_agg(json_build_object(
                   'id', i.id, 'cart_id', c.id, 'product_id', i.product_id,
                   'variant_id', i.variant_id, 'sku', v.sku, 'title', p.title,
                   'variant_title', v.title,
                   'image_url', (
                       select image_src(m.src, m.media_id, %(media)s) from product_image m
                        where (m.tenant_id, m.product_id) = (i.tenant_id, i.product_id)
                        order by m.id is distinct from v.image_id, m.position, m.id limit 1),
                   'quantity', i.quantity, 'unit_price', i.unit_price::text,
                   'original_price', i.unit_price::text,
                   'subtotal', (i.unit_price * i.quantity)::text,
                   'discount_amount', zero.amount::text,
                   'total', (i.unit_price * i.quantity)::text) order by i.id), '[]') as items
          from cart_item i
          join variant v on (v.tenant_id, v.id) = (i.tenant_id, i.variant_id)
          join product p on (p.tenant_id, p.id) = (i.tenant_id, i.product_id)
         where (i.tenant_id, i.cart_id) = (c.tenant_id, c.id)) sums
     where {_THIS} and c.expires_at > now()
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
    conn: Connection, tenant: UUID, cart: UUID, access: Access, token: str | None, media: str
) -> bytes | None:
    """A cart with its items and sums as JSON; the addresses of uploads begin with `media`."""
    return await conn.json_or_none(_VIEW, _params(tenant, cart, access, token=token, media=media))


async def insert_guest(
    conn: Connection,
    tenant: UUID,
    cart: UUID,
    token: str,
    token_hash: bytes,
    currency: str,
    email: str | None,
    days: int,
) -> bytes:
    """A guest's empty cart, as JSON."""
    return await conn.json(
        f"""
        with c as (
            insert into cart (tenant_id, id, token_hash, currency, email, expires_at)
            values (%(tenant)s, %(cart)s, %(token_hash)s, %(currency)s, %(email)s,
                    now() + make_interval(days => %(days)s))
            returning *)
        {_JSON}
          from c
         cross join lateral {_ZERO}
         cross join lateral (select zero.amount as subtotal, '[]'::json as items) sums
        """,
        {
            "tenant": tenant,
            "cart": cart,
            "token": token,
            "token_hash": token_hash,
            "currency": currency,
            "email": email,
            "days": days,
        },
    )


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


async def make_for_customer(
    conn: Connection, tenant: UUID, customer: UUID, new: UUID, currency: str, days: int
) -> UUID:
    """The customer's active cart: a new one, one that ran out emptied, or one made meanwhile."""
    cart: UUID = await conn.value(
        """
        with emptied as (
            delete from cart_item i using cart c
             where (c.tenant_id, c.customer_id) = (%(tenant)s, %(customer)s)
               and c.status = 'active' and c.expires_at <= now()
               and (i.tenant_id, i.cart_id) = (c.tenant_id, c.id)
        )
        insert into cart (tenant_id, id, customer_id, currency, expires_at)
        values (%(tenant)s, %(new)s, %(customer)s, %(currency)s,
                now() + make_interval(days => %(days)s))
        on conflict (tenant_id, customer_id) where status = 'active'
        do update set updated_at = now(), expires_at = excluded.expires_at
        returning id
        """,
        {
            "tenant": tenant,
            "customer": customer,
            "new": new,
            "currency": currency,
            "days": days,
        },
    )
    return cart


async def by_token(conn: Connection, tenant: UUID, token_hash: bytes) -> UUID | None:
    """The active guest cart of a token."""
    cart: UUID | None = await conn.value(
        """
        select id from cart c
         where (c.tenant_id, c.token_hash) = (%(tenant)s, %(token_hash)s)
           and c.status = 'active' and c.expires_at > now()
        """,
        {"tenant": tenant, "token_hash": token_hash},
    )
    return cart


async def add_item(
    conn: Connection,
    tenant: UUID,
    cart: UUID,
    access: Access,
    *,
    item: UUID,
    product: UUID,
    variant: UUID | None,
    quantity: int,
    days: int,
) -> Any:
    """Puts units of a variant into a cart, on top of those that are there.

    Returns (cart's currency or None where it is not open, how many variants fit, that variant's
    currency, lines in the cart, whether it was added).
    """
    return await conn.one(
        f"""
        with opened as (
            update cart c
               set updated_at = now(), expires_at = now() + make_interval(days => %(days)s)
             where {_THIS} and {_LIVE}
            returning c.id, c.currency
        ), fitting as (
            select v.id, v.price, v.currency
              from variant v
              join product p on (p.tenant_id, p.id) = (v.tenant_id, v.product_id)
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
                (tenant_id, id, cart_id, product_id, variant_id, quantity, unit_price)
            select %(tenant)s, %(item)s, opened.id, %(product)s, fitting.id, %(quantity)s,
                   fitting.price
              from opened, fitting
             where (select count(*) from fitting) = 1
               and fitting.currency = opened.currency
               and (select number from lines) < {LARGEST_CART}
            on conflict (tenant_id, cart_id, variant_id) do update
               set quantity = kept.quantity + excluded.quantity,
                   unit_price = excluded.unit_price
             where kept.quantity + excluded.quantity <= 9999
            returning id
        )
        select (select currency from opened), (select count(*) from fitting),
               (select min(currency) from fitting), (select number from lines),
               exists (select from added)
        """,
        _params(
            tenant,
            cart,
            access,
            item=item,
            product=product,
            variant=variant,
            quantity=quantity,
            days=days,
        ),
    )


async def set_quantity(
    conn: Connection, tenant: UUID, cart: UUID, access: Access, item: UUID, quantity: int
) -> bool:
    """A line's new quantity; False where the cart is not open or has no such line."""
    return bool(
        await conn.execute(
            f"""
            with opened as (
                update cart c set updated_at = now() where {_THIS} and {_LIVE} returning c.id
            )
            update cart_item i set quantity = %(quantity)s
              from opened
             where (i.tenant_id, i.cart_id, i.id) = (%(tenant)s, opened.id, %(item)s)
            """,
            _params(tenant, cart, access, item=item, quantity=quantity),
        )
    )


async def remove_items(
    conn: Connection, tenant: UUID, cart: UUID, access: Access, item: UUID | None
) -> tuple[bool, int]:
    """Takes one line out, or all; (whether the cart is open, how many lines went)."""
    row = await conn.one(
        f"""
        with opened as (
            update cart c set updated_at = now() where {_THIS} and {_LIVE} returning c.id
        ), gone as (
            delete from cart_item i using opened
             where (i.tenant_id, i.cart_id) = (%(tenant)s, opened.id)
               and (%(item)s::uuid is null or i.id = %(item)s)
            returning i.id
        )
        select exists (select from opened), (select count(*) from gone)
        """,
        _params(tenant, cart, access, item=item),
    )
    return bool(row[0]), int(row[1])


async def delete(conn: Connection, tenant: UUID, cart: UUID, access: Access) -> bool:
    """Removes an active cart."""
    return bool(
        await conn.execute(
            f"delete from cart c where {_THIS} and c.status = 'active'",
            _params(tenant, cart, access),
        )
    )


async def move_items(conn: Connection, tenant: UUID, source: UUID, target: UUID) -> None:
    """Puts the lines of one cart into another of the same currency, and closes the first."""
    await conn.execute(
        """
        with closed as (
            update cart set status = 'merged', updated_at = now()
             where (tenant_id, id) = (%(tenant)s, %(source)s) and status = 'active'
            returning id, currency
        ), gone as (
            delete from cart_item i using closed
             where (i.tenant_id, i.cart_id) = (%(tenant)s, closed.id)
            returning i.*
        )
        insert into cart_item as kept
            (tenant_id, id, cart_id, product_id, variant_id, quantity, unit_price)
        select gone.tenant_id, gone.id, target.id, gone.product_id, gone.variant_id,
               gone.quantity, gone.unit_price
          from gone
          join cart target on (target.tenant_id, target.id) = (%(tenant)s, %(target)s)
         where target.currency = (select currency from closed)
         order by gone.variant_id
        on conflict (tenant_id, cart_id, variant_id) do update
           set quantity = least(9999, kept.quantity + excluded.quantity),
               unit_price = excluded.unit_price
        """,
        {"tenant": tenant, "source": source, "target": target},
    )


async def lock(conn: Connection, tenant: UUID, cart: UUID, access: Access) -> OpenCart | None:
    """A cart with its lines priced as of now; its row is held by this transaction."""
    body = await conn.json_or_none(
        f"""
        with held as (
            select c.* from cart c where {_THIS} and c.expires_at > now() for update
        )
        select json_build_object(
            'id', c.id, 'status', c.status, 'customer_id', c.customer_id,
            'currency', c.currency, 'email', c.email, 'shipping_address', c.shipping_address,
            'billing_address', c.billing_address, 'shipping_service', c.shipping_service,
            'lines', (
                select coalesce(json_agg(json_build_object(
                    'item_id', i.id, 'product_id', i.product_id, 'variant_id', i.variant_id,
                    'sku', v.sku, 'title', p.title, 'variant_title', v.title,
                    'quantity', i.quantity, 'seen_price', i.unit_price::text,
                    'price', v.price::text, 'currency', v.currency,
                    'requires_shipping', p.requires_shipping, 'is_active', p.status = 'active')
                    order by i.id), '[]')
                  from cart_item i
                  join variant v on (v.tenant_id, v.id) = (i.tenant_id, i.variant_id)
                  join product p on (p.tenant_id, p.id) = (i.tenant_id, i.product_id)
                 where (i.tenant_id, i.cart_id) = (c.tenant_id, c.id)))
          from held c
        """,
        _params(tenant, cart, access),
    )
    return msgspec.json.decode(body, type=OpenCart) if body else None


async def set_prices(conn: Connection, tenant: UUID, cart: UUID) -> None:
    """The lines now cost what their variants cost: the buyer is shown it."""
    await conn.execute(
        """
        update cart_item i set unit_price = v.price
          from variant v
         where (i.tenant_id, i.cart_id) = (%(tenant)s, %(cart)s)
           and (v.tenant_id, v.id) = (i.tenant_id, i.variant_id)
           and i.unit_price <> v.price
        """,
        {"tenant": tenant, "cart": cart},
    )


async def update(conn: Connection, tenant: UUID, cart: UUID, values: Mapping[str, Any]) -> None:
    """Sets columns of a cart."""
    assignments = "".join(f"{name} = %({name})s, " for name in values)
    await conn.execute(
        f"""
        update cart set {assignments} updated_at = now()
         where (tenant_id, id) = (%(_tenant)s, %(_cart)s)
        """,
        {**values, "_tenant": tenant, "_cart": cart},
    )


async def with_expired(conn: Connection) -> list[UUID]:
    """Tenants of this shard with active carts that ran out."""
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
    """Forgets active carts that ran out; returns how many."""
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
