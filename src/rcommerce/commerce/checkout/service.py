"""The rules of checkout: price it, then reserve, charge, confirm.

A checkout can be interrupted anywhere and repeated. A cart becomes one order and an order has one
open payment (both are database constraints), and the gateway is called with the payment's id: the
result is the same order and one charge, however often it is tried.
"""

from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import structlog
from msgspec import to_builtins

from rcommerce.commerce.carts import service as carts
from rcommerce.commerce.carts import showing
from rcommerce.commerce.carts.schema import HeldCart, Shown
from rcommerce.commerce.catalog.schema import Priced
from rcommerce.commerce.checkout.schema import (
    Completion,
    Initiation,
    ShippingChoice,
    Summary,
    SummaryItem,
)
from rcommerce.commerce.credit import service as credits
from rcommerce.commerce.inventory import service as inventory
from rcommerce.commerce.orders import service as orders
from rcommerce.commerce.orders.schema import Draft, OrderState, Sold
from rcommerce.commerce.payments import refunds
from rcommerce.commerce.payments import service as payments
from rcommerce.commerce.payments.schema import PaymentState
from rcommerce.commerce.pricing.model import Line, Quote
from rcommerce.commerce.promotions import service as promotions
from rcommerce.commerce.promotions.service import Live
from rcommerce.commerce.quotes import service as quotes
from rcommerce.commerce.quotes.service import Pricing
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
    """A cart's present cost: its available lines, its shipping rates, and its quote."""

    lines: list[Sold]
    rates: list[Rate]
    rate: Rate | None
    pricing: Pricing
    quote: Quote

    @property
    def service(self) -> str | None:
        """The code of the chosen shipping rate."""
        return self.rate.service_code if self.rate else None


async def initiate(shop: Shop, data: Initiation, token: str | None) -> Summary:
    """Stores a cart's address and computes its cost. Raises NotFound, Gone, Conflict,
    Unprocessable."""
    live = await promotions.live(shop)
    async with carts.held(shop, data.cart_id, token) as (tx, cart):
        asked = _Asked(tx, shop, live, cart, data.shipping_address.country)
        await _require_open(asked)
        if data.currency is not None and data.currency.upper() != cart.currency:
            raise Unprocessable(f"the cart is in {cart.currency}", code="currency_mismatch")
        offer = await _offer(asked, None)
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
    live = await promotions.live(shop)
    async with carts.held(shop, data.cart_id, token) as (tx, cart):
        asked = _Asked(tx, shop, live, cart, cart.country)
        await _require_open(asked)
        if cart.shipping_address is None:
            raise Conflict("call POST /checkout/initiate first", code="checkout_not_initiated")
        offer = await _offer(asked, code)
        await _show(tx, shop, cart, offer)
    return _summary(cart, offer)


async def complete(shop: Shop, data: Completion, token: str | None) -> bytes:
    """Places the order and charges: {order, payment_id, total_charged, currency} as JSON.

    Raises NotFound, Gone, OutOfStock, PriceChanged, PaymentFailed, Unprocessable, Unavailable.
    After each of them the cart is unchanged and may be completed again.
    """
    payments.gateway(shop, data.payment_method.gateway_id)
    live = await promotions.live(shop)
    async with carts.held(shop, data.cart_id, token) as (tx, cart):
        asked = _Asked(
            tx, shop, live, cart, data.shipping_address.country, data.customer_email.lower()
        )
        placed = await _place(asked, data)
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


class _Asked(NamedTuple):
    """A locked cart whose cost is asked for. `email` is known at the last step."""

    tx: Connection
    shop: Shop
    live: Live
    cart: HeldCart
    country: str | None
    email: str | None = None


async def _place(asked: _Asked, data: Completion) -> tuple[OrderState, PaymentState] | PriceChanged:
    """The cart's order and its payment, existing or new. If the cost differs from what the buyer
    was last shown, it is shown instead (PriceChanged)."""
    tx, shop, cart = asked.tx, asked.shop, asked.cart
    method = data.payment_method
    if cart.status == "ordered":
        found = await orders.of_cart(tx, shop, cart.id)
        if found is None:
            raise Conflict("the cart has been ordered and cancelled", code="cart_closed")
        payment = await payments.open_payment(
            tx, shop, found.id, found.due, found.currency, method.gateway_id, method.type
        )
        return found, payment
    await _require_open(asked)
    wanted = data.selected_shipping_rate.service_code if data.selected_shipping_rate else None
    offer = await quotes.held(tx, shop, partial(_offer, asked, wanted))
    changes = _changes(cart, offer, data)
    if changes:
        await _show(tx, shop, cart, offer)
        return PriceChanged(
            "the cart differs from what was last shown; summary has the new totals",
            extra={"changes": changes, "summary": to_builtins(_summary(cart, offer))},
        )
    new = await _new_order(asked, offer, data)
    payment = await payments.new_payment(
        tx, shop, new.id, new.due, new.currency, method.gateway_id, method.type
    )
    return new, payment


async def _new_order(asked: _Asked, offer: Offer, data: Completion) -> OrderState:
    cart = asked.cart
    address = to_builtins(data.shipping_address)
    items = orders.items_of(offer.lines, offer.pricing, offer.quote)
    draft = Draft(
        cart_id=cart.id,
        customer_id=cart.customer_id,
        customer_email=data.customer_email.lower(),
        channel_id=cart.channel_id,
        currency=cart.currency,
        totals=orders.totals(offer.quote),
        credit_total=offer.quote.total - offer.quote.due if offer.quote.payments else None,
        discounts=orders.discounts(offer.quote, items),
        items=items,
        shipping_address=address,
        billing_address=to_builtins(data.billing_address) if data.billing_address else address,
        shipping_service=offer.service,
        notes=data.notes,
    )
    order, number = await orders.place(asked.tx, asked.shop, draft, offer.pricing, offer.quote)
    return OrderState(
        id=order,
        order_number=number,
        customer_id=cart.customer_id,
        status="pending",
        payment_status="pending",
        fulfillment_status="unfulfilled",
        currency=cart.currency,
        total=draft.totals.total,
        due=offer.quote.due,
        cart_id=cart.id,
        sells_gift_cards=any(item.is_gift_card for item in items),
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


async def _require_open(asked: _Asked) -> None:
    """Raises Conflict if the cart was ordered or has an item that is no longer sold, Unprocessable
    if it is empty."""
    cart = asked.cart
    if cart.status == "ordered":
        raise Conflict("the cart has been ordered already", code="cart_closed")
    if not cart.lines:
        raise Unprocessable("the cart is empty", code="cart_empty")
    gone = [line for line in cart.lines if not line.is_available]
    if gone:
        offer = await _offer(asked._replace(country=cart.country), None)
        raise Conflict(
            "some items are no longer sold; remove them from the cart",
            code="no_longer_sold",
            extra={
                "lines": [
                    {"item_id": line.item_id, "variant_id": line.variant_id, "title": line.title}
                    for line in gone
                ],
                "summary": to_builtins(_summary(cart, offer)),
            },
        )


async def _offer(asked: _Asked, wanted: str | None) -> Offer:
    """Computes the offer, with the `wanted` rate or the one chosen before. Without a country
    nothing is shipped yet. Raises Unprocessable."""
    shop, cart, country = asked.shop, asked.cart, asked.country
    lines = [
        Sold(
            id=line.item_id,
            product_id=line.product_id,
            variant_id=line.variant_id,
            sku=line.sku,
            title=line.title,
            variant_title=line.variant_title,
            quantity=line.quantity,
            requires_shipping=line.requires_shipping,
            is_gift_card=line.is_gift_card,
        )
        for line in cart.lines
        if line.is_available
    ]
    rates = [] if country is None else orders.rates(shop, lines, cart.currency, country)
    rate = orders.chosen(rates, wanted, cart.shipping_service)
    pricing = await showing.priced(
        asked.tx,
        shop,
        asked.live,
        cart,
        seen=False,
        email=asked.email,
        country=country and country.upper(),
    )
    quote = pricing.quote(rate.total_cost if rate else None)
    return Offer(lines=lines, rates=rates, rate=rate, pricing=pricing, quote=quote)


async def _show(
    tx: Connection,
    shop: Shop,
    cart: HeldCart,
    offer: Offer,
    values: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Stores an offer as shown to the buyer, with its total for each rate: the cart may be
    completed for it."""
    totals = {
        rate.service_code: (
            offer.quote if rate == offer.rate else offer.pricing.quote(rate.total_cost)
        ).total
        for rate in offer.rates
    }
    shown = Shown(
        lines={line.item_id: (line.quantity, line.price) for line in cart.lines},
        totals=totals or {"": offer.quote.total},
        discounts={line.id: line.discount for line in offer.quote.lines if line.discount},
        credit=_credit(offer) if offer.quote.payments else None,
    )
    await carts.show(tx, shop, cart, shown, {**values, "shipping_service": offer.service})


def _credit(offer: Offer) -> Decimal:
    """What gift cards and credit pay."""
    return offer.quote.total - offer.quote.due


def _changes(cart: HeldCart, offer: Offer, data: Completion) -> list[dict[str, Any]]:
    """The differences from what the buyer was last shown, per line and in the total: in the last
    summary, or if there was none in the cart; and from what the client says it has shown."""
    total = offer.quote.total
    after = {line.item_id: (line.quantity, line.price) for line in cart.lines}
    before = {line.item_id: (line.quantity, line.seen_price) for line in cart.lines}
    discounts = {line.id: line.discount for line in offer.quote.lines if line.discount}
    seen_total: Decimal | None = total
    service = offer.service
    changes: list[dict[str, Any]] = []
    if cart.shown is not None:
        before = cart.shown.lines
        changes += _discounts_changed(cart.shown.discounts, discounts, offer.quote.subtotal)
        if data.selected_shipping_rate is None:
            service = cart.shipping_service
        # A rate that was not offered before has to be shown first.
        seen_total = cart.shown.totals.get(offer.service or "")
    elif offer.quote.discount != (cart.seen_discount or 0):
        seen = offer.quote.discount - offer.quote.discount + (cart.seen_discount or 0)
        changes.append({"field": "discount", "shown": seen, "now": offer.quote.discount})
    for item in sorted(before.keys() | after.keys()):
        was, now = before.get(item, (0, None)), after.get(item, (0, None))
        for name, shown, new in zip(("quantity", "price"), was, now, strict=True):
            if shown != new and shown is not None and new is not None:
                changes.append({"item_id": item, "field": name, "shown": shown, "now": new})
    seen_credit = cart.seen_credit if cart.shown is None else cart.shown.credit
    if (seen_credit or 0) > _credit(offer):  # more is due
        changes.append({"field": "gift_cards", "shown": seen_credit, "now": _credit(offer)})
    if service != offer.service:
        changes.append({"field": "shipping", "shown": service, "now": offer.service})
    if seen_total == total and data.expected_total is not None:
        seen_total = data.expected_total
    if seen_total != total:
        changes.append({"field": "total", "shown": seen_total, "now": total})
    return changes


def _discounts_changed(
    before: Mapping[UUID, Decimal], after: Mapping[UUID, Decimal], subtotal: Decimal
) -> list[dict[str, Any]]:
    zero = subtotal - subtotal
    return [
        {
            "item_id": item,
            "field": "discount",
            "shown": before.get(item, zero),
            "now": after.get(item, zero),
        }
        for item in sorted(before.keys() | after.keys())
        if before.get(item, zero) != after.get(item, zero)
    ]


def _summary(cart: HeldCart, offer: Offer) -> Summary:
    sums = offer.quote
    zero = sums.subtotal - sums.subtotal
    priced = {line.id: line for line in sums.lines}
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
                discount_amount=priced[line.item_id].discount if line.is_available else zero,
                tax_amount=zero,
                is_available=line.is_available,
            )
            for line in cart.lines
        ]
        + [
            _gift(line, offer.pricing.gifts[line.variant_id]) for line in sums.lines if line.is_gift
        ],
        subtotal=sums.subtotal,
        discount_total=sums.discount,
        discounts=showing.discounts(sums),
        shipping_total=sums.shipping_total - sums.shipping_discount,
        shipping_discount=sums.shipping_discount,
        shipping_tax=zero,
        item_tax=sums.tax,
        tax_total=sums.tax,
        total=sums.total,
        amount_due=sums.due,
        gift_cards=quotes.payments(offer.pricing, sums),
        currency=cart.currency,
        available_shipping_rates=offer.rates,
        selected_shipping_rate=offer.rate,
        tax_breakdown=[],
        vat_id_valid=None,
    )


def _gift(line: Line, variant: Priced) -> SummaryItem:
    return SummaryItem(
        id=line.id,
        product_id=variant.product_id,
        variant_id=variant.variant_id,
        sku=variant.sku,
        title=variant.title,
        variant_title=variant.variant_title,
        quantity=line.quantity,
        price=line.unit_price,
        total=line.subtotal,
        discount_amount=line.discount,
        tax_amount=line.tax,
        is_available=True,
        is_gift=True,
    )


async def sweep(services: Services, shard: Shard, limit: int = 100) -> int:
    """Finishes what has expired or was interrupted: reservations, carts, orders whose payment never
    came, and refunds interrupted by a crash; mails gift cards that were bought. For every tenant of
    a shard; safe to run concurrently. Returns the number of things done. Raises Unavailable."""
    async with shard.read() as conn:
        expired = {*await inventory.with_expired(conn), *await carts.with_expired(conn)}
        with_cards = await credits.with_unmailed(conn)
        unpaid = await payments.due(conn, limit)
        unfinished = await refunds.due(conn, limit)

    async def forget(shop: Shop) -> None:
        async with shop.write() as tx:
            await inventory.release_expired(tx, shop, limit)
            await carts.forget_expired(tx, shop, limit)

    for tenant in expired:
        await end(services, tenant, forget)
    for tenant in with_cards:
        await end(services, tenant, credits.mail)
    for tenant, order in unpaid:
        await end(services, tenant, partial(_on, payments.ask, order))
    for tenant, payment in unfinished:
        await end(services, tenant, partial(_on, refunds.finish, payment))
    return len(expired) + len(with_cards) + len(unpaid) + len(unfinished)


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
