"""/payments and /webhooks over HTTP, and the steps of an order that move money."""

from uuid import UUID

from litestar import Request, Router, get, post
from litestar.datastructures import State
from litestar.response.base import ASGIResponse

from rcommerce.commerce.orders.routes import ORDER, whole
from rcommerce.commerce.orders.schema import Cancellation
from rcommerce.commerce.parameters import IdempotencyKey, OrderToken
from rcommerce.commerce.payments import refunds, service
from rcommerce.commerce.payments.schema import (
    Methods,
    MethodsQuery,
    NewPayment,
    NewRefund,
    PaymentResult,
    PaymentView,
    RefundAnswer,
    RefundRequest,
    RefundState,
)
from rcommerce.commerce.shop import Shop

# Steps with a gateway call in between: each can be repeated at any point.
STEPS = {"idempotency": "steps"}


@post("/payments/methods", status_code=200, summary="List payment methods")
async def list_payment_methods(shop: Shop, data: MethodsQuery) -> Methods:
    """For an amount."""
    return service.methods(shop, data)


@post(
    "/payments",
    summary="Pay an order",
    opt=STEPS,
    problems=(
        "amount_mismatch conflict currency_mismatch gateway_unavailable "
        "invalid_transition not_found order_cancelled payment_failed"
    ),
)
async def create_payment(
    shop: Shop,
    data: NewPayment,
    order_token: OrderToken = None,
    idempotency_key: IdempotencyKey = None,
) -> PaymentResult:
    """An order has at most one open payment; paying again returns the same one."""
    return await service.pay(shop, data, order_token)


@get("/payments/{payment_id:uuid}", summary="Get a payment")
async def get_payment(shop: Shop, payment_id: UUID, order_token: OrderToken = None) -> PaymentView:
    """For callers who may see its order."""
    return await service.one(shop, payment_id, order_token)


@post(
    "/payments/{payment_id:uuid}/confirm",
    status_code=200,
    summary="Confirm a manual payment",
    opt=STEPS,
    problems="invalid_transition not_manual",
)
async def confirm_payment(
    shop: Shop, payment_id: UUID, idempotency_key: IdempotencyKey = None
) -> PaymentView:
    """Of a manual payment. Scope payments:write."""
    return await service.confirm(shop, payment_id)


@post(
    "/payments/{payment_id:uuid}/refund",
    status_code=200,
    summary="Refund a payment",
    opt=STEPS,
    problems="gateway_unavailable not_paid payment_failed refund_too_large",
)
async def refund_payment(
    shop: Shop, payment_id: UUID, data: RefundRequest, idempotency_key: IdempotencyKey = None
) -> RefundState:
    """An amount, or all that is left. Scope payments:write."""
    return await refunds.of_payment(shop, payment_id, data)


@post(
    "/orders/{order_id:uuid}/refund",
    status_code=200,
    summary="Refund an order",
    responses=ORDER,
    opt=STEPS,
    problems="gateway_unavailable not_paid payment_failed refund_too_large",
)
async def refund_order(
    shop: Shop, order_id: UUID, data: RefundRequest, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """An amount, or all that is left: through the gateway as far as it was paid there, the rest to
    the gift cards and the credit. Scope payments:write."""
    return whole(await refunds.of_order(shop, order_id, data))


@post(
    "/orders/{order_id:uuid}/refunds/calculate",
    status_code=200,
    summary="Calculate a refund",
    problems="not_paid nothing_to_refund refund_too_large too_many_units unprocessable",
)
async def calculate_refund(shop: Shop, order_id: UUID, data: NewRefund) -> RefundAnswer:
    """What was paid for units of items, and for shipping. Scope payments:write."""
    return RefundAnswer(await refunds.calculate(shop, order_id, data))


@post(
    "/orders/{order_id:uuid}/refunds",
    summary="Refund items",
    opt=STEPS,
    problems=(
        "gateway_unavailable not_paid nothing_to_refund payment_failed refund_too_large "
        "too_many_units unprocessable"
    ),
)
async def refund_items(
    shop: Shop, order_id: UUID, data: NewRefund, idempotency_key: IdempotencyKey = None
) -> RefundAnswer:
    """What was paid for units of items, and for shipping: through the gateway as far as it was paid
    there, the rest to the gift cards and the credit. Scope payments:write."""
    return RefundAnswer(await refunds.of_items(shop, order_id, data))


@post(
    "/orders/{order_id:uuid}/cancel",
    status_code=200,
    summary="Cancel an order",
    responses=ORDER,
    opt=STEPS,
    problems="already_fulfilled gateway_unavailable invalid_transition",
)
async def cancel_order(
    shop: Shop,
    order_id: UUID,
    data: Cancellation | None = None,
    order_token: OrderToken = None,
    idempotency_key: IdempotencyKey = None,
) -> ASGIResponse:
    """Before anything was shipped. Stock is returned and payments are refunded."""
    return whole(await service.cancel(shop, order_id, data or Cancellation(), order_token))


@post(
    "/webhooks/{gateway_id:str}",
    status_code=204,
    summary="Receive an event of a gateway",
    opt=STEPS,
    problems="invalid_signature",
)
async def receive_gateway_event(
    shop: Shop, gateway_id: str, request: Request[None, None, State]
) -> None:
    """Signed by the gateway; each event is applied once."""
    await service.apply_event(shop, gateway_id, request.headers, await request.body())


router = Router(
    "/",
    tags=["Payments"],
    route_handlers=[
        list_payment_methods,
        create_payment,
        get_payment,
        confirm_payment,
        refund_payment,
        refund_order,
        calculate_refund,
        refund_items,
        cancel_order,
        receive_gateway_event,
    ],
)
