"""The quote: worked examples, and properties that hold for any lines and promotions."""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcommerce import money
from rcommerce.commerce.pricing.allocation import allocate, part
from rcommerce.commerce.pricing.buy_get import discounted
from rcommerce.commerce.pricing.model import Buyer, GiftCard, Item, Quote, Request
from rcommerce.commerce.pricing.quote import quote, refundable
from rcommerce.commerce.pricing.rules import (
    Bundle,
    BundleItem,
    BuyGet,
    Gift,
    Promotion,
    Reason,
    Selection,
    Tier,
    Window,
)
from rcommerce.commerce.pricing.stacking import STACKING, BestForBuyer

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)  # a Friday
SHIRTS, HATS = UUID(int=101), UUID(int=102)


def item(number: int, price: str, quantity: int = 1, *groups: UUID, **more: Any) -> Item:
    return Item(
        id=UUID(int=number),
        variant_id=UUID(int=1000 + number),
        unit_price=Decimal(price),
        quantity=quantity,
        groups=frozenset(groups),
        **more,
    )


def promotion(number: int = 1, **more: Any) -> Promotion:
    given = {"id": UUID(int=5000 + number), "title": f"promotion {number}", "kind": "percentage"}
    return Promotion(**{**given, **more})


def priced(items: Sequence[Item], *promotions: Promotion, **more: Any) -> Quote:
    given = {"currency": "EUR", "moment": NOON}
    return quote(Request(items=items, promotions=promotions, **{**given, **more}))


def discounts(found: Quote) -> list[str]:
    return [str(line.discount) for line in found.lines]


def why(found: Quote) -> list[Reason | None]:
    return [each.reason for each in found.promotions]


# Worked examples ------------------------------------------------------------------------------


def test_without_promotions_a_quote_is_a_sum() -> None:
    found = priced([item(1, "9.90", 3), item(2, "0.01")], shipping=Decimal("4.95"))
    assert (found.subtotal, found.total) == (Decimal("29.71"), Decimal("34.66"))
    assert [str(line.total) for line in found.lines] == ["29.70", "0.01"]
    assert str(found.tax) == "0.00"


def test_an_amount_off_the_order_is_allocated_to_its_lines_to_the_cent() -> None:
    """10.00 off three lines of 10.00: 3.34, 3.33, 3.33."""
    ten = promotion(kind="fixed_amount", value=Decimal(10))
    assert discounts(priced([item(n, "10.00") for n in (1, 2, 3)], ten)) == ["3.34", "3.33", "3.33"]
    # More than there is: nothing is below zero.
    assert priced([item(1, "2.50"), item(2, "1.50")], ten).total == 0


def test_discounts_of_lines_come_before_those_of_the_order_and_those_before_shipping() -> None:
    """Shopify's order (help.shopify.com, "Combining discounts"): product discounts first, order
    discounts on what is left, shipping discounts last. 100.00 with 20 % off the product and 10 %
    off the order is 72.00."""
    found = priced(
        [item(1, "100.00", 1, SHIRTS)],
        promotion(1, value=Decimal(10)),
        promotion(2, value=Decimal(20), applies_to=Selection(frozenset([SHIRTS]))),
        promotion(3, kind="free_shipping"),
        shipping=Decimal("5.00"),
    )
    assert (found.lines[0].total, found.total) == (Decimal("72.00"), Decimal("72.00"))
    assert found.shipping_discount == 5
    assert {each.title: str(each.amount) for each in found.promotions} == {
        "promotion 1": "8.00",
        "promotion 2": "20.00",
        "promotion 3": "5.00",
    }


def test_an_amount_off_each_unit() -> None:
    off = promotion(kind="fixed_amount", value=Decimal(3), per_unit=True)
    assert discounts(priced([item(1, "10.00", 3), item(2, "2.00", 2)], off)) == ["9.00", "4.00"]


@pytest.mark.parametrize(
    ("currency", "price", "expected"),
    [("JPY", "999", "100"), ("KWD", "9.999", "1.000"), ("EUR", "9.99", "1.00")],
)
def test_discounts_have_the_digits_of_their_currency(
    currency: str, price: str, expected: str
) -> None:
    found = priced([item(1, price)], promotion(value=Decimal(10)), currency=currency)
    assert discounts(found) == [expected]
    with pytest.raises(ValueError, match="more digits"):
        priced([item(1, "9.9999")], currency=currency)


def test_the_largest_discount_is_shared_by_the_lines() -> None:
    half = promotion(value=Decimal(50), most=Decimal(10))
    assert discounts(priced([item(1, "60.00"), item(2, "30.00")], half)) == ["6.67", "3.33"]


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        # 30, 20, 20, 10, 10, 10: of six units two are free.
        ("cheapest", ["0.00", "0.00", "20.00"]),
        ("most_expensive", ["30.00", "20.00", "0.00"]),
        ("same_item", ["0.00", "0.00", "10.00"]),
    ],
)
def test_buy_two_get_one(of: Any, expected: list[str]) -> None:
    three_for_two = promotion(
        kind="buy_x_get_y", buy_get=BuyGet(buy_quantity=2, get_quantity=1, of=of)
    )
    lines = [item(1, "30.00"), item(2, "20.00", 2), item(3, "10.00", 3)]
    assert discounts(priced(lines, three_for_two)) == expected


def test_buy_some_get_others() -> None:
    """Two shirts bring a hat at half the price; the third hat has no shirts."""
    terms = BuyGet(
        buy_quantity=2,
        get_quantity=1,
        buys=Selection(frozenset([SHIRTS])),
        gets=Selection(frozenset([HATS])),
        percent=Decimal(50),
    )
    lines = [item(1, "30.00", 4, SHIRTS), item(2, "9.00", 3, HATS)]
    both = promotion(kind="buy_x_get_y", buy_get=terms)
    assert discounts(priced(lines, both)) == ["0.00", "9.00"]
    fixed = BuyGet(buy_quantity=2, get_quantity=1, amount=Decimal(2), most_uses=1)
    off = promotion(kind="buy_x_get_y", buy_get=fixed)
    assert discounts(priced(lines, off)) == ["0.00", "2.00"]


def test_a_bundle_costs_its_price_as_often_as_it_is_whole() -> None:
    bundle = Bundle((BundleItem(UUID(int=1001), 1), BundleItem(UUID(int=1002), 2)), Decimal(25))
    offer = promotion(kind="bundle", bundle=bundle)
    lines = [item(1, "20.00", 3), item(2, "10.00", 4)]
    found = priced(lines, offer)  # two bundles of 40.00 for 25.00 each
    assert discounts(found) == ["15.00", "15.00"]
    assert found.total == 2 * 25 + 20
    assert why(priced([item(1, "20.00")], offer)) == [Reason.NO_EFFECT]
    dear = promotion(kind="bundle", bundle=Bundle(bundle.items, Decimal(50)))
    assert why(priced(lines, dear)) == [Reason.NO_EFFECT]


def test_a_gift_is_a_line_that_costs_nothing() -> None:
    mug = promotion(kind="gift", gift=Gift(UUID(int=77), 2), minimum_amount=Decimal(50))
    found = priced([item(1, "50.00")], mug, gifts={UUID(int=77): Decimal("4.00")})
    assert [str(each) for each in (found.subtotal, found.discount, found.total)] == [
        "58.00",
        "8.00",
        "50.00",
    ]
    assert (found.lines[1].is_gift, found.lines[1].quantity) == (True, 2)
    assert why(priced([item(1, "50.00")], mug)) == [Reason.NO_GIFT]


def test_the_highest_tier_that_is_reached_counts() -> None:
    tiers = (Tier(Decimal(50), Decimal(5)), Tier(Decimal(100), Decimal(10)))
    off = promotion(tiers=tiers)
    assert [str(priced([item(1, p)], off).discount) for p in ("50.00", "99.99", "100.00")] == [
        "2.50",
        "5.00",
        "10.00",
    ]
    found = priced([item(1, "49.00")], off).promotions[0]
    assert (found.reason, found.missing) == (Reason.MINIMUM, Decimal(1))
    units = promotion(tiers=(Tier(Decimal(3), Decimal(50)),), tiers_by="quantity")
    assert priced([item(1, "1.00", 3)], units).discount == Decimal("1.50")
    assert priced([item(1, "1.00", 1)], units).promotions[0].missing == 2


def test_each_condition_says_that_it_is_not_met() -> None:
    ana, group, channel = UUID(int=1), UUID(int=2), UUID(int=3)
    unmet: list[tuple[dict[str, Any], Reason]] = [
        ({"is_active": False}, Reason.INACTIVE),
        ({"starts_at": NOON + timedelta(microseconds=1)}, Reason.NOT_STARTED),
        ({"ends_at": NOON}, Reason.EXPIRED),
        ({"window": Window(weekdays=frozenset([5, 6]))}, Reason.NOT_NOW),
        ({"window": Window(since=time(12, 1))}, Reason.NOT_NOW),
        ({"currency": "JPY"}, Reason.CURRENCY),
        ({"channel_ids": frozenset([channel])}, Reason.CHANNEL),
        ({"countries": frozenset(["FR"])}, Reason.COUNTRY),
        ({"customer_ids": frozenset([ana])}, Reason.CUSTOMER),
        ({"customer_group_ids": frozenset([group])}, Reason.CUSTOMER),
        ({"new_customers_only": True}, Reason.NEW_CUSTOMERS_ONLY),
        ({"minimum_amount": Decimal("10.01")}, Reason.MINIMUM),
        ({"minimum_quantity": 2}, Reason.MINIMUM),
        ({"applies_to": Selection(frozenset([HATS]))}, Reason.NO_ITEMS),
        ({"applies_to": Selection(exclude=frozenset([SHIRTS]))}, Reason.NO_ITEMS),
        ({"kind": "free_shipping"}, Reason.NO_SHIPPING),
        ({"is_exhausted": True}, Reason.USED_UP),
        ({"is_exhausted_for_customer": True}, Reason.USED_BY_CUSTOMER),
        ({"value": Decimal(0)}, Reason.NO_EFFECT),
    ]
    for condition, reason in unmet:
        found = priced(
            [item(1, "10.00", 1, SHIRTS)],
            promotion(**{"value": Decimal(10), **condition}),
            country="DE",
        )
        assert why(found) == [reason], condition
        assert found.discount == 0
    met = promotion(
        value=Decimal(10),
        starts_at=NOON,
        ends_at=NOON + timedelta(microseconds=1),
        window=Window(weekdays=frozenset([4]), since=time(12), until=time(13)),
        channel_ids=frozenset([channel]),
        countries=frozenset(["DE"]),
        customer_ids=frozenset([ana]),
        customer_group_ids=frozenset([group]),
        new_customers_only=True,
        minimum_amount=Decimal(10),
        minimum_quantity=1,
    )
    for buyer in (
        Buyer(customer_id=ana, is_new=True),
        Buyer(group_ids=frozenset([group]), is_new=True),
    ):
        found = priced([item(1, "10.00")], met, country="DE", channel_id=channel, buyer=buyer)
        assert (why(found), str(found.discount)) == ([None], "1.00")


def test_hours_that_go_over_midnight_belong_to_the_day_on_which_they_begin() -> None:
    night = promotion(
        value=Decimal(10),
        window=Window(weekdays=frozenset([4]), since=time(22), until=time(2)),  # Fridays
    )
    friday = NOON.replace(hour=0)
    at = {
        friday + timedelta(hours=1): False,
        friday + timedelta(hours=22): True,
        friday + timedelta(hours=25): True,
        friday + timedelta(hours=26): False,
        friday + timedelta(hours=46): False,
    }
    for moment, applies in at.items():
        assert bool(priced([item(1, "10.00")], night, moment=moment).discount) == applies, moment


def test_a_gift_card_is_not_discounted() -> None:
    found = priced(
        [item(1, "50.00", is_discountable=False), item(2, "10.00")], promotion(value=Decimal(50))
    )
    assert discounts(found) == ["0.00", "5.00"]


def test_gift_cards_pay_one_after_the_other() -> None:
    cards = [GiftCard(UUID(int=1), Decimal("15.00")), GiftCard(UUID(int=2), Decimal("30.00"))]
    found = priced([item(1, "40.00")], gift_cards=cards, shipping=Decimal("2.00"))
    assert [str(each.amount) for each in found.payments] == ["15.00", "27.00"]
    assert (str(found.total), str(found.due)) == ("42.00", "0.00")


# Which promotions apply together --------------------------------------------------------------


def test_promotions_combine_where_both_allow_it() -> None:
    coupon = promotion(1, value=Decimal(10), code="TEN", combines_with=frozenset())
    automatic = promotion(2, value=Decimal(20))
    found = priced([item(1, "100.00")], automatic, coupon)
    assert {each.title: each.reason for each in found.promotions} == {
        "promotion 1": None,  # of equal priority, what the buyer has asked for
        "promotion 2": Reason.CANNOT_COMBINE,
    }
    assert found.promotions[1].conflicts_with == coupon.id
    first = promotion(2, value=Decimal(20), priority=1)
    assert priced([item(1, "100.00")], first, coupon).discount == 20


def test_the_exclusive_and_those_of_one_group_apply_alone() -> None:
    only = promotion(1, value=Decimal(10), exclusive=True, priority=5)
    other = promotion(2, value=Decimal(20))
    assert priced([item(1, "100.00")], only, other).discount == 10
    summer = [promotion(n, value=Decimal(n * 10), group="summer", priority=-n) for n in (1, 2)]
    assert priced([item(1, "100.00")], *summer).discount == 10
    # One whose conditions are not met is in nobody's way.
    later = promotion(1, value=Decimal(10), exclusive=True, priority=5, is_active=False)
    assert priced([item(1, "100.00")], later, other).discount == 20


def test_the_best_for_the_buyer_can_be_chosen_instead() -> None:
    only = promotion(1, value=Decimal(10), exclusive=True, priority=5)
    others = [promotion(n, value=Decimal(10), priority=-n) for n in (2, 3)]
    request = Request(
        currency="EUR", moment=NOON, items=[item(1, "100.00")], promotions=[only, *others]
    )
    by_setting = {name: quote(request, each).discount for name, each in STACKING.items()}
    assert by_setting == {"Priority": 10, "BestPrice": 19}
    assert quote(request).discount == 10


# Properties -----------------------------------------------------------------------------------

GROUPS = [UUID(int=n) for n in range(201, 206)]
CURRENCIES = st.sampled_from(["EUR", "JPY", "KWD"])


@st.composite
def amounts(draw: Any, currency: str, most: int = 10_000) -> Decimal:
    return Decimal(draw(st.integers(0, most))).scaleb(-money.digits(currency))


@st.composite
def carts(draw: Any, currency: str) -> list[Item]:
    count = draw(st.integers(1, 6))
    return [
        item(
            number,
            str(draw(amounts(currency))),
            draw(st.integers(1, 12)),
            *draw(st.sets(st.sampled_from(GROUPS), max_size=3)),
            is_discountable=draw(st.integers(0, 9)) > 0,
        )
        for number in range(1, count + 1)
    ]


selections = st.builds(
    Selection,
    include=st.frozensets(st.sampled_from(GROUPS), max_size=2),
    exclude=st.frozensets(st.sampled_from(GROUPS), max_size=1),
)
percents = st.integers(0, 1000).map(lambda tenths: Decimal(tenths) / 10)


@st.composite
def plain(draw: Any, currency: str, number: int) -> Promotion:
    """One that no other line brings about: no minimum, tier, bundle or buy-and-get."""
    kind = draw(st.sampled_from(["percentage", "fixed_amount", "free_shipping"]))
    return promotion(
        number,
        kind=kind,
        value=draw(percents) if kind == "percentage" else draw(amounts(currency)),
        per_unit=kind == "fixed_amount" and draw(st.booleans()),
        most=draw(st.none() | amounts(currency)),
        applies_to=draw(selections),
        priority=draw(st.integers(-2, 2)),
    )


@st.composite
def any_promotion(draw: Any, currency: str, number: int, items: list[Item]) -> Promotion:
    made = draw(plain(currency, number))
    changes: dict[str, Any] = {
        "minimum_amount": draw(st.none() | amounts(currency)),
        "minimum_quantity": draw(st.none() | st.integers(1, 10)),
        "exclusive": draw(st.integers(0, 5)) == 0,
        "group": draw(st.none() | st.just("one")),
        "code": draw(st.none() | st.just("CODE")),
        "combines_with": draw(st.frozensets(st.sampled_from(["product", "order", "shipping"]))),
    }
    kind = draw(st.sampled_from([made.kind, "buy_x_get_y", "bundle", "gift", "tiers"]))
    if kind == "tiers" and made.kind != "free_shipping":
        values = percents if made.kind == "percentage" else amounts(currency)
        changes["tiers"] = tuple(
            Tier(draw(amounts(currency)), draw(values)) for _ in range(draw(st.integers(1, 3)))
        )
    elif kind == "buy_x_get_y":
        changes["buy_get"] = BuyGet(
            buy_quantity=draw(st.integers(1, 4)),
            get_quantity=draw(st.integers(1, 3)),
            buys=draw(selections),
            gets=draw(selections),
            percent=draw(percents),
            amount=draw(st.none() | amounts(currency)),
            of=draw(st.sampled_from(["cheapest", "most_expensive", "same_item"])),
            most_uses=draw(st.none() | st.integers(1, 3)),
        )
    elif kind == "bundle":
        parts = draw(st.lists(st.sampled_from(items), min_size=1, max_size=3, unique=True))
        needs = tuple(BundleItem(each.variant_id, draw(st.integers(1, 3))) for each in parts)
        changes["bundle"] = Bundle(needs, draw(amounts(currency)))
    elif kind == "gift":
        changes["gift"] = Gift(UUID(int=77), draw(st.integers(1, 3)))
    if kind in ("buy_x_get_y", "bundle", "gift"):
        changes["kind"] = kind
    return promotion(number, **{**_fields(made), **changes})


def _fields(made: Promotion) -> dict[str, Any]:
    return {name: getattr(made, name) for name in made.__struct_fields__ if name != "id"}


@st.composite
def requests(draw: Any) -> Request:
    currency = draw(CURRENCIES)
    items = draw(carts(currency))
    count = draw(st.integers(0, 5))
    return Request(
        currency=currency,
        moment=NOON,
        items=items,
        promotions=[draw(any_promotion(currency, n, items)) for n in range(count)],
        shipping=draw(st.none() | amounts(currency)),
        gifts={UUID(int=77): draw(amounts(currency))},
        gift_cards=[
            GiftCard(UUID(int=n), draw(amounts(currency))) for n in range(draw(st.integers(0, 2)))
        ],
    )


@given(requests(), st.sampled_from([None, BestForBuyer()]))
@settings(max_examples=400, deadline=None)
def test_everything_adds_up(request: Request, best: BestForBuyer | None) -> None:
    found = quote(request, best) if best else quote(request)
    unit = Decimal(1).scaleb(-money.digits(request.currency))
    for line in found.lines:
        assert line.subtotal == line.unit_price * line.quantity
        assert line.total == line.subtotal - line.discount >= 0
        assert line.discount == sum(each.amount for each in line.discounts)
        assert all(each.amount > 0 for each in line.discounts if not line.is_gift)
        assert line.total.as_tuple().exponent == unit.as_tuple().exponent
    applied = [each for each in found.promotions if each.applied]
    on_lines = sum(amount for each in applied for _, amount in each.lines)
    assert found.discount == sum(line.discount for line in found.lines) == on_lines
    assert sum(each.amount for each in applied) == found.discount + found.shipping_discount
    assert 0 <= found.shipping_discount <= found.shipping_total
    assert found.total == (
        found.subtotal - found.discount + found.shipping_total - found.shipping_discount
    )
    assert found.due == found.total - sum(each.amount for each in found.payments) >= 0
    for each in found.promotions:
        assert each.applied == (each.amount > 0) == (each.reason is None)
    for rule, each in ((p, e) for p in request.promotions for e in found.promotions):
        if p_is(rule, each.promotion_id) and rule.most is not None and rule.kind != "gift":
            assert each.amount <= rule.most


def p_is(rule: Promotion, its_id: UUID) -> bool:
    return rule.id == its_id


@given(requests(), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_the_order_of_lines_and_promotions_does_not_matter(request: Request, chance: Any) -> None:
    items, promotions = list(request.items), list(request.promotions)
    chance.shuffle(items)
    chance.shuffle(promotions)
    other = quote(Request(**{**_all(request), "items": items, "promotions": promotions}))
    found = quote(request)
    assert {line.id: line for line in found.lines} == {line.id: line for line in other.lines}
    assert (found.total, found.due, found.promotions) == (other.total, other.due, other.promotions)


def _all(request: Request) -> dict[str, Any]:
    return {name: getattr(request, name) for name in request.__struct_fields__}


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_one_more_item_never_lowers_what_is_paid_for_the_others(data: Any) -> None:
    """But by a promotion that says so: none of these do."""
    currency = data.draw(CURRENCIES)
    items = data.draw(carts(currency))
    count = data.draw(st.integers(0, 3))
    rules = [data.draw(plain(currency, n)) for n in range(count)]
    more = item(99, str(data.draw(amounts(currency))), data.draw(st.integers(1, 12)), *GROUPS[:2])
    before = priced(items, *rules, currency=currency)
    after = priced([*items, more], *rules, currency=currency)
    others = sum(line.total for line in after.lines if line.id != more.id)
    assert others >= before.total


@given(requests(), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_parts_of_a_refund_in_any_order_give_back_what_was_paid(
    request: Request, chance: Any
) -> None:
    found = quote(request)
    back = Decimal(0)
    for line in found.lines:
        returned = 0
        while returned < line.quantity:
            units = chance.randint(1, line.quantity - returned)
            amount = refundable(line.total, line.quantity, returned, units, request.currency)
            assert amount >= 0
            back += amount
            returned += units
    assert back == found.subtotal - found.discount


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_as_many_units_are_discounted_as_could_be(data: Any) -> None:
    """Against a search through every number of times."""
    small = st.integers(1, 4)
    quantities = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    lines = range(len(quantities))
    prices = data.draw(st.lists(small, min_size=len(quantities), max_size=len(quantities)))
    buys = data.draw(st.sets(st.sampled_from(lines)))
    gets = data.draw(st.sets(st.sampled_from(lines)))
    of = data.draw(st.sampled_from(["cheapest", "most_expensive"]))
    terms = BuyGet(
        buy_quantity=data.draw(small),
        get_quantity=data.draw(small),
        of=of,
        most_uses=data.draw(st.none() | small),
    )
    found = discounted(
        terms, buys=sorted(buys), gets=sorted(gets), quantities=quantities, prices=prices
    )
    assert all(line in gets and 0 < units <= quantities[line] for line, units in found.items())

    def units(some: set[int]) -> int:
        return sum(quantities[line] for line in some)

    both, only_bought = units(buys & gets), units(buys - gets)
    most = 0
    for times in range(min(units(buys) // terms.buy_quantity, terms.most_uses or 99) + 1):
        left = units(gets) - max(0, times * terms.buy_quantity - only_bought)
        most = max(most, min(times * terms.get_quantity, left))
    assert sum(found.values()) == most
    # What is left is enough to have been bought.
    times = -(-most // terms.get_quantity)
    taken = sum(count for line, count in found.items() if line in buys)
    assert only_bought + both - taken >= times * terms.buy_quantity


@given(st.integers(0, 10**15), st.lists(st.integers(0, 10**15), min_size=1, max_size=30))
def test_shares_are_exact_or_rounded_by_less_than_one(amount: int, weights: list[int]) -> None:
    whole = sum(weights)
    amount = min(amount, whole)
    shares = allocate(amount, weights)
    assert sum(shares) == amount
    for share, weight in zip(shares, weights, strict=True):
        assert 0 <= share <= weight
        assert abs(share - Fraction(amount * weight, whole or 1)) < 1


@given(st.integers(0, 10**9), st.integers(1, 500))
def test_units_of_a_line_make_all_of_it(amount: int, quantity: int) -> None:
    parts = [part(amount, quantity, n + 1) - part(amount, quantity, n) for n in range(quantity)]
    assert sum(parts) == amount
    assert max(parts) - min(parts) <= 1
