"""What a buyer pays, and why: one pure function, `quote`.

Carts, checkout and orders show and charge what it says; nothing else adds up money. It reads no
clock and no database. Inside, amounts are whole numbers of the currency's minor unit; outside,
`Decimal`s with the currency's digits.

Promotions apply in two steps. Which ones apply follows from their conditions, looked at one by one,
and from what may be combined (`Stacking`). Those then reduce the lines, after them the order as a
whole, and at last shipping: each what the ones before it have left, the highest priority first. A
discount of the order is allocated to its lines, so that every unit has its price: what is refunded
is what was paid.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec

from rcommerce import money
from rcommerce.commerce.pricing import buy_get
from rcommerce.commerce.pricing.allocation import allocate, part, percent
from rcommerce.commerce.pricing.model import (
    Buyer,
    Discount,
    Explanation,
    Line,
    Payment,
    Quote,
    Request,
    Shipping,
)
from rcommerce.commerce.pricing.rules import LEVELS, Promotion, Reason, Selection, Tier, Window
from rcommerce.commerce.pricing.stacking import BY_PRIORITY, Stacking, combine


def quote(request: Request, stacking: Stacking = BY_PRIORITY) -> Quote:
    """What the buyer pays for these lines, and why. The order of lines and promotions in the
    request changes no amount."""
    return _Quoting(request, stacking).result()


def refundable(paid: Decimal, quantity: int, returned: int, units: int, currency: str) -> Decimal:
    """What is given back for `units` of a line of `quantity` that was paid with `paid`, once
    `returned` of them are back already. However a line comes back, it adds up to what was paid."""
    unit = _unit(currency)
    whole = _minor(paid, unit)
    return _amount(part(whole, quantity, returned + units) - part(whole, quantity, returned), unit)


def _unit(currency: str) -> Decimal:
    return Decimal(1).scaleb(-money.digits(currency))


def _minor(amount: Decimal, unit: Decimal) -> int:
    """An amount in minor units, which it has to be a whole number of."""
    whole = amount / unit
    if whole != (number := int(whole)):
        raise ValueError(f"{amount} has more digits than its currency")
    return number


def _amount(minor: int, unit: Decimal) -> Decimal:
    return minor * unit


class _Taken(msgspec.Struct, frozen=True):
    """What a promotion takes off, in minor units: lines by index, shipping, and a gift's price."""

    lines: Mapping[int, int] = {}
    shipping: int = 0
    gift: int = 0

    @property
    def amount(self) -> int:
        return sum(self.lines.values()) + self.shipping + self.gift


class _Quoting:
    """One quote in progress."""

    def __init__(self, request: Request, stacking: Stacking) -> None:
        self._request = request
        self._stacking = stacking
        self._unit = _unit(request.currency)
        # By id, so that of equal remainders the same line is rounded up in any order.
        self._items = sorted(request.items, key=lambda item: item.id)
        self._prices = [_minor(item.unit_price, self._unit) for item in self._items]
        self._whole = [
            price * item.quantity for price, item in zip(self._prices, self._items, strict=True)
        ]
        self._shipping = 0 if request.shipping is None else _minor(request.shipping, self._unit)
        self._selected: dict[Selection, list[int]] = {}

    # Conditions ---------------------------------------------------------------------------------

    def result(self) -> Quote:
        """The quote."""
        ranked = sorted(
            self._request.promotions,
            key=_precedence,
        )
        refused: dict[UUID, tuple[Reason, Decimal | None]] = {}
        candidates: list[Promotion] = []
        for each in ranked:
            why = self._unmet(each)
            if why is None and not self._amount_of([each]):
                why = (Reason.NO_EFFECT, None)
            if why is None:
                candidates.append(each)
            else:
                refused[each.id] = why
        chosen = self._stacking.choose(candidates, self._amount_of)
        return self._quote(ranked, chosen, refused)

    def _unmet(self, rule: Promotion) -> tuple[Reason, Decimal | None] | None:
        """The first condition that is not met, and what is missing to it."""
        request, buyer, moment = self._request, self._request.buyer, self._request.moment
        gift = rule.gift
        unmet = (
            (not rule.is_active, Reason.INACTIVE),
            (rule.starts_at is not None and moment < rule.starts_at, Reason.NOT_STARTED),
            (rule.ends_at is not None and moment >= rule.ends_at, Reason.EXPIRED),
            (rule.window is not None and not _is_within(rule.window, moment), Reason.NOT_NOW),
            (rule.is_exhausted, Reason.USED_UP),
            (rule.is_exhausted_for_customer, Reason.USED_BY_CUSTOMER),
            (rule.currency not in (None, request.currency), Reason.CURRENCY),
            (rule.channel_ids and request.channel_id not in rule.channel_ids, Reason.CHANNEL),
            (rule.countries and request.country not in rule.countries, Reason.COUNTRY),
            (not _is_for(rule, buyer), Reason.CUSTOMER),
            (rule.new_customers_only and not buyer.is_new, Reason.NEW_CUSTOMERS_ONLY),
            (not self._fitting(rule.applies_to), Reason.NO_ITEMS),
            (rule.kind == "free_shipping" and request.shipping is None, Reason.NO_SHIPPING),
            (gift is not None and gift.variant_id not in request.gifts, Reason.NO_GIFT),
        )
        for is_unmet, reason in unmet:
            if is_unmet:
                return reason, None
        return self._too_little(rule)

    def _too_little(self, rule: Promotion) -> tuple[Reason, Decimal | None] | None:
        amount, units = self._base(rule.applies_to)
        if rule.minimum_amount is not None:
            lacking = _minor(rule.minimum_amount, self._unit) - amount
            if lacking > 0:
                return Reason.MINIMUM, _amount(lacking, self._unit)
        if rule.minimum_quantity is not None and units < rule.minimum_quantity:
            return Reason.MINIMUM, Decimal(rule.minimum_quantity - units)
        if rule.tiers and self._tier(rule) is None:
            first = min(tier.minimum for tier in rule.tiers)
            have = _amount(amount, self._unit) if rule.tiers_by == "amount" else Decimal(units)
            return Reason.MINIMUM, first - have
        return None

    def _base(self, selection: Selection) -> tuple[int, int]:
        """The amount, before discounts, and the units of the lines of a selection."""
        fitting = self._fitting(selection)
        amount = sum(self._whole[index] for index in fitting)
        return amount, sum(self._items[index].quantity for index in fitting)

    def _tier(self, rule: Promotion) -> Tier | None:
        """The highest tier that is reached."""
        amount, units = self._base(rule.applies_to)
        have = _amount(amount, self._unit) if rule.tiers_by == "amount" else Decimal(units)
        reached = [tier for tier in rule.tiers if tier.minimum <= have]
        return max(reached, key=lambda tier: tier.minimum, default=None)

    def _fitting(self, selection: Selection) -> list[int]:
        """The lines that a selection takes, by their index."""
        found = self._selected.get(selection)
        if found is None:
            found = self._selected[selection] = [
                index
                for index, item in enumerate(self._items)
                if item.is_discountable
                and selection.exclude.isdisjoint(item.groups)
                and (not selection.include or not selection.include.isdisjoint(item.groups))
            ]
        return found

    # Discounts ----------------------------------------------------------------------------------

    def _taken(self, rules: Sequence[Promotion]) -> dict[UUID, _Taken]:
        """What each takes off, one after the other."""
        left, shipping = list(self._whole), self._shipping
        taken: dict[UUID, _Taken] = {}
        for rule in _in_order(rules):
            if rule.kind == "free_shipping":
                found = _Taken(shipping=self._capped(rule, shipping))
                shipping -= found.shipping
            elif rule.kind == "gift":
                found = _Taken(gift=self._gift(rule))
            else:
                found = _Taken(lines=self._shares(rule, left))
                for index, share in found.lines.items():
                    left[index] -= share
            taken[rule.id] = found
        return taken

    def _amount_of(self, rules: Sequence[Promotion]) -> int:
        return sum(each.amount for each in self._taken(rules).values())

    def _capped(self, rule: Promotion, amount: int) -> int:
        return amount if rule.most is None else min(amount, _minor(rule.most, self._unit))

    def _gift(self, rule: Promotion) -> int:
        gift = rule.gift
        if gift is None:
            return 0
        return _minor(self._request.gifts[gift.variant_id], self._unit) * gift.quantity

    def _shares(self, rule: Promotion, left: Sequence[int]) -> dict[int, int]:
        """What a promotion takes off each line, given what is left of them."""
        if rule.kind == "buy_x_get_y":
            wanted = self._buy_get(rule, left)
        elif rule.kind == "bundle":
            wanted = self._bundle(rule, left)
        else:
            wanted = self._off(rule, left)
        whole = sum(wanted.values())
        if (most := self._capped(rule, whole)) < whole:
            return dict(zip(wanted, allocate(most, list(wanted.values())), strict=True))
        return wanted

    def _off(self, rule: Promotion, left: Sequence[int]) -> dict[int, int]:
        """A percentage or an amount off."""
        fitting = self._fitting(rule.applies_to)
        tier = self._tier(rule) if rule.tiers else None
        value = rule.value if tier is None else tier.value
        if rule.kind == "percentage":
            # Line by line: what one costs does not depend on the others.
            return {index: percent(left[index], value) for index in fitting}
        amount = _minor(value, self._unit)
        if rule.per_unit:
            return {i: min(amount * self._items[i].quantity, left[i]) for i in fitting}
        weights = [left[index] for index in fitting]
        shares = allocate(min(amount, sum(weights)), weights)
        return dict(zip(fitting, shares, strict=True))

    def _buy_get(self, rule: Promotion, left: Sequence[int]) -> dict[int, int]:
        terms = rule.buy_get
        if terms is None:
            return {}
        units = buy_get.discounted(
            terms,
            buys=self._fitting(terms.buys),
            gets=self._fitting(terms.gets),
            quantities=[item.quantity for item in self._items],
            prices=self._prices,
        )
        found: dict[int, int] = {}
        for index, count in units.items():
            base = part(left[index], self._items[index].quantity, count)
            if terms.amount is not None:
                found[index] = min(_minor(terms.amount, self._unit) * count, base)
            else:
                found[index] = percent(base, terms.percent or Decimal(0))
        return found

    def _bundle(self, rule: Promotion, left: Sequence[int]) -> dict[int, int]:
        if rule.bundle is None:
            return {}
        at = {self._items[i].variant_id: i for i in self._fitting(rule.applies_to)}
        needs = rule.bundle.items
        if any(need.variant_id not in at for need in needs):
            return {}
        times = min(self._items[at[need.variant_id]].quantity // need.quantity for need in needs)
        parts = {
            (i := at[need.variant_id]): part(
                left[i], self._items[i].quantity, need.quantity * times
            )
            for need in needs
        }
        amount = sum(parts.values()) - _minor(rule.bundle.price, self._unit) * times
        shares = allocate(max(amount, 0), list(parts.values()))
        return dict(zip(parts, shares, strict=True))

    # The result ---------------------------------------------------------------------------------

    def _quote(
        self,
        ranked: Sequence[Promotion],
        chosen: Sequence[Promotion],
        refused: Mapping[UUID, tuple[Reason, Decimal | None]],
    ) -> Quote:
        taken = self._taken(chosen)
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
        made = [self._line(index, taken) for index in range(len(self._items))]
        return self._summed(made, gifts, shipping, explained)

    def _applied(self, rule: Promotion, taken: _Taken) -> Explanation:
        lines = [
            (self._items[index].id, _amount(share, self._unit))
            for index, share in taken.lines.items()
            if share
        ]
        if taken.gift:
            lines.append((rule.id, _amount(taken.gift, self._unit)))
        return Explanation(
            promotion_id=rule.id,
            title=rule.title,
            code=rule.code,
            applied=taken.amount > 0,
            amount=_amount(taken.amount, self._unit),
            lines=tuple(lines),
            reason=None if taken.amount else Reason.NO_EFFECT,
        )

    def _gift_line(self, rule: Promotion, amount: int) -> Line:
        gift = rule.gift
        assert gift is not None  # noqa: S101 - a gift's promotion has one
        zero, whole = _amount(0, self._unit), _amount(amount, self._unit)
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
            amount=_amount(0, self._unit),
            reason=why[0],
            missing=why[1],
            conflicts_with=conflict,
        )

    def _line(self, index: int, taken: Mapping[UUID, _Taken]) -> Line:
        item, unit = self._items[index], self._unit
        shares = [(rule, each.lines.get(index, 0)) for rule, each in taken.items()]
        left = self._whole[index] - sum(share for _, share in shares)
        total = _amount(left, unit)
        return Line(
            id=item.id,
            variant_id=item.variant_id,
            quantity=item.quantity,
            unit_price=_amount(self._prices[index], unit),
            subtotal=_amount(self._whole[index], unit),
            discount=_amount(self._whole[index] - left, unit),
            discounts=tuple(
                Discount(rule, _amount(share, unit)) for rule, share in shares if share
            ),
            total=total,
            taxable=total,
            tax=_amount(0, unit),
        )

    def _summed(
        self,
        made: Sequence[Line],
        gifts: Sequence[Line],
        shipping: int,
        explained: Sequence[Explanation],
    ) -> Quote:
        unit, request = self._unit, self._request
        zero = _amount(0, unit)
        by_id = {line.id: line for line in made}
        lines = (*(by_id[item.id] for item in request.items), *gifts)
        subtotal = sum((line.subtotal for line in lines), zero)
        discount = sum((line.discount for line in lines), zero)
        tax = sum((line.tax for line in lines), zero)
        price = _amount(self._shipping, unit)
        way = Shipping(
            price=price,
            discount=_amount(self._shipping - shipping, unit),
            total=_amount(shipping, unit),
            tax=zero,
        )
        total = subtotal - discount + way.total + tax + way.tax
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
            total=total,
            payments=tuple(payments),
            due=due,
            promotions=tuple(explained),
        )


def _precedence(rule: Promotion) -> tuple[int, bool, int, UUID]:
    """Promotions are considered in this order."""
    return -rule.priority, rule.code is None, rule.entered, rule.id


def _in_order(rules: Sequence[Promotion]) -> list[Promotion]:
    """As they apply: lines, then the order, then shipping; each by priority."""
    return sorted(
        rules,
        key=lambda each: (LEVELS.index(each.level), _precedence(each)),
    )


def _is_for(rule: Promotion, buyer: Buyer) -> bool:
    if not rule.customer_ids and not rule.customer_group_ids:
        return True
    return buyer.customer_id in rule.customer_ids or not rule.customer_group_ids.isdisjoint(
        buyer.group_ids
    )


def _is_within(window: Window, moment: datetime) -> bool:
    clock = moment.time()
    if window.until is None or window.since < window.until:
        is_in = clock >= window.since and (window.until is None or clock < window.until)
        return is_in and moment.weekday() in window.weekdays
    if clock >= window.since:
        return moment.weekday() in window.weekdays
    yesterday = (moment.date() - timedelta(days=1)).weekday()
    return clock < window.until and yesterday in window.weekdays
