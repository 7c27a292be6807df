"""SQL of orders."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from msgspec import to_builtins

from rcommerce.commerce.orders.schema import Draft, HeldItem, OrderFilter, OrderState
from rcommerce.commerce.paging import Key, Window, list_sql
from rcommerce.commerce.promotions.queries import REDEEM
from rcommerce.commerce.promotions.schema import Redemption
from rcommerce.database import Connection, Jsonb, Statement

ORDER_JSON = """json_build_object(
    'id', t.id, 'order_number', t.order_number, 'customer_id', t.customer_id,
    'customer_email', t.customer_email, 'status', t.status,
    'payment_status', t.payment_status, 'fulfillment_status', t.fulfillment_status,
    'channel_id', t.channel_id,
    'currency', t.currency, 'subtotal', t.subtotal::text,
    'discount_total', t.discount_total::text, 'tax_total', t.tax_total::text,
    'shipping_total', t.shipping_total::text,
    'shipping_discount', coalesce(t.shipping_discount, t.total - t.total)::text,
    'total', t.total::text, 'amount_due', (t.total - coalesce(t.credit_total, 0))::text,
    'discounts', t.discounts,
    'gift_cards', case when t.credit_total is null then '[]' else (
        select coalesce(json_agg(json_build_object(
                   'id', e.account_id, 'kind', a.kind, 'last_characters', a.last_characters,
                   'amount', (-e.amount)::text) order by e.account_id), '[]')
          from credit_entry e
          join credit_account a on (a.tenant_id, a.id) = (e.tenant_id, e.account_id)
         where (e.tenant_id, e.order_id) = (t.tenant_id, t.id) and e.kind = 'redeemed') end,
    'shipping_service', t.shipping_service,
    'items', (
        select coalesce(json_agg(json_build_object(
            'id', i.id, 'product_id', i.product_id, 'variant_id', i.variant_id, 'sku', i.sku,
            'name', i.title, 'title', i.title, 'variant_title', i.variant_title,
            'quantity', i.quantity, 'fulfilled_quantity', i.fulfilled_quantity,
            'returned_quantity', i.returned_quantity, 'refunded_quantity', i.refunded_quantity,
            'price', i.price::text, 'total', i.total::text,
            'discount_amount', coalesce(i.discount_amount, i.total - i.total)::text,
            'discounts', i.discounts, 'tax_amount', i.tax_amount::text,
            'is_gift', i.is_gift, 'is_gift_card', i.is_gift_card) order by i.position), '[]')
          from order_item i where (i.tenant_id, i.order_id) = (t.tenant_id, t.id)),
    'shipping_address', t.shipping_address, 'billing_address', t.billing_address,
    'notes', t.notes, 'metadata', t.metadata,
    'created_at', rfc3339(t.created_at), 'updated_at', rfc3339(t.updated_at))"""
_STATE = """select id, order_number, customer_id, status, payment_status, fulfillment_status,
                   currency, total, total - coalesce(credit_total, 0) as due, cart_id,
                   credit_refunded, shipping_total - coalesce(shipping_discount, 0)
                   - coalesce(shipping_refunded, 0) as shipping_left, sells_gift_cards
              from sales_order"""
KEYS = (Key("t.created_at", "timestamptz"), Key("t.id", "uuid"))


async def insert(
    conn: Connection,
    tenant: UUID,
    order: UUID,
    number: str,
    draft: Draft,
    uses: Sequence[Redemption],
    *,
    ttl_s: int,
    actor: str,
) -> None:
    """Inserts a pending order with its items, what it uses of promotions, and its first event;
    closes its cart, if it has one."""
    used = {"uses": msgspec.json.encode(uses).decode()} if uses else {}
    redeemed = f", redeemed as ({REDEEM})" if uses else ""
    await conn.later(
        f"""
        with placed as (
            insert into sales_order
                (tenant_id, id, order_number, cart_id, customer_id, customer_email, channel_id,
                 status, payment_status, currency, subtotal, discount_total, tax_total,
                 shipping_total, shipping_discount, total, credit_total, discounts,
                 shipping_address, billing_address, shipping_service, notes, sells_gift_cards,
                 reserved_until)
            values (%(tenant)s, %(order)s, %(number)s, %(cart)s, %(customer)s, %(email)s,
                    %(channel)s, 'pending', 'pending', %(currency)s, %(subtotal)s,
                    %(discount_total)s, %(tax_total)s, %(shipping_total)s,
                    %(shipping_discount)s, %(total)s, %(credit_total)s, %(discounts)s,
                    %(shipping_address)s, %(billing_address)s,
                    %(shipping_service)s, %(notes)s, %(sells_gift_cards)s,
                    now() + make_interval(secs => %(ttl_s)s))
        ), listed as (
            insert into order_item
                (tenant_id, id, order_id, position, product_id, variant_id, sku, title,
                 variant_title, quantity, price, total, discount_amount, discounts, tax_amount,
                 requires_shipping, is_gift, is_gift_card)
            select %(tenant)s, i.id, %(order)s, i.position, i.product_id, i.variant_id, i.sku,
                   i.title, i.variant_title, i.quantity, i.price, i.total, i.discount_amount,
                   i.discounts, i.tax_amount, i.requires_shipping, i.is_gift,
                   i.is_gift_card
              from jsonb_to_recordset(%(items)s) as i (
                   id uuid, position int, product_id uuid, variant_id uuid, sku text, title text,
                   variant_title text, quantity int, price numeric, total numeric,
                   discount_amount numeric, discounts jsonb, tax_amount numeric,
                   requires_shipping boolean, is_gift boolean, is_gift_card boolean)
        ), closed as (
            update cart set status = 'ordered', updated_at = now()
             where (tenant_id, id) = (%(tenant)s, %(cart)s)
        ){redeemed}
        insert into order_event (tenant_id, id, order_id, type, actor)
        values (%(tenant)s, new_id(), %(order)s, 'placed', %(actor)s)
        """,
        {
            "tenant": tenant,
            "order": order,
            "number": number,
            "cart": draft.cart_id,
            "customer": draft.customer_id,
            "email": draft.customer_email,
            "channel": draft.channel_id,
            "currency": draft.currency,
            "subtotal": draft.totals.subtotal,
            "discount_total": draft.totals.discount_total,
            "tax_total": draft.totals.tax_total,
            "shipping_total": draft.totals.shipping_total,
            "shipping_discount": draft.totals.shipping_discount,
            "credit_total": draft.credit_total,
            "discounts": Jsonb(to_builtins(draft.discounts)),
            "total": draft.totals.total,
            "shipping_address": Jsonb(draft.shipping_address),
            "billing_address": Jsonb(draft.billing_address),
            "shipping_service": draft.shipping_service,
            "notes": draft.notes,
            "sells_gift_cards": any(item.is_gift_card for item in draft.items),
            "items": Jsonb(to_builtins(draft.items, builtin_types=())),
            "ttl_s": ttl_s,
            "actor": actor,
            **used,
        },
    )


def holding(tenant: UUID, order: UUID) -> Statement:
    """Locks an order's row, and reads its state: see `state_of`."""
    return Statement(
        f"{_STATE} where (tenant_id, id) = (%(tenant)s, %(order)s) for update",
        {"tenant": tenant, "order": order},
    )


def state_of(row: Sequence[Any] | None) -> OrderState | None:
    """The state in a row of `holding`."""
    if row is None:
        return None
    return OrderState(**dict(zip(OrderState.__struct_fields__, row, strict=True)))


async def lock(conn: Connection, tenant: UUID, order: UUID) -> OrderState | None:
    """An order's state; locks its row."""
    return state_of(await conn.one_or_none(*holding(tenant, order)))


async def state(conn: Connection, tenant: UUID, order: UUID) -> OrderState | None:
    """An order's state."""
    return await conn.record(
        OrderState,
        f"{_STATE} where (tenant_id, id) = (%(tenant)s, %(order)s)",
        {"tenant": tenant, "order": order},
    )


async def of_cart(conn: Connection, tenant: UUID, cart: UUID) -> OrderState | None:
    """The order of a cart."""
    return await conn.record(
        OrderState,
        f"""
        {_STATE} where (tenant_id, cart_id) = (%(tenant)s, %(cart)s) and status <> 'cancelled'
        """,
        {"tenant": tenant, "cart": cart},
    )


async def update(
    conn: Connection,
    tenant: UUID,
    order: UUID,
    values: Mapping[str, Any],
    *,
    event: str,
    data: Mapping[str, Any],
    actor: str,
) -> None:
    """Sets columns of an order, and writes the event.

    An order that is no longer pending is not waiting for a payment: its reservation no longer
    expires.
    """
    assignments = "".join(f"{name} = %({name})s, " for name in values)
    if values.get("status", "pending") != "pending":
        assignments += "reserved_until = null, "
    await conn.later(
        f"""
        with changed as (
            update sales_order set {assignments} updated_at = now()
             where (tenant_id, id) = (%(_tenant)s, %(_order)s)
        )
        insert into order_event (tenant_id, id, order_id, type, data, actor)
        values (%(_tenant)s, new_id(), %(_order)s, %(_event)s, %(_data)s, %(_actor)s)
        """,
        {
            **values,
            "_tenant": tenant,
            "_order": order,
            "_event": event,
            "_data": Jsonb(dict(data)),
            "_actor": actor,
        },
    )


async def is_over(conn: Connection, tenant: UUID, order: UUID) -> bool:
    """Whether the order's reservation has expired."""
    return bool(
        await conn.value(
            """
            select reserved_until < now() from sales_order
             where (tenant_id, id) = (%(tenant)s, %(order)s)
            """,
            {"tenant": tenant, "order": order},
        )
    )


async def extend(conn: Connection, tenant: UUID, order: UUID, ttl_s: int) -> None:
    """Extends the order's reservation, from now."""
    await conn.execute(
        """
        update sales_order set reserved_until = now() + make_interval(secs => %(ttl_s)s)
         where (tenant_id, id) = (%(tenant)s, %(order)s) and reserved_until is not null
        """,
        {"tenant": tenant, "order": order, "ttl_s": ttl_s},
    )


async def hold_customer(conn: Connection, tenant: UUID, customer: UUID) -> None:
    """Prevents a new cart for the customer during this transaction: a new cart's foreign key waits
    for the locked row."""
    await conn.execute(
        "select from customer where (tenant_id, id) = (%(tenant)s, %(customer)s) for update",
        {"tenant": tenant, "customer": customer},
    )


async def reopen_cart(conn: Connection, tenant: UUID, cart: UUID) -> None:
    """After a declined payment the cart is open again, unless the buyer has begun another one."""
    await conn.execute(
        """
        update cart c set status = 'active', updated_at = now()
         where (c.tenant_id, c.id) = (%(tenant)s, %(cart)s) and c.status = 'ordered'
           and not exists (
               select from cart o
                where (o.tenant_id, o.customer_id) = (c.tenant_id, c.customer_id)
                  and o.status = 'active')
        """,
        {"tenant": tenant, "cart": cart},
    )


async def items(conn: Connection, tenant: UUID, order: UUID) -> list[HeldItem]:
    """An order's items."""
    return await conn.records(
        HeldItem,
        """
        select id, variant_id, quantity, fulfilled_quantity, returned_quantity, refunded_quantity,
               total - coalesce(discount_amount, 0) + tax_amount as paid
          from order_item
         where (tenant_id, order_id) = (%(tenant)s, %(order)s) order by position
        """,
        {"tenant": tenant, "order": order},
    )


async def add_to_items(
    conn: Connection,
    tenant: UUID,
    order: UUID,
    column: str,
    quantities: Mapping[UUID, int],
) -> None:
    """Adds units to fulfilled_quantity, returned_quantity or refunded_quantity of an order's
    items."""
    await conn.execute(
        f"""
        update order_item i set {column} = i.{column} + w.quantity
          from unnest(%(ids)s::uuid[], %(quantities)s::int[]) as w (id, quantity)
         where (i.tenant_id, i.order_id, i.id) = (%(tenant)s, %(order)s, w.id)
        """,
        {
            "tenant": tenant,
            "order": order,
            "ids": list(quantities),
            "quantities": list(quantities.values()),
        },
    )


async def add_refunded(
    conn: Connection, tenant: UUID, order: UUID, credit: Decimal, shipping: Decimal
) -> None:
    """Adds to what an order's credit and shipping have given back."""
    await conn.execute(
        """
        update sales_order
           set credit_refunded = nullif(coalesce(credit_refunded, 0) + %(credit)s, 0),
               shipping_refunded = nullif(coalesce(shipping_refunded, 0) + %(shipping)s, 0)
         where (tenant_id, id) = (%(tenant)s, %(order)s)
        """,
        {"tenant": tenant, "order": order, "credit": credit, "shipping": shipping},
    )


async def order(conn: Connection, tenant: UUID, order_id: UUID) -> bytes | None:
    """An order as JSON."""
    return await conn.json_or_none(
        f"""
        select {ORDER_JSON} from sales_order t
         where (t.tenant_id, t.id) = (%(tenant)s, %(order)s)
        """,
        {"tenant": tenant, "order": order_id},
    )


async def orders(conn: Connection, tenant: UUID, wanted: OrderFilter, window: Window) -> bytes:
    """A page of orders as JSON, newest first."""
    where = ["t.tenant_id = %(tenant)s"]
    params: dict[str, Any] = {"tenant": tenant, **window.params()}
    for name in wanted.__struct_fields__:
        value = getattr(wanted, name)
        if value is not None:
            where.append(f"t.{name} = %({name})s")
            params[name] = value
    sql = list_sql(
        name="orders",
        table="sales_order",
        where=" and ".join(where),
        row=ORDER_JSON,
        keys=KEYS,
        descending=True,
        window=window,
    )
    return await conn.json(sql, params)


async def events(conn: Connection, tenant: UUID, order_id: UUID) -> bytes:
    """What happened to an order, as JSON, oldest first."""
    return await conn.json(
        """
        select json_build_object('events', coalesce(json_agg(json_build_object(
                   'id', e.id, 'type', e.type, 'data', e.data, 'actor', e.actor,
                   'created_at', rfc3339(e.created_at)) order by e.id), '[]'))
          from order_event e where (e.tenant_id, e.order_id) = (%(tenant)s, %(order)s)
        """,
        {"tenant": tenant, "order": order_id},
    )
