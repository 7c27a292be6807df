"""Refunds. The amount is set aside before the gateway is called, with an id that makes repeating
the call harmless; the result is recorded in one transaction."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from uuid import UUID, uuid5

import msgspec

from rcommerce import ids, money
from rcommerce.commerce import guarded
from rcommerce.commerce.credit import service as credits
from rcommerce.commerce.orders import service as orders
from rcommerce.commerce.orders.schema import HeldItem, OrderState
from rcommerce.commerce.payments import queries
from rcommerce.commerce.payments.schema import (
    NewRefund,
    PaymentState,
    RefundedLine,
    RefundPlan,
    RefundRequest,
    RefundRow,
    RefundState,
    RefundStatus,
    RefundView,
)
from rcommerce.commerce.pricing.quote import refundable
from rcommerce.commerce.shop import Shop
from rcommerce.commerce.strategies import GatewayError, Outcome
from rcommerce.database import Connection
from rcommerce.errors import Conflict, Invalid, NotFound, PaymentFailed, Unavailable, Unprocessable

WRITE = "payments:write"


async def require(conn: Connection, shop: Shop, payment: UUID) -> PaymentState:
    """A payment. Raises NotFound."""
    found = await queries.payment(conn, shop.tenant.id, payment)
    if found is None:
        raise NotFound("payment not found")
    return found


async def of_order(shop: Shop, order_id: UUID, data: RefundRequest) -> bytes:
    """Refunds an amount of an order, or all that is left; the order as JSON. Raises NotFound,
    Conflict, Unprocessable, PaymentFailed, Unavailable."""

    def what(payment: PaymentState, order: OrderState, _: Sequence[HeldItem]) -> RefundPlan:
        left = _left(payment) + _credit_left(order)
        amount = _wanted(data.amount, left, payment.currency)
        return _split(payment, amount)

    await _refund(shop, order_id, what, data.reason)
    async with shop.read() as conn:
        return await orders.json(conn, shop, order_id)


async def of_payment(shop: Shop, payment_id: UUID, data: RefundRequest) -> RefundState:
    """Refunds an amount of a payment, or all that is left. Raises NotFound, Conflict,
    Unprocessable, PaymentFailed, Unavailable."""
    shop.caller.require(WRITE)

    def what(payment: PaymentState, order: OrderState, _: Sequence[HeldItem]) -> RefundPlan:
        amount = _wanted(data.amount, _left(payment), payment.currency)
        return _split(payment, amount)

    async with shop.read() as conn:
        order = (await require(conn, shop, payment_id)).order_id
    done = await _refund(shop, order, what, data.reason, payment_id)
    return RefundState(id=done.id, payment_id=payment_id, amount=done.amount, status=done.status)


async def of_items(shop: Shop, order_id: UUID, data: NewRefund) -> RefundView:
    """Refunds what was paid for items and shipping. Raises NotFound, Conflict, Invalid,
    Unprocessable, PaymentFailed, Unavailable."""

    def what(payment: PaymentState, order: OrderState, items: Sequence[HeldItem]) -> RefundPlan:
        return _calculated(payment, order, items, data)

    done = await _refund(shop, order_id, what, data.note)
    async with shop.read() as conn:
        currency = (await require(conn, shop, done.payment_id)).currency
    return _view(done, currency, done.id, done.status)


async def calculate(shop: Shop, order_id: UUID, data: NewRefund) -> RefundView:
    """What `of_items` would refund. Raises NotFound, Conflict, Invalid, Unprocessable."""
    shop.caller.require(WRITE)
    async with shop.read() as conn:
        order = await orders.require(conn, shop, order_id, None)
        payment = _paid(await queries.of_order(conn, shop.tenant.id, order_id))
        items = await orders.items(conn, shop, order_id)
    return _view(_calculated(payment, order, items, data), payment.currency, None, "calculated")


What = Callable[[PaymentState, OrderState, Sequence[HeldItem]], RefundPlan]


async def _refund(
    shop: Shop, order_id: UUID, what: What, reason: str, payment_id: UUID | None = None
) -> RefundRow:
    """Refunds `what` is to be refunded of an order that is locked.

    The refund's id is derived from the Idempotency-Key if there is one: a retry finds the refund
    that it has begun, and continues it.
    """
    shop.caller.require(WRITE)
    async with shop.write() as tx:
        order = await orders.locked(tx, shop, order_id)
        if payment_id is None:
            payment = _paid(await queries.of_order(tx, shop.tenant.id, order_id))
        else:
            payment = _paid(await require(tx, shop, payment_id))
        refund_id = _id(shop, payment.id)
        begun = await queries.refund(tx, shop.tenant.id, refund_id)
        if begun is None:
            items = await orders.items(tx, shop, order_id)
            plan = what(payment, order, items)
            begun = await _begin(tx, shop, payment, refund_id, plan, reason)
    return await _finish(shop, payment, begun)


def _paid(payment: PaymentState | None) -> PaymentState:
    if payment is None or payment.status != "succeeded":
        raise Conflict("the order has not been paid", code="not_paid")
    return payment


def _id(shop: Shop, payment: UUID) -> UUID:
    if shop.idempotency_key is None:
        return ids.new_id()
    return uuid5(payment, f"{shop.caller.name}:{shop.idempotency_key}")


def _left(payment: PaymentState) -> Decimal:
    return payment.amount - payment.refunded


def _credit_left(order: OrderState) -> Decimal:
    """What gift cards and credit have paid and not got back; of a cancelled order they have."""
    if order.status == "cancelled":
        return money.ZERO
    return order.total - order.due - (order.credit_refunded or 0)


def _wanted(amount: Decimal | None, left: Decimal, currency: str) -> Decimal:
    wanted = left if amount is None else money.amount(amount, currency, "amount")
    if wanted == 0 or wanted > left:
        raise Unprocessable(f"{left} {currency} are left to refund", code="refund_too_large")
    return wanted


def _calculated(
    payment: PaymentState, order: OrderState, items: Sequence[HeldItem], data: NewRefund
) -> RefundPlan:
    currency = payment.currency
    left = {item.id: item.quantity - item.refunded_quantity for item in items}
    named = [(each.line_item_id, each.quantity) for each in data.refund_line_items]
    units = orders.named_units(named, left, "refund_line_items")
    lines = [
        RefundedLine(
            line_item_id=item.id,
            quantity=units[item.id],
            amount=refundable(
                item.paid, item.quantity, item.refunded_quantity, units[item.id], currency
            ),
        )
        for item in items
        if item.id in units
    ]
    shipping = _shipping(order, data, currency)
    total = sum((line.amount for line in lines), shipping)
    if not total:
        raise Unprocessable("nothing was paid for this", code="nothing_to_refund")
    _wanted(total, _left(payment) + _credit_left(order), currency)
    return msgspec.structs.replace(_split(payment, total), shipping=shipping, items=lines)


def _shipping(order: OrderState, data: NewRefund, currency: str) -> Decimal:
    left = money.rounded(order.shipping_left or money.ZERO, currency)
    if data.shipping is None:
        return left - left
    if (data.shipping.amount is None) != data.shipping.full_refund:
        raise Invalid.field("shipping", "needs either full_refund or amount")
    if data.shipping.amount is None:
        return left
    amount = money.amount(data.shipping.amount, currency, "shipping.amount")
    if amount > left:
        raise Unprocessable.field(
            "shipping.amount", f"{left} {currency} of the shipping are left to refund"
        )
    return amount


def _split(payment: PaymentState, amount: Decimal) -> RefundPlan:
    """An amount, to the payment as far as that goes, the rest to gift cards and credit."""
    to_payment = min(amount, _left(payment))
    zero = amount - amount
    return RefundPlan(amount=to_payment, credit=amount - to_payment, shipping=zero, items=[])


def _view(
    plan: RefundPlan, currency: str, refund_id: UUID | None, status: RefundStatus
) -> RefundView:
    return RefundView(
        id=refund_id,
        status=status,
        currency=currency,
        line_items=plan.items,
        shipping=plan.shipping,
        total=plan.amount + plan.credit,
        payment_amount=plan.amount,
        credit_amount=plan.credit,
    )


async def _begin(
    tx: Connection,
    shop: Shop,
    payment: PaymentState,
    refund_id: UUID,
    plan: RefundPlan,
    reason: str,
) -> RefundRow:
    parts = msgspec.structs.asdict(plan)
    new = RefundRow(id=refund_id, payment_id=payment.id, status="pending", **parts)
    await queries.begin_refund(tx, shop.tenant.id, new, reason)
    await orders.set_aside(
        tx, shop, payment.order_id, credit=new.credit, shipping=new.shipping, units=new.units
    )
    return new


async def _finish(shop: Shop, payment: PaymentState, begun: RefundRow) -> RefundRow:
    """Calls the gateway, and records its result."""
    if begun.status != "pending":
        return begun
    outcome = await _outcome(shop, payment, begun)
    succeeded = outcome.state == "approved"
    async with shop.write() as tx:
        await orders.locked(tx, shop, payment.order_id)
        if await queries.end_refund(
            tx, shop.tenant.id, begun.id, succeeded=succeeded, reference=outcome.reference
        ):
            await (_give if succeeded else _free)(tx, shop, payment, begun)
    if not succeeded:
        raise PaymentFailed(outcome.message or "the gateway refused the refund")
    return msgspec.structs.replace(begun, status="succeeded")


async def _outcome(shop: Shop, payment: PaymentState, begun: RefundRow) -> Outcome:
    if not begun.amount:
        return Outcome("approved")
    try:
        return await guarded.chosen(shop.services.gateways, payment.gateway_id).refund(
            shop.tenant.id, payment.id, begun.id, begun.amount
        )
    except GatewayError as error:
        raise Unavailable(
            "the payment gateway does not answer; the refund goes on when you try again",
            code="gateway_unavailable",
            retry_after_s=2,
        ) from error


async def _give(tx: Connection, shop: Shop, payment: PaymentState, begun: RefundRow) -> None:
    if begun.credit:
        await credits.refund(tx, shop, payment.order_id, begun.credit)
    now = await require(tx, shop, payment.id)
    order = await orders.locked(tx, shop, payment.order_id)
    is_whole = not _left(now) and not _credit_left(order)
    if order.sells_gift_cards:
        await credits.withdraw(tx, shop, order.id, whole=is_whole)
    noted = {"refund_id": begun.id, "amount": str(begun.amount + begun.credit)}
    values = {"payment_status": "refunded" if is_whole else "partially_refunded"}
    await orders.record(tx, shop, payment.order_id, "refunded", values, noted)


async def _free(tx: Connection, shop: Shop, payment: PaymentState, begun: RefundRow) -> None:
    units = {item: -quantity for item, quantity in begun.units.items()}
    await orders.set_aside(
        tx, shop, payment.order_id, credit=-begun.credit, shipping=-begun.shipping, units=units
    )


async def begin_rest(tx: Connection, shop: Shop, payment_id: UUID, reason: str) -> None:
    """Begins the refund of all that is left of a payment, in the transaction that requires it:
    after a crash, the sweep finishes it."""
    payment = await require(tx, shop, payment_id)
    if payment.status == "succeeded" and _left(payment):
        plan = _split(payment, _left(payment))
        await _begin(tx, shop, payment, ids.new_id(), plan, reason)


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
