"""Requests and responses of promotions and coupons."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from rcommerce.commerce.fields import (
    Currency,
    Input,
    ListMeta,
    Money,
    Name,
    Paragraph,
    Quantity,
    Units,
)

Type = Literal["percentage", "fixed_amount", "free_shipping", "buy_x_get_y", "bundle", "gift"]
Level = Literal["product", "order", "shipping"]
Ids = Annotated[list[UUID], Meta(max_length=1_000)]
Code = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S", examples=["WELCOME10"])]
Value = Annotated[Decimal, Meta(description="a percentage, or an amount", examples=["10", "5.00"])]
Priority = Annotated[int, Meta(ge=-1_000_000, le=1_000_000)]
Clock = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$(?!\n)", examples=["17:30"])]


class AppliesTo(Input, kw_only=True):
    """The products that a promotion applies to: any of these, without those excluded. Categories
    include their subcategories. Empty: all products."""

    product_ids: Ids = []
    collection_ids: Ids = []
    category_ids: Ids = []
    exclude_product_ids: Ids = []


class Eligibility(Input, kw_only=True):
    """The customers that a promotion is for: any of these. Empty: everyone."""

    new_customers_only: bool = False
    customer_ids: Ids = []
    customer_group_ids: Ids = []


class BuyXGetY(Input, kw_only=True):
    """Whoever buys so many units gets so many others at a discount. Without product ids, all
    products that the promotion applies to count."""

    buy_quantity: Quantity
    get_quantity: Quantity
    buy_product_ids: Ids = []
    get_product_ids: Ids = []
    get_discount_type: Literal["percentage", "fixed_amount"] = "percentage"
    get_discount_value: Value = Decimal(100)
    discounted: Literal["cheapest", "most_expensive", "same_item"] = "cheapest"
    uses_per_order: Quantity | None = None


class TierRule(Input, kw_only=True):
    """A value that applies from a minimum on: an amount, or a number of units."""

    minimum: Value
    value: Value


class GiftRule(Input, kw_only=True):
    """Units of a variant for free."""

    variant_id: UUID
    quantity: Quantity = 1


class BundlePart(Input, kw_only=True):
    """Units of a variant in a bundle."""

    variant_id: UUID
    quantity: Quantity = 1


class BundleRule(Input, kw_only=True):
    """Units that cost `price` together."""

    items: Annotated[list[BundlePart], Meta(min_length=1, max_length=20)]
    price: Money


class Schedule(Input, kw_only=True):
    """Weekdays (1 is Monday) and hours, in the shop's time zone. `until` before `since`: over
    midnight."""

    weekdays: Annotated[list[Annotated[int, Meta(ge=1, le=7)]], Meta(max_length=7)] = []
    since: Clock | None = None
    until: Clock | None = None


class Rules(msgspec.Struct, kw_only=True):
    """What a promotion does, and when, beyond the columns of its row: kept as JSON."""

    value: Decimal | None
    allocation: Literal["across", "each"]
    minimum_order_amount: Decimal | None
    minimum_quantity: int | None
    maximum_discount_amount: Decimal | None
    combines_with: list[Level]
    exclusive: bool
    stacking_group: str | None
    applies_to: AppliesTo
    customer_eligibility: Eligibility
    channel_ids: list[UUID]
    countries: list[str]
    schedule: Schedule | None
    buy_x_get_y: BuyXGetY | None
    tiers: list[TierRule]
    tiers_by: Literal["amount", "quantity"]
    gift: GiftRule | None
    bundle: BundleRule | None


Tiers = Annotated[list[TierRule], Meta(max_length=20)]
Levels = Annotated[list[Level], Meta(max_length=3)]
Countries = Annotated[
    list[Annotated[str, Meta(pattern=r"^[A-Za-z]{2}$(?!\n)")]], Meta(max_length=300)
]


class Fields(Input, kw_only=True):
    """The fields that promotions and coupons have in common."""

    type: Type
    value: Value | None = None
    description: Paragraph = ""
    currency: Currency | None = None
    allocation: Literal["across", "each"] = "across"
    minimum_order_amount: Money | None = None
    minimum_quantity: Units | None = None
    maximum_discount_amount: Money | None = None
    starts_at: datetime | None = None
    expires_at: datetime | None = None
    usage_limit: Units | None = None
    usage_limit_per_customer: Units | None = None
    usage_limit_per_day: Units | None = None
    is_active: bool = True
    priority: Priority = 0
    exclusive: bool = False
    stacking_group: Name | None = None
    applies_to: AppliesTo = msgspec.field(default_factory=AppliesTo)
    customer_eligibility: Eligibility = msgspec.field(default_factory=Eligibility)
    channel_ids: Ids = []
    countries: Countries = []
    schedule: Schedule | None = None
    buy_x_get_y: BuyXGetY | None = None
    tiers: Tiers = []
    tiers_by: Literal["amount", "quantity"] = "amount"
    gift: GiftRule | None = None
    bundle: BundleRule | None = None


class NewPromotion(Fields, kw_only=True):
    """A promotion that applies by itself."""

    title: Name
    combines_with: Levels = msgspec.field(default_factory=lambda: ["product", "order", "shipping"])


class NewCoupon(Fields, kw_only=True):
    """A promotion that applies in carts with its code. By default it combines with no other."""

    code: Code
    title: Name | None = None
    combines_with: Levels = []


class FieldsChange(Input, kw_only=True):
    """Fields of a promotion or coupon to change; others stay."""

    title: Name | UnsetType = UNSET
    type: Type | UnsetType = UNSET
    value: Value | None | UnsetType = UNSET
    description: Paragraph | UnsetType = UNSET
    currency: Currency | UnsetType = UNSET
    allocation: Literal["across", "each"] | UnsetType = UNSET
    minimum_order_amount: Money | None | UnsetType = UNSET
    minimum_quantity: Units | None | UnsetType = UNSET
    maximum_discount_amount: Money | None | UnsetType = UNSET
    starts_at: datetime | None | UnsetType = UNSET
    expires_at: datetime | None | UnsetType = UNSET
    usage_limit: Units | None | UnsetType = UNSET
    usage_limit_per_customer: Units | None | UnsetType = UNSET
    usage_limit_per_day: Units | None | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    exclusive: bool | UnsetType = UNSET
    stacking_group: Name | None | UnsetType = UNSET
    combines_with: Levels | UnsetType = UNSET
    applies_to: AppliesTo | UnsetType = UNSET
    customer_eligibility: Eligibility | UnsetType = UNSET
    channel_ids: Ids | UnsetType = UNSET
    countries: Countries | UnsetType = UNSET
    schedule: Schedule | None | UnsetType = UNSET
    buy_x_get_y: BuyXGetY | None | UnsetType = UNSET
    tiers: Tiers | UnsetType = UNSET
    tiers_by: Literal["amount", "quantity"] | UnsetType = UNSET
    gift: GiftRule | None | UnsetType = UNSET
    bundle: BundleRule | None | UnsetType = UNSET


class NewCodes(Input, kw_only=True):
    """Codes to generate for a coupon: `length` random characters after the `prefix`, each for
    `usage_limit` orders."""

    count: Annotated[int, Meta(ge=1, le=100_000)]
    prefix: Annotated[str, Meta(max_length=32, pattern=r"^[!-~]*$(?!\n)", examples=["XMAS-"])] = ""
    length: Annotated[int, Meta(ge=8, le=64)] = 10
    usage_limit: Units | None = 1


class Row(msgspec.Struct, kw_only=True):
    """A promotion as its row has it. `code` is the coupon's, as it was written."""

    id: UUID
    title: str
    type: Type
    currency: str
    is_active: bool
    starts_at: datetime | None
    expires_at: datetime | None
    priority: int
    usage_limit: int | None
    usage_limit_per_customer: int | None
    usage_limit_per_day: int | None
    rules: Rules


class CartCode(msgspec.Struct, frozen=True, kw_only=True):
    """A code in a cart, as it is compared and as it was written; without a `promotion`, there is no
    such coupon any more."""

    code: str
    shown: str
    usage_limit: int | None = None
    promotion: Row | None = None


class Redemption(msgspec.Struct, frozen=True, kw_only=True):
    """What an order uses of a promotion; its `keys` count it."""

    promotion_id: UUID
    code: str | None
    amount: Decimal
    keys: list[str]


# Responses, for OpenAPI: PostgreSQL builds them.


class PromotionView(msgspec.Struct, kw_only=True):
    """A promotion. `usage_count` is null without a limit of uses."""

    id: UUID
    title: str
    type: Type
    value: str | None
    description: str
    currency: str
    allocation: str
    minimum_order_amount: str | None
    minimum_quantity: int | None
    maximum_discount_amount: str | None
    starts_at: str | None
    expires_at: str | None
    usage_limit: int | None
    usage_limit_per_customer: int | None
    usage_limit_per_day: int | None
    usage_count: int
    is_active: bool
    priority: int
    exclusive: bool
    stacking_group: str | None
    combines_with: list[Level]
    applies_to: AppliesTo
    customer_eligibility: Eligibility
    channel_ids: list[UUID]
    countries: list[str]
    schedule: Schedule | None
    buy_x_get_y: BuyXGetY | None
    tiers: list[TierRule]
    tiers_by: str
    gift: GiftRule | None
    bundle: BundleRule | None
    created_at: str
    updated_at: str


class CouponView(PromotionView, kw_only=True):
    """A coupon."""

    code: str


class PromotionAnswer(msgspec.Struct):
    """One promotion."""

    promotion: PromotionView


class CouponAnswer(msgspec.Struct):
    """One coupon."""

    coupon: CouponView


class PromotionsAnswer(msgspec.Struct):
    """A page of promotions."""

    promotions: list[PromotionView]
    meta: ListMeta


class CouponsAnswer(msgspec.Struct):
    """A page of coupons."""

    coupons: list[CouponView]
    meta: ListMeta


class GeneratedAnswer(msgspec.Struct):
    """How many codes were generated."""

    generated: int


class CodeView(msgspec.Struct, kw_only=True):
    """A code of a coupon."""

    code: str
    usage_limit: int | None
    usage_count: int
    created_at: str


class CodesAnswer(msgspec.Struct):
    """A page of a coupon's codes."""

    codes: list[CodeView]
    meta: ListMeta


class RedemptionView(msgspec.Struct, kw_only=True):
    """A use of a coupon. `released_at`: when it was given back, since the order was cancelled or
    never paid."""

    order_id: UUID
    order_number: str
    code: str | None
    customer_id: UUID | None
    email: str
    amount: str
    currency: str
    redeemed_at: str
    released_at: str | None


class UsageAnswer(msgspec.Struct):
    """A page of a coupon's uses, newest first."""

    usage: list[RedemptionView]
    meta: ListMeta
