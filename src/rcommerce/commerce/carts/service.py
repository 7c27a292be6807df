"""The rules of carts."""

from collections.abc import Mapping
from typing import Any, NoReturn
from uuid import UUID

from rcommerce import ids, money
from rcommerce.commerce.carts import queries
from rcommerce.commerce.carts.schema import Access, NewCart, OpenCart
from rcommerce.commerce.fields import OrderLine
from rcommerce.commerce.shop import Shop
from rcommerce.database import Connection
from rcommerce.errors import Conflict, Invalid, NotFound, Unauthenticated, Unprocessable

READ = "carts:read"
WRITE = "carts:write"


def access(shop: Shop, token: str | None, *, write: bool = False) -> Access:
    """What the caller can show for a cart."""
    return Access(
        token_hash=ids.token_hash(token) if token else None,
        customer_id=shop.caller.customer_id,
        is_staff=shop.caller.may(WRITE if write else READ),
    )


async def create_guest(shop: Shop, new: NewCart) -> tuple[str, bytes]:
    """A guest's cart: its token, which alone opens it, and its JSON. Raises Invalid."""
    currency = money.currency(new.currency or shop.tenant.currency)
    cart, token = ids.new_id(), ids.secret_token()
    days = shop.services.settings.checkout.cart_ttl_days
    token_hash = ids.token_hash(token)
    async with shop.write_once() as tx:
        return token, await queries.insert_guest(
            tx, shop.tenant.id, cart, token, token_hash, currency, new.email, days
        )


async def mine(shop: Shop, token: str | None) -> bytes:
    """The cart of the customer, made where there is none, or of the guest's token.

    Raises Unauthenticated with neither, NotFound for a token that opens nothing.
    """
    return await view(shop, await my_id(shop, token), token)


async def my_id(shop: Shop, token: str | None) -> UUID:
    """The id of that cart."""
    customer = shop.caller.customer_id
    if customer is None and token is None:
        raise Unauthenticated("this needs a customer who is logged in, or a cart's X-Cart-Token")
    async with shop.read() as conn:
        if customer is None:
            cart = await queries.by_token(conn, shop.tenant.id, ids.token_hash(token or ""))
        else:
            cart = await queries.of_customer(conn, shop.tenant.id, customer)
    if cart is not None:
        return cart
    if customer is None:
        _no_cart()
    async with shop.write() as tx:
        return await _make(tx, shop, customer)


async def _make(tx: Connection, shop: Shop, customer: UUID) -> UUID:
    """The customer's cart, made where there is none."""
    return await queries.make_for_customer(
        tx,
        shop.tenant.id,
        customer,
        ids.new_id(),
        shop.tenant.currency,
        shop.services.settings.checkout.cart_ttl_days,
    )


async def view(shop: Shop, cart: UUID, token: str | None) -> bytes:
    """A cart as JSON. Raises NotFound, also where the caller may not open it."""
    async with shop.read() as conn:
        return await _view(conn, shop, cart, access(shop, token), token)


async def _view(conn: Connection, shop: Shop, cart: UUID, by: Access, token: str | None) -> bytes:
    body = await queries.view(conn, shop.tenant.id, cart, by, token, shop.media_url)
    return body if body is not None else _no_cart()


def _no_cart() -> NoReturn:
    raise NotFound("there is no such cart, or it takes another X-Cart-Token to open it")


async def add_item(shop: Shop, cart: UUID, token: str | None, line: OrderLine) -> bytes:
    """Puts a line into a cart. Raises NotFound, Invalid, Unprocessable."""
    by = access(shop, token, write=True)
    async with shop.write() as tx:
        currency, fitting, its_currency, lines, added = await queries.add_item(
            tx,
            shop.tenant.id,
            cart,
            by,
            item=ids.new_id(),
            product=line.product_id,
            variant=line.variant_id,
            quantity=line.quantity,
            days=shop.services.settings.checkout.cart_ttl_days,
        )
        if not added:
            _refuse(currency, fitting, its_currency, lines)
        return await _view(tx, shop, cart, by, token)


def _refuse(cart_currency: str | None, fitting: int, currency: str | None, lines: int) -> NoReturn:
    if cart_currency is None:
        _no_cart()
    if fitting == 0:
        raise NotFound("there is no such product or variant")
    if fitting > 1:
        raise Invalid.field("variant_id", "is needed: the product has several variants")
    if currency != cart_currency:
        raise Unprocessable(
            f"the product is sold in {currency}, and the cart is in {cart_currency}",
            code="currency_mismatch",
        )
    if lines >= queries.LARGEST_CART:
        raise Unprocessable(f"a cart has at most {queries.LARGEST_CART} lines", code="cart_full")
    raise Unprocessable("a line has at most 9999 units", code="quantity_too_large")


async def set_quantity(
    shop: Shop, cart: UUID, token: str | None, item: UUID, quantity: int
) -> bytes:
    """A line's new quantity. Raises NotFound."""
    by = access(shop, token, write=True)
    async with shop.write() as tx:
        if not await queries.set_quantity(tx, shop.tenant.id, cart, by, item, quantity):
            raise NotFound("there is no such cart or line")
        return await _view(tx, shop, cart, by, token)


async def remove_items(shop: Shop, cart: UUID, token: str | None, item: UUID | None) -> bytes:
    """Takes a line out, or all of them. Raises NotFound."""
    by = access(shop, token, write=True)
    async with shop.write() as tx:
        is_open, gone = await queries.remove_items(tx, shop.tenant.id, cart, by, item)
        if not is_open:
            _no_cart()
        if item is not None and gone == 0:
            raise NotFound("the cart has no such line")
        return await _view(tx, shop, cart, by, token)


async def delete(shop: Shop, cart: UUID, token: str | None) -> None:
    """Forgets a cart. Raises NotFound."""
    by = access(shop, token, write=True)
    async with shop.write() as tx:
        if not await queries.delete(tx, shop.tenant.id, cart, by):
            _no_cart()


async def merge(shop: Shop, session_token: str) -> bytes:
    """Puts a guest's cart into the customer's own. Raises Unauthenticated, NotFound, Conflict."""
    customer = shop.caller.require_customer()
    async with shop.write() as tx:
        source = await queries.by_token(tx, shop.tenant.id, ids.token_hash(session_token))
        if source is None:
            _no_cart()
        target = await _make(tx, shop, customer)
        # Both rows held, in a fixed order: no line is added to a cart that is being emptied.
        held = {}
        for cart in sorted((source, target)):
            held[cart] = await queries.lock(
                tx, shop.tenant.id, cart, access(shop, session_token, write=True)
            )
        guest, own = held[source], held[target]
        if guest is None or own is None:
            _no_cart()
        if guest.currency != own.currency:
            raise Conflict(
                f"the carts are in {guest.currency} and {own.currency}", code="currency_mismatch"
            )
        await queries.move_items(tx, shop.tenant.id, source, target)
        return await _view(tx, shop, target, access(shop, None), None)


async def hold(tx: Connection, shop: Shop, cart: UUID, token: str | None) -> OpenCart:
    """A cart with its lines priced as of now, its row held. Raises NotFound."""
    held = await queries.lock(tx, shop.tenant.id, cart, access(shop, token, write=True))
    if held is None or held.status == "merged":
        _no_cart()
    return held


async def note(tx: Connection, shop: Shop, cart: UUID, values: Mapping[str, Any]) -> None:
    """Notes what a checkout has chosen for a cart that is held."""
    await queries.update(tx, shop.tenant.id, cart, values)


async def show_prices(tx: Connection, shop: Shop, cart: UUID) -> None:
    """The buyer is shown today's prices: from now on they are the cart's."""
    await queries.set_prices(tx, shop.tenant.id, cart)


async def with_expired(conn: Connection) -> list[UUID]:
    """Tenants of this shard with carts that ran out."""
    return await queries.with_expired(conn)


async def forget_expired(tx: Connection, shop: Shop, limit: int) -> int:
    """Forgets carts that ran out; returns how many."""
    return await queries.delete_expired(tx, shop.tenant.id, limit)


async def apply_coupon(shop: Shop, cart: UUID, token: str | None, code: str) -> NoReturn:
    """Raises Unprocessable: no coupon has been made in this shop. Raises NotFound."""
    await view(shop, cart, token)
    raise Unprocessable(f"the coupon “{code}” is not valid", code="coupon_invalid")
