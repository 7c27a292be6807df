"""What a quote takes, and what it says."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from rcommerce.commerce.pricing.rules import Promotion, Reason
from rcommerce.commerce.pricing.taxes import Kind, Rule, Taxation


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """Units of a variant at a price. `groups` are the ids of its product and of what that is in:
    collections, categories. A gift card is not `is_discountable`, and a `is_voucher`: it is taxed
    when it is redeemed. `tax` is how the variant is taxed."""

    id: UUID
    variant_id: UUID
    quantity: int
    unit_price: Decimal
    groups: frozenset[UUID] = frozenset()
    is_discountable: bool = True
    is_voucher: bool = False
    tax: Kind = Kind()


class Buyer(msgspec.Struct, frozen=True, kw_only=True):
    """Who buys. `is_new`: has never ordered; None: not known yet."""

    customer_id: UUID | None = None
    group_ids: frozenset[UUID] = frozenset()
    is_new: bool | None = None


class GiftCard(msgspec.Struct, frozen=True):
    """A gift card, or store credit, and what is left on it."""

    id: UUID
    balance: Decimal


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be quoted. `moment` is the time, in the shop's time zone. `shipping` is what the
    chosen rate costs; None where nothing is shipped, or not yet known where to. `gifts` are the
    prices of variants that promotions may give away, and that can be sold now. Without `taxation`
    nothing is taxed."""

    currency: str
    items: Sequence[Item]
    moment: datetime
    promotions: Sequence[Promotion] = ()
    channel_id: UUID | None = None
    country: str | None = None
    buyer: Buyer = Buyer()
    shipping: Decimal | None = None
    gifts: Mapping[UUID, Decimal] = {}
    gift_cards: Sequence[GiftCard] = ()
    taxation: Taxation | None = None


class Discount(msgspec.Struct, frozen=True):
    """What a promotion takes off a line."""

    promotion_id: UUID
    amount: Decimal


class Tax(msgspec.Struct, frozen=True, kw_only=True):
    """What a rate makes of an amount, and by which rule and zone."""

    rate_id: UUID
    name: str
    rate: Decimal  # per cent
    rule: Rule
    zone_id: UUID | None
    taxable: Decimal
    amount: Decimal


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line: `total` is `subtotal`, which is unit price times quantity, less `discount`. `taxable`
    is what is taxed: `total`, without the `tax` where prices include it. A gift has the id of its
    promotion, and costs nothing."""

    id: UUID
    variant_id: UUID
    quantity: int
    unit_price: Decimal
    subtotal: Decimal
    discount: Decimal
    discounts: tuple[Discount, ...]
    total: Decimal
    taxable: Decimal
    tax: Decimal
    taxes: tuple[Tax, ...] = ()
    tax_rule: Rule | None = None
    is_gift: bool = False


class Shipping(msgspec.Struct, frozen=True, kw_only=True):
    """The chosen rate: `total` is `price` less `discount`."""

    price: Decimal
    discount: Decimal
    total: Decimal
    taxable: Decimal
    tax: Decimal
    taxes: tuple[Tax, ...] = ()


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A promotion that applied, with what it gave to each line; or why it did not. `missing` is
    what the lines lack to its minimum, an amount or a number of units."""

    promotion_id: UUID
    title: str
    code: str | None
    applied: bool
    amount: Decimal
    lines: tuple[tuple[UUID, Decimal], ...] = ()
    reason: Reason | None = None
    missing: Decimal | None = None
    conflicts_with: UUID | None = None


class Payment(msgspec.Struct, frozen=True):
    """What a gift card pays."""

    gift_card_id: UUID
    amount: Decimal


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """What everything costs. `subtotal - discount + shipping_total - shipping_discount` is `total`,
    with `tax` added unless `prices_include_tax`; gift cards pay a part of it, and `due` is left.
    `taxes` are those of lines and shipping, by rate."""

    currency: str
    lines: tuple[Line, ...]
    shipping: Shipping | None
    subtotal: Decimal
    discount: Decimal  # of lines
    shipping_total: Decimal
    shipping_discount: Decimal
    tax: Decimal
    taxes: tuple[Tax, ...]
    prices_include_tax: bool
    is_tax_estimated: bool
    total: Decimal
    payments: tuple[Payment, ...]
    due: Decimal
    promotions: tuple[Explanation, ...]
