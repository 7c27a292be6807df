"""quote: the CPU time of a quote of 50 lines with 20 promotions, all of which apply.

Beside it a bare loop over the same amounts: each line's price times its quantity, and for each
promotion its percentage of each line, rounded. It chooses, allocates and explains nothing.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from statistics import median
from uuid import UUID

from rcommerce.bench import report
from rcommerce.bench.report import Result
from rcommerce.commerce.pricing.model import Item, Request
from rcommerce.commerce.pricing.quote import quote
from rcommerce.commerce.pricing.rules import BuyGet, Promotion, Selection

LINES, PROMOTIONS = 50, 20
BAR_MS = 5.0
ROUNDS = 7
TIMES = 50
CENT = Decimal("0.01")
GROUPS = [UUID(int=number) for number in range(1, 6)]


def run(tell: Callable[[str], None]) -> Result:
    """Both in turn, in this process."""
    request = Request(
        currency="EUR",
        items=[_item(number) for number in range(LINES)],
        promotions=[_promotion(number) for number in range(PROMOTIONS)],
        moment=datetime(2026, 11, 27, 12, tzinfo=UTC),
        shipping=Decimal("4.95"),
    )
    applied = sum(each.applied for each in quote(request).promotions)
    values, bare = [], []
    for number in range(1, ROUNDS + 1):
        tell(f"round {number} of {ROUNDS}")
        values.append(_cpu_ms(lambda: quote(request)))
        bare.append(_cpu_ms(lambda: _bare(request)))
    return report.at_most(
        "quote",
        "ms",
        BAR_MS,
        values,
        {
            "lines": LINES,
            "promotions": PROMOTIONS,
            "applied": applied,
            "times_the_bare_loop": round(
                median(value / least for value, least in zip(values, bare, strict=True)), 1
            ),
        },
    )


def _item(number: int) -> Item:
    return Item(
        id=UUID(int=1000 + number),
        variant_id=UUID(int=2000 + number),
        unit_price=Decimal(number) + Decimal("9.99"),
        quantity=number % 5 + 1,
        groups=frozenset([GROUPS[number % 5]]),
    )


def _promotion(number: int) -> Promotion:
    some = Selection(frozenset([GROUPS[number % 5]]))
    its_id, title = UUID(int=3000 + number), f"promotion {number}"
    if number == 0:
        return Promotion(id=its_id, title=title, kind="free_shipping")
    if number % 5 == 1:
        terms = BuyGet(buy_quantity=2, get_quantity=1, gets=some, percent=Decimal(50))
        return Promotion(id=its_id, title=title, kind="buy_x_get_y", buy_get=terms)
    if number % 5 == 2:
        return Promotion(id=its_id, title=title, kind="fixed_amount", value=Decimal(5))
    return Promotion(
        id=its_id,
        title=title,
        kind="percentage",
        value=Decimal(number),
        applies_to=some,
        minimum_amount=Decimal(10),
    )


def _bare(request: Request) -> Decimal:
    total = sum((item.unit_price * item.quantity for item in request.items), Decimal(0))
    for each in request.promotions:
        for item in request.items:
            off = item.unit_price * item.quantity * each.value / 100
            total -= off.quantize(CENT, ROUND_HALF_EVEN)
    return total


def _cpu_ms(work: Callable[[], object]) -> float:
    begun = time.process_time()
    for _ in range(TIMES):
        work()
    return (time.process_time() - begun) / TIMES * 1000
