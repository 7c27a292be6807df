"""The rules of orders: placing, fulfilling, returning. Payment and cancelling are in payments."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any
from uuid import UUID

from msgspec import UNSET, to_builtins

from rcommerce import clock, ids, money
from rcommerce.commerce import paging
from rcommerce.commerce.catalog import service as catalog
from rcommerce.commerce.catalog.schema import Priced
from rcommerce.commerce.channels import service as channels
from rcommerce.commerce.credit import service as credits
from rcommerce.commerce.customers import service as customers
from rcommerce.commerce.customers import tokens
from rcommerce.commerce.inventory import service as inventory
from rcommerce.commerce.inventory.schema import Wanted
from rcommerce.commerce.orders import queries, states
from rcommerce.commerce.orders.schema import (
    Draft,
    Fulfilment,
    HeldItem,
    ItemQuantity,
    NewItem,
    NewOrder,
    OrderChange,
    OrderFilter,
    OrderState,
    Return,
    Sold,
    Totals,
)
from rcommerce.commerce.pricing.model import Item, Quote
from rcommerce.commerce.promotions import service as promotions
from rcommerce.commerce.promotions.service import Buying
from rcommerce.commerce.quotes import service as quotes
from rcommerce.commerce.quotes.service import Pricing, Quoted, prepare, require_coupon
from rcommerce.commerce.shipping import service as shipping
from rcommerce.commerce.shop import Shop
from rcommerce.commerce.strategies import Rate
from rcommerce.database import Connection, Jsonb
from rcommerce.errors import Invalid, NotFound, Unprocessable

READ = "orders:read"
WRITE = "orders:write"


def items_of(lines: Sequence[Sold], pricing: Pricing, quote: Quote) -> list[NewItem]:
    """The lines of an order, as its quote has them; gifts come last."""
    by_id = {line.id: line for line in lines}
    for given in quote.lines:
        if given.is_gift:
            variant = pricing.gifts[given.variant_id]
            by_id[given.id] = sold(given.id, variant, given.quantity)
    return [
        NewItem(
            id=ids.new_id(),
            position=position,
            product_id=(line := by_id[priced.id]).product_id,
            variant_id=line.variant_id,
            sku=line.sku,
            title=line.title,
            variant_title=line.variant_title,
            quantity=priced.quantity,
            price=priced.unit_price,
            total=priced.subtotal,
            discount_amount=priced.discount,
            discounts=[
                {"promotion_id": str(each.promotion_id), "amount": str(each.amount)}
                for each in priced.discounts
            ],
            tax_amount=priced.tax,
            requires_shipping=line.requires_shipping,
            is_gift=priced.is_gift,
            is_gift_card=line.is_gift_card,
        )
        for position, priced in enumerate(quote.lines, start=1)
    ]


def totals(quote: Quote) -> Totals:
    """The totals of an order."""
    return Totals(
        subtotal=quote.subtotal,
        discount_total=quote.discount,
        tax_total=quote.tax,
        shipping_total=quote.shipping_total - quote.shipping_discount,
        shipping_discount=quote.shipping_discount,
        total=quote.total,
    )


def discounts(quote: Quote, items: Sequence[NewItem]) -> list[dict[str, Any]]:
    """The promotions that apply, with their shares on the order's items."""
    item_of = {line.id: item.id for line, item in zip(quote.lines, items, strict=True)}
    return [
        {
            "promotion_id": str(each.promotion_id),
            "code": each.code,
            "title": each.title,
            "amount": str(each.amount),
            "lines": [
                {"item_id": str(item_of[line]), "amount": str(amount)}
                for line, amount in each.lines
            ],
        }
        for each in quote.promotions
        if each.applied
    ]


def rates(shop: Shop, lines: Sequence[Sold], currency: str, country: str) -> list[Rate]:
    """The shipping rates for these lines; none if nothing has to be shipped."""
    if not any(line.requires_shipping for line in lines):
        return []
    found = shop.services.shipping.rates(currency=currency, country=country.upper())
    if not found:
        raise Unprocessable("no shipping service to this country", code="no_shipping")
    return found


def chosen(found: Sequence[Rate], wanted: str | None, remembered: str | None) -> Rate | None:
    """The shipping rate of an order, None if nothing has to be shipped. Raises Unprocessable."""
    return shipping.choose(found, wanted, remembered) if found else None


async def place(
    tx: Connection, shop: Shop, draft: Draft, pricing: Pricing, quote: Quote
) -> tuple[UUID, str]:
    """Reserves the stock, inserts a pending order, and counts what it uses, which is held
    (`quotes.held`); its id and number. Raises OutOfStock."""
    if not draft.totals.total < money.LARGEST:
        raise Unprocessable("the order's total is too large", code="total_too_large")
    order = ids.new_id()
    number = ids.order_number(clock.today().date())
    ttl_s = shop.services.settings.checkout.reservation_ttl_secs
    wanted = [Wanted(item.variant_id, item.quantity) for item in draft.items]
    await inventory.reserve(tx, shop, wanted, order=order, ttl_s=ttl_s, channel=draft.channel_id)
    uses = promotions.redemptions(shop, pricing.live, pricing.codes, pricing.uses(quote))
    await queries.insert(
        tx, shop.tenant.id, order, number, draft, uses, ttl_s=ttl_s, actor=shop.caller.name
    )
    await promotions.count(tx, shop, uses)
    await credits.redeem(tx, shop, order, quote.payments)
    shop.order_events.append("created")
    return order, number


async def create(shop: Shop, new: NewOrder) -> tuple[bytes, str | None]:
    """Places an order without a cart, to be paid under /payments: its JSON, and a guest's order
    token.

    Raises Invalid, NotFound, OutOfStock, Unprocessable.
    """
    live, channel = await promotions.live(shop), await channels.requested(shop)
    async with shop.write() as tx:
        found = await catalog.lines(tx, shop, new.items, channel)
        currency = _one_currency(found)
        lines = [(ids.new_id(), line, quantity) for line, quantity in found]
        wanted = [sold(each, line, quantity) for each, line, quantity in lines]
        email = await _email(tx, shop, new.customer_email)
        country = new.shipping_address.country
        rate = chosen(rates(shop, wanted, currency, country), new.shipping_service, None)
        codes = await promotions.codes(tx, shop, [new.coupon_code]) if new.coupon_code else []

        async def price() -> Quoted:
            pricing = await prepare(
                tx,
                shop,
                live,
                channel=channel.id if channel else None,
                currency=currency,
                items=[_item(each, line, quantity) for each, line, quantity in lines],
                codes=codes,
                by=Buying(shop.caller.customer_id, email),
                country=country.upper(),
            )
            return Quoted(pricing, pricing.quote(rate.total_cost if rate else None))

        pricing, quote = await quotes.held(tx, shop, price)
        for code in codes:
            require_coupon(code, quote)
        address = to_builtins(new.shipping_address)
        items = items_of(wanted, pricing, quote)
        draft = Draft(
            cart_id=None,
            customer_id=shop.caller.customer_id,
            customer_email=email,
            channel_id=channel.id if channel else None,
            currency=currency,
            totals=totals(quote),
            credit_total=None,
            discounts=discounts(quote, items),
            items=items,
            shipping_address=address,
            billing_address=to_builtins(new.billing_address) if new.billing_address else address,
            shipping_service=rate.service_code if rate else None,
            notes=new.notes,
        )
        order, _ = await place(tx, shop, draft, pricing, quote)
        body = await queries.order(tx, shop.tenant.id, order)
    return body or b"", guest_token(shop, order)


def sold(line: UUID, variant: Priced, quantity: int) -> Sold:
    """A line that is bought."""
    return Sold(
        id=line,
        product_id=variant.product_id,
        variant_id=variant.variant_id,
        sku=variant.sku,
        title=variant.title,
        variant_title=variant.variant_title,
        quantity=quantity,
        requires_shipping=variant.requires_shipping,
        is_gift_card=variant.is_gift_card,
    )


def _item(line: UUID, variant: Priced, quantity: int) -> Item:
    return Item(
        id=line,
        variant_id=variant.variant_id,
        quantity=quantity,
        unit_price=variant.price,
        groups=variant.groups,
        is_discountable=not variant.is_gift_card,
    )


def guest_token(shop: Shop, order: UUID) -> str | None:
    """A guest's token for the order; a customer needs none."""
    if shop.caller.customer_id is not None:
        return None
    return tokens.order_token(shop.services.jwt_secret, order)


def _one_currency(lines: Sequence[tuple[Priced, int]]) -> str:
    currencies = {line.currency for line, _ in lines}
    if len(currencies) > 1:
        raise Unprocessable(
            f"one order cannot be in {' and '.join(sorted(currencies))}", code="currency_mismatch"
        )
    return currencies.pop()


async def _email(tx: Connection, shop: Shop, given: str | None) -> str:
    if given is not None:
        return given.lower()
    if shop.caller.customer_id is None:
        raise Invalid.field("customer_email", "is required without a login")
    return await customers.email_of(tx, shop, shop.caller.customer_id)


async def require(conn: Connection, shop: Shop, order: UUID, token: str | None) -> OrderState:
    """The order's state, for its customer, a guest with its token, or staff. Raises NotFound."""
    state = await queries.state(conn, shop.tenant.id, order)
    caller = shop.caller
    if state is not None:
        if caller.may(READ):
            return state
        if caller.customer_id is not None and state.customer_id == caller.customer_id:
            return state
        if token and tokens.opens_order(shop.services.jwt_secret, order, token):
            return state
    raise NotFound("order not found, or X-Order-Token does not match")


async def one(shop: Shop, order: UUID, token: str | None) -> bytes:
    """An order as JSON. Raises NotFound."""
    async with shop.read() as conn:
        await require(conn, shop, order, token)
        return await json(conn, shop, order)


async def json(conn: Connection, shop: Shop, order: UUID) -> bytes:
    """An order as JSON, without checking access. Raises NotFound."""
    found = await queries.order(conn, shop.tenant.id, order)
    if found is None:
        raise NotFound("order not found")
    return found


async def everyone(
    shop: Shop, wanted: OrderFilter, page: int | None, per_page: int, cursor: str | None
) -> bytes:
    """A page of orders: the customer's own, or all for staff. Raises Unauthenticated."""
    if not shop.caller.may(READ):
        if shop.caller.customer_id is None:
            shop.caller.require(READ)
        wanted = OrderFilter(
            customer_id=shop.caller.customer_id,
            status=wanted.status,
            payment_status=wanted.payment_status,
            fulfillment_status=wanted.fulfillment_status,
            order_number=wanted.order_number,
        )
    window = paging.window(page, per_page, cursor, queries.KEYS)
    async with shop.read() as conn:
        return await queries.orders(conn, shop.tenant.id, wanted, window)


async def events(shop: Shop, order: UUID, token: str | None) -> bytes:
    """An order's events, as JSON. Raises NotFound."""
    async with shop.read() as conn:
        await require(conn, shop, order, token)
        return await queries.events(conn, shop.tenant.id, order)


@asynccontextmanager
async def held(shop: Shop, order: UUID) -> AsyncIterator[tuple[Connection, OrderState]]:
    """A transaction that begins by locking an order's row: its connection, and the order's state.
    Raises NotFound."""
    async with shop.hold(queries.holding(shop.tenant.id, order)) as (tx, [row]):
        yield tx, _there(queries.state_of(row))


async def locked(tx: Connection, shop: Shop, order: UUID) -> OrderState:
    """The order's state; locks its row. Raises NotFound."""
    return _there(await queries.lock(tx, shop.tenant.id, order))


def _there(state: OrderState | None) -> OrderState:
    if state is None:
        raise NotFound("order not found")
    return state


async def of_cart(tx: Connection, shop: Shop, cart: UUID) -> OrderState | None:
    """The order of a cart."""
    return await queries.of_cart(tx, shop.tenant.id, cart)


async def state(conn: Connection, shop: Shop, order: UUID) -> OrderState | None:
    """An order's state."""
    return await queries.state(conn, shop.tenant.id, order)


async def is_over(tx: Connection, shop: Shop, order: UUID) -> bool:
    """Whether the order's reservation has expired."""
    return await queries.is_over(tx, shop.tenant.id, order)


async def wait_longer(tx: Connection, shop: Shop, order: UUID) -> None:
    """Extends the order's reservation."""
    ttl_s = shop.services.settings.checkout.reservation_ttl_secs
    await queries.extend(tx, shop.tenant.id, order, ttl_s)


async def give_up(
    tx: Connection, shop: Shop, order: OrderState, event: str, payment_status: str, reason: str
) -> None:
    """Gives up a pending order that will not be paid: releases its stock and reopens its cart."""
    if order.status != "pending":
        return
    await promotions.release(tx, shop, order.id)
    await credits.restore(tx, shop, order.id)
    await inventory.let_go(tx, shop, order.id, reason)
    values = {"status": "cancelled", "payment_status": payment_status}
    await record(tx, shop, order.id, event, values, {"reason": reason})
    if order.cart_id is not None:
        if order.customer_id is not None:
            await queries.hold_customer(tx, shop.tenant.id, order.customer_id)
        await queries.reopen_cart(tx, shop.tenant.id, order.cart_id)


async def take_stock_back(tx: Connection, shop: Shop, order: OrderState) -> None:
    """Returns a cancelled order's units, reserved or sold, the use of its promotions, and what gift
    cards and credit have paid; deactivates the gift cards that it has bought."""
    await promotions.release(tx, shop, order.id)
    await credits.restore(tx, shop, order.id)
    if order.sells_gift_cards:
        await credits.withdraw(tx, shop, order.id, whole=True)
    if order.status == "pending":
        await inventory.let_go(tx, shop, order.id, "cancelled")
        return
    held = await queries.items(tx, shop.tenant.id, order.id)
    await restock(tx, shop, order.id, held, {item.id: item.quantity for item in held})


async def record(
    tx: Connection,
    shop: Shop,
    order: UUID,
    event: str,
    values: Mapping[str, Any],
    data: Mapping[str, Any] | None = None,
) -> None:
    """Sets columns of a locked order, and writes the event."""
    await queries.update(
        tx, shop.tenant.id, order, values, event=event, data=data or {}, actor=shop.caller.name
    )
    shop.order_events.append(event)


async def change(shop: Shop, order: UUID, data: OrderChange) -> bytes:
    """Changes by staff. Raises NotFound, InvalidTransition."""
    shop.caller.require(WRITE)
    async with shop.write() as tx:
        state = await locked(tx, shop, order)
        values: dict[str, Any] = {}
        if data.status is not UNSET and data.status != state.status:
            states.require(states.STATUS, state.status, data.status)
            values["status"] = data.status
        if data.notes is not UNSET:
            values["notes"] = data.notes
        if data.metadata is not UNSET:
            values["metadata"] = Jsonb(data.metadata)
        changed = {"fields": sorted(values), "status": values.get("status", state.status)}
        await record(tx, shop, order, "changed", values, changed)
        return await json(tx, shop, order)


async def fulfil(shop: Shop, order: UUID, data: Fulfilment) -> bytes:
    """Ships items, or moves a shipped order on. Raises InvalidTransition, Unprocessable."""
    shop.caller.require(WRITE)
    async with shop.write() as tx:
        state = await locked(tx, shop, order)
        if state.status not in ("confirmed", "processing"):
            states.require(states.STATUS, state.status, "processing")
        held = await queries.items(tx, shop.tenant.id, order)
        left = {item.id: item.quantity - item.fulfilled_quantity for item in held}
        sent = _units(data.items, left, "order_item_id")
        if sent:
            await queries.add_to_items(tx, shop.tenant.id, order, "fulfilled_quantity", sent)
        is_whole = sum(left.values()) == sum(sent.values())
        then = data.status if is_whole else "partially_fulfilled"
        if not sent and then == state.fulfillment_status:
            then = "fulfilled"  # nothing left to ship: the error lists the possible steps
        states.require(states.FULFILLMENT, state.fulfillment_status, then)
        status = "completed" if is_whole and state.payment_status == "paid" else "processing"
        await record(
            tx, shop, order, then, {"fulfillment_status": then, "status": status},
            {
                "items": {str(item): quantity for item, quantity in sent.items()},
                "tracking_number": data.tracking_number,
                "carrier": data.carrier,
            },
        )  # fmt: skip
        return await json(tx, shop, order)


async def take_back(shop: Shop, order: UUID, data: Return) -> bytes:
    """Records returned items. Raises InvalidTransition, Unprocessable."""
    shop.caller.require(WRITE)
    async with shop.write() as tx:
        state = await locked(tx, shop, order)
        states.require(states.FULFILLMENT, state.fulfillment_status, "returned")
        held = await queries.items(tx, shop.tenant.id, order)
        left = {item.id: item.fulfilled_quantity - item.returned_quantity for item in held}
        back = _units(data.items, left, "order_item_id")
        if not back:
            raise Unprocessable("nothing is left to return", code="nothing_to_return")
        await queries.add_to_items(tx, shop.tenant.id, order, "returned_quantity", back)
        if data.restock:
            await restock(tx, shop, order, held, back)
        is_whole = sum(left.values()) == sum(back.values())
        values = {"fulfillment_status": "returned"} if is_whole else {}
        noted = {str(item): quantity for item, quantity in back.items()}
        await record(tx, shop, order, "returned", values, {"items": noted, "reason": data.reason})
        return await json(tx, shop, order)


async def restock(
    tx: Connection,
    shop: Shop,
    order: UUID,
    held: Sequence[HeldItem],
    quantities: Mapping[UUID, int],
) -> None:
    """Returns units of an order's items to stock."""
    back = [(item.variant_id, quantities[item.id]) for item in held if quantities.get(item.id)]
    await inventory.put_back(tx, shop, order, back)


async def items(conn: Connection, shop: Shop, order: UUID) -> list[HeldItem]:
    """An order's items."""
    return await queries.items(conn, shop.tenant.id, order)


async def set_aside(
    tx: Connection,
    shop: Shop,
    order: UUID,
    *,
    credit: Decimal,
    shipping: Decimal,
    units: Mapping[UUID, int],
) -> None:
    """Counts what a refund takes from a locked order; of one that has failed, all is negative."""
    if credit or shipping:
        await queries.add_refunded(tx, shop.tenant.id, order, credit, shipping)
    if units:
        await queries.add_to_items(tx, shop.tenant.id, order, "refunded_quantity", units)


def _units(
    wanted: Sequence[ItemQuantity] | None, left: Mapping[UUID, int], field: str
) -> dict[UUID, int]:
    """The units of each item: those named, otherwise all that remain."""
    if wanted is None:
        return {item: quantity for item, quantity in left.items() if quantity > 0}
    return named_units([(line.order_item_id, line.quantity) for line in wanted], left, field)


def named_units(
    wanted: Sequence[tuple[UUID, int]], left: Mapping[UUID, int], field: str
) -> dict[UUID, int]:
    """The units of each item that is named. Raises Invalid, Unprocessable."""
    units: dict[UUID, int] = {}
    for item, quantity in wanted:
        units[item] = units.get(item, 0) + quantity
    for item, quantity in units.items():
        if item not in left:
            raise Invalid.field(field, f"the order has no item {item}")
        if quantity > left[item]:
            raise Unprocessable(
                f"{left[item]} of item {item} are left, not {quantity}", code="too_many_units"
            )
    return units
