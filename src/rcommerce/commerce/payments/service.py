"""The rules of payment. Gateways are called outside of any transaction, with an id that makes
repeating the call harmless; the result is recorded in one transaction."""

from collections.abc import Mapping
from decimal import Decimal
from uuid import UUID

import structlog

from rcommerce import ids, money
from rcommerce.commerce import guarded
from rcommerce.commerce.credit import service as credits
from rcommerce.commerce.guarded import GuardedGateway
from rcommerce.commerce.inventory import service as inventory
from rcommerce.commerce.orders import service as orders
from rcommerce.commerce.orders import states
from rcommerce.commerce.orders.schema import Cancellation, OrderState
from rcommerce.commerce.payments import queries, refunds
from rcommerce.commerce.payments.schema import (
    Method,
    Methods,
    MethodsQuery,
    NewPayment,
    PaymentResult,
    PaymentState,
    PaymentView,
)
from rcommerce.commerce.shop import Shop
from rcommerce.commerce.strategies import Charge, GatewayError, Outcome
from rcommerce.database import Connection
from rcommerce.errors import (
    Conflict,
    NotFound,
    Unavailable,
    Unprocessable,
)

FREE = Outcome("approved")  # of an order that costs nothing
log = structlog.get_logger()


def gateway(shop: Shop, gateway_id: str | None) -> GuardedGateway:
    """A gateway by its id, or the default one. Raises Invalid."""
    name = gateway_id or shop.services.settings.payment.default_gateway
    return guarded.chosen(shop.services.gateways, name)


def methods(shop: Shop, query: MethodsQuery) -> Methods:
    """The ways to pay an amount. Raises Invalid."""
    currency = money.currency(query.currency)
    return Methods(
        currency=currency,
        amount=money.amount(query.amount, currency, "amount"),
        gateways=[
            Method(gateway_id=each.id, name=each.name, methods=list(each.methods))
            for each in shop.services.gateways.values()
        ],
        default_gateway=shop.services.settings.payment.default_gateway,
    )


async def open_payment(
    tx: Connection, shop: Shop, order: UUID, amount: Decimal, currency: str,
    gateway_id: str | None, method: str,
) -> PaymentState:  # fmt: skip
    """The order's open payment, existing or new.

    The transaction has locked the order's row, so two never create one each. Raises Unavailable.
    """
    found = await queries.of_order(tx, shop.tenant.id, order)
    return found or await new_payment(tx, shop, order, amount, currency, gateway_id, method)


async def new_payment(
    tx: Connection, shop: Shop, order: UUID, amount: Decimal, currency: str,
    gateway_id: str | None, method: str,
) -> PaymentState:  # fmt: skip
    """A payment for an order that has no open one. Raises Unavailable while the gateway's breaker
    is open: then nothing is reserved."""
    payment = ids.new_id()
    by = gateway(shop, gateway_id)
    if by.is_resting:
        raise Unavailable(
            f"the payment gateway {by.id} does not answer", code="gateway_unavailable",
            retry_after_s=5,
        )  # fmt: skip
    await queries.insert(
        tx, shop.tenant.id, payment, order, gateway=by.id, method=method, amount=amount,
        currency=currency,
    )  # fmt: skip
    return PaymentState(
        id=payment, order_id=order, gateway_id=by.id, method_type=method, amount=amount,
        refunded=amount - amount, currency=currency, status="pending", error_message=None,
    )  # fmt: skip


async def charge(
    shop: Shop, payment: PaymentState, order_number: str, token: str | None
) -> Outcome:
    """Charges at the gateway, unless there is nothing to pay. Raises Unavailable if it does not
    answer: it may have charged, the payment stays open, and repeating is harmless."""
    if not payment.amount:
        return FREE
    asked = Charge(
        tenant_id=shop.tenant.id,
        payment_id=payment.id,
        order_number=order_number,
        amount=payment.amount,
        currency=payment.currency,
        token=token,
    )
    try:
        return await gateway(shop, payment.gateway_id).charge(asked)
    except GatewayError as error:
        log.warning("gateway_failed", gateway=payment.gateway_id, payment_id=str(payment.id))
        raise Unavailable(
            "the payment gateway does not answer; try again",
            code="gateway_unavailable",
            retry_after_s=2,
        ) from error


async def settle(shop: Shop, payment: PaymentState, outcome: Outcome) -> None:
    """Records the gateway's result; once, however often it is reported."""
    async with orders.held(shop, payment.order_id) as (tx, order):
        await _settle(tx, shop, order, payment, outcome)
        # Too late: the stock may have been sold since.
        is_late = outcome.state == "approved" and order.status == "cancelled"
        if is_late:
            await refunds.begin_rest(
                tx, shop, payment.id, "the order was cancelled before it was paid"
            )
    if is_late:
        await refunds.finish(shop, payment.id)


async def _settle(
    tx: Connection, shop: Shop, order: OrderState, payment: PaymentState, outcome: Outcome
) -> None:
    tenant, reference = shop.tenant.id, outcome.reference
    paid = {"payment_id": payment.id, "amount": str(payment.amount)}
    if outcome.state == "approved":
        if not await queries.change(tx, tenant, payment.id, "succeeded", reference=reference):
            return
        values = {"payment_status": "paid"}
        if order.status == "pending":
            values["status"] = "confirmed"
            await inventory.sell(tx, shop, order.id)
        if order.sells_gift_cards and order.status != "cancelled":
            await credits.sell(tx, shop, order.id)
        await orders.record(tx, shop, order.id, "paid", values, paid)
    elif outcome.state == "accepted":
        if order.status == "pending":
            await inventory.sell(tx, shop, order.id)
            await orders.record(tx, shop, order.id, "confirmed", {"status": "confirmed"}, paid)
    elif outcome.state == "waiting":
        await queries.change(tx, tenant, payment.id, "requires_action", reference=reference)
    else:
        if not await queries.change(
            tx, tenant, payment.id, "failed", reference=reference, message=outcome.message
        ):
            return
        await orders.give_up(
            tx, shop, order, "payment_failed", "failed", outcome.message or "declined"
        )


async def ask(shop: Shop, order_id: UUID) -> None:
    """Completes an order whose payment result was not recorded, by asking the gateway.

    What it has charged is confirmed; what it does not know is given up once the reservation has
    expired.
    """
    async with shop.read() as conn:
        order = await orders.state(conn, shop, order_id)
        payment = await queries.of_order(conn, shop.tenant.id, order_id)
    if order is None:
        return
    outcome = None
    if payment is not None:
        by = gateway(shop, payment.gateway_id)
        outcome = await by.find(shop.tenant.id, payment.id) if payment.amount else FREE
    if payment is not None and outcome is not None and outcome.state != "waiting":
        await settle(shop, payment, outcome)
        return
    async with orders.held(shop, order_id) as (tx, order):
        is_over = await orders.is_over(tx, shop, order_id)
        if outcome is not None:
            await orders.wait_longer(tx, shop, order_id)
        elif is_over or order.status != "pending":
            if payment is not None:
                await queries.change(tx, shop.tenant.id, payment.id, "cancelled")
            await orders.give_up(tx, shop, order, "expired", "cancelled", "not paid in time")


async def due(conn: Connection, limit: int) -> list[tuple[UUID, UUID]]:
    """(tenant, order) whose payment has to be looked up, of every tenant."""
    return await queries.due(conn, limit)


async def pay(shop: Shop, new: NewPayment, order_token: str | None) -> PaymentResult:
    """Pays an order. Raises NotFound, Invalid, Unprocessable, Conflict, Unavailable."""
    currency = money.currency(new.currency)
    amount = money.amount(new.amount, currency, "amount")
    async with shop.write() as tx:
        await orders.require(tx, shop, new.order_id, order_token)
        order = await orders.locked(tx, shop, new.order_id)
        if (amount, currency) != (order.due, order.currency):
            raise Unprocessable(
                f"{order.due} {order.currency} of the order is due, not {amount} {currency}",
                code="amount_mismatch",
            )
        if order.status == "cancelled":
            raise Conflict("the order is cancelled", code="order_cancelled")
        payment = await open_payment(
            tx, shop, order.id, amount, currency, new.gateway_id, new.payment_method_type
        )
    token = new.payment_method_data.token if new.payment_method_data else None
    if payment.status == "pending":
        outcome = await charge(shop, payment, order.order_number, token)
        await settle(shop, payment, outcome)
    async with shop.read() as conn:
        payment = await refunds.require(conn, shop, payment.id)
    return _result(payment)


def _result(payment: PaymentState) -> PaymentResult:
    if payment.status == "failed":
        return PaymentResult(
            result="failed", payment_id=payment.id, error_message=payment.error_message
        )
    if payment.status == "requires_action":
        return PaymentResult(
            result="requires_action", payment_id=payment.id, action_type="wait", action_data={}
        )
    return PaymentResult(result="success", payment_id=payment.id)


async def one(shop: Shop, payment: UUID, order_token: str | None) -> PaymentView:
    """A payment, for callers who may see its order. Raises NotFound."""
    async with shop.read() as conn:
        found = await refunds.require(conn, shop, payment)
        await orders.require(conn, shop, found.order_id, order_token)
    return PaymentView(
        id=found.id, order_id=found.order_id, gateway_id=found.gateway_id,
        payment_method_type=found.method_type, amount=found.amount, refunded=found.refunded,
        currency=found.currency, status=found.status, error_message=found.error_message,
    )  # fmt: skip


async def confirm(shop: Shop, payment: UUID) -> PaymentView:
    """Confirms a manual payment. Raises NotFound, Conflict."""
    shop.caller.require(refunds.WRITE)
    async with shop.read() as conn:
        found = await refunds.require(conn, shop, payment)
    if found.gateway_id != "manual":
        raise Conflict("only a manual payment is confirmed by hand", code="not_manual")
    await settle(shop, found, Outcome("approved"))
    return await one(shop, payment, None)


async def apply_event(shop: Shop, gateway_id: str, headers: Mapping[str, str], body: bytes) -> None:
    """Applies a gateway's event, once. Raises NotFound, Unauthenticated, Invalid."""
    by = shop.services.gateways.get(gateway_id)
    if by is None:
        raise NotFound("gateway not found")
    event = by.event(headers, body)
    async with shop.read() as conn:
        payment = await refunds.require(conn, shop, event.payment_id)
    if payment.gateway_id != gateway_id:
        raise NotFound("payment not found")
    # Settling is idempotent. The event is recorded after it, so that a crash in between repeats it
    # instead of losing it.
    await settle(shop, payment, event.outcome)
    async with shop.write() as tx:
        await queries.insert_event(tx, shop.tenant.id, gateway_id, event.event_id)


async def cancel(shop: Shop, order_id: UUID, data: Cancellation, order_token: str | None) -> bytes:
    """Cancels an order before anything was shipped: returns its stock and refunds its payments.

    A customer may cancel while it is pending or confirmed, staff until it is completed. Repeating
    it finishes what a crash has left. Raises NotFound, InvalidTransition, Unavailable.
    """
    async with shop.write() as tx:
        await orders.require(tx, shop, order_id, order_token)
        order = await orders.locked(tx, shop, order_id)
        payment = await queries.of_order(tx, shop.tenant.id, order_id)
        if order.status != "cancelled" or payment is None:
            await _cancel(tx, shop, order, payment, data.reason)
        if payment is not None:
            await refunds.begin_rest(tx, shop, payment.id, data.reason or "cancelled")
    if payment is not None:
        await refunds.finish(shop, payment.id)
    async with shop.read() as conn:
        return await orders.json(conn, shop, order_id)


async def _cancel(
    tx: Connection, shop: Shop, order: OrderState, payment: PaymentState | None, reason: str
) -> None:
    states.require(states.STATUS, order.status, "cancelled")
    is_staff = shop.caller.may(orders.WRITE)
    if order.fulfillment_status != "unfulfilled" or (order.status == "processing" and not is_staff):
        raise Conflict("part of the order was shipped already", code="already_fulfilled")
    await orders.take_stock_back(tx, shop, order)
    values = {"status": "cancelled"}
    if payment is None or payment.status != "succeeded":
        values["payment_status"] = "cancelled"
    if payment is not None and payment.gateway_id == "manual":
        await queries.change(tx, shop.tenant.id, payment.id, "cancelled")
    await orders.record(tx, shop, order.id, "cancelled", values, {"reason": reason})
