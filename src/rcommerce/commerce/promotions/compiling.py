"""Turns rows of promotions into the rules that a quote applies."""

from collections.abc import Iterable, Mapping
from datetime import time
from decimal import Decimal
from uuid import UUID

from rcommerce.commerce.pricing import rules
from rcommerce.commerce.pricing.rules import BuyGet, Promotion, Selection
from rcommerce.commerce.promotions.schema import AppliesTo, BundleRule, Row, Schedule

Descendants = Mapping[UUID, frozenset[UUID]]


def compiled(row: Row, descendants: Descendants, code: str | None = None) -> Promotion:
    """A promotion for the quote. `descendants` has the ids of each category with those below it;
    `code` is the coupon's in the cart."""
    its, whom = row.rules, row.rules.customer_eligibility
    gift, bundle = its.gift, its.bundle
    return Promotion(
        id=row.id,
        title=row.title,
        kind=row.type,
        code=code,
        value=its.value or Decimal(0),
        per_unit=its.allocation == "each",
        tiers=tuple(rules.Tier(tier.minimum, tier.value) for tier in its.tiers),
        tiers_by=its.tiers_by,
        currency=row.currency if _has_amounts(row) else None,
        applies_to=_selection(its.applies_to, descendants),
        buy_get=_buy_get(row, descendants),
        bundle=None if bundle is None else _bundle(bundle),
        gift=None if gift is None else rules.Gift(gift.variant_id, gift.quantity),
        most=its.maximum_discount_amount,
        is_active=row.is_active,
        starts_at=row.starts_at,
        ends_at=row.expires_at,
        window=None if its.schedule is None else _window(its.schedule),
        minimum_amount=its.minimum_order_amount,
        minimum_quantity=its.minimum_quantity,
        channel_ids=frozenset(its.channel_ids),
        countries=frozenset(its.countries),
        customer_ids=frozenset(whom.customer_ids),
        customer_group_ids=frozenset(whom.customer_group_ids),
        new_customers_only=whom.new_customers_only,
        priority=row.priority,
        exclusive=its.exclusive,
        combines_with=frozenset(its.combines_with),
        group=its.stacking_group,
    )


def _bundle(bundle: BundleRule) -> rules.Bundle:
    parts = (rules.BundleItem(part.variant_id, part.quantity) for part in bundle.items)
    return rules.Bundle(tuple(parts), bundle.price)


def _has_amounts(row: Row) -> bool:
    its = row.rules
    terms = its.buy_x_get_y
    return (
        row.type in ("fixed_amount", "bundle")
        or its.minimum_order_amount is not None
        or its.maximum_discount_amount is not None
        or bool(its.tiers and its.tiers_by == "amount")
        or (terms is not None and terms.get_discount_type == "fixed_amount")
    )


def _selection(applies_to: AppliesTo, descendants: Descendants) -> Selection:
    return Selection(
        frozenset(applies_to.product_ids)
        | frozenset(applies_to.collection_ids)
        | _with_those_below(applies_to.category_ids, descendants),
        frozenset(applies_to.exclude_product_ids),
    )


def _with_those_below(categories: Iterable[UUID], descendants: Descendants) -> frozenset[UUID]:
    found: set[UUID] = set()
    for category in categories:
        found |= descendants.get(category, frozenset([category]))
    return frozenset(found)


def _buy_get(row: Row, descendants: Descendants) -> BuyGet | None:
    terms = row.rules.buy_x_get_y
    if terms is None:
        return None
    every = _selection(row.rules.applies_to, descendants)
    is_percent = terms.get_discount_type == "percentage"
    return BuyGet(
        buy_quantity=terms.buy_quantity,
        get_quantity=terms.get_quantity,
        buys=_only(terms.buy_product_ids, every),
        gets=_only(terms.get_product_ids, every),
        percent=terms.get_discount_value if is_percent else None,
        amount=None if is_percent else terms.get_discount_value,
        of=terms.discounted,
        most_uses=terms.uses_per_order,
    )


def _only(products: Iterable[UUID], every: Selection) -> Selection:
    named = frozenset(products)
    return Selection(named, every.exclude) if named else every


def _window(schedule: Schedule) -> rules.Window:
    days = frozenset(day - 1 for day in schedule.weekdays) or frozenset(range(7))
    return rules.Window(
        weekdays=days,
        since=time.min if schedule.since is None else time.fromisoformat(schedule.since),
        until=None if schedule.until is None else time.fromisoformat(schedule.until),
    )


def descendants(parents: Iterable[tuple[UUID, UUID | None]]) -> Descendants:
    """Each category with all below it, from (category, its parent)."""
    children: dict[UUID | None, list[UUID]] = {}
    for category, parent in parents:
        children.setdefault(parent, []).append(category)
    found: dict[UUID, frozenset[UUID]] = {}

    def gather(category: UUID) -> frozenset[UUID]:
        below = (gather(child) for child in children.get(category, ()))
        found[category] = frozenset([category]).union(*below)
        return found[category]

    for root in children.get(None, ()):
        gather(root)
    return found
