"""The state machine of an order: these steps are possible, and no others."""

from collections.abc import Mapping

from rcommerce.errors import InvalidTransition

STATUS: Mapping[str, frozenset[str]] = {
    "pending": frozenset({"confirmed", "on_hold", "cancelled"}),
    "confirmed": frozenset({"processing", "on_hold", "completed", "cancelled"}),
    "processing": frozenset({"on_hold", "completed", "cancelled"}),
    "on_hold": frozenset({"confirmed", "processing", "cancelled"}),
    "completed": frozenset(),
    "cancelled": frozenset(),
}
PAYMENT: Mapping[str, frozenset[str]] = {
    "pending": frozenset({"authorized", "paid", "failed", "cancelled"}),
    "authorized": frozenset({"paid", "failed", "cancelled"}),
    "paid": frozenset({"partially_refunded", "refunded"}),
    "partially_refunded": frozenset({"partially_refunded", "refunded"}),
    "failed": frozenset({"pending", "paid"}),
    # A payment that arrives after the order was given up is recorded and refunded.
    "cancelled": frozenset({"paid"}),
    "refunded": frozenset(),
}
FULFILLMENT: Mapping[str, frozenset[str]] = {
    "unfulfilled": frozenset({"partially_fulfilled", "fulfilled", "shipped", "delivered"}),
    "partially_fulfilled": frozenset(
        {"partially_fulfilled", "fulfilled", "shipped", "delivered", "returned"}
    ),
    "fulfilled": frozenset({"shipped", "delivered", "returned"}),
    "shipped": frozenset({"delivered", "returned"}),
    "delivered": frozenset({"returned"}),
    "returned": frozenset(),
}


def require(machine: Mapping[str, frozenset[str]], now: str, then: str) -> None:
    """Raises InvalidTransition if `machine` has no step from `now` to `then`."""
    if then in machine[now]:
        return
    possible = ", ".join(sorted(machine[now])) or "nothing else"
    raise InvalidTransition(
        f"an order that is {now} cannot become {then}; from there it can become {possible}",
        extra={"from": now, "to": then, "allowed": sorted(machine[now])},
    )
