"""Taxes of a quote: worked examples, and properties that hold for any rates."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from rcommerce.commerce.pricing.model import Item, Line, Quote, Request, Shipping
from rcommerce.commerce.pricing.quote import quote
from rcommerce.commerce.pricing.rules import Promotion
from rcommerce.commerce.pricing.taxes import Kind, Levy, Rule, Taxation, TaxRate
from unit.test_quote import NOON, item, promotion

FOOD = Kind(UUID(int=7001))
USUAL = Kind()


def rate(percent: str, *, compound: bool = False) -> TaxRate:
    return TaxRate(
        UUID(int=int(Decimal(percent) * 1000) + compound), percent, Decimal(percent), compound
    )


def levy(*percents: str, rule: Rule = Rule.DOMESTIC, contained: str | None = None) -> Levy:
    rates = tuple(rate(each) for each in percents)
    return Levy(rule=rule, rates=rates, contained=(rate(contained),) if contained else ())


def taxation(levies: dict[Kind, Levy], **more: Any) -> Taxation:
    return Taxation(levies=levies, **more)


def taxed(
    items: list[Item], how: Taxation, *promotions: Promotion, currency: str = "EUR", **more: Any
) -> Quote:
    return quote(
        Request(
            items=items, promotions=promotions, currency=currency, moment=NOON, taxation=how, **more
        )
    )


def breakdown(found: Quote) -> list[tuple[str, str, str]]:
    return [(str(each.rate), str(each.taxable), str(each.amount)) for each in found.taxes]


# Worked examples ------------------------------------------------------------------------------


def test_a_price_without_tax_and_the_same_with_it() -> None:
    without = taxed([item(1, "100.00")], taxation({USUAL: levy("19")}))
    assert (without.total, breakdown(without)) == (Decimal("119.00"), [("19", "100.00", "19.00")])
    there = taxed([item(1, "119.00")], taxation({USUAL: levy("19")}, prices_include=True))
    assert (there.total, breakdown(there)) == (Decimal("119.00"), [("19", "100.00", "19.00")])
    assert (there.subtotal, there.lines[0].taxable) == (Decimal("119.00"), Decimal("100.00"))


def test_gst_and_qst_are_both_on_the_price() -> None:
    """Revenu Québec, "Calculating the Taxes": GST 5 % and QST 9.975 %, each on the selling price
    (since 2013 the QST is not on the GST): 100.00 costs 114.98."""
    found = taxed([item(1, "100.00")], taxation({USUAL: levy("5", "9.975")}), currency="CAD")
    assert breakdown(found) == [("5", "100.00", "5.00"), ("9.975", "100.00", "9.98")]
    assert found.total == Decimal("114.98")


def test_a_compound_rate_is_on_the_taxes_before_it() -> None:
    """As the QST was until 2012: 7.5 % of 105.00."""
    both = Levy(rule=Rule.DOMESTIC, rates=(rate("5"), rate("7.5", compound=True)))
    found = taxed([item(1, "100.00")], taxation({USUAL: both}), currency="CAD")
    assert [each.amount for each in found.taxes] == [Decimal("5.00"), Decimal("7.88")]


def test_rounding_by_line_and_by_total() -> None:
    """Three lines of 0.99 at 7 %: 0.0693 each is 0.07 three times, and 0.2079 once is 0.21; of 1.03
    it is 0.0721: 0.21 and, of 0.2163, 0.22."""
    lines = [item(number, "1.03") for number in (1, 2, 3)]
    by_line = taxed(lines, taxation({USUAL: levy("7")}))
    assert [line.tax for line in by_line.lines] == [Decimal("0.07")] * 3
    by_total = taxed(lines, taxation({USUAL: levy("7")}, rounding="total"))
    assert by_total.tax == Decimal("0.22")
    assert sorted(line.tax for line in by_total.lines) == [
        Decimal("0.07"), Decimal("0.07"), Decimal("0.08"),
    ]  # fmt: skip


def test_a_discount_of_an_order_with_two_rates_is_shared_by_value() -> None:
    """10.00 off 75.00 at 20 % and 25.00 at 0 %: HMRC Notice 700 (7.3.2) apportions by value."""
    found = taxed(
        [item(1, "75.00"), item(2, "25.00", tax=FOOD)],
        taxation({USUAL: levy("20"), FOOD: levy("0")}),
        promotion(kind="fixed_amount", value=Decimal(10)),
        currency="GBP",
    )
    assert breakdown(found) == [("20", "67.50", "13.50"), ("0", "22.50", "0.00")]


def test_shipping_is_taxed_by_the_shares_of_the_items_or_at_its_own_rate() -> None:
    """Germany: shipping is ancillary and shares the fate of what is shipped (Abschnitt 3.10 UStAE):
    5.00 with 60.00 at 19 % and 40.00 at 7 % is 3.00 and 2.00."""
    items = [item(1, "60.00"), item(2, "40.00", tax=FOOD)]
    levies = {USUAL: levy("19"), FOOD: levy("7")}
    by_shares = taxed(items, taxation(levies), shipping=Decimal("5.00"))
    assert by_shares.shipping is not None
    assert [(each.taxable, each.amount) for each in by_shares.shipping.taxes] == [
        (Decimal("3.00"), Decimal("0.57")), (Decimal("2.00"), Decimal("0.14")),
    ]  # fmt: skip
    own = taxed(items, taxation(levies, shipping=levy("19")), shipping=Decimal("5.00"))
    assert own.shipping is not None
    assert own.shipping.tax == Decimal("0.95")
    assert own.total == Decimal("105.00") + own.tax
    free = taxed(items, taxation(levies), promotion(kind="free_shipping"), shipping=Decimal("5.00"))
    assert free.tax == Decimal("14.20")


def test_a_price_with_tax_is_less_for_whoever_owes_it_himself() -> None:
    """Reverse charge: 119.00 with 19 % in it is 100.00 to a business in another member state."""
    away = levy(rule=Rule.REVERSE_CHARGE, contained="19")
    found = taxed(
        [item(1, "119.00", 2)],
        taxation({USUAL: away}, prices_include=True),
        shipping=Decimal("5.95"),
    )
    assert (found.lines[0].unit_price, found.tax) == (Decimal("100.00"), Decimal("0.00"))
    assert (found.shipping_total, found.total) == (Decimal("5.00"), Decimal("205.00"))
    assert found.lines[0].tax_rule is Rule.REVERSE_CHARGE


def test_a_voucher_is_taxed_when_it_is_redeemed() -> None:
    """Directive 2006/112/EC, article 30b: a multi-purpose voucher."""
    found = taxed([item(1, "50.00", is_voucher=True)], taxation({USUAL: levy("19")}))
    assert (found.tax, found.lines[0].tax_rule) == (Decimal("0.00"), Rule.VOUCHER)


def test_currencies_without_and_with_three_digits() -> None:
    """Japan's 10 % of 999 is 99.9; Bahrain's of 9.995 dinars is 0.9995."""
    yen = taxed([item(1, "999")], taxation({USUAL: levy("10")}), currency="JPY")
    assert (str(yen.tax), str(yen.total)) == ("100", "1099")
    dinar = taxed([item(1, "9.995")], taxation({USUAL: levy("10")}), currency="BHD")
    assert str(dinar.tax) == "1.000"


# Properties -----------------------------------------------------------------------------------

PERCENTS = ("0", "2.1", "5", "5.5", "7", "8.875", "9.975", "19", "20", "25.5", "27")


@st.composite
def orders(draw: Any) -> tuple[list[Item], Taxation, list[Promotion], Decimal | None]:
    kinds = [USUAL, FOOD, Kind(None, is_digital=True)]
    chosen = st.lists(st.sampled_from(PERCENTS), max_size=3, unique=True)
    levies = {kind: levy(*draw(chosen), contained="19") for kind in kinds}
    cents = st.integers(0, 20_000)
    items = [
        item(number, str(Decimal(draw(cents)) / 100), draw(st.integers(1, 9)),
             tax=draw(st.sampled_from(kinds)), is_voucher=draw(st.integers(0, 9)) == 0)
        for number in range(1, draw(st.integers(1, 6)) + 1)
    ]  # fmt: skip
    how = taxation(
        levies,
        shipping=draw(st.sampled_from([None, levy("19")])),
        prices_include=draw(st.booleans()),
        rounding=draw(st.sampled_from(["line", "total"])),
    )
    promotions = draw(
        st.lists(
            st.sampled_from(
                [
                    promotion(1, value=Decimal("12.5")),
                    promotion(2, kind="fixed_amount", value=Decimal(10)),
                    promotion(3, kind="free_shipping"),
                ]
            ),
            unique=True,
            max_size=2,
        )
    )
    shipping = draw(st.none() | cents.map(lambda each: Decimal(each) / 100))
    return items, how, promotions, shipping


@given(orders())
def test_taxes_add_up(order: tuple[Any, ...]) -> None:
    items, how, promotions, shipping = order
    found = taxed(items, how, *promotions, shipping=shipping)
    every: list[Line | Shipping] = [*found.lines]
    if found.shipping is not None:
        every.append(found.shipping)
    assert sum((each.tax for each in every), Decimal(0)) == found.tax
    assert sum((each.amount for each in found.taxes), Decimal(0)) == found.tax
    for each in every:
        assert sum((tax.amount for tax in each.taxes), Decimal(0)) == each.tax
        assert each.taxable == each.total - each.tax * how.prices_include
        assert each.tax >= 0
    whole = sum((each.total for each in every), Decimal(0))
    assert found.total == whole + (0 if how.prices_include else found.tax)


@given(orders(), st.randoms(use_true_random=False))
def test_the_order_of_lines_changes_no_tax(order: tuple[Any, ...], chance: Any) -> None:
    items, how, promotions, shipping = order
    mixed = chance.sample(items, len(items))
    one = taxed(items, how, *promotions, shipping=shipping)
    other = taxed(mixed, how, *promotions, shipping=shipping)
    assert {line.id: line.tax for line in one.lines} == {line.id: line.tax for line in other.lines}
    assert (one.total, one.shipping) == (other.total, other.shipping)


@given(st.integers(0, 10**7), st.sampled_from(PERCENTS))
def test_a_price_with_tax_has_the_tax_in_it_that_the_price_without_has(
    cents: int, percent: str
) -> None:
    price = Decimal(cents) / 100
    without = taxed([item(1, str(price))], taxation({USUAL: levy(percent)}))
    there = taxed(
        [item(1, str(without.total))], taxation({USUAL: levy(percent)}, prices_include=True)
    )
    assert (there.tax, there.lines[0].taxable) == (without.tax, price)


@given(orders())
def test_by_total_differs_from_the_exact_tax_by_half_a_cent_at_most(order: tuple[Any, ...]) -> None:
    items, how, _, _ = order
    if how.prices_include:
        return
    exact = taxation(how.levies, rounding="total")
    found = taxed(items, exact)
    for tax in found.taxes:
        assert abs(tax.taxable * tax.rate / 100 - tax.amount) <= Decimal("0.005")
