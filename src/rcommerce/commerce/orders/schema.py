"""Requests of orders, and their rows."""

from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from rcommerce.commerce.fields import (
    Address,
    Email,
    Ignored,
    Input,
    Line,
    ListMeta,
    OrderLine,
    Paragraph,
    Quantity,
)
from rcommerce.commerce.pricing.schema import DiscountView, LineDiscountView

Status = Literal["pending", "confirmed", "processing", "on_hold", "completed", "cancelled"]
PaymentStatus = Literal[
    "pending", "authorized", "paid", "partially_refunded", "refunded", "failed", "cancelled"
]
FulfillmentStatus = Literal[
    "unfulfilled", "partially_fulfilled", "fulfilled", "shipped", "delivered", "returned"
]


class NewOrder(Input, kw_only=True):
    """An order without a cart: to be paid afterwards, under /payments."""

    items: Annotated[list[OrderLine], Meta(min_length=1, max_length=500)]
    shipping_address: Address
    billing_address: Address | None = None
    customer_email: Email | None = None
    coupon_code: Line | None = None
    shipping_service: Line | None = None
    notes: Paragraph = ""
    # Clients send these along; the server computes what is charged.
    price: Ignored = None
    total: Ignored = None


class OrderChange(Input, kw_only=True):
    """What staff may change in an order."""

    status: Literal["confirmed", "processing", "on_hold", "completed"] | UnsetType = UNSET
    notes: Paragraph | UnsetType = UNSET
    metadata: dict[Annotated[str, Meta(max_length=255)], Any] | UnsetType = UNSET


class ItemQuantity(Input):
    """Units of one of the order's items."""

    order_item_id: UUID
    quantity: Quantity


class Cancellation(Input):
    """The reason of a cancellation. What was paid is refunded."""

    reason: Line = ""


class Fulfilment(Input, kw_only=True):
    """A shipment: some items, or (without `items`) all that remain.

    With `status` shipped or delivered, a fulfilled order moves on to that.
    """

    items: Annotated[list[ItemQuantity], Meta(max_length=500)] | None = None
    status: Literal["fulfilled", "shipped", "delivered"] = "fulfilled"
    tracking_number: Line | None = None
    carrier: Line | None = None


class Return(Input, kw_only=True):
    """A return: some items, or (without `items`) all that were shipped."""

    items: Annotated[list[ItemQuantity], Meta(max_length=500)] | None = None
    reason: Line = ""
    restock: bool = True


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """An order's totals, each with the currency's digits."""

    subtotal: Decimal
    discount_total: Decimal
    tax_total: Decimal
    shipping_total: Decimal  # after its discount
    shipping_discount: Decimal
    total: Decimal


class NewItem(msgspec.Struct, frozen=True, kw_only=True):
    """A line for a new order."""

    id: UUID
    position: int
    product_id: UUID
    variant_id: UUID
    sku: str | None
    title: str
    variant_title: str
    quantity: int
    price: Decimal
    total: Decimal  # before its discount
    discount_amount: Decimal
    discounts: list[dict[str, Any]]
    tax_amount: Decimal
    requires_shipping: bool
    is_gift: bool
    is_gift_card: bool


class Sold(msgspec.Struct, frozen=True, kw_only=True):
    """A line that is bought; `id` is that of its line in the quote."""

    id: UUID
    product_id: UUID
    variant_id: UUID
    sku: str | None
    title: str
    variant_title: str
    quantity: int
    requires_shipping: bool
    is_gift_card: bool


class Draft(msgspec.Struct, kw_only=True):
    """A new order."""

    cart_id: UUID | None
    customer_id: UUID | None
    customer_email: str
    channel_id: UUID | None
    currency: str
    totals: Totals
    credit_total: Decimal | None  # None: nothing
    discounts: list[dict[str, Any]]
    items: list[NewItem]
    shipping_address: Any
    billing_address: Any
    shipping_service: str | None
    notes: str


class OrderState(msgspec.Struct, frozen=True, kw_only=True):
    """An order's state; its row may be locked by the transaction that read it."""

    id: UUID
    order_number: str
    customer_id: UUID | None
    status: Status
    payment_status: PaymentStatus
    fulfillment_status: FulfillmentStatus
    currency: str
    total: Decimal
    due: Decimal  # beside what gift cards and credit have paid
    cart_id: UUID | None
    credit_refunded: Decimal | None = None
    shipping_left: Decimal | None = None  # not refunded
    sells_gift_cards: bool = False


class HeldItem(msgspec.Struct, frozen=True, kw_only=True):
    """An order's item, what all its units were `paid` with, and their state."""

    id: UUID
    variant_id: UUID
    quantity: int
    fulfilled_quantity: int
    returned_quantity: int
    refunded_quantity: int
    paid: Decimal


class OrderFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Filter of a list of orders."""

    customer_id: UUID | None = None
    status: str | None = None
    payment_status: str | None = None
    fulfillment_status: str | None = None
    customer_email: str | None = None
    order_number: str | None = None


# Responses, for OpenAPI: PostgreSQL builds them.


class OrderItemView(msgspec.Struct, kw_only=True):
    """An item of an order. `total` is before its discount."""

    id: UUID
    product_id: UUID
    variant_id: UUID
    sku: str | None
    name: str
    title: str
    variant_title: str
    quantity: int
    fulfilled_quantity: int
    returned_quantity: int
    refunded_quantity: int
    price: str
    total: str
    discount_amount: str
    discounts: list[LineDiscountView]
    tax_amount: str
    is_gift: bool
    is_gift_card: bool


class OrderGiftCard(msgspec.Struct, kw_only=True):
    """What a gift card or credit has paid."""

    id: UUID
    kind: Literal["gift_card", "store_credit"]
    last_characters: str | None
    amount: str


class OrderView(msgspec.Struct, kw_only=True):
    """An order. `order_token` is returned once, to the guest who placed it."""

    id: UUID
    order_number: str
    customer_id: UUID | None
    customer_email: str
    status: Status
    payment_status: PaymentStatus
    fulfillment_status: FulfillmentStatus
    channel_id: UUID | None
    currency: str
    subtotal: str
    discount_total: str
    tax_total: str
    shipping_total: str
    shipping_discount: str
    total: str
    amount_due: str
    discounts: list[DiscountView]
    gift_cards: list[OrderGiftCard]
    shipping_service: str | None
    items: list[OrderItemView]
    shipping_address: dict[str, Any]
    billing_address: dict[str, Any]
    notes: str
    metadata: dict[str, Any]
    created_at: str
    updated_at: str
    order_token: str | UnsetType = UNSET


class OrderAnswer(msgspec.Struct):
    """One order."""

    order: OrderView


class OrdersAnswer(msgspec.Struct):
    """A page of orders."""

    orders: list[OrderView]
    meta: ListMeta


class EventView(msgspec.Struct, kw_only=True):
    """An event of an order."""

    id: UUID
    type: str
    data: dict[str, Any]
    actor: str
    created_at: str


class EventsAnswer(msgspec.Struct):
    """The events of an order."""

    events: list[EventView]
