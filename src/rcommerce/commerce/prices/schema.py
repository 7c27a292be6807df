"""Requests and responses of price lists and exchange rates."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from rcommerce.commerce.fields import Currency, Input, ListMeta, Money, Name, Quantity

Priority = Annotated[int, Meta(ge=-1_000_000, le=1_000_000)]
Ids = Annotated[list[UUID], Meta(max_length=100)]
Rounding = Literal["none", "0.05", "0.10", "0.50", "whole", "0.95", "0.99"]


class Adjustment(Input, kw_only=True):
    """What a list does to prices that it does not have: adds `value` per cent, or an amount.
    Negative values make them lower."""

    type: Literal["percentage", "fixed"]
    value: Annotated[Decimal, Meta(description="a decimal", examples=["-20"])]


class NewPriceList(Input, kw_only=True):
    """A new price list: for some channels and customer groups, or for all; always, or for a time.
    Of several with a price for a variant, the one with the highest `priority` counts, and of equal
    ones the lowest price."""

    name: Name
    currency: Currency | None = None
    channel_ids: Ids = []
    customer_group_ids: Ids = []
    priority: Priority = 0
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    is_active: bool = True
    adjustment: Adjustment | None = None


class PriceListChange(Input, kw_only=True):
    """Fields of a price list to change; others stay."""

    name: Name | UnsetType = UNSET
    channel_ids: Ids | UnsetType = UNSET
    customer_group_ids: Ids | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    starts_at: datetime | None | UnsetType = UNSET
    ends_at: datetime | None | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET
    adjustment: Adjustment | None | UnsetType = UNSET


class NewPrice(Input, kw_only=True):
    """The price of a variant, from a quantity on; `compare_at` is a higher one to show beside
    it."""

    variant_id: UUID
    min_quantity: Quantity = 1
    amount: Money
    compare_at: Money | None = None


class PriceKey(Input, kw_only=True):
    """A price to remove; without `min_quantity`, all of the variant."""

    variant_id: UUID
    min_quantity: Quantity | None = None


MOST_PRICES = 10_000  # in one request
Prices = Annotated[list[NewPrice], Meta(min_length=1, max_length=MOST_PRICES)]
PriceKeys = Annotated[list[PriceKey], Meta(min_length=1, max_length=MOST_PRICES)]


class ExchangeRate(Input, rename={"source": "from", "target": "to"}, kw_only=True):
    """What one unit of a currency costs in another one, and how prices are rounded: to 0.05, 0.10,
    0.50 or a whole, or to the nearest price that ends in .95 or .99. An automatic rate follows the
    source in the settings; a `rate` beside it counts until the source answers."""

    source: Currency
    target: Currency
    rate: Annotated[Decimal, Meta(description="a decimal", examples=["1.0850"])] | None = None
    rounding: Rounding = "none"
    is_automatic: bool = False


Rates = Annotated[list[ExchangeRate], Meta(max_length=1_000)]

# Responses, for OpenAPI: PostgreSQL builds them.


class PriceListView(msgspec.Struct, kw_only=True):
    """A price list."""

    id: UUID
    name: str
    currency: str
    channel_ids: list[UUID]
    customer_group_ids: list[UUID]
    priority: int
    starts_at: str | None
    ends_at: str | None
    is_active: bool
    adjustment: Adjustment | None
    created_at: str
    updated_at: str


class PriceListAnswer(msgspec.Struct):
    """One price list."""

    price_list: PriceListView


class PriceListsAnswer(msgspec.Struct):
    """A page of price lists."""

    price_lists: list[PriceListView]
    meta: ListMeta


class PriceView(msgspec.Struct, kw_only=True):
    """A price of a list."""

    variant_id: UUID
    sku: str | None
    min_quantity: int
    amount: str
    compare_at: str | None


class PricesAnswer(msgspec.Struct):
    """A page of a list's prices."""

    prices: list[PriceView]
    meta: ListMeta


class ChangedAnswer(msgspec.Struct):
    """How many prices have changed, or were removed."""

    prices: int


class RateView(msgspec.Struct, rename={"source": "from", "target": "to"}, kw_only=True):
    """An exchange rate."""

    source: str
    target: str
    rate: str
    rounding: Rounding
    is_automatic: bool


class RatesAnswer(msgspec.Struct):
    """All exchange rates of a shop."""

    exchange_rates: list[RateView]


class PossiblePrice(msgspec.Struct, kw_only=True):
    """What a variant could cost: by a price list, or by itself."""

    amount: str
    compare_at: str | None
    price_list_id: UUID | None
    price_list: str | None
    priority: int | None


class ExplainedVariant(msgspec.Struct, kw_only=True):
    """What a variant costs, and by what; null: it is not sold in the channel. `possible` begins
    with the price that counts."""

    variant_id: UUID
    sku: str | None
    title: str
    amount: str | None
    compare_at: str | None
    price_list_id: UUID | None
    possible: list[PossiblePrice]


class ExplainedAnswer(msgspec.Struct, kw_only=True):
    """What a product costs in a channel, and why."""

    channel: str | None
    currency: str
    quantity: int
    variants: list[ExplainedVariant]
