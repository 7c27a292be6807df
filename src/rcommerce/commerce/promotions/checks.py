"""Whether a promotion makes sense, field by field."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from rcommerce import money
from rcommerce.commerce.promotions.schema import Rules
from rcommerce.errors import FieldError, Invalid

_RULES = frozenset(field.name for field in msgspec.structs.fields(Rules))
_HUNDRED = Decimal(100)


def checked(values: dict[str, Any], currency: str) -> tuple[dict[str, Any], Rules]:
    """The columns and the rules of a promotion that makes sense. Raises Invalid, which names every
    field that does not."""
    values["currency"] = money.currency(values["currency"] or currency)
    values["countries"] = [country.upper() for country in values["countries"]]
    faults: list[FieldError] = []
    for check in (_amounts, _by_type, _times, _tiers):
        try:
            check(values)
        except Invalid as error:
            faults += error.fields
    if faults:
        raise Invalid("; ".join(f"{each.field}: {each.message}" for each in faults), fields=faults)
    rules = Rules(**{name: values[name] for name in _RULES})
    return {name: value for name, value in values.items() if name not in _RULES}, rules


def _amounts(values: dict[str, Any]) -> None:
    currency = values["currency"]
    for name in ("minimum_order_amount", "maximum_discount_amount"):
        if values[name] is not None:
            values[name] = money.amount(values[name], currency, name)
    if values["bundle"] is not None:
        values["bundle"].price = money.amount(values["bundle"].price, currency, "bundle.price")


def _by_type(values: dict[str, Any]) -> None:
    kind = values["type"]
    if kind in ("percentage", "fixed_amount"):
        if values["value"] is None and not values["tiers"]:
            raise Invalid.field("value", "is required, or tiers")
        if values["value"] is not None:
            values["value"] = _value(values["value"], values, "value")
    elif values["value"] is not None:
        raise Invalid.field("value", f"is not for the type {kind}")
    for name, of in (("buy_x_get_y", "buy_x_get_y"), ("gift", "gift"), ("bundle", "bundle")):
        if (values[name] is not None) != (kind == of):
            says = "is required" if kind == of else f"is not for the type {kind}"
            raise Invalid.field(name, says)
    if values["allocation"] == "each" and kind != "fixed_amount":
        raise Invalid.field("allocation", "each is for the type fixed_amount")
    if (terms := values["buy_x_get_y"]) is not None:
        at = "buy_x_get_y.get_discount_value"
        if terms.get_discount_type == "percentage":
            _percentage(terms.get_discount_value, at)
        else:
            terms.get_discount_value = money.amount(
                terms.get_discount_value, values["currency"], at
            )


def _value(value: Decimal, values: Mapping[str, Any], field: str) -> Decimal:
    if values["type"] == "percentage":
        return _percentage(value, field)
    return money.amount(value, values["currency"], field)


def _percentage(value: Decimal, field: str) -> Decimal:
    if not value.is_finite() or not 0 < value <= _HUNDRED:
        raise Invalid.field(field, "must be a percentage above 0 and at most 100")
    if value != round(value, 4):
        raise Invalid.field(field, "a percentage has at most 4 decimal digits")
    return value


def _times(values: dict[str, Any]) -> None:
    starts_at, expires_at = values["starts_at"], values["expires_at"]
    if starts_at is not None and expires_at is not None and expires_at <= starts_at:
        raise Invalid.field("expires_at", "must be after starts_at")
    schedule = values["schedule"]
    if schedule is not None and schedule.since is not None and schedule.since == schedule.until:
        raise Invalid.field("schedule.until", "must differ from since")


def _tiers(values: dict[str, Any]) -> None:
    tiers = values["tiers"]
    if tiers and values["type"] not in ("percentage", "fixed_amount"):
        raise Invalid.field("tiers", f"are not for the type {values['type']}")
    seen: set[Decimal] = set()
    for number, tier in enumerate(tiers):
        at = f"tiers[{number}].minimum"
        if values["tiers_by"] == "amount":
            tier.minimum = money.amount(tier.minimum, values["currency"], at)
        elif tier.minimum != int(tier.minimum) or tier.minimum < 1:
            raise Invalid.field(at, "must be a whole number of units")
        if tier.minimum in seen:
            raise Invalid.field(at, f"overlaps another tier from {tier.minimum}")
        seen.add(tier.minimum)
        tier.value = _value(tier.value, values, f"tiers[{number}].value")
