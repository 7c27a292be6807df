"""Requests of payments, and their rows."""

from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from rcommerce.commerce.fields import Currency, Email, Input, Line, Money, Quantity

GatewayId = Annotated[str, Meta(min_length=1, max_length=64, examples=["test"])]
Token = Annotated[str, Meta(max_length=512, examples=["tok_approve"])]


class MethodsQuery(Input, kw_only=True):
    """The amount for which a buyer asks how to pay."""

    currency: Currency
    amount: Money


class MethodData(Input, kw_only=True):
    """What the gateway's own form gave the buyer: never a card number."""

    token: Token | None = None


class PaymentMethod(Input, kw_only=True):
    """The payment of a checkout."""

    type: Annotated[str, Meta(min_length=1, max_length=64, examples=["card"])]
    gateway_id: GatewayId | None = None
    token: Token | None = None


class NewPayment(Input, kw_only=True):
    """A payment for an order."""

    order_id: UUID
    amount: Money
    currency: Currency
    gateway_id: GatewayId | None = None
    payment_method_type: Annotated[str, Meta(min_length=1, max_length=64)] = "card"
    payment_method_data: MethodData | None = None
    customer_email: Email | None = None
    description: Line = ""
    save_payment_method: bool = False
    idempotency_key: Line | None = None


class RefundRequest(Input, kw_only=True):
    """The amount to refund: without one, all that is left."""

    amount: Money | None = None
    reason: Line = ""


class RefundLine(Input, kw_only=True):
    """Units of one of the order's items."""

    line_item_id: UUID
    quantity: Quantity


class ShippingRefund(Input, kw_only=True):
    """What is refunded of the shipping: all of it, or an amount."""

    full_refund: bool = False
    amount: Money | None = None


class NewRefund(Input, kw_only=True):
    """What is refunded of an order."""

    refund_line_items: Annotated[list[RefundLine], Meta(max_length=500)] = []
    shipping: ShippingRefund | None = None
    note: Line = ""


RefundStatus = Literal["calculated", "pending", "succeeded", "failed"]


class RefundedLine(msgspec.Struct, frozen=True, kw_only=True):
    """Units of an item, and what was paid for them."""

    line_item_id: UUID
    quantity: int
    amount: Decimal


class RefundView(msgspec.Struct, frozen=True, kw_only=True):
    """A refund: what it is for, and where it goes. `payment_amount` goes back through the gateway,
    `credit_amount` to the gift cards and the credit that have paid. One that was only calculated
    has no `id`."""

    id: UUID | None = None
    status: RefundStatus
    currency: str
    line_items: list[RefundedLine]
    shipping: Decimal
    total: Decimal
    payment_amount: Decimal
    credit_amount: Decimal


class RefundAnswer(msgspec.Struct):
    """One refund."""

    refund: RefundView


class RefundPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a refund gives back, of the payment and of gift cards and credit; and what it is for."""

    amount: Decimal
    credit: Decimal
    shipping: Decimal
    items: list[RefundedLine]

    @property
    def units(self) -> dict[UUID, int]:
        """The units of each item."""
        return {line.line_item_id: line.quantity for line in self.items}


class RefundRow(RefundPlan, frozen=True, kw_only=True):
    """A refund that was begun."""

    id: UUID
    payment_id: UUID
    status: Literal["pending", "succeeded", "failed"]


class PaymentState(msgspec.Struct, frozen=True, kw_only=True):
    """A payment's state."""

    id: UUID
    order_id: UUID
    gateway_id: str
    method_type: str
    amount: Decimal
    refunded: Decimal
    currency: str
    status: Literal["pending", "requires_action", "succeeded", "failed", "cancelled"]
    error_message: str | None


class RefundState(msgspec.Struct, frozen=True, kw_only=True):
    """A refund's state."""

    id: UUID
    payment_id: UUID
    amount: Decimal
    status: str


class PaymentResult(msgspec.Struct, kw_only=True):
    """The result of a payment."""

    result: Literal["success", "requires_action", "failed"]
    payment_id: UUID
    action_type: str | None = None
    action_data: dict[str, Any] | None = None
    error_message: str | None = None


class PaymentView(msgspec.Struct, kw_only=True):
    """A payment as shown to its order's owner."""

    id: UUID
    order_id: UUID
    gateway_id: str
    payment_method_type: str
    amount: Decimal
    refunded: Decimal
    currency: str
    status: str
    error_message: str | None


class Method(msgspec.Struct, kw_only=True):
    """A gateway and its payment methods."""

    gateway_id: str
    name: str
    methods: list[str]


class Methods(msgspec.Struct, kw_only=True):
    """The ways to pay an amount."""

    currency: str
    amount: Decimal
    gateways: list[Method]
    default_gateway: str
