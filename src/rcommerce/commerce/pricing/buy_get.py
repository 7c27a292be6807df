"""Buy so many, get so many: which units are discounted."""

from collections.abc import Iterable, Mapping, Sequence

from rcommerce.commerce.pricing.rules import BuyGet


def discounted(
    terms: BuyGet,
    *,
    buys: Sequence[int],
    gets: Sequence[int],
    quantities: Sequence[int],
    prices: Sequence[int],
) -> dict[int, int]:
    """How many units of which lines are discounted. Lines are given by their index: those that
    count as bought, and those of which units can be had. A unit counts once, as the one or the
    other; the last discount may be of fewer units than `get_quantity`."""
    if terms.of == "same_item":
        return _positive(
            {index: _most(terms, 0, quantities[index], 0) for index in gets if index in set(buys)}
        )
    bought, had = set(buys), set(gets)
    both = sum(quantities[index] for index in bought & had)
    count = _most(
        terms,
        sum(quantities[index] for index in bought - had),
        both,
        sum(quantities[index] for index in had - bought),
    )
    # Units that only can be had go first where prices are equal: the others may have to be bought.
    ranked = sorted(
        had,
        key=lambda index: (
            prices[index] if terms.of == "cheapest" else -prices[index],
            index in bought,
            index,
        ),
    )
    limits = _limits(terms, count, bought, had, quantities)
    return _positive(_taken(ranked, count, quantities, bought, limits))


def _most(terms: BuyGet, only_bought: int, both: int, only_had: int) -> int:
    """The most units that can be discounted, of so many that are only bought, can be both, can
    only be had. Each `buy_quantity` allows `get_quantity`; more bought leaves fewer to be had, so
    the best number of times is at an end, or where both meet."""
    buy, get = terms.buy_quantity, terms.get_quantity
    all_of_it = only_bought + both + only_had
    most_times = (only_bought + both) // buy
    if terms.most_uses is not None:
        most_times = min(most_times, terms.most_uses)
    meeting = all_of_it // (buy + get)
    tried = (most_times, meeting, meeting + 1, only_bought // buy, only_bought // buy + 1)
    best = 0
    for times in tried:
        if 0 < times <= most_times:
            left = only_had + both - max(0, times * buy - only_bought)
            best = max(best, min(times * get, left))
    return best


def _limits(
    terms: BuyGet,
    count: int,
    bought: set[int],
    had: set[int],
    quantities: Sequence[int],
) -> int:
    """How many of the units that could be bought as well may be discounted: the rest of them is
    bought."""
    times = -(-count // terms.get_quantity)
    only_bought = sum(quantities[index] for index in bought - had)
    both = sum(quantities[index] for index in bought & had)
    return both - max(0, times * terms.buy_quantity - only_bought)


def _taken(
    ranked: Iterable[int],
    count: int,
    quantities: Sequence[int],
    bought: set[int],
    most_of_bought: int,
) -> dict[int, int]:
    found: dict[int, int] = {}
    for index in ranked:
        units = min(quantities[index], count)
        if index in bought:
            units = min(units, most_of_bought)
            most_of_bought -= units
        found[index] = units
        count -= units
    return found


def _positive(found: Mapping[int, int]) -> dict[int, int]:
    return {index: units for index, units in found.items() if units}
