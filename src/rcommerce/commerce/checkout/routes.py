"""/checkout over HTTP."""

from litestar import Router, post
from litestar.response.base import ASGIResponse

from rcommerce.commerce import answers
from rcommerce.commerce.checkout import service
from rcommerce.commerce.checkout.schema import (
    Completed,
    Completion,
    Initiation,
    ShippingChoice,
    Summary,
)
from rcommerce.commerce.parameters import CartToken, IdempotencyKey
from rcommerce.commerce.shop import Shop


@post(
    "/initiate",
    status_code=200,
    summary="Start a checkout",
    problems=(
        "cart_closed cart_empty cart_merged currency_mismatch no_longer_sold "
        "no_shipping not_found total_too_large"
    ),
)
async def initiate_checkout(
    shop: Shop,
    data: Initiation,
    cart_token: str | None,
    x_cart_token: CartToken = None,
    idempotency_key: IdempotencyKey = None,
) -> Summary:
    """The cart's totals for this address, and the shipping services."""
    return await service.initiate(shop, data, cart_token)


@post(
    "/shipping",
    status_code=200,
    summary="Choose a shipping service",
    problems=(
        "cart_closed cart_empty cart_merged checkout_not_initiated no_longer_sold "
        "no_shipping not_found total_too_large unknown_shipping_rate"
    ),
)
async def choose_shipping_method(
    shop: Shop,
    data: ShippingChoice,
    cart_token: str | None,
    x_cart_token: CartToken = None,
    idempotency_key: IdempotencyKey = None,
) -> Summary:
    """Only the codes of the rate are used; the server computes prices."""
    return await service.choose_shipping(shop, data, cart_token)


@post(
    "/complete",
    summary="Complete a checkout",
    responses=answers.documented(Completed, 201),
    opt={"idempotency": "steps"},
    problems=(
        "cart_closed cart_empty cart_merged checkout_not_initiated currency_mismatch "
        "gateway_unavailable no_longer_sold no_shipping not_found out_of_stock "
        "payment_failed price_changed total_too_large unknown_shipping_rate"
    ),
)
async def complete_checkout(
    shop: Shop,
    data: Completion,
    cart_token: str | None,
    x_cart_token: CartToken = None,
    idempotency_key: IdempotencyKey = None,
) -> ASGIResponse:
    """A cart becomes one order with one charge, however often this is sent.

    409 out_of_stock names the lines, 409 price_changed has the new totals, 402 payment_failed
    leaves the cart open.
    """
    return answers.json(await service.complete(shop, data, cart_token), 201)


router = Router(
    "/checkout",
    tags=["Checkout"],
    route_handlers=[initiate_checkout, choose_shipping_method, complete_checkout],
)
