"""Promotions as the quote applies them: compiled, without anything that has to be looked up."""

from datetime import datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import Literal
from uuid import UUID

import msgspec

Kind = Literal["percentage", "fixed_amount", "free_shipping", "buy_x_get_y", "bundle", "gift"]
Level = Literal["product", "order", "shipping"]
LEVELS: tuple[Level, ...] = ("product", "order", "shipping")  # in the order in which they apply


class Reason(StrEnum):
    """Why a promotion did not apply."""

    INACTIVE = "inactive"
    NOT_STARTED = "not_started"
    EXPIRED = "expired"
    NOT_NOW = "not_at_this_time"
    CURRENCY = "currency_not_eligible"
    CHANNEL = "channel_not_eligible"
    COUNTRY = "country_not_eligible"
    CUSTOMER = "customer_not_eligible"
    NEW_CUSTOMERS_ONLY = "new_customers_only"
    MINIMUM = "minimum_not_met"
    NO_ITEMS = "no_eligible_items"
    NO_SHIPPING = "nothing_to_ship"
    NO_GIFT = "gift_not_available"
    USED_UP = "usage_limit"
    USED_BY_CUSTOMER = "customer_limit"
    CANNOT_COMBINE = "cannot_combine"
    NO_EFFECT = "nothing_to_discount"


class Selection(msgspec.Struct, frozen=True):
    """Lines by the ids of their product, collections and categories. Without `include`, all."""

    include: frozenset[UUID] = frozenset()
    exclude: frozenset[UUID] = frozenset()


EVERYTHING = Selection()


class Tier(msgspec.Struct, frozen=True):
    """A value that applies from a minimum on."""

    minimum: Decimal
    value: Decimal


class BuyGet(msgspec.Struct, frozen=True, kw_only=True):
    """Buy so many units of some lines, get so many of others at `percent` off, or at `amount` off
    each. `of`: which units are discounted; `same_item`: each line counts by itself."""

    buy_quantity: int
    get_quantity: int
    buys: Selection = EVERYTHING
    gets: Selection = EVERYTHING
    percent: Decimal | None = Decimal(100)
    amount: Decimal | None = None
    of: Literal["cheapest", "most_expensive", "same_item"] = "cheapest"
    most_uses: int | None = None  # in one order


class BundleItem(msgspec.Struct, frozen=True):
    """So many units of a variant that a bundle consists of."""

    variant_id: UUID
    quantity: int


class Bundle(msgspec.Struct, frozen=True):
    """Units that cost `price` together."""

    items: tuple[BundleItem, ...]
    price: Decimal


class Gift(msgspec.Struct, frozen=True):
    """Units of a variant that come for free."""

    variant_id: UUID
    quantity: int


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Weekdays (0 is Monday) and hours of the shop's local time. `until` before `since`: over
    midnight, on the weekdays on which it begins."""

    weekdays: frozenset[int] = frozenset(range(7))
    since: time = time.min
    until: time | None = None  # exclusive; None is the end of the day


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """A promotion. `code` is set for a coupon. Its amounts are in `currency`; None: it has none.

    `combines_with` has the levels of other promotions that this one may apply together with; both
    have to allow it. Of those with one `group` only the first applies. `is_exhausted` and
    `is_exhausted_for_customer` say that its limits are reached.
    """

    id: UUID
    title: str
    kind: Kind
    code: str | None = None
    value: Decimal = Decimal(0)  # per cent, or an amount
    per_unit: bool = False  # of a fixed amount: off each unit rather than once, off all together
    tiers: tuple[Tier, ...] = ()
    tiers_by: Literal["amount", "quantity"] = "amount"
    currency: str | None = None
    applies_to: Selection = EVERYTHING
    buy_get: BuyGet | None = None
    bundle: Bundle | None = None
    gift: Gift | None = None
    most: Decimal | None = None  # the largest discount in all
    # Conditions.
    is_active: bool = True
    starts_at: datetime | None = None
    ends_at: datetime | None = None  # exclusive
    window: Window | None = None
    minimum_amount: Decimal | None = None  # of the lines that it applies to
    minimum_quantity: int | None = None
    channel_ids: frozenset[UUID] = frozenset()
    countries: frozenset[str] = frozenset()
    customer_ids: frozenset[UUID] = frozenset()
    customer_group_ids: frozenset[UUID] = frozenset()
    new_customers_only: bool = False
    # Precedence.
    priority: int = 0  # the highest first
    entered: int = 0  # of coupons of one priority, the first that was entered comes first
    exclusive: bool = False  # applies alone, or not at all
    combines_with: frozenset[Level] = frozenset(LEVELS)
    group: str | None = None
    is_exhausted: bool = False
    is_exhausted_for_customer: bool = False

    @property
    def level(self) -> Level:
        """What it reduces: lines, the order as a whole (allocated to its lines), or shipping."""
        if self.kind == "free_shipping":
            return "shipping"
        if self.kind in ("percentage", "fixed_amount") and not self.per_unit:
            return "order" if self.applies_to == EVERYTHING else "product"
        return "product"
