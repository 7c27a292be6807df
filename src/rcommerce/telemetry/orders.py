"""Metrics of orders."""

from collections.abc import Mapping

from rcommerce.telemetry.prometheus import Update


def of_orders(events: Mapping[str, int], refused: Mapping[str, int]) -> Update:
    """Creates the metrics of orders and stock-outs; the result updates them."""
    from prometheus_client import Counter

    orders = Counter("rcommerce_orders", "What became of orders, by their events", ["event"])
    stock_outs = Counter("rcommerce_stock_outs", "Times that less was left than was asked for")
    orders.labels("created")
    reported: dict[str, int] = {}

    def update() -> None:
        for event, count in list(events.items()):
            orders.labels(event).inc(count - reported.get(event, 0))
            reported[event] = count
        now = refused.get("out_of_stock", 0)
        stock_outs.inc(now - reported.get("", 0))
        reported[""] = now

    return update
