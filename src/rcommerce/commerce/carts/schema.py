"""What carts take in, and how checkout reads one."""

from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from rcommerce.commerce.fields import Currency, Input


class NewCart(Input, kw_only=True):
    """A guest's cart; the currency is the shop's."""

    currency: Currency | None = None
    email: Annotated[str, Meta(max_length=254)] | None = None


class Merge(Input):
    """A guest's cart, to be put into the caller's own."""

    session_token: Annotated[str, Meta(min_length=1, max_length=255)]


class Coupon(Input):
    """A coupon's code."""

    coupon_code: Annotated[str, Meta(min_length=1, max_length=255)]


class Access(msgspec.Struct, frozen=True):
    """By what right a cart is opened: a guest's token, being its customer, or running the shop."""

    token_hash: bytes | None
    customer_id: UUID | None
    is_staff: bool


class CartLine(msgspec.Struct, kw_only=True):
    """A line of a cart with its variant as it is now."""

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
    """What a checkout has last shown the buyer: (quantity, price) of each line by its id, and the
    total by the way to ship, "" where nothing is shipped."""

    lines: dict[UUID, tuple[int, Decimal]]
    totals: dict[str, Decimal]


class HeldCart(msgspec.Struct, kw_only=True):
    """A cart whose row the transaction holds, with its lines as they are while it does."""

    id: UUID
    status: str
    customer_id: UUID | None
    currency: str
    shipping_address: dict[str, Any] | None
    shipping_service: str | None
    shown: Shown | None
    lines: list[CartLine]


# What comes out, as OpenAPI describes it: PostgreSQL builds it.


class CartView(msgspec.Struct, kw_only=True):
    """A cart and its sums. `session_token` is told to who has sent it."""

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
    """A line of a cart. What is no longer sold stays until the buyer takes it out, is not
    `is_available`, and does not count in the cart's sums."""

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
