"""The rules of checkout: price it, then reserve, charge, confirm.

A checkout can be interrupted anywhere and repeated. A cart becomes one order and an order has one
open payment (both are database constraints), and the gateway is called with the payment's id: the
result is the same order and one charge, however often it is tried.
"""

from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from functools import partial
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
import structlog
from msgspec import to_builtins

from rcommerce.commerce.carts import service as carts
from rcommerce.commerce.carts.schema import CartLine, HeldCart, Shown
from rcommerce.commerce.catalog.schema import Priced
from rcommerce.commerce.checkout.schema import (
    Completion,
    Initiation,
    ShippingChoice,
    Summary,
    SummaryItem,
)
from rcommerce.commerce.inventory import service as inventory
from rcommerce.commerce.orders import service as orders
from rcommerce.commerce.orders.schema import Draft, NewItem, OrderState, Totals
from rcommerce.commerce.payments import service as payments
from rcommerce.commerce.payments.schema import PaymentState
from rcommerce.commerce.shop import Caller, Services, Shop
from rcommerce.commerce.strategies import GatewayError, Rate
from rcommerce.commerce.tenants import service as tenants
from rcommerce.database import Connection, Freshness, Jsonb
from rcommerce.database.shard import Shard
from rcommerce.errors import (
    Conflict,
    Invalid,
    PaymentFailed,
    PriceChanged,
    Problem,
    Unprocessable,
)

SWEEP = Caller(process="sweep")
log = structlog.get_logger()


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A cart's present cost: its available lines, and its shipping rates."""

    items: list[NewItem]
    rates: list[Rate]
    rate: Rate | None
    totals: Totals

    @property
    def service(self) -> str | None:
        """The code of the chosen shipping rate."""
        return self.rate.service_code if self.rate else None


async def initiate(shop: Shop, data: Initiation, token: str | None) -> Summary:
    """Stores a cart's address and computes its cost. Raises NotFound, Gone, Conflict,
    Unprocessable."""
    async with carts.held(shop, data.cart_id, token) as (tx, cart):
        _require_open(shop, cart)
        if data.currency is not None and data.currency.upper() != cart.currency:
            raise Unprocessable(f"the cart is in {cart.currency}", code="currency_mismatch")
        offer = _offer(shop, cart, data.shipping_address.country, None)
        address = to_builtins(data.shipping_address)
        billing = to_builtins(data.billing_address) if data.billing_address else address
        values = {"shipping_address": Jsonb(address), "billing_address": Jsonb(billing)}
        await _show(tx, shop, cart, offer, values)
    return _summary(cart, offer)


async def choose_shipping(shop: Shop, data: ShippingChoice, token: str | None) -> Summary:
    """Stores a cart's shipping rate. Raises NotFound, Gone, Conflict, Invalid, Unprocessable."""
    code = data.shipping_rate.service_code if data.shipping_rate else data.service_code
    if code is None:
        raise Invalid.field("shipping_rate", "is required, or service_code")
    async with carts.held(shop, data.cart_id, token) as (tx, cart):
        _require_open(shop, cart)
        if cart.shipping_address is None:
            raise Conflict("call POST /checkout/initiate first", code="checkout_not_initiated")
        offer = _offer(shop, cart, cart.shipping_address["country"], code)
        await _show(tx, shop, cart, offer)
    return _summary(cart, offer)


async def complete(shop: Shop, data: Completion, token: str | None) -> bytes:
    """Places the order and charges: {order, payment_id, total_charged, currency} as JSON.

    Raises NotFound, Gone, OutOfStock, PriceChanged, PaymentFailed, Unprocessable, Unavailable.
    After each of them the cart is unchanged and may be completed again.
    """
    payments.gateway(shop, data.payment_method.gateway_id)
    async with carts.held(shop, data.cart_id, token) as (tx, cart):
        placed = await _place(tx, shop, cart, data)
    if isinstance(placed, PriceChanged):
        raise placed
    order, payment = placed
    if payment.status == "pending" and order.status == "pending":
        outcome = await payments.charge(
            shop, payment, order.order_number, data.payment_method.token
        )
        await payments.settle(shop, payment, outcome)
        if outcome.state == "declined":
            raise PaymentFailed(
                outcome.message or "the payment was declined",
                extra={"payment_id": payment.id},
            )
    return await _answer(shop, order.id, payment)


async def _place(
    tx: Connection, shop: Shop, cart: HeldCart, data: Completion
) -> tuple[OrderState, PaymentState] | PriceChanged:
    """The cart's order and its payment, existing or new. If the cost differs from what the buyer
    was last shown, it is shown instead (PriceChanged)."""
    method = data.payment_method
    if cart.status == "ordered":
        found = await orders.of_cart(tx, shop, cart.id)
        if found is None:
            raise Conflict("the cart has been ordered and cancelled", code="cart_closed")
        payment = await payments.open_payment(
            tx, shop, found.id, found.total, found.currency, method.gateway_id, method.type
        )
        return found, payment
    _require_open(shop, cart)
    wanted = data.selected_shipping_rate.service_code if data.selected_shipping_rate else None
    offer = _offer(shop, cart, data.shipping_address.country, wanted)
    changes = _changes(cart, offer, data)
    if changes:
        await _show(tx, shop, cart, offer)
        return PriceChanged(
            "the cart differs from what was last shown; summary has the new totals",
            extra={"changes": changes, "summary": to_builtins(_summary(cart, offer))},
        )
    new = await _new_order(tx, shop, cart, offer, data)
    payment = await payments.new_payment(
        tx, shop, new.id, new.total, new.currency, method.gateway_id, method.type
    )
    return new, payment


async def _new_order(
    tx: Connection, shop: Shop, cart: HeldCart, offer: Offer, data: Completion
) -> OrderState:
    address = to_builtins(data.shipping_address)
    draft = Draft(
        cart_id=cart.id,
        customer_id=cart.customer_id,
        customer_email=data.customer_email.lower(),
        currency=cart.currency,
        totals=offer.totals,
        items=offer.items,
        shipping_address=address,
        billing_address=to_builtins(data.billing_address) if data.billing_address else address,
        shipping_service=offer.service,
        notes=data.notes,
    )
    order, number = await orders.place(tx, shop, draft)
    return OrderState(
        id=order,
        order_number=number,
        customer_id=cart.customer_id,
        status="pending",
        payment_status="pending",
        fulfillment_status="unfulfilled",
        currency=cart.currency,
        total=draft.totals.total,
        cart_id=cart.id,
    )


async def _answer(shop: Shop, order: UUID, payment: PaymentState) -> bytes:
    async with shop.read() as conn:
        body = await orders.json(conn, shop, order)
    rest = {
        "payment_id": payment.id,
        "total_charged": payment.amount,
        "currency": payment.currency,
        "order_token": orders.guest_token(shop, order),
    }
    return b'{"order":' + body + b"," + msgspec.json.encode(rest)[1:]


def _require_open(shop: Shop, cart: HeldCart) -> None:
    """Raises Conflict if the cart was ordered or has an item that is no longer sold, Unprocessable
    if it is empty."""
    if cart.status == "ordered":
        raise Conflict("the cart has been ordered already", code="cart_closed")
    if not cart.lines:
        raise Unprocessable("the cart is empty", code="cart_empty")
    gone = [line for line in cart.lines if not line.is_available]
    if gone:
        country = cart.shipping_address["country"] if cart.shipping_address else None
        raise Conflict(
            "some items are no longer sold; remove them from the cart",
            code="no_longer_sold",
            extra={
                "lines": [
                    {"item_id": line.item_id, "variant_id": line.variant_id, "title": line.title}
                    for line in gone
                ],
                "summary": to_builtins(_summary(cart, _offer(shop, cart, country, None))),
            },
        )


def _offer(shop: Shop, cart: HeldCart, country: str | None, wanted: str | None) -> Offer:
    """Computes the offer, with the `wanted` rate or the one chosen before. Without a country
    nothing is shipped yet. Raises Unprocessable."""
    lines = [(_priced(line, cart.currency), line.quantity) for line in _available(cart)]
    items = orders.items_of(lines, cart.currency)
    rates = [] if country is None else orders.rates(shop, items, cart.currency, country)
    rate = orders.chosen(rates, wanted, cart.shipping_service)
    return Offer(
        items=items, rates=rates, rate=rate, totals=orders.totals(items, rate, cart.currency)
    )


def _available(cart: HeldCart) -> list[CartLine]:
    return [line for line in cart.lines if line.is_available]


def _priced(line: CartLine, currency: str) -> Priced:
    return Priced(
        product_id=line.product_id,
        variant_id=line.variant_id,
        title=line.title,
        variant_title=line.variant_title,
        sku=line.sku,
        price=line.price,
        currency=currency,
        requires_shipping=line.requires_shipping,
        is_active=line.is_available,
    )


async def _show(
    tx: Connection,
    shop: Shop,
    cart: HeldCart,
    offer: Offer,
    values: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Stores an offer as shown to the buyer, with its total for each rate: the cart may be
    completed for it."""
    ways: list[Rate | None] = [*offer.rates] or [None]
    shown = Shown(
        lines={line.item_id: (line.quantity, line.price) for line in cart.lines},
        totals={
            (way.service_code if way else ""): orders.totals(offer.items, way, cart.currency).total
            for way in ways
        },
    )
    await carts.show(tx, shop, cart.id, shown, {**values, "shipping_service": offer.service})


def _changes(cart: HeldCart, offer: Offer, data: Completion) -> list[dict[str, Any]]:
    """The differences from what the buyer was last shown, per line and in the total: in the last
    summary, or if there was none in the cart; and from what the client says it has shown."""
    total = offer.totals.total
    after = {line.item_id: (line.quantity, line.price) for line in cart.lines}
    before = {line.item_id: (line.quantity, line.seen_price) for line in cart.lines}
    seen_total: Decimal | None = total
    service = offer.service
    if cart.shown is not None:
        before = cart.shown.lines
        if data.selected_shipping_rate is None:
            service = cart.shipping_service
        # A rate that was not offered before has to be shown first.
        seen_total = cart.shown.totals.get(offer.service or "")
    changes: list[dict[str, Any]] = []
    for item in sorted(before.keys() | after.keys()):
        was, now = before.get(item, (0, None)), after.get(item, (0, None))
        for name, shown, new in zip(("quantity", "price"), was, now, strict=True):
            if shown != new and shown is not None and new is not None:
                changes.append({"item_id": item, "field": name, "shown": shown, "now": new})
    if service != offer.service:
        changes.append({"field": "shipping", "shown": service, "now": offer.service})
    if seen_total == total and data.expected_total is not None:
        seen_total = data.expected_total
    if seen_total != total:
        changes.append({"field": "total", "shown": seen_total, "now": total})
    return changes


def _summary(cart: HeldCart, offer: Offer) -> Summary:
    sums = offer.totals
    zero = sums.subtotal - sums.subtotal
    return Summary(
        cart_id=cart.id,
        items=[
            SummaryItem(
                id=line.item_id,
                product_id=line.product_id,
                variant_id=line.variant_id,
                sku=line.sku,
                title=line.title,
                variant_title=line.variant_title,
                quantity=line.quantity,
                price=line.price,
                total=line.price * line.quantity,
                tax_amount=zero,
                is_available=line.is_available,
            )
            for line in cart.lines
        ],
        subtotal=sums.subtotal,
        discount_total=sums.discount_total,
        shipping_total=sums.shipping_total,
        shipping_tax=zero,
        item_tax=sums.tax_total,
        tax_total=sums.tax_total,
        total=sums.total,
        currency=cart.currency,
        available_shipping_rates=offer.rates,
        selected_shipping_rate=offer.rate,
        tax_breakdown=[],
        vat_id_valid=None,
    )


async def sweep(services: Services, shard: Shard, limit: int = 100) -> int:
    """Finishes what has expired or was interrupted: reservations, carts, orders whose payment never
    came, and refunds interrupted by a crash. For every tenant of a shard; safe to run concurrently.
    Returns the number of things done. Raises Unavailable."""
    async with shard.read() as conn:
        expired = {*await inventory.with_expired(conn), *await carts.with_expired(conn)}
        unpaid = await payments.due(conn, limit)
        unfinished = await payments.due_refunds(conn, limit)

    async def forget(shop: Shop) -> None:
        async with shop.write() as tx:
            await inventory.release_expired(tx, shop, limit)
            await carts.forget_expired(tx, shop, limit)

    for tenant in expired:
        await end(services, tenant, forget)
    for tenant, order in unpaid:
        await end(services, tenant, partial(_on, payments.ask, order))
    for tenant, payment in unfinished:
        await end(services, tenant, partial(_on, payments.finish_refunds, payment))
    return len(expired) + len(unpaid) + len(unfinished)


async def _on(work: Callable[[Shop, UUID], Awaitable[None]], what: UUID, shop: Shop) -> None:
    await work(shop, what)


async def end(services: Services, tenant_id: UUID, work: Callable[[Shop], Awaitable[None]]) -> None:
    """Runs one piece of the sweep. A failure is retried in the next round and delays no other
    piece."""
    try:
        async with services.cluster.control.read(Freshness.FRESH) as conn:
            tenant = await tenants.by_id(conn, tenant_id)
        if tenant is not None:
            await work(Shop(services, tenant, SWEEP))
    except (Problem, GatewayError, TimeoutError) as error:
        log.warning("sweep_postponed", tenant=str(tenant_id), error=str(error))
    except Exception:  # a bug in one shop stops no other
        log.exception("sweep_failed", tenant=str(tenant_id))
