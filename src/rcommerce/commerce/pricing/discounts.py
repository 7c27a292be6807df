"""Which promotions apply to these lines, and what they take off: the discounts of a quote."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec

from rcommerce.commerce.pricing import buy_get
from rcommerce.commerce.pricing.allocation import allocate, part, percent
from rcommerce.commerce.pricing.amounts import minor
from rcommerce.commerce.pricing.model import Buyer, Item, Request
from rcommerce.commerce.pricing.rules import LEVELS, Promotion, Reason, Selection, Tier, Window


class Taken(msgspec.Struct, frozen=True):
    """What a promotion takes off, in minor units: lines by index, shipping, and a gift's price."""

    lines: Mapping[int, int] = {}
    shipping: int = 0
    gift: int = 0

    @property
    def amount(self) -> int:
        return sum(self.lines.values()) + self.shipping + self.gift


class Discounting:
    """The discounts of a request. Lines are `items`, by index; `prices` are those of their units,
    and `shipping` the rate's, in minor units of the currency (`unit`)."""

    def __init__(
        self,
        request: Request,
        unit: Decimal,
        items: Sequence[Item],
        prices: Sequence[int],
        shipping: int,
    ) -> None:
        self._request, self._unit = request, unit
        self._items, self._prices, self._shipping = items, prices, shipping
        self.whole = [price * item.quantity for price, item in zip(prices, items, strict=True)]
        self._selected: dict[Selection, list[int]] = {}

    def unmet(self, rule: Promotion) -> tuple[Reason, Decimal | None] | None:
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
            lacking = minor(rule.minimum_amount, self._unit) - amount
            if lacking > 0:
                return Reason.MINIMUM, lacking * self._unit
        if rule.minimum_quantity is not None and units < rule.minimum_quantity:
            return Reason.MINIMUM, Decimal(rule.minimum_quantity - units)
        if rule.tiers and self._tier(rule) is None:
            first = min(tier.minimum for tier in rule.tiers)
            have = amount * self._unit if rule.tiers_by == "amount" else Decimal(units)
            return Reason.MINIMUM, first - have
        return None

    def _base(self, selection: Selection) -> tuple[int, int]:
        """The amount, before discounts, and the units of the lines of a selection."""
        fitting = self._fitting(selection)
        amount = sum(self.whole[index] for index in fitting)
        return amount, sum(self._items[index].quantity for index in fitting)

    def _tier(self, rule: Promotion) -> Tier | None:
        """The highest tier that is reached."""
        amount, units = self._base(rule.applies_to)
        have = amount * self._unit if rule.tiers_by == "amount" else Decimal(units)
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

    def taken(self, rules: Sequence[Promotion]) -> dict[UUID, Taken]:
        """What each takes off, one after the other."""
        left, shipping = list(self.whole), self._shipping
        taken: dict[UUID, Taken] = {}
        for rule in _in_order(rules):
            if rule.kind == "free_shipping":
                found = Taken(shipping=self._capped(rule, shipping))
                shipping -= found.shipping
            elif rule.kind == "gift":
                found = Taken(gift=self._gift(rule))
            else:
                found = Taken(lines=self._shares(rule, left))
                for index, share in found.lines.items():
                    left[index] -= share
            taken[rule.id] = found
        return taken

    def amount_of(self, rules: Sequence[Promotion]) -> int:
        """What they take off together."""
        return sum(each.amount for each in self.taken(rules).values())

    def _capped(self, rule: Promotion, amount: int) -> int:
        return amount if rule.most is None else min(amount, minor(rule.most, self._unit))

    def _gift(self, rule: Promotion) -> int:
        gift = rule.gift
        if gift is None:
            return 0
        return minor(self._request.gifts[gift.variant_id], self._unit) * gift.quantity

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
        amount = minor(value, self._unit)
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
                found[index] = min(minor(terms.amount, self._unit) * count, base)
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
        amount = sum(parts.values()) - minor(rule.bundle.price, self._unit) * times
        shares = allocate(max(amount, 0), list(parts.values()))
        return dict(zip(parts, shares, strict=True))


def precedence(rule: Promotion) -> tuple[int, bool, int, UUID]:
    """Promotions are considered in this order."""
    return -rule.priority, rule.code is None, rule.entered, rule.id


def _in_order(rules: Sequence[Promotion]) -> list[Promotion]:
    """As they apply: lines, then the order, then shipping; each by priority."""
    return sorted(
        rules,
        key=lambda each: (LEVELS.index(each.level), precedence(each)),
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
