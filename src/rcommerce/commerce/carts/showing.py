"""What a cart shows: its lines and totals, as the quote says, as JSON."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from rcommerce import money
from rcommerce.commerce.carts.schema import CartLine, CartRow, OrderedLine
from rcommerce.commerce.catalog.schema import Priced
from rcommerce.commerce.pricing.model import Explanation, Item, Line, Quote
from rcommerce.commerce.promotions.schema import CartCode
from rcommerce.commerce.promotions.service import Buying, Live
from rcommerce.commerce.quotes import service as quotes
from rcommerce.commerce.quotes.service import Pricing
from rcommerce.commerce.shop import Shop
from rcommerce.database import Connection


def items(lines: Sequence[CartLine], *, seen: bool) -> list[Item]:
    """The lines that can be bought, at the prices that the buyer has `seen` or at present ones."""
    return [
        Item(
            id=line.item_id,
            variant_id=line.variant_id,
            quantity=line.quantity,
            unit_price=line.seen_price if seen else line.price,
            groups=line.groups,
            is_discountable=not line.is_gift_card,
        )
        for line in lines
        if line.is_available
    ]


async def priced(
    conn: Connection,
    shop: Shop,
    live: Live,
    cart: CartRow,
    *,
    seen: bool,
    email: str | None = None,
    country: str | None = None,
    more: Sequence[CartCode] = (),
) -> Pricing:
    """The pricing of a cart, with `more` codes than it has. `email` and `country` are those of a
    checkout, instead of the cart's."""
    return await quotes.prepare(
        conn,
        shop,
        live,
        channel=cart.channel_id,
        currency=cart.currency,
        items=items(cart.lines, seen=seen),
        codes=[*cart.codes, *more],
        by=Buying(cart.customer_id, email or cart.email),
        country=country or cart.country,
        credit=cart.credit,
    )


def discounts(quote: Quote) -> list[dict[str, Any]]:
    """The promotions that apply."""
    return [_discount(each) for each in quote.promotions if each.applied]


def _discount(each: Explanation) -> dict[str, Any]:
    return {
        "promotion_id": each.promotion_id,
        "code": each.code,
        "title": each.title,
        "amount": each.amount,
        "lines": [{"item_id": item, "amount": amount} for item, amount in each.lines],
    }


def as_json(
    cart: CartRow, token: str | None, pricing: Pricing | None = None, quote: Quote | None = None
) -> bytes:
    """A cart as JSON; a new or ordered one has no pricing, and no quote."""
    zero = money.rounded(money.ZERO, cart.currency)
    sums = dict.fromkeys(_SUMS, zero)
    taken: dict[UUID, tuple[Decimal, Any]] = {}
    applied: list[Any] = []
    paid: list[Any] = []
    due = zero
    gifts: list[dict[str, Any]] = []
    if cart.order is not None:
        sums = {name: getattr(cart.order, name) for name in _SUMS}
        of_variant = {
            line.variant_id: (line.discount, line.discounts)
            for line in cart.order.lines
            if not line.is_gift
        }
        taken = {line.item_id: of_variant.get(line.variant_id, (zero, [])) for line in cart.lines}
        applied = cart.order.discounts
        paid, due = cart.order.gift_cards, cart.order.due
        gifts = [_ordered_gift(cart, line) for line in cart.order.lines if line.is_gift]
    elif pricing is not None and quote is not None:
        sums = {
            "subtotal": quote.subtotal,
            "discount_total": quote.discount,
            "tax_total": quote.tax,
            "shipping_total": zero,
            "total": quote.total,
        }
        taken = {line.id: (line.discount, line.discounts) for line in quote.lines}
        applied = discounts(quote)
        paid, due = quotes.payments(pricing, quote), quote.due
        gifts = [
            _gift(cart, line, pricing.gifts[line.variant_id])
            for line in quote.lines
            if line.is_gift
        ]
    return msgspec.json.encode(
        {
            "cart": {
                "id": cart.id,
                "session_token": token,
                "customer_id": cart.customer_id,
                "channel": cart.channel,
                "currency": cart.currency,
                "status": cart.status,
                **sums,
                "amount_due": due,
                "gift_cards": paid,
                "coupon_code": cart.codes[0].shown if cart.codes else None,
                "coupon_codes": [code.shown for code in cart.codes],
                "discounts": applied,
                "email": cart.email,
                "created_at": cart.created_at,
                "updated_at": cart.updated_at,
                "expires_at": cart.expires_at,
            },
            "items": [
                *(_line(cart, line, *taken.get(line.item_id, (zero, ()))) for line in cart.lines),
                *gifts,
            ],
        }
    )


_SUMS = ("subtotal", "discount_total", "tax_total", "shipping_total", "total")


def _line(cart: CartRow, line: CartLine, discount: Decimal, shares: Any) -> dict[str, Any]:
    return _item(
        cart,
        line,
        item=line.item_id,
        price=line.seen_price,
        discount=discount,
        discounts=shares,
        image_url=line.image_url,
        is_available=line.is_available,
    )


def _gift(cart: CartRow, line: Line, variant: Priced) -> dict[str, Any]:
    return _item(
        cart,
        variant,
        item=line.id,
        price=line.unit_price,
        quantity=line.quantity,
        discount=line.discount,
        discounts=line.discounts,
        is_gift=True,
    )


def _ordered_gift(cart: CartRow, line: OrderedLine) -> dict[str, Any]:
    return _item(
        cart,
        line,
        item=line.id,
        price=line.price,
        discount=line.discount,
        discounts=line.discounts,
        is_gift=True,
    )


def _item(
    cart: CartRow,
    of: CartLine | Priced | OrderedLine,
    *,
    item: UUID,
    price: Decimal,
    discount: Decimal,
    discounts: Any,
    quantity: int | None = None,
    image_url: str | None = None,
    is_available: bool = True,
    is_gift: bool = False,
) -> dict[str, Any]:
    units = of.quantity if quantity is None and not isinstance(of, Priced) else quantity or 0
    subtotal = price * units
    return {
        "id": item,
        "cart_id": cart.id,
        "product_id": of.product_id,
        "variant_id": of.variant_id,
        "sku": of.sku,
        "title": of.title,
        "variant_title": of.variant_title,
        "image_url": image_url,
        "quantity": units,
        "unit_price": price,
        "original_price": price,
        "subtotal": subtotal,
        "discount_amount": discount,
        "discounts": discounts,
        "total": subtotal - discount,
        "is_available": is_available,
        "is_gift": is_gift,
    }


def shipping(shop: Shop, cart: CartRow) -> Decimal | None:
    """What the way to ship costs that was chosen, or the cheapest; None without an address."""
    needs = any(line.requires_shipping for line in cart.lines if line.is_available)
    if cart.country is None or not needs:
        return None
    rates = shop.services.shipping.rates(currency=cart.currency, country=cart.country)
    return rates[0].total_cost if rates else None


def checked(code: CartCode, quote: Quote) -> bytes:
    """Whether a coupon applies, and what it changes, as JSON."""
    why = quotes.refusal(code, quote)
    if why is not None:
        return msgspec.json.encode({"valid": False, "error": {"code": why[0], "message": why[1]}})
    row = code.promotion
    [amount] = [each.amount for each in quote.promotions if row and each.promotion_id == row.id]
    return msgspec.json.encode(
        {
            "valid": True,
            "coupon": {"id": row and row.id, "code": code.shown, "title": row and row.title},
            "discount": {
                "subtotal": quote.subtotal,
                "discount_amount": amount,
                "new_total": quote.total,
            },
        }
    )


def explained(each: Explanation) -> dict[str, Any]:
    """A promotion that applies, or why it does not."""
    says = None if each.reason is None else quotes.REFUSALS[each.reason][1]
    return {
        **_discount(each),
        "applied": each.applied,
        "reason": each.reason,
        "message": says,
        "missing": each.missing,
        "conflicts_with": each.conflicts_with,
    }
