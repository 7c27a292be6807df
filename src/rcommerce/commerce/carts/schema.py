"""Requests of carts, and the rows that checkout reads."""

from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from rcommerce.commerce.fields import Currency, Input


class NewCart(Input, kw_only=True):
    """A guest's cart, in the shop's currency."""

    currency: Currency | None = None
    email: Annotated[str, Meta(max_length=254)] | None = None


class Merge(Input):
    """A guest's cart, to be merged into the caller's own."""

    session_token: Annotated[str, Meta(min_length=1, max_length=255)]


class Coupon(Input):
    """A coupon's code."""

    coupon_code: Annotated[str, Meta(min_length=1, max_length=255)]


class Access(msgspec.Struct, frozen=True):
    """What gives access to a cart: a guest's token, being its customer, or running the shop."""

    token_hash: bytes | None
    customer_id: UUID | None
    is_staff: bool


class CartLine(msgspec.Struct, kw_only=True):
    """A line of a cart with its variant's present data."""

    item_id: UUID
    product_id: UUID
    variant_id: UUID
    sku: str | None
    title: str
    variant_title: str
    quantity: int
    seen_price: Decimal
    price: Decimal
    requires_shipping: bool
    is_available: bool


class Shown(msgspec.Struct, kw_only=True):
    """What a checkout last showed the buyer: (quantity, price) of each line by its id, and the
    total for each shipping service, "" if nothing is shipped."""

    lines: dict[UUID, tuple[int, Decimal]]
    totals: dict[str, Decimal]


class HeldCart(msgspec.Struct, kw_only=True):
    """A locked cart and its lines."""

    id: UUID
    status: str
    customer_id: UUID | None
    currency: str
    shipping_address: dict[str, Any] | None
    shipping_service: str | None
    shown: Shown | None
    lines: list[CartLine]


# Responses, for OpenAPI: PostgreSQL builds them.


class CartView(msgspec.Struct, kw_only=True):
    """A cart and its totals. `session_token` is only returned to a client that sent it."""

    id: UUID
    session_token: str | None
    customer_id: UUID | None
    currency: str
    status: str
    subtotal: str
    discount_total: str
    tax_total: str
    shipping_total: str
    total: str
    coupon_code: str | None
    email: str | None
    created_at: str
    updated_at: str
    expires_at: str


class CartItemView(msgspec.Struct, kw_only=True):
    """A line of a cart. An item that is no longer sold stays until the buyer removes it, has
    `is_available` false, and does not count in the totals."""

    id: UUID
    cart_id: UUID
    product_id: UUID
    variant_id: UUID
    sku: str | None
    title: str
    variant_title: str
    image_url: str | None
    quantity: int
    unit_price: str
    original_price: str
    subtotal: str
    discount_amount: str
    total: str
    is_available: bool


class CartAnswer(msgspec.Struct):
    """A cart with its lines."""

    cart: CartView
    items: list[CartItemView]
