"""Requests and responses of checkout."""

from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from rcommerce.commerce.fields import (
    Address,
    Currency,
    Email,
    Ignored,
    Input,
    Line,
    Money,
    Paragraph,
)
from rcommerce.commerce.orders.schema import OrderView
from rcommerce.commerce.payments.schema import PaymentMethod
from rcommerce.commerce.strategies import Rate

ServiceCode = Annotated[str, Meta(min_length=1, max_length=64, examples=["standard"])]


class ChosenRate(Input, kw_only=True):
    """A shipping rate as it was offered. Only its codes count: the server computes prices."""

    provider_id: Line = "manual"
    service_code: ServiceCode
    carrier: Line | None = None
    service_name: Line | None = None
    rate: Ignored = None
    currency: Currency | None = None
    delivery_days: int | None = None
    total_cost: Ignored = None


class Initiation(Input, kw_only=True):
    """The address of a cart."""

    cart_id: UUID
    shipping_address: Address
    billing_address: Address | None = None
    vat_id: Line | None = None
    currency: Currency | None = None


class ShippingChoice(Input, kw_only=True):
    """The shipping of a cart: a rate that was offered, or its codes."""

    cart_id: UUID
    shipping_rate: ChosenRate | None = None
    provider_id: Line | None = None
    service_code: ServiceCode | None = None


class Completion(Input, kw_only=True):
    """The last step: addresses, shipping, and payment."""

    cart_id: UUID
    shipping_address: Address
    billing_address: Address | None = None
    payment_method: PaymentMethod
    customer_email: Email
    notes: Paragraph = ""
    selected_shipping_rate: ChosenRate | None = None
    # The total that the client has shown the buyer: any other total is a 409.
    expected_total: Money | None = None


class SummaryItem(msgspec.Struct, kw_only=True):
    """A line of the summary."""

    id: UUID
    product_id: UUID
    variant_id: UUID
    sku: str | None
    title: str
    variant_title: str
    quantity: int
    price: Decimal
    total: Decimal  # before its discount
    discount_amount: Decimal
    tax_amount: Decimal
    is_available: bool
    is_gift: bool = False


class Summary(msgspec.Struct, kw_only=True):
    """The cost of a checkout, and the remaining choices. Items that are no longer sold are listed
    but do not count in the totals."""

    cart_id: UUID
    items: list[SummaryItem]
    subtotal: Decimal
    discount_total: Decimal
    discounts: list[dict[str, Any]]
    shipping_total: Decimal  # after its discount
    shipping_discount: Decimal
    shipping_tax: Decimal
    item_tax: Decimal
    tax_total: Decimal
    total: Decimal
    amount_due: Decimal
    gift_cards: list[dict[str, Any]]
    currency: str
    available_shipping_rates: list[Rate]
    selected_shipping_rate: Rate | None
    tax_breakdown: list[dict[str, Any]]
    vat_id_valid: bool | None


class Completed(msgspec.Struct, kw_only=True):
    """A placed order. `order_token` gives a guest access to it."""

    order: OrderView
    payment_id: UUID
    total_charged: str
    currency: str
    order_token: str | None
