"""Requests of carts, and the rows that checkout reads."""

from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Meta

from rcommerce.commerce.fields import Currency, Input
from rcommerce.commerce.pricing.schema import DiscountView, LineDiscountView
from rcommerce.commerce.promotions.schema import CartCode


class NewCart(Input, kw_only=True):
    """A guest's cart, in the currency of the channel or the shop."""

    currency: Currency | None = None
    email: Annotated[str, Meta(max_length=254)] | None = None


class Merge(Input):
    """A guest's cart, to be merged into the caller's own."""

    session_token: Annotated[str, Meta(min_length=1, max_length=255)]


class Coupon(Input):
    """A coupon's code."""

    coupon_code: Annotated[str, Meta(min_length=1, max_length=255)]


class CouponCheck(Input, kw_only=True):
    """A code to try on a cart, without applying it."""

    coupon_code: Annotated[str, Meta(min_length=1, max_length=255)]
    cart_id: UUID


class GiftCardCode(Input, kw_only=True):
    """A gift card's code; or, with `use_credit`, the customer's credit."""

    code: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    use_credit: bool = False


class Access(msgspec.Struct, frozen=True):
    """What gives access to a cart: a guest's token, being its customer, or running the shop."""

    token_hash: bytes | None
    customer_id: UUID | None
    is_staff: bool


class Needs(NamedTuple):
    """What can change the cost of a cart. What a statement could do takes time even where there is
    nothing to do: other carts are read without it."""

    channel: bool
    codes: bool  # coupons, gift cards, credit


class CartLine(msgspec.Struct, kw_only=True):
    """A line of a cart with its variant's present data. `seen_price` is what the buyer was
    shown."""

    item_id: UUID
    product_id: UUID
    variant_id: UUID
    sku: str | None
    title: str
    variant_title: str
    image_url: str | None
    quantity: int
    seen_price: Decimal
    price: Decimal
    requires_shipping: bool
    is_gift_card: bool
    is_available: bool
    category_id: UUID | None
    collection_ids: list[UUID]

    @property
    def groups(self) -> frozenset[UUID]:
        """What promotions can name: the product, its category and collections."""
        named = [self.product_id, *self.collection_ids]
        return frozenset(named if self.category_id is None else [*named, self.category_id])


class OrderedLine(msgspec.Struct, kw_only=True):
    """A line of the cart's order."""

    id: UUID
    product_id: UUID
    variant_id: UUID
    sku: str | None
    title: str
    variant_title: str
    quantity: int
    price: Decimal
    is_gift: bool
    discount: Decimal
    discounts: list[Any]


class OrderSums(msgspec.Struct, kw_only=True):
    """What the cart's order costs."""

    subtotal: Decimal
    discount_total: Decimal
    tax_total: Decimal
    shipping_total: Decimal
    total: Decimal
    due: Decimal
    discounts: list[Any]
    gift_cards: list[Any]
    lines: list[OrderedLine]


class CartRow(msgspec.Struct, kw_only=True):
    """A cart with its lines and codes; `order` is set once it was ordered."""

    id: UUID
    customer_id: UUID | None
    channel_id: UUID | None
    channel: str | None  # its slug
    currency: str
    status: str
    email: str | None
    shipping_address: dict[str, Any] | None
    created_at: str
    updated_at: str
    expires_at: str
    codes: list[CartCode]
    credit: list[UUID]  # accounts that pay
    lines: list[CartLine]
    order: OrderSums | None = None
    wanted: CartCode | None = None  # what a code stands for that was looked for

    @property
    def country(self) -> str | None:
        """Where it is shipped to, if that is known."""
        return self.shipping_address["country"].upper() if self.shipping_address else None


class Shown(msgspec.Struct, kw_only=True):
    """What a checkout last showed the buyer: (quantity, price) of each line by its id, its
    discount, and the total for each shipping service, "" if nothing is shipped."""

    lines: dict[UUID, tuple[int, Decimal]]
    totals: dict[str, Decimal]
    discounts: dict[UUID, Decimal] = {}
    credit: Decimal | None = None  # what gift cards and credit pay


class HeldCart(CartRow, kw_only=True):
    """A locked cart. `seen_discount` and `seen_credit` (what gift cards and credit pay) are
    what was last shown before a checkout; None: none."""

    shipping_service: str | None
    shown: Shown | None
    seen_discount: Decimal | None
    seen_credit: Decimal | None


# Responses, for OpenAPI: PostgreSQL builds them.


class GiftCardPayment(msgspec.Struct, kw_only=True):
    """What a gift card or credit pays."""

    id: UUID
    kind: Literal["gift_card", "store_credit"]
    last_characters: str | None
    amount: str


class CartView(msgspec.Struct, kw_only=True):
    """A cart and its totals. `session_token` is only returned to a client that sent it."""

    id: UUID
    session_token: str | None
    customer_id: UUID | None
    channel: str | None
    currency: str
    status: str
    subtotal: str
    discount_total: str
    tax_total: str
    shipping_total: str
    total: str
    amount_due: str
    gift_cards: list[GiftCardPayment]
    coupon_code: str | None
    coupon_codes: list[str]
    discounts: list[DiscountView]
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
    discounts: list[LineDiscountView]
    total: str
    is_available: bool
    is_gift: bool


class CartAnswer(msgspec.Struct):
    """A cart with its lines."""

    cart: CartView
    items: list[CartItemView]


class TotalsAnswer(msgspec.Struct, kw_only=True):
    """What a cart costs. `shipping` is after its discount."""

    subtotal: str
    discounts: list[DiscountView]
    shipping: str
    taxes: list[Any]
    gift_cards: list[GiftCardPayment]
    total: str
    amount_due: str
    currency: str


class ExplanationView(DiscountView, kw_only=True):
    """A promotion that applies, or the `reason` why not. `missing` is what the items lack to its
    minimum: an amount, or a number of units."""

    applied: bool
    reason: str | None
    message: str | None
    missing: str | None
    conflicts_with: UUID | None


class ExplanationsAnswer(msgspec.Struct):
    """The promotions that a cart was looked at for."""

    promotions: list[ExplanationView]


class CheckedDiscount(msgspec.Struct, kw_only=True):
    """What a coupon would change."""

    subtotal: str
    discount_amount: str
    new_total: str


class CheckFault(msgspec.Struct):
    """Why a coupon does not apply."""

    code: str
    message: str


class CheckAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Whether a coupon would apply to a cart."""

    valid: bool
    coupon: dict[str, Any] | None = None
    discount: CheckedDiscount | None = None
    error: CheckFault | None = None
