"""Discounts as carts and orders show them."""

from uuid import UUID

import msgspec


class LineDiscountView(msgspec.Struct):
    """What a promotion takes off a line."""

    promotion_id: UUID
    amount: str


class LineShareView(msgspec.Struct):
    """A line's share of a discount."""

    item_id: UUID
    amount: str


class DiscountView(msgspec.Struct, kw_only=True):
    """A promotion that applies, with its share on each line."""

    promotion_id: UUID
    code: str | None
    title: str
    amount: str
    lines: list[LineShareView]
