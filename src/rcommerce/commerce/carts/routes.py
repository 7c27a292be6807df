"""/carts over HTTP."""

from uuid import UUID

from litestar import Router, delete, get, post, put
from litestar.datastructures import Cookie
from litestar.response.base import ASGIResponse
from litestar.types import Scope

from rcommerce.commerce import answers
from rcommerce.commerce.carts import service
from rcommerce.commerce.carts.schema import (
    CartAnswer,
    CheckAnswer,
    Coupon,
    CouponCheck,
    ExplanationsAnswer,
    GiftCardCode,
    Merge,
    NewCart,
    TotalsAnswer,
)
from rcommerce.commerce.fields import ItemChange, OrderLine
from rcommerce.commerce.parameters import CartToken, CouponCode, IdempotencyKey
from rcommerce.commerce.quotes import service as quotes
from rcommerce.commerce.shop import Shop

CART = answers.documented(CartAnswer)
CART_MADE = answers.documented(CartAnswer, 201)
PROBLEMS = "cart_closed cart_merged not_found"
COUPON_PROBLEMS = f"coupon_already_applied coupon_limit {quotes.PROBLEMS}"
LINE_PROBLEMS = f"""
    {PROBLEMS} cart_full currency_mismatch no_longer_sold not_in_channel out_of_stock
    quantity_too_large unprocessable
"""


@post(
    "/guest",
    summary="Create a guest cart",
    responses=CART_MADE,
    problems="currency_mismatch",
)
async def create_guest_cart(
    shop: Shop, scope: Scope, data: NewCart | None = None, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """Its session_token gives access to it, as X-Cart-Token or as the cookie set here."""
    token, body = await service.create_guest(shop, data or NewCart())
    cookie = Cookie(
        key="cart_token",
        value=token,
        path="/",
        httponly=True,
        samesite="lax",
        secure=scope["scheme"] == "https",
        max_age=shop.services.settings.checkout.cart_ttl_days * 86_400,
    )
    answer = answers.json(body, 201)
    answer.headers["Set-Cookie"] = cookie.to_header(header="")
    return answer


@get(["/", "/me"], summary="Get my cart", responses=CART, problems=PROBLEMS)
async def get_my_cart(
    shop: Shop, cart_token: str | None, x_cart_token: CartToken = None
) -> ASGIResponse:
    """The customer's cart, created if there is none; or the cart of the token."""
    return answers.json(await service.mine(shop, cart_token))


@get("/{cart_id:uuid}", summary="Get a cart", responses=CART, problems=PROBLEMS)
async def get_cart(
    shop: Shop, cart_id: UUID, cart_token: str | None, x_cart_token: CartToken = None
) -> ASGIResponse:
    """Needs the cart's token, or its customer's login."""
    return answers.json(await service.view(shop, cart_id, cart_token))


@delete("/{cart_id:uuid}", summary="Delete a cart", problems=PROBLEMS)
async def delete_cart(
    shop: Shop, cart_id: UUID, cart_token: str | None, x_cart_token: CartToken = None
) -> None:
    """With all of its items."""
    await service.delete(shop, cart_id, cart_token)


@post(
    "/{cart_id:uuid}/items",
    summary="Add an item to a cart",
    responses=CART_MADE,
    problems=LINE_PROBLEMS,
)
async def add_cart_item(
    shop: Shop,
    cart_id: UUID,
    data: OrderLine,
    cart_token: str | None,
    x_cart_token: CartToken = None,
    idempotency_key: IdempotencyKey = None,
) -> ASGIResponse:
    """Adds to the quantity of an existing item."""
    return answers.json(await service.add_item(shop, cart_id, cart_token, data), 201)


@post(
    "/items",
    summary="Add an item to my cart",
    responses=CART_MADE,
    problems=LINE_PROBLEMS,
)
async def add_my_cart_item(
    shop: Shop,
    data: OrderLine,
    cart_token: str | None,
    x_cart_token: CartToken = None,
    idempotency_key: IdempotencyKey = None,
) -> ASGIResponse:
    """Like /carts/{cart_id}/items."""
    cart = await service.my_id(shop, cart_token)
    return answers.json(await service.add_item(shop, cart, cart_token, data), 201)


@put(
    "/{cart_id:uuid}/items/{item_id:uuid}",
    summary="Change a quantity",
    responses=CART,
    problems=LINE_PROBLEMS,
)
async def update_cart_item(
    shop: Shop,
    cart_id: UUID,
    item_id: UUID,
    data: ItemChange,
    cart_token: str | None,
    x_cart_token: CartToken = None,
) -> ASGIResponse:
    """Of one item."""
    body = await service.set_quantity(shop, cart_id, cart_token, item_id, data.quantity)
    return answers.json(body)


@put(
    "/items/{item_id:uuid}",
    summary="Change a quantity in my cart",
    responses=CART,
    problems=LINE_PROBLEMS,
)
async def update_my_cart_item(
    shop: Shop,
    item_id: UUID,
    data: ItemChange,
    cart_token: str | None,
    x_cart_token: CartToken = None,
) -> ASGIResponse:
    """Of one item."""
    cart = await service.my_id(shop, cart_token)
    body = await service.set_quantity(shop, cart, cart_token, item_id, data.quantity)
    return answers.json(body)


@delete(
    "/{cart_id:uuid}/items/{item_id:uuid}",
    status_code=200,
    summary="Remove an item from a cart",
    responses=CART,
    problems=PROBLEMS,
)
async def remove_cart_item(
    shop: Shop,
    cart_id: UUID,
    item_id: UUID,
    cart_token: str | None,
    x_cart_token: CartToken = None,
) -> ASGIResponse:
    """The cart without it."""
    return answers.json(await service.remove_items(shop, cart_id, cart_token, item_id))


@delete(
    "/items/{item_id:uuid}",
    status_code=200,
    summary="Remove an item from my cart",
    responses=CART,
    problems=PROBLEMS,
)
async def remove_my_cart_item(
    shop: Shop, item_id: UUID, cart_token: str | None, x_cart_token: CartToken = None
) -> ASGIResponse:
    """The cart without it."""
    cart = await service.my_id(shop, cart_token)
    return answers.json(await service.remove_items(shop, cart, cart_token, item_id))


@delete(
    "/{cart_id:uuid}/items",
    status_code=200,
    summary="Empty a cart",
    responses=CART,
    problems=PROBLEMS,
)
async def clear_cart(
    shop: Shop, cart_id: UUID, cart_token: str | None, x_cart_token: CartToken = None
) -> ASGIResponse:
    """The cart without its lines."""
    return answers.json(await service.remove_items(shop, cart_id, cart_token, None))


@post(
    "/merge",
    status_code=200,
    summary="Merge a guest cart into mine",
    responses=CART,
    problems=f"{LINE_PROBLEMS} channel_mismatch",
)
async def merge_carts(
    shop: Shop, data: Merge, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """After a login: the guest's items are added, and the guest cart is closed."""
    return answers.json(await service.merge(shop, data.session_token))


@post(
    "/{cart_id:uuid}/coupon",
    status_code=200,
    summary="Apply a coupon",
    responses=CART,
    problems=f"{PROBLEMS} {COUPON_PROBLEMS}",
)
async def apply_coupon(
    shop: Shop,
    cart_id: UUID,
    data: Coupon,
    cart_token: str | None,
    x_cart_token: CartToken = None,
) -> ASGIResponse:
    """Upper or lower case, with or without spaces around it. 422 if it does not apply: `code` says
    why."""
    body = await service.apply_coupon(shop, cart_id, cart_token, data.coupon_code)
    return answers.json(body)


@delete(
    "/{cart_id:uuid}/coupon",
    status_code=200,
    summary="Remove coupons",
    responses=CART,
    problems=PROBLEMS,
)
async def remove_coupon(
    shop: Shop,
    cart_id: UUID,
    cart_token: str | None,
    x_cart_token: CartToken = None,
    coupon_code: CouponCode = None,
) -> ASGIResponse:
    """The one named, or all."""
    return answers.json(await service.remove_coupon(shop, cart_id, cart_token, coupon_code))


@get(
    "/{cart_id:uuid}/totals",
    summary="Get a cart's totals",
    responses=answers.documented(TotalsAnswer),
    problems=PROBLEMS,
)
async def get_cart_totals(
    shop: Shop, cart_id: UUID, cart_token: str | None, x_cart_token: CartToken = None
) -> ASGIResponse:
    """With each discount and its share on each item, and shipping once the address is known."""
    return answers.json(await service.totals(shop, cart_id, cart_token))


@get(
    "/{cart_id:uuid}/promotions",
    summary="Explain a cart's promotions",
    responses=answers.documented(ExplanationsAnswer),
    problems=PROBLEMS,
)
async def explain_cart_promotions(
    shop: Shop, cart_id: UUID, cart_token: str | None, x_cart_token: CartToken = None
) -> ASGIResponse:
    """Each promotion of the shop and of the cart's coupons: what it gives to which items, or why it
    does not apply."""
    return answers.json(await service.explained(shop, cart_id, cart_token))


@post(
    "/{cart_id:uuid}/gift-cards",
    status_code=200,
    summary="Pay with a gift card or credit",
    responses=CART,
    problems=f"{PROBLEMS} currency_mismatch gift_card_empty gift_card_not_found no_credit",
)
async def add_cart_gift_card(
    shop: Shop,
    cart_id: UUID,
    data: GiftCardCode,
    cart_token: str | None,
    x_cart_token: CartToken = None,
) -> ASGIResponse:
    """Several pay one after the other; the rest is `amount_due`, for the payment gateway."""
    return answers.json(await service.add_gift_card(shop, cart_id, cart_token, data))


@delete(
    "/{cart_id:uuid}/gift-cards",
    status_code=200,
    summary="Remove gift cards",
    responses=CART,
    problems=PROBLEMS,
)
async def remove_cart_gift_card(
    shop: Shop,
    cart_id: UUID,
    cart_token: str | None,
    x_cart_token: CartToken = None,
    gift_card_id: UUID | None = None,
) -> ASGIResponse:
    """The one named, or all, the customer's credit included."""
    return answers.json(await service.remove_gift_card(shop, cart_id, cart_token, gift_card_id))


@post(
    "/validate",
    status_code=200,
    summary="Check a coupon",
    responses=answers.documented(CheckAnswer),
    problems="cart_closed cart_merged not_found",
)
async def validate_coupon(
    shop: Shop,
    data: CouponCheck,
    cart_token: str | None,
    x_cart_token: CartToken = None,
    idempotency_key: IdempotencyKey = None,
) -> ASGIResponse:
    """What it would change in a cart, or why it does not apply; the cart stays as it is."""
    body = await service.check_coupon(shop, data.cart_id, cart_token, data.coupon_code)
    return answers.json(body)


router = Router(
    "/carts",
    tags=["Carts"],
    route_handlers=[
        create_guest_cart,
        get_my_cart,
        get_cart,
        delete_cart,
        add_cart_item,
        add_my_cart_item,
        update_cart_item,
        update_my_cart_item,
        remove_cart_item,
        remove_my_cart_item,
        clear_cart,
        merge_carts,
        apply_coupon,
        remove_coupon,
        add_cart_gift_card,
        remove_cart_gift_card,
        get_cart_totals,
        explain_cart_promotions,
    ],
)
coupons = Router("/coupons", tags=["Promotions"], route_handlers=[validate_coupon])
