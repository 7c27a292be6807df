"""What a buyer pays, and why: one pure function, `quote`.

Carts, checkout and orders show and charge what it says; nothing else adds up money. It reads no
clock and no database. Inside, amounts are whole numbers of the currency's minor unit; outside,
`Decimal`s with the currency's digits.

Promotions apply in two steps. Which ones apply follows from their conditions, looked at one by one,
and from what may be combined (`Stacking`). Those then reduce the lines, after them the order as a
whole, and at last shipping: each what the ones before it have left, the highest priority first. A
discount of the order is allocated to its lines, so that every unit has its price: what is refunded
is what was paid. Taxes come last (`taxes`): on what is left of each line, and of shipping.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from uuid import UUID

from rcommerce.commerce.pricing import taxes
from rcommerce.commerce.pricing.allocation import part
from rcommerce.commerce.pricing.amounts import minor, unit_of
from rcommerce.commerce.pricing.discounts import Discounting, Taken, precedence
from rcommerce.commerce.pricing.model import (
    Discount,
    Explanation,
    Line,
    Payment,
    Quote,
    Request,
    Shipping,
    Tax,
)
from rcommerce.commerce.pricing.rules import Promotion, Reason
from rcommerce.commerce.pricing.stacking import BY_PRIORITY, Stacking, combine
from rcommerce.commerce.pricing.taxes import VOUCHER, Base, Levied, Levy, Taxation

_NO_TAXES = Taxation(levies={})


def quote(request: Request, stacking: Stacking = BY_PRIORITY) -> Quote:
    """What the buyer pays for these lines, and why. The order of lines and promotions in the
    request changes no amount."""
    return _Quoting(request, stacking).result()


def refundable(paid: Decimal, quantity: int, returned: int, units: int, currency: str) -> Decimal:
    """What is given back for `units` of a line of `quantity` that was paid with `paid`, once
    `returned` of them are back already. However a line comes back, it adds up to what was paid."""
    unit = unit_of(currency)
    whole = minor(paid, unit)
    return (part(whole, quantity, returned + units) - part(whole, quantity, returned)) * unit


class _Quoting:
    """One quote in progress."""

    def __init__(self, request: Request, stacking: Stacking) -> None:
        self._request = request
        self._stacking = stacking
        self._unit = unit_of(request.currency)
        # By id, so that of equal remainders the same line is rounded up in any order.
        self._items = sorted(request.items, key=lambda item: item.id)
        self._taxation = request.taxation or _NO_TAXES
        self._levies = [
            VOUCHER if item.is_voucher else self._taxation.of(item.tax) for item in self._items
        ]
        self._prices = [
            self._price(minor(item.unit_price, self._unit), levy)
            for item, levy in zip(self._items, self._levies, strict=True)
        ]
        self._whole = [
            price * item.quantity for price, item in zip(self._prices, self._items, strict=True)
        ]
        shipping = 0 if request.shipping is None else minor(request.shipping, self._unit)
        self._shipping = sum(
            self._price(base.amount, base.levy)
            for base in self._shipping_bases(shipping, self._whole)
        )
        self._discounts = Discounting(
            request, self._unit, self._items, self._prices, self._shipping
        )

    def _price(self, amount: int, levy: Levy) -> int:
        """A price without the taxes in it that this buyer does not pay."""
        if self._taxation.prices_include and levy.contained and not levy.rates:
            return taxes.net(amount, levy.contained)
        return amount

    def result(self) -> Quote:
        """The quote."""
        ranked = sorted(
            self._request.promotions,
            key=precedence,
        )
        refused: dict[UUID, tuple[Reason, Decimal | None]] = {}
        candidates: list[Promotion] = []
        for each in ranked:
            why = self._discounts.unmet(each)
            if why is None and not self._discounts.amount_of([each]):
                why = (Reason.NO_EFFECT, None)
            if why is None:
                candidates.append(each)
            else:
                refused[each.id] = why
        chosen = self._stacking.choose(candidates, self._discounts.amount_of)
        return self._quote(ranked, chosen, refused)

    def _quote(
        self,
        ranked: Sequence[Promotion],
        chosen: Sequence[Promotion],
        refused: Mapping[UUID, tuple[Reason, Decimal | None]],
    ) -> Quote:
        taken = self._discounts.taken(chosen)
        explained = []
        for rule in ranked:
            if rule.id in taken:
                explained.append(self._applied(rule, taken[rule.id]))
            else:
                explained.append(self._refusal(rule, chosen, refused.get(rule.id)))
        gifts = [
            self._gift_line(rule, taken[rule.id].gift)
            for rule in ranked
            if rule.kind == "gift" and rule.id in taken
        ]
        shipping = self._shipping - sum(each.shipping for each in taken.values())
        left = [
            whole - sum(each.lines.get(index, 0) for each in taken.values())
            for index, whole in enumerate(self._whole)
        ]
        of_lines, of_shipping = self._taxes(left, shipping)
        made = [
            self._line(index, left[index], taken, of_lines[index])
            for index in range(len(self._items))
        ]
        return self._summed(made, gifts, shipping, of_lines, of_shipping, explained)

    def _taxes(self, left: Sequence[int], shipping: int) -> tuple[list[list[Levied]], list[Levied]]:
        """The taxes of each line, and those of shipping."""
        if self._request.taxation is None:
            return [[] for _ in left], []
        lines = [Base(*each) for each in zip(left, self._levies, strict=True)]
        found = taxes.levied(
            [*lines, *self._shipping_bases(shipping, left)],
            prices_include=self._taxation.prices_include,
            rounding=self._taxation.rounding,
        )
        return found[: len(lines)], [each for base in found[len(lines) :] for each in base]

    def _shipping_bases(self, shipping: int, left: Sequence[int]) -> list[Base]:
        if not shipping:
            return []
        lines = [Base(*each) for each in zip(left, self._levies, strict=True)]
        return taxes.shipping_bases(shipping, self._taxation.shipping, lines)

    def _summed_taxes(self, every: Sequence[Levied]) -> tuple[Tax, ...]:
        """Taxes by rate and rule, in the order in which they are met."""
        sums: dict[tuple[UUID, str], tuple[Levied, int, int]] = {}
        for each in every:
            key = (each.rate.id, each.levy.rule)
            _, taxable, amount = sums.get(key, (each, 0, 0))
            sums[key] = (each, taxable + each.taxable, amount + each.amount)
        return tuple(
            Tax(
                rate_id=each.rate.id,
                name=each.rate.name,
                rate=each.rate.rate,
                rule=each.levy.rule,
                zone_id=each.levy.zone_id,
                taxable=taxable * self._unit,
                amount=amount * self._unit,
            )
            for each, taxable, amount in sums.values()
        )

    def _applied(self, rule: Promotion, taken: Taken) -> Explanation:
        lines = [
            (self._items[index].id, share * self._unit)
            for index, share in taken.lines.items()
            if share
        ]
        if taken.gift:
            lines.append((rule.id, taken.gift * self._unit))
        return Explanation(
            promotion_id=rule.id,
            title=rule.title,
            code=rule.code,
            applied=taken.amount > 0,
            amount=taken.amount * self._unit,
            lines=tuple(lines),
            reason=None if taken.amount else Reason.NO_EFFECT,
        )

    def _gift_line(self, rule: Promotion, amount: int) -> Line:
        gift = rule.gift
        assert gift is not None  # noqa: S101 - a gift's promotion has one
        zero, whole = 0 * self._unit, amount * self._unit
        return Line(
            id=rule.id,
            variant_id=gift.variant_id,
            quantity=gift.quantity,
            unit_price=self._request.gifts[gift.variant_id],
            subtotal=whole,
            discount=whole,
            discounts=(Discount(rule.id, whole),),
            total=zero,
            taxable=zero,
            tax=zero,
            is_gift=True,
        )

    def _refusal(
        self,
        rule: Promotion,
        chosen: Sequence[Promotion],
        why: tuple[Reason, Decimal | None] | None,
    ) -> Explanation:
        conflict: UUID | None = None
        if why is None:
            why = (Reason.CANNOT_COMBINE, None)
            conflict = next((each.id for each in chosen if not combine(rule, each)), None)
        return Explanation(
            promotion_id=rule.id,
            title=rule.title,
            code=rule.code,
            applied=False,
            amount=0 * self._unit,
            reason=why[0],
            missing=why[1],
            conflicts_with=conflict,
        )

    def _line(
        self, index: int, left: int, taken: Mapping[UUID, Taken], levied: Sequence[Levied]
    ) -> Line:
        item, unit = self._items[index], self._unit
        shares = [(rule, each.lines.get(index, 0)) for rule, each in taken.items()]
        tax = sum(each.amount for each in levied)
        return Line(
            id=item.id,
            variant_id=item.variant_id,
            quantity=item.quantity,
            unit_price=self._prices[index] * unit,
            subtotal=self._whole[index] * unit,
            discount=(self._whole[index] - left) * unit,
            discounts=tuple(Discount(rule, share * unit) for rule, share in shares if share),
            total=left * unit,
            taxable=(left - self._taxation.prices_include * tax) * unit,
            tax=tax * unit,
            taxes=self._summed_taxes(levied),
            tax_rule=None if self._request.taxation is None else self._levies[index].rule,
        )

    def _summed(
        self,
        made: Sequence[Line],
        gifts: Sequence[Line],
        shipping: int,
        of_lines: Sequence[Sequence[Levied]],
        of_shipping: Sequence[Levied],
        explained: Sequence[Explanation],
    ) -> Quote:
        unit, request, taxation = self._unit, self._request, self._taxation
        zero = 0 * unit
        by_id = {line.id: line for line in made}
        lines = (*(by_id[item.id] for item in request.items), *gifts)
        subtotal = sum((line.subtotal for line in lines), zero)
        discount = sum((line.discount for line in lines), zero)
        tax = sum((line.tax for line in lines), zero)
        tax_of_shipping = sum(each.amount for each in of_shipping)
        way = Shipping(
            price=self._shipping * unit,
            discount=(self._shipping - shipping) * unit,
            total=shipping * unit,
            taxable=(shipping - taxation.prices_include * tax_of_shipping) * unit,
            tax=tax_of_shipping * unit,
            taxes=self._summed_taxes(of_shipping),
        )
        total = subtotal - discount + way.total
        if not taxation.prices_include:
            total += tax + way.tax
        due, payments = total, []
        for card in request.gift_cards:
            pays = min(card.balance, due)
            if pays > 0:
                payments.append(Payment(card.id, pays))
                due -= pays
        return Quote(
            currency=request.currency,
            lines=lines,
            shipping=None if request.shipping is None else way,
            subtotal=subtotal,
            discount=discount,
            shipping_total=way.price,
            shipping_discount=way.discount,
            tax=tax + way.tax,
            taxes=self._summed_taxes([*(each for line in of_lines for each in line), *of_shipping]),
            prices_include_tax=taxation.prices_include,
            is_tax_estimated=taxation.is_estimate,
            total=total,
            payments=tuple(payments),
            due=due,
            promotions=tuple(explained),
        )
