"""Quotes for carts, checkouts and orders: gathers what the quote needs, and calls it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, Protocol, TypeVar
from uuid import UUID

import msgspec

from rcommerce.commerce.catalog import service as catalog
from rcommerce.commerce.catalog.schema import Priced
from rcommerce.commerce.credit import service as credits
from rcommerce.commerce.credit.schema import Account
from rcommerce.commerce.groups import service as customer_groups
from rcommerce.commerce.inventory import service as inventory
from rcommerce.commerce.pricing import quote as quoting
from rcommerce.commerce.pricing.model import Buyer, GiftCard, Item, Quote, Request
from rcommerce.commerce.pricing.rules import Promotion, Reason
from rcommerce.commerce.pricing.stacking import Stacking
from rcommerce.commerce.promotions import service as promotions
from rcommerce.commerce.promotions.schema import CartCode
from rcommerce.commerce.promotions.service import Buying, Live, Use
from rcommerce.commerce.shop import Shop
from rcommerce.database import Connection
from rcommerce.errors import Unprocessable


class Pricing(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a quote of these items needs but the way to ship."""

    live: Live
    codes: Sequence[CartCode]
    by: Buying
    request: Request
    stacking: Stacking
    gifts: Mapping[UUID, Priced] = {}
    accounts: Mapping[UUID, Account] = {}

    def quote(self, shipping: Decimal | None = None) -> Quote:
        """What it costs, shipped at a price; None: not shipped, or not known yet."""
        return quoting.quote(
            msgspec.structs.replace(self.request, shipping=shipping), self.stacking
        )

    def uses(self, quote: Quote) -> list[Use]:
        """The promotions that a quote applies."""
        return [
            Use(each.promotion_id, each.code, each.amount)
            for each in quote.promotions
            if each.applied
        ]


class Quoted(NamedTuple):
    """A quote, with what it was made of."""

    pricing: Pricing
    quote: Quote


class _HasQuote(Protocol):
    @property
    def pricing(self) -> Pricing: ...

    @property
    def quote(self) -> Quote: ...


Q = TypeVar("Q", bound=_HasQuote)


async def held(tx: Connection, shop: Shop, price: Callable[[], Awaitable[Q]]) -> Q:
    """What `price` says once all that it depends on is locked until the end of the transaction: the
    uses of its promotions, and the balances that pay. What was used up meanwhile may let another
    promotion apply, which is locked then: out of order, so of two that wait for each other
    PostgreSQL refuses one (Unavailable, `write_conflict`), which may be sent again."""
    locked: set[object] = set()
    while True:
        found = await price()
        pricing, quote = found.pricing, found.quote
        more = await promotions.hold(
            tx, shop, pricing.live, pricing.codes, pricing.uses(quote), locked
        )
        if not await credits.hold(tx, shop, quote.payments, locked) and not more:
            return found


async def prepare(
    conn: Connection,
    shop: Shop,
    live: Live,
    *,
    channel: UUID | None,
    currency: str,
    items: Sequence[Item],
    codes: Sequence[CartCode],
    by: Buying,
    country: str | None,
    credit: Sequence[UUID] = (),
) -> Pricing:
    """Reads what the promotions of these items depend on, and the balances of the gift cards and
    the `credit` that pay; nothing, where there are none. `live` comes from `promotions.live`."""
    found = await promotions.applicable(conn, shop, live, codes, by)
    gifts = await _gifts(conn, shop, found, channel, currency)
    accounts = [
        each for each in await credits.spendable(conn, shop, credit) if each.currency == currency
    ]
    return Pricing(
        live=live,
        codes=codes,
        by=by,
        stacking=shop.services.stacking,
        gifts=gifts,
        accounts={each.id: each for each in accounts},
        request=Request(
            currency=currency,
            channel_id=channel,
            items=items,
            moment=shop.local_time(),
            promotions=found,
            country=country,
            buyer=await _buyer(conn, shop, found, by),
            gifts={variant: gift.price for variant, gift in gifts.items()},
            gift_cards=[GiftCard(each.id, each.balance) for each in accounts],
        ),
    )


async def _gifts(
    conn: Connection,
    shop: Shop,
    found: Sequence[Promotion],
    channel: UUID | None,
    currency: str,
) -> dict[UUID, Priced]:
    """The gifts of these promotions that are sold in this currency, and in stock."""
    units: dict[UUID, int] = {}
    for each in found:
        if each.gift is not None:
            variant = each.gift.variant_id
            units[variant] = max(units.get(variant, 0), each.gift.quantity)
    if not units:
        return {}
    where = None if channel is None else (channel, currency)
    sold = await catalog.sold(conn, shop, units, where)
    left = await inventory.available(conn, shop, list(units), channel)
    return {
        gift.variant_id: gift
        for gift in sold
        if gift.currency == currency
        and ((free := left.get(gift.variant_id, 0)) is None or free >= units[gift.variant_id])
    }


async def _buyer(conn: Connection, shop: Shop, found: Sequence[Promotion], by: Buying) -> Buyer:
    is_new: bool | None = None
    groups: frozenset[UUID] = frozenset()
    if by.customer_id is not None and any(each.customer_group_ids for each in found):
        groups = await customer_groups.of_customer(conn, shop, by.customer_id)
    if any(each.new_customers_only for each in found) and by != (None, None):
        is_new = await promotions.is_new(conn, shop, by)
    return Buyer(customer_id=by.customer_id, group_ids=groups, is_new=is_new)


def payments(pricing: Pricing, quote: Quote) -> list[dict[str, Any]]:
    """What gift cards and credit pay."""
    return [
        {
            "id": each.gift_card_id,
            "kind": pricing.accounts[each.gift_card_id].kind,
            "last_characters": pricing.accounts[each.gift_card_id].last_characters,
            "amount": each.amount,
        }
        for each in quote.payments
    ]


# Why a promotion does not apply: the code of a coupon's problem, and what is said.
REFUSALS: dict[Reason, tuple[str, str]] = {
    Reason.INACTIVE: ("coupon_inactive", "it is not active"),
    Reason.NOT_STARTED: ("coupon_not_started", "it has not started yet"),
    Reason.EXPIRED: ("coupon_expired", "it has expired"),
    Reason.NOT_NOW: ("coupon_not_applicable", "it does not apply at this time"),
    Reason.CURRENCY: ("coupon_not_applicable", "it is for another currency"),
    Reason.CHANNEL: ("coupon_not_applicable", "it is for another channel"),
    Reason.COUNTRY: ("coupon_not_applicable", "it is for other countries"),
    Reason.CUSTOMER: ("coupon_customer_not_eligible", "it is for other customers"),
    Reason.NEW_CUSTOMERS_ONLY: ("coupon_new_customers_only", "it is for new customers"),
    Reason.MINIMUM: ("coupon_minimum_not_met", "its minimum is not reached"),
    Reason.NO_ITEMS: ("coupon_product_not_eligible", "it applies to none of the items"),
    Reason.NO_SHIPPING: ("coupon_not_applicable", "nothing is shipped"),
    Reason.NO_GIFT: ("coupon_not_applicable", "its gift is not available"),
    Reason.USED_UP: ("coupon_usage_limit", "it has been used as often as it may be"),
    Reason.USED_BY_CUSTOMER: ("coupon_customer_limit", "this customer has used it already"),
    Reason.CANNOT_COMBINE: ("coupon_cannot_combine", "it cannot be combined with another one"),
    Reason.NO_EFFECT: ("coupon_product_not_eligible", "there is nothing left to discount"),
}


PROBLEMS = " ".join(sorted({"coupon_not_found", *(name for name, _ in REFUSALS.values())}))


def refusal(code: CartCode, quote: Quote) -> tuple[str, str] | None:
    """Why a coupon does not apply: its problem's code, and a message. None: it does, or will once
    it is known how the cart is shipped."""
    if code.promotion is None:
        return "coupon_not_found", f"there is no coupon “{code.shown}”"
    each = next(one for one in quote.promotions if one.promotion_id == code.promotion.id)
    if each.reason is None or each.reason is Reason.NO_SHIPPING:
        return None
    name, says = REFUSALS[each.reason]
    more = "" if each.missing is None else f": {each.missing} more is needed"
    return name, f"the coupon “{code.shown}” does not apply: {says}{more}"


def require_coupon(code: CartCode, quote: Quote) -> None:
    """Raises Unprocessable if a coupon does not apply."""
    why = refusal(code, quote)
    if why is not None:
        raise Unprocessable(why[1], code=why[0])
