"""Refunds. The amount is set aside before the gateway is called, with an id that makes repeating
the call harmless; the result is recorded in one transaction."""

from uuid import UUID, uuid5

from rcommerce import ids, money
from rcommerce.commerce import guarded
from rcommerce.commerce.orders import service as orders
from rcommerce.commerce.payments import queries
from rcommerce.commerce.payments.schema import PaymentState, RefundRequest, RefundState
from rcommerce.commerce.shop import Shop
from rcommerce.commerce.strategies import GatewayError
from rcommerce.database import Connection
from rcommerce.errors import Conflict, NotFound, PaymentFailed, Unavailable, Unprocessable

WRITE = "payments:write"


async def require(conn: Connection, shop: Shop, payment: UUID) -> PaymentState:
    """A payment. Raises NotFound."""
    found = await queries.payment(conn, shop.tenant.id, payment)
    if found is None:
        raise NotFound("payment not found")
    return found


async def of_order(shop: Shop, order: UUID, data: RefundRequest) -> bytes:
    """Refunds an order; the order as JSON. Raises NotFound, Conflict, Unprocessable."""
    shop.caller.require(WRITE)
    async with shop.read() as conn:
        await orders.require(conn, shop, order, None)
        payment = await queries.of_order(conn, shop.tenant.id, order)
    if payment is None:
        raise Conflict("the order has not been paid", code="not_paid")
    await of_payment(shop, payment.id, data)
    async with shop.read() as conn:
        return await orders.json(conn, shop, order)


async def of_payment(shop: Shop, payment_id: UUID, data: RefundRequest) -> RefundState:
    """Refunds a payment. Raises NotFound, Conflict, Unprocessable, PaymentFailed, Unavailable.

    Its id is derived from the Idempotency-Key if there is one: a retry finds the refund that it has
    begun, and continues it.
    """
    shop.caller.require(WRITE)
    async with shop.write() as tx:
        payment = await require(tx, shop, payment_id)
        await orders.locked(tx, shop, payment.order_id)
        payment = await require(tx, shop, payment_id)
        if payment.status != "succeeded":
            raise Conflict("the payment has not succeeded", code="not_paid")
        refund_id = _id(shop, payment_id)
        begun = await queries.refund(tx, shop.tenant.id, refund_id)
        if begun is None:
            begun = await _begin(tx, shop, payment, refund_id, data)
    return await _finish(shop, payment, begun)


def _id(shop: Shop, payment: UUID) -> UUID:
    if shop.idempotency_key is None:
        return ids.new_id()
    return uuid5(payment, f"{shop.caller.name}:{shop.idempotency_key}")


async def _begin(
    tx: Connection, shop: Shop, payment: PaymentState, refund_id: UUID, data: RefundRequest
) -> RefundState:
    left = payment.amount - payment.refunded
    amount = left
    if data.amount is not None:
        amount = money.amount(data.amount, payment.currency, "amount")
    if amount == 0 or amount > left:
        raise Unprocessable(
            f"{left} {payment.currency} of the payment are left to refund",
            code="refund_too_large",
        )
    await queries.begin_refund(tx, shop.tenant.id, refund_id, payment.id, amount, data.reason)
    return RefundState(id=refund_id, payment_id=payment.id, amount=amount, status="pending")


async def _finish(shop: Shop, payment: PaymentState, begun: RefundState) -> RefundState:
    """Calls the gateway, and records its result."""
    if begun.status != "pending":
        return begun
    try:
        outcome = await guarded.chosen(shop.services.gateways, payment.gateway_id).refund(
            shop.tenant.id, payment.id, begun.id, begun.amount
        )
    except GatewayError as error:
        raise Unavailable(
            "the payment gateway does not answer; the refund goes on when you try again",
            code="gateway_unavailable",
            retry_after_s=2,
        ) from error
    succeeded = outcome.state == "approved"
    async with shop.write() as tx:
        await orders.locked(tx, shop, payment.order_id)
        ended = await queries.end_refund(
            tx, shop.tenant.id, begun.id, succeeded=succeeded, reference=outcome.reference
        )
        if ended and succeeded:
            now = await require(tx, shop, payment.id)
            status = "refunded" if now.refunded == now.amount else "partially_refunded"
            noted = {"refund_id": begun.id, "amount": str(begun.amount)}
            values = {"payment_status": status}
            await orders.record(tx, shop, payment.order_id, "refunded", values, noted)
    if not succeeded:
        raise PaymentFailed(outcome.message or "the gateway refused the refund")
    return RefundState(id=begun.id, payment_id=payment.id, amount=begun.amount, status="succeeded")


async def begin_rest(tx: Connection, shop: Shop, payment_id: UUID, reason: str) -> None:
    """Begins the refund of all that is left of a payment, in the transaction that requires it:
    after a crash, the sweep finishes it."""
    payment = await require(tx, shop, payment_id)
    if payment.status == "succeeded" and payment.amount > payment.refunded:
        await _begin(tx, shop, payment, ids.new_id(), RefundRequest(reason=reason))


async def finish(shop: Shop, payment_id: UUID) -> None:
    """Calls the gateway for each refund of a payment that was begun. Raises Unavailable,
    PaymentFailed."""
    async with shop.read() as conn:
        payment = await require(conn, shop, payment_id)
        begun = await queries.pending_refunds(conn, shop.tenant.id, payment_id)
    for each in begun:
        await _finish(shop, payment, each)


async def due(conn: Connection, limit: int) -> list[tuple[UUID, UUID]]:
    """(tenant, payment) of unfinished refunds, of every tenant."""
    return await queries.due_refunds(conn, limit)
