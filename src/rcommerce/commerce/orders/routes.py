"""/orders over HTTP, but for what moves money: that is in payments."""

from typing import Annotated
from uuid import UUID

from litestar import Router, get, patch, post
from litestar.params import Parameter
from litestar.response.base import ASGIResponse

from rcommerce.commerce import answers
from rcommerce.commerce.orders import service
from rcommerce.commerce.orders.schema import (
    EventsAnswer,
    FulfillmentStatus,
    Fulfilment,
    NewOrder,
    OrderAnswer,
    OrderChange,
    OrderFilter,
    OrdersAnswer,
    OrderView,
    PaymentStatus,
    Return,
    Status,
)
from rcommerce.commerce.parameters import Cursor, IdempotencyKey, OrderToken, Page, PerPage
from rcommerce.commerce.quotes import service as quotes
from rcommerce.commerce.shop import Shop

ORDER = answers.documented(OrderAnswer)


def whole(body: bytes) -> ASGIResponse:
    """An order under its name."""
    return answers.json(b'{"order":' + body + b"}")


@get("/", summary="List orders", responses=answers.documented(OrdersAnswer))
async def list_orders(
    shop: Shop,
    page: Page = None,
    per_page: PerPage = 20,
    cursor: Cursor = None,
    status: Status | None = None,
    payment_status: PaymentStatus | None = None,
    fulfillment_status: FulfillmentStatus | None = None,
    customer_id: UUID | None = None,
    customer_email: Annotated[str | None, Parameter(max_length=254)] = None,
    order_number: Annotated[str | None, Parameter(max_length=64)] = None,
) -> ASGIResponse:
    """Newest first: the customer's own, or all for staff (scope orders:read)."""
    wanted = OrderFilter(
        customer_id=customer_id,
        status=status,
        payment_status=payment_status,
        fulfillment_status=fulfillment_status,
        customer_email=customer_email and customer_email.lower(),
        order_number=order_number,
    )
    return answers.json(await service.everyone(shop, wanted, page, per_page, cursor))


@get("/{order_id:uuid}", summary="One order", responses=ORDER)
async def get_order(shop: Shop, order_id: UUID, order_token: OrderToken = None) -> ASGIResponse:
    """For its customer, staff, or a guest with X-Order-Token."""
    return whole(await service.one(shop, order_id, order_token))


@post(
    "/",
    summary="Create an order without a cart",
    responses=answers.documented(OrderView, 201),
    problems=f"""
        currency_mismatch no_longer_sold no_shipping not_found out_of_stock total_too_large
        unknown_shipping_rate unprocessable {quotes.PROBLEMS}
    """,
)
async def create_order(
    shop: Shop, data: NewOrder, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """Stock is reserved until it is paid with POST /payments, for a limited time."""
    body, token = await service.create(shop, data)
    if token is not None:
        body = body[:-1] + b',"order_token":"' + token.encode() + b'"}'
    return answers.json(body, 201)


@patch(
    "/{order_id:uuid}", summary="Change an order", responses=ORDER, problems="invalid_transition"
)
async def update_order(shop: Shop, order_id: UUID, data: OrderChange) -> ASGIResponse:
    """Change its status or notes. Scope orders:write."""
    return whole(await service.change(shop, order_id, data))


@post(
    "/{order_id:uuid}/fulfill",
    status_code=200,
    summary="Fulfil items",
    responses=ORDER,
    problems="invalid_transition too_many_units",
)
async def fulfill_order(
    shop: Shop, order_id: UUID, data: Fulfilment, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """Some items, or all remaining ones; or update the shipping status. Scope orders:write."""
    return whole(await service.fulfil(shop, order_id, data))


@post(
    "/{order_id:uuid}/return",
    status_code=200,
    summary="Return items",
    responses=ORDER,
    problems="invalid_transition nothing_to_return too_many_units",
)
async def return_order(
    shop: Shop, order_id: UUID, data: Return, idempotency_key: IdempotencyKey = None
) -> ASGIResponse:
    """Some items, or all shipped ones. Scope orders:write."""
    return whole(await service.take_back(shop, order_id, data))


@get(
    "/{order_id:uuid}/events",
    summary="List events of an order",
    responses=answers.documented(EventsAnswer),
)
async def list_order_events(
    shop: Shop, order_id: UUID, order_token: OrderToken = None
) -> ASGIResponse:
    """Oldest first."""
    return answers.json(await service.events(shop, order_id, order_token))


router = Router(
    "/orders",
    tags=["Orders"],
    route_handlers=[
        list_orders,
        get_order,
        create_order,
        update_order,
        fulfill_order,
        return_order,
        list_order_events,
    ],
)
