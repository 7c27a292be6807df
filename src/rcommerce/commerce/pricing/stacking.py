"""Which promotions apply together."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from rcommerce.commerce.pricing.rules import Promotion


class Stacking(Protocol):
    """Which of the promotions whose conditions are met apply together."""

    def choose(
        self, candidates: Sequence[Promotion], discount: Callable[[Sequence[Promotion]], int]
    ) -> Sequence[Promotion]:
        """Those that apply. `candidates` come by priority; `discount` says what some of them would
        take off together."""


def combine(one: Promotion, other: Promotion) -> bool:
    """Whether both may apply to one order."""
    return not (
        one.exclusive
        or other.exclusive
        or (one.group is not None and one.group == other.group)
        or one.level not in other.combines_with
        or other.level not in one.combines_with
    )


class ByPriority:
    """The highest priority first, each that may be combined with all before it. Of one priority
    coupons come first, since the buyer has asked for them."""

    def choose(
        self, candidates: Sequence[Promotion], discount: Callable[[Sequence[Promotion]], int]
    ) -> Sequence[Promotion]:
        """Those that apply, by priority alone."""
        return _greedy(candidates)


class BestForBuyer:
    """What takes off the most: by priority, or with one of those first that would be left out."""

    def choose(
        self, candidates: Sequence[Promotion], discount: Callable[[Sequence[Promotion]], int]
    ) -> Sequence[Promotion]:
        """Those that apply; the first of what takes off as much."""
        best = _greedy(candidates)
        if len(best) == len(candidates):
            return best
        most = discount(best)
        for first in [each for each in candidates if each not in best]:
            tried = _greedy([first, *(each for each in candidates if each is not first)])
            if (amount := discount(tried)) > most:
                best, most = tried, amount
        return best


def _greedy(candidates: Iterable[Promotion]) -> list[Promotion]:
    chosen: list[Promotion] = []
    for each in candidates:
        if all(combine(each, other) for other in chosen):
            chosen.append(each)
    return chosen


BY_PRIORITY = ByPriority()
# By the words of `promotions.stacking`.
STACKING: Mapping[str, Stacking] = {"Priority": BY_PRIORITY, "BestPrice": BestForBuyer()}
