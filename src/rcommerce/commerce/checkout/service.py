"""The rules of checkout: what it costs, then reserve, charge, confirm.

A checkout can be cut off anywhere and done again. A cart becomes one order and an order has one
open payment (both are constraints of the database), and a gateway is asked under the payment's id:
so the same order and one charge come out, however often it is tried.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from uuid import UUID

import msgspec
import structlog
from msgspec import to_builtins

from rcommerce.commerce.carts import service as carts
from rcommerce.commerce.carts.schema import CartLine, OpenCart
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


async def initiate(shop: Shop, data: Initiation, token: str | None) -> Summary:
    """Notes where to send a cart, and works out what it costs today. Raises NotFound, Conflict,
    Unprocessable."""
    async with shop.write() as tx:
        cart = await _open(tx, shop, data.cart_id, token)
        if data.currency is not None and data.currency.upper() != cart.currency:
            raise Unprocessable(f"the cart is in {cart.currency}", code="currency_mismatch")
        items = _items(cart)
        country = data.shipping_address.country
        rates = orders.rates(shop, items, cart.currency, country)
        rate = orders.chosen(rates, None, cart.shipping_service)
        address = to_builtins(data.shipping_address)
        billing = to_builtins(data.billing_address) if data.billing_address else address
        await carts.note(
            tx,
            shop,
            cart.id,
            {
                "shipping_address": Jsonb(address),
                "billing_address": Jsonb(billing),
                "shipping_service": rate.service_code if rate else None,
            },
        )
        await carts.show_prices(tx, shop, cart.id)
    return _summary(cart, items, rates, rate)


async def choose_shipping(shop: Shop, data: ShippingChoice, token: str | None) -> Summary:
    """Notes how to send a cart. Raises NotFound, Conflict, Invalid, Unprocessable."""
    code = data.shipping_rate.service_code if data.shipping_rate else data.service_code
    if code is None:
        raise Invalid.field("shipping_rate", "is needed, or service_code")
    async with shop.write() as tx:
        cart = await _open(tx, shop, data.cart_id, token)
        if cart.shipping_address is None:
            raise Conflict("begin with /checkout/initiate", code="checkout_not_initiated")
        items = _items(cart)
        rates = orders.rates(shop, items, cart.currency, cart.shipping_address["country"])
        rate = orders.chosen(rates, code, None)
        values = {"shipping_service": rate.service_code if rate else None}
        await carts.note(tx, shop, cart.id, values)
        await carts.show_prices(tx, shop, cart.id)
    return _summary(cart, items, rates, rate)


async def complete(shop: Shop, data: Completion, token: str | None) -> bytes:
    """Places the order and takes the money: {order, payment_id, total_charged, currency} as JSON.

    Raises NotFound, OutOfStock, PriceChanged, PaymentFailed, Unprocessable, Unavailable. After
    each of them the cart is as it was, and may be completed again.
    """
    payments.gateway(shop, data.payment_method.gateway_id)
    try:
        async with shop.write() as tx:
            order, payment = await _place(tx, shop, data, token)
    except PriceChanged:
        async with shop.write() as tx:
            await carts.show_prices(tx, shop, data.cart_id)
        raise
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
    tx: Connection, shop: Shop, data: Completion, token: str | None
) -> tuple[OrderState, PaymentState]:
    """The cart's order and its payment: those that are there already, or new ones."""
    method = data.payment_method
    cart = await carts.hold(tx, shop, data.cart_id, token)
    if cart.status != "ordered":
        new = await _new_order(tx, shop, cart, data)
        payment = await payments.new_payment(
            tx, shop, new.id, new.total, new.currency, method.gateway_id, method.type
        )
        return new, payment
    found = await orders.of_cart(tx, shop, cart.id)
    if found is None:
        raise Conflict("the cart has been ordered and cancelled", code="cart_closed")
    payment = await payments.open_payment(
        tx, shop, found.id, found.total, found.currency, method.gateway_id, method.type
    )
    return found, payment


async def _new_order(tx: Connection, shop: Shop, cart: OpenCart, data: Completion) -> OrderState:
    _require_sellable(cart)
    items = _items(cart)
    rates = orders.rates(shop, items, cart.currency, data.shipping_address.country)
    wanted = data.selected_shipping_rate.service_code if data.selected_shipping_rate else None
    rate = orders.chosen(rates, wanted, cart.shipping_service)
    if any(line.price != line.seen_price for line in cart.lines):
        summary = _summary(cart, items, rates, rate)
        raise PriceChanged(
            "a price has changed since the cart was last shown; these are the new totals",
            extra={"summary": to_builtins(summary)},
        )
    address = to_builtins(data.shipping_address)
    draft = Draft(
        cart_id=cart.id,
        customer_id=cart.customer_id,
        customer_email=data.customer_email.lower(),
        currency=cart.currency,
        totals=orders.totals(items, rate, cart.currency),
        items=items,
        shipping_address=address,
        billing_address=to_builtins(data.billing_address) if data.billing_address else address,
        shipping_service=rate.service_code if rate else None,
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


async def _open(tx: Connection, shop: Shop, cart_id: UUID, token: str | None) -> OpenCart:
    """A cart that can be checked out, its row held."""
    cart = await carts.hold(tx, shop, cart_id, token)
    if cart.status == "ordered":
        raise Conflict("the cart has been ordered already", code="cart_closed")
    _require_sellable(cart)
    return cart


def _require_sellable(cart: OpenCart) -> None:
    if not cart.lines:
        raise Unprocessable("the cart is empty", code="cart_empty")
    gone = [line for line in cart.lines if not line.is_active or line.currency != cart.currency]
    if gone:
        lines = [{"item_id": line.item_id, "variant_id": line.variant_id} for line in gone]
        raise Conflict(
            "some items are no longer sold; take them out of the cart",
            code="no_longer_sold",
            extra={"lines": lines},
        )


def _items(cart: OpenCart) -> list[NewItem]:
    return orders.items_of([(_priced(line), line.quantity) for line in cart.lines], cart.currency)


def _priced(line: CartLine) -> Priced:
    return Priced(
        product_id=line.product_id,
        variant_id=line.variant_id,
        title=line.title,
        variant_title=line.variant_title,
        sku=line.sku,
        price=line.price,
        currency=line.currency,
        requires_shipping=line.requires_shipping,
        is_active=line.is_active,
    )


def _summary(
    cart: OpenCart, items: Sequence[NewItem], rates: list[Rate], rate: Rate | None
) -> Summary:
    sums: Totals = orders.totals(items, rate, cart.currency)
    zero = sums.subtotal - sums.subtotal
    return Summary(
        cart_id=cart.id,
        items=[
            SummaryItem(
                id=line.item_id,
                product_id=item.product_id,
                variant_id=item.variant_id,
                sku=item.sku,
                title=item.title,
                variant_title=item.variant_title,
                quantity=item.quantity,
                price=item.price,
                total=item.total,
                tax_amount=item.tax_amount,
            )
            for line, item in zip(cart.lines, items, strict=True)
        ],
        subtotal=sums.subtotal,
        discount_total=sums.discount_total,
        shipping_total=sums.shipping_total,
        shipping_tax=zero,
        item_tax=sums.tax_total,
        tax_total=sums.tax_total,
        total=sums.total,
        currency=cart.currency,
        available_shipping_rates=rates,
        selected_shipping_rate=rate,
        tax_breakdown=[],
        vat_id_valid=None,
    )


async def sweep(services: Services, shard: Shard, limit: int = 100) -> int:
    """Ends what ran out or was cut off: reservations, carts, orders whose payment never came, and
    refunds that a crash has left half done. Of every tenant of a shard, and safe to run anywhere
    at once; returns how much there was to do. Raises Unavailable."""
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
    """Does a piece of the sweep's work. What cannot be done now is tried again next time; the
    others must not wait for it."""
    try:
        async with services.cluster.control.read(Freshness.FRESH) as conn:
            tenant = await tenants.by_id(conn, tenant_id)
        if tenant is not None:
            await work(Shop(services, tenant, SWEEP))
    except (Problem, GatewayError, TimeoutError) as error:
        log.warning("sweep_postponed", tenant=str(tenant_id), error=str(error))
    except Exception:  # a fault of ours in one shop stops no other
        log.exception("sweep_failed", tenant=str(tenant_id))
