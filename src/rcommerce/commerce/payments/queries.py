"""SQL of payments and refunds."""

from decimal import Decimal
from uuid import UUID

import msgspec

from rcommerce.commerce.payments.schema import PaymentState, RefundRow
from rcommerce.database import Connection, Jsonb

_STATE = """select id, order_id, gateway_id, method_type, amount, refunded, currency, status,
                   error_message
              from payment"""
_OPEN = "('pending', 'requires_action', 'succeeded')"


async def insert(
    conn: Connection,
    tenant: UUID,
    payment: UUID,
    order: UUID,
    *,
    gateway: str,
    method: str,
    amount: Decimal,
    currency: str,
) -> None:
    """Inserts a pending payment. An order has at most one open payment: a database constraint."""
    await conn.later(
        """
        insert into payment
            (tenant_id, id, order_id, gateway_id, method_type, currency, amount, refunded, status)
        values (%(tenant)s, %(payment)s, %(order)s, %(gateway)s, %(method)s, %(currency)s,
                %(amount)s, %(nothing)s, 'pending')
        """,
        {
            "tenant": tenant,
            "payment": payment,
            "order": order,
            "gateway": gateway,
            "method": method,
            "amount": amount,
            "nothing": amount - amount,
            "currency": currency,
        },
    )


async def of_order(conn: Connection, tenant: UUID, order: UUID) -> PaymentState | None:
    """The order's payment that is open or has succeeded."""
    return await conn.record(
        PaymentState,
        f"""
        {_STATE} where (tenant_id, order_id) = (%(tenant)s, %(order)s) and status in {_OPEN}
        """,
        {"tenant": tenant, "order": order},
    )


async def payment(conn: Connection, tenant: UUID, payment_id: UUID) -> PaymentState | None:
    """A payment."""
    return await conn.record(
        PaymentState,
        f"{_STATE} where (tenant_id, id) = (%(tenant)s, %(payment)s)",
        {"tenant": tenant, "payment": payment_id},
    )


async def change(
    conn: Connection,
    tenant: UUID,
    payment_id: UUID,
    status: str,
    *,
    reference: str | None = None,
    message: str | None = None,
) -> bool:
    """Sets the status of an open payment; False if it is settled already.

    A payment that was given up can still turn out to have been charged.
    """
    return bool(
        await conn.execute(
            """
            update payment
               set status = %(status)s, updated_at = now(),
                   gateway_reference = coalesce(%(reference)s, gateway_reference),
                   error_message = %(message)s
             where (tenant_id, id) = (%(tenant)s, %(payment)s)
               and (status in ('pending', 'requires_action')
                    or (%(status)s = 'succeeded' and status in ('failed', 'cancelled')))
            """,
            {
                "tenant": tenant,
                "payment": payment_id,
                "status": status,
                "reference": reference,
                "message": message,
            },
        )
    )


async def insert_event(conn: Connection, tenant: UUID, gateway: str, event: str) -> bool:
    """Records a gateway's event; False if it was recorded before."""
    return bool(
        await conn.execute(
            """
            insert into payment_event (tenant_id, gateway_id, event_id)
            values (%(tenant)s, %(gateway)s, %(event)s)
            on conflict do nothing
            """,
            {"tenant": tenant, "gateway": gateway, "event": event},
        )
    )


async def begin_refund(conn: Connection, tenant: UUID, new: RefundRow, reason: str) -> bool:
    """Sets a refund's amount of its payment aside; False if less than that is left."""
    return bool(
        await conn.execute(
            """
            with aside as (
                update payment set refunded = refunded + %(amount)s, updated_at = now()
                 where (tenant_id, id) = (%(tenant)s, %(payment)s) and status = 'succeeded'
                   and refunded + %(amount)s <= amount
                returning currency
            )
            insert into refund (tenant_id, id, payment_id, currency, amount, credit_amount,
                                shipping_amount, items, reason, status)
            select %(tenant)s, %(refund)s, %(payment)s, currency, %(amount)s, %(credit)s,
                   %(shipping)s, %(items)s, %(reason)s, 'pending'
              from aside
            """,
            {
                "tenant": tenant,
                "refund": new.id,
                "payment": new.payment_id,
                "amount": new.amount,
                "credit": new.credit,
                "shipping": new.shipping,
                "items": Jsonb(msgspec.to_builtins(new.items)),
                "reason": reason,
            },
        )
    )


_REFUND = """select id, payment_id, amount, coalesce(credit_amount, amount - amount) as credit,
                    coalesce(shipping_amount, amount - amount) as shipping,
                    coalesce(items, '[]') as items, status
               from refund"""


async def refund(conn: Connection, tenant: UUID, refund_id: UUID) -> RefundRow | None:
    """A refund."""
    return await conn.record(
        RefundRow,
        f"{_REFUND} where (tenant_id, id) = (%(tenant)s, %(refund)s)",
        {"tenant": tenant, "refund": refund_id},
    )


async def pending_refunds(conn: Connection, tenant: UUID, payment_id: UUID) -> list[RefundRow]:
    """Refunds of a payment that have no result yet."""
    return await conn.records(
        RefundRow,
        f"""
        {_REFUND}
         where (tenant_id, payment_id) = (%(tenant)s, %(payment)s) and status = 'pending'
         order by id
        """,
        {"tenant": tenant, "payment": payment_id},
    )


async def end_refund(
    conn: Connection, tenant: UUID, refund_id: UUID, *, succeeded: bool, reference: str | None
) -> bool:
    """Settles a pending refund, and frees the amount of a failed one; False if it is settled."""
    return bool(
        await conn.value(
            """
            with ended as (
                update refund
                   set status = case when %(succeeded)s then 'succeeded' else 'failed' end,
                       gateway_reference = %(reference)s
                 where (tenant_id, id) = (%(tenant)s, %(refund)s) and status = 'pending'
                returning payment_id, amount
            ), freed as (
                update payment p set refunded = p.refunded - ended.amount, updated_at = now()
                  from ended
                 where (p.tenant_id, p.id) = (%(tenant)s, ended.payment_id) and not %(succeeded)s
            )
            select true from ended
            """,
            {
                "tenant": tenant,
                "refund": refund_id,
                "succeeded": succeeded,
                "reference": reference,
            },
        )
    )


async def due(conn: Connection, limit: int) -> list[tuple[UUID, UUID]]:
    """(tenant, order) whose payment has to be looked up at its gateway, of every tenant of this
    shard.

    Those whose reservation has expired, those that wait for their gateway, and those that a crash
    has left between charging and recording.
    """
    rows = await conn.all(
        """
        select t.tenant_id, due.order_id
          from tenant_placement t
         cross join lateral (
            (select o.id as order_id from sales_order o
              where o.tenant_id = t.tenant_id and o.reserved_until < now()
              order by o.reserved_until limit %(limit)s)
            union
            (select p.order_id from payment p
              where p.tenant_id = t.tenant_id and p.status in ('pending', 'requires_action')
                and p.gateway_id <> 'manual'
                and p.updated_at < now() - interval '2 seconds'
                and (p.status = 'requires_action' or p.updated_at < now() - interval '1 minute')
              order by p.updated_at limit %(limit)s)) due
         where t.state = 'active'
         limit %(limit)s
        """,
        {"limit": limit},
    )
    return [(row[0], row[1]) for row in rows]


async def due_refunds(conn: Connection, limit: int) -> list[tuple[UUID, UUID]]:
    """(tenant, payment) of unfinished refunds, of every tenant of this shard."""
    rows = await conn.all(
        """
        select distinct t.tenant_id, due.payment_id
          from tenant_placement t
         cross join lateral (
            select r.payment_id from refund r
             where r.tenant_id = t.tenant_id and r.status = 'pending'
               and r.created_at < now() - interval '1 minute'
             order by r.created_at limit %(limit)s) due
         where t.state = 'active'
         limit %(limit)s
        """,
        {"limit": limit},
    )
    return [(row[0], row[1]) for row in rows]
