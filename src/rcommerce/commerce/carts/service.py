"""The rules of carts."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn
from uuid import UUID

import msgspec

from rcommerce import clock, ids, money
from rcommerce.commerce.carts import queries, showing
from rcommerce.commerce.carts.schema import (
    Access,
    CartRow,
    GiftCardCode,
    HeldCart,
    Needs,
    NewCart,
    Shown,
)
from rcommerce.commerce.channels import service as channels
from rcommerce.commerce.credit import service as credits
from rcommerce.commerce.fields import OrderLine
from rcommerce.commerce.pricing.model import Quote
from rcommerce.commerce.promotions import service as promotions
from rcommerce.commerce.promotions.service import Live
from rcommerce.commerce.quotes import service as quotes
from rcommerce.commerce.quotes.service import Pricing, require_coupon
from rcommerce.commerce.shop import Shop
from rcommerce.database import Connection, Jsonb
from rcommerce.errors import Conflict, Gone, Invalid, NotFound, Unauthenticated, Unprocessable

READ = "carts:read"
WRITE = "carts:write"
MOST_CODES = 10  # in a cart


def access(shop: Shop, token: str | None, *, write: bool = False) -> Access:
    """The caller's credentials for a cart."""
    return Access(
        token_hash=ids.token_hash(token) if token else None,
        customer_id=shop.caller.customer_id,
        is_staff=shop.caller.may(WRITE if write else READ),
    )


async def create_guest(shop: Shop, new: NewCart) -> tuple[str, bytes]:
    """A guest's cart: its token, which alone gives access to it, and its JSON. Raises Invalid."""
    channel, currency = await _channel(shop)
    if new.currency is not None and (wanted := money.currency(new.currency)) != currency:
        if channel is not None:
            raise Unprocessable(f"the channel sells in {currency}", code="currency_mismatch")
        currency = wanted
    cart, token = ids.new_id(), ids.secret_token()
    days = shop.services.settings.checkout.cart_ttl_days
    token_hash = ids.token_hash(token)
    async with shop.write_once() as tx:
        row = await queries.insert_guest(
            tx, shop.tenant.id, cart, token_hash, channel, currency, new.email, days
        )
    return token, showing.as_json(row, token)


async def _channel(shop: Shop) -> tuple[UUID | None, str]:
    """The channel of a new cart, and its currency. Raises Invalid."""
    found = await channels.requested(shop)
    return (None, shop.tenant.currency) if found is None else (found.id, found.currency)


async def mine(shop: Shop, token: str | None) -> bytes:
    """The customer's cart, created if there is none, or the guest's by its token.

    Raises Unauthenticated with neither, NotFound for an unknown token, Gone.
    """
    return await view(shop, await my_id(shop, token, write=False), token)


async def my_id(shop: Shop, token: str | None, *, write: bool = True) -> UUID:
    """The id of that cart. With `write`, raises Conflict if it was ordered."""
    customer = shop.caller.customer_id
    if customer is None:
        if token is None:
            raise Unauthenticated("a customer login or X-Cart-Token is required")
        return await _of_guest(shop, token, write=write)
    async with shop.read() as conn:
        cart = await queries.of_customer(conn, shop.tenant.id, customer)
    if cart is not None:
        return cart
    where = await _channel(shop)
    async with shop.write() as tx:
        return (await _make(tx, shop, customer, where))[0]


async def _of_guest(shop: Shop, token: str, *, write: bool) -> UUID:
    async with shop.read() as conn:
        found = await queries.by_token(conn, shop.tenant.id, ids.token_hash(token))
    cart, status = found or (None, None)
    if cart is None or status != "active":
        _refuse_status(status if write or status == "merged" else None)
    return cart


async def _make(
    tx: Connection, shop: Shop, customer: UUID, where: tuple[UUID | None, str]
) -> tuple[UUID, UUID | None, str]:
    """(id, channel, currency) of the customer's cart, created if there is none, `where` he is.
    Locks its row."""
    await queries.forget_expired_of(tx, shop.tenant.id, customer)
    return await queries.make_for_customer(
        tx,
        shop.tenant.id,
        customer,
        ids.new_id(),
        *where,
        shop.services.settings.checkout.cart_ttl_days,
    )


async def view(shop: Shop, cart: UUID, token: str | None) -> bytes:
    """A cart as JSON. Raises NotFound, also if the caller has no access."""
    live = await promotions.live(shop)
    async with shop.read() as conn:
        row = await _row(conn, shop, cart, access(shop, token))
        if row.order is not None:
            return showing.as_json(row, token)
        pricing = await showing.priced(conn, shop, live, row, seen=True)
    return showing.as_json(row, token, pricing, pricing.quote())


async def _row(conn: Connection, shop: Shop, cart: UUID, by: Access) -> CartRow:
    row = await queries.view(conn, shop.tenant.id, cart, by, shop.media_url, clock.today())
    if row is None:
        _refuse_status(await queries.status(conn, shop.tenant.id, cart, by))
    return row


async def totals(shop: Shop, cart: UUID, token: str | None) -> bytes:
    """What a cart costs, with the way to ship that was chosen, as JSON. Raises NotFound, Gone."""
    pricing, quote = await _quoted(shop, cart, token)
    return msgspec.json.encode(
        {
            "subtotal": quote.subtotal,
            "discounts": showing.discounts(quote),
            "shipping": quote.shipping_total - quote.shipping_discount,
            "taxes": [],
            "gift_cards": quotes.payments(pricing, quote),
            "total": quote.total,
            "amount_due": quote.due,
            "currency": quote.currency,
        }
    )


async def explained(shop: Shop, cart: UUID, token: str | None) -> bytes:
    """Of each promotion whether it applies to a cart, and why not, as JSON. Raises NotFound,
    Gone."""
    _, quote = await _quoted(shop, cart, token)
    return msgspec.json.encode(
        {"promotions": [showing.explained(each) for each in quote.promotions]}
    )


async def _quoted(shop: Shop, cart: UUID, token: str | None) -> tuple[Pricing, Quote]:
    live = await promotions.live(shop)
    async with shop.read() as conn:
        row = await _row(conn, shop, cart, access(shop, token))
        pricing = await showing.priced(conn, shop, live, row, seen=True)
    return pricing, pricing.quote(showing.shipping(shop, row))


def _refuse_status(status: str | None) -> NoReturn:
    """Raises the reason why a cart is not open: Gone, Conflict, NotFound."""
    if status == "merged":
        raise Gone("the cart was merged into its customer's", code="cart_merged")
    if status == "ordered":
        raise Conflict("the cart has been ordered already", code="cart_closed")
    raise NotFound("cart not found, or X-Cart-Token does not match")


class Opened(NamedTuple):
    """An active cart that a transaction has locked. `live` are the shop's promotions."""

    tx: Connection
    shop: Shop
    cart: UUID
    token: str | None
    live: Live
    currency: str
    seen_discount: Decimal | None = None
    seen_credit: Decimal | None = None
    channel: UUID | None = None
    has_codes: bool = True

    async def row(self, code: str | None = None) -> CartRow:
        """The cart with its lines, at their present prices, and its codes; with what another code
        stands for, as it is compared."""
        tenant, now = self.shop.tenant.id, clock.today()
        needs = Needs(self.channel is not None, self.has_codes)
        if needs.channel:  # there a price depends on the quantity, too
            await queries.set_channel_prices(self.tx, tenant, self.cart, now)
        media = self.shop.media_url
        return await queries.opened(self.tx, tenant, self.cart, needs, media, now, code)

    async def shown(self, row: CartRow | None = None) -> bytes:
        """The cart as JSON, and stored as what the buyer was shown; its `row`, if it was read."""
        row = row or await self.row()
        pricing = await showing.priced(self.tx, self.shop, self.live, row, seen=True)
        quote = pricing.quote()
        credit = quote.total - quote.due
        if (quote.discount, credit) != (self.seen_discount or 0, self.seen_credit or 0):
            seen = {"seen_discount": quote.discount, "seen_credit": credit}
            await queries.update(self.tx, self.shop.tenant.id, self.cart, seen)
        return showing.as_json(row, self.token, pricing, quote)


@asynccontextmanager
async def _opened(shop: Shop, cart: UUID, token: str | None) -> AsyncIterator[Opened]:
    """A transaction with a locked active cart. Raises NotFound, Gone, Conflict."""
    by = access(shop, token, write=True)
    days = shop.services.settings.checkout.cart_ttl_days
    live = await promotions.live(shop)
    async with shop.hold(queries.opening(shop.tenant.id, cart, by, days)) as (tx, [row]):
        if row is None:
            _refuse_status(await queries.status(tx, shop.tenant.id, cart, by))
        yield Opened(tx, shop, cart, token, live, *row)


async def add_item(shop: Shop, cart: UUID, token: str | None, line: OrderLine) -> bytes:
    """Adds a line to a cart. Raises NotFound, Gone, Conflict, Invalid, Unprocessable."""
    async with _opened(shop, cart, token) as opened:
        adding = await queries.add_item(
            opened.tx,
            shop.tenant.id,
            cart,
            opened.currency,
            opened.channel,
            item=ids.new_id(),
            product_id=line.product_id,
            variant=line.variant_id,
            quantity=line.quantity,
            at=clock.today(),
        )
        row = await opened.row()
        fitting, its_currency, lines, added = adding.row
        if not added:
            _refuse(opened.currency, fitting, its_currency, lines)
        return await opened.shown(row)


def _refuse(cart_currency: str, fitting: int, currency: str | None, lines: int) -> NoReturn:
    if fitting == 0:
        raise NotFound("product or variant not found")
    if fitting > 1:
        raise Invalid.field("variant_id", "is required: the product has several variants")
    if currency is None:
        raise Unprocessable("the product is not sold in this channel", code="not_in_channel")
    if currency != cart_currency:
        raise Unprocessable(
            f"the product is sold in {currency}, and the cart is in {cart_currency}",
            code="currency_mismatch",
        )
    if lines >= queries.LARGEST_CART:
        raise Unprocessable(f"a cart has at most {queries.LARGEST_CART} lines", code="cart_full")
    _refuse_quantity()


def _refuse_quantity() -> NoReturn:
    raise Unprocessable("a line has at most 9999 units", code="quantity_too_large")


async def set_quantity(
    shop: Shop, cart: UUID, token: str | None, item: UUID, quantity: int
) -> bytes:
    """Sets a line's quantity. Raises NotFound, Gone, Conflict."""
    async with _opened(shop, cart, token) as opened:
        if not await queries.set_quantity(opened.tx, shop.tenant.id, cart, item, quantity):
            _no_line()
        return await opened.shown()


def _no_line() -> NoReturn:
    raise NotFound("the cart has no such item")


async def remove_items(shop: Shop, cart: UUID, token: str | None, item: UUID | None) -> bytes:
    """Removes a line, or all of them. Raises NotFound, Gone, Conflict."""
    async with _opened(shop, cart, token) as opened:
        gone = await queries.remove_items(opened.tx, shop.tenant.id, cart, item)
        if item is not None and gone == 0:
            _no_line()
        return await opened.shown()


async def delete(shop: Shop, cart: UUID, token: str | None) -> None:
    """Deletes a cart. Raises NotFound, Gone, Conflict."""
    by = access(shop, token, write=True)
    async with shop.write() as tx:
        if not await queries.delete(tx, shop.tenant.id, cart, by):
            _refuse_status(await queries.status(tx, shop.tenant.id, cart, by))


async def merge(shop: Shop, session_token: str) -> bytes:
    """Merges a guest's cart into the customer's own. Raises Unauthenticated, NotFound, Gone,
    Conflict, Unprocessable; nothing has changed then."""
    customer = shop.caller.require_customer()
    token_hash = ids.token_hash(session_token)
    live, where = await promotions.live(shop), await _channel(shop)
    async with shop.write() as tx:
        # Both rows are locked, the customer's first: no line is added to a cart that is being
        # merged away, or to one that has become an order.
        target, channel, currency = await _make(tx, shop, customer, where)
        guest = await queries.close_merged(tx, shop.tenant.id, token_hash)
        if guest is None:
            found = await queries.by_token(tx, shop.tenant.id, token_hash)
            _refuse_status(found and found[1])
        source, its_channel, its_currency = guest
        if its_currency != currency:
            raise Conflict(
                f"the carts are in {its_currency} and {currency}", code="currency_mismatch"
            )
        if its_channel != channel:
            raise Conflict("the carts are in different channels", code="channel_mismatch")
        if not await queries.move_items(tx, shop.tenant.id, source, target):
            _refuse_quantity()
        await queries.move_codes(tx, shop.tenant.id, source, target)
        opened = Opened(tx, shop, target, None, live, currency, channel=channel)
        return await opened.shown()


@asynccontextmanager
async def held(
    shop: Shop, cart: UUID, token: str | None
) -> AsyncIterator[tuple[Connection, HeldCart]]:
    """A transaction with a locked cart, active or ordered: its connection, and the cart with its
    lines and codes. Raises NotFound, Gone."""
    by = access(shop, token, write=True)
    lock = queries.holding(shop.tenant.id, cart, by)
    read = queries.held(shop.tenant.id, cart, clock.today())
    async with shop.hold(lock, read) as (tx, [row, found]):
        if row is None or row[0] == "merged":
            _refuse_status(row and row[0])
        yield tx, msgspec.json.decode(found[0], type=HeldCart)


async def show(
    tx: Connection, shop: Shop, cart: HeldCart, shown: Shown, values: Mapping[str, Any]
) -> None:
    """Stores what a checkout shows the buyer of a locked cart, and the choices made: from now on
    that is what the cart may be completed for."""
    kept = Jsonb(msgspec.to_builtins(shown))
    await queries.update(tx, shop.tenant.id, cart.id, {**values, "shown": kept})
    if cart.channel_id is None:
        await queries.set_prices(tx, shop.tenant.id, cart.id)
    else:
        await queries.set_channel_prices(tx, shop.tenant.id, cart.id, clock.today())


async def with_expired(conn: Connection) -> list[UUID]:
    """Tenants of this shard with expired carts."""
    return await queries.with_expired(conn)


async def forget_expired(tx: Connection, shop: Shop, limit: int) -> int:
    """Deletes expired carts; returns how many."""
    return await queries.delete_expired(tx, shop.tenant.id, limit)


async def apply_coupon(shop: Shop, cart: UUID, token: str | None, code: str) -> bytes:
    """Puts a coupon into a cart, if it applies. Raises NotFound, Gone, Conflict, Unprocessable."""
    async with _opened(shop, cart, token) as opened:
        row = await opened.row(promotions.compared(code))
        found = promotions.code(code, row.wanted)
        if found.code in {each.code for each in row.codes}:
            raise Unprocessable(
                f"the cart has the coupon “{found.shown}” already", code="coupon_already_applied"
            )
        if len(row.codes) >= MOST_CODES:
            raise Unprocessable(f"a cart has at most {MOST_CODES} coupons", code="coupon_limit")
        row.codes.append(found)
        pricing = await showing.priced(opened.tx, shop, opened.live, row, seen=True)
        quote = pricing.quote()
        require_coupon(found, quote)
        seen = quote.discount, quote.total - quote.due
        await queries.add_code(opened.tx, shop.tenant.id, cart, found, *seen)
        return showing.as_json(row, token, pricing, quote)


async def check_coupon(shop: Shop, cart: UUID, token: str | None, code: str) -> bytes:
    """What a coupon would change in a cart, or why it does not apply, as JSON. Raises NotFound,
    Gone."""
    live = await promotions.live(shop)
    async with shop.read() as conn:
        row = await _row(conn, shop, cart, access(shop, token))
        [found] = await promotions.codes(conn, shop, [code])
        has_it = found.code in {each.code for each in row.codes}
        pricing = await showing.priced(
            conn, shop, live, row, seen=True, more=[] if has_it else [found]
        )
        return showing.checked(found, pricing.quote())


async def add_gift_card(shop: Shop, cart: UUID, token: str | None, data: GiftCardCode) -> bytes:
    """Lets a gift card, or the customer's credit, pay for a cart. Raises NotFound, Gone, Conflict,
    Invalid, Unauthenticated, Unprocessable, TooMany."""
    if (data.code is None) != data.use_credit:
        raise Invalid.field("code", "is required, or use_credit")
    async with _opened(shop, cart, token) as opened:
        if data.code is None:
            account = await credits.own(opened.tx, shop, opened.currency)
        else:
            account = await credits.found(opened.tx, shop, data.code, opened.currency)
        await queries.add_credit(opened.tx, shop.tenant.id, cart, account.id)
        return await opened._replace(has_codes=True).shown()


async def remove_gift_card(
    shop: Shop, cart: UUID, token: str | None, account: UUID | None
) -> bytes:
    """The cart without a gift card or credit, or without all. Raises NotFound, Gone, Conflict."""
    async with _opened(shop, cart, token) as opened:
        gone = await queries.remove_credit(opened.tx, shop.tenant.id, cart, account)
        if account is not None and gone == 0:
            raise NotFound("the cart has no such gift card")
        return await opened.shown()


async def remove_coupon(shop: Shop, cart: UUID, token: str | None, code: str | None) -> bytes:
    """The cart without a coupon, or without all. Raises NotFound, Gone, Conflict."""
    async with _opened(shop, cart, token) as opened:
        named = None if code is None else promotions.compared(code)
        gone = await queries.remove_codes(opened.tx, shop.tenant.id, cart, named)
        if code is not None and gone == 0:
            raise NotFound("the cart has no such coupon")
        return await opened.shown()
