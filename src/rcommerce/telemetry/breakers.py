"""Metrics of circuit breakers."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable

from rcommerce.resilience.breaker import Breaker, State
from rcommerce.telemetry.prometheus import Update


def of_breakers(
    breakers: Callable[[], Iterable[Breaker]], hosts: Callable[[], Iterable[Breaker]]
) -> Update:
    """Creates the metrics of named dependencies' breakers, and of webhooks' hosts together, whose
    names shops choose. The result updates them."""
    from prometheus_client import Counter, Gauge

    states = Gauge(
        "rcommerce_breaker_state",
        "1 for the state that the breaker is in; of several workers, the number",
        ["dependency", "state"],
        multiprocess_mode="livesum",
    )
    transitions = Counter(
        "rcommerce_breaker_transitions", "Into which state, how often", ["dependency", "state"]
    )
    of_hosts = Gauge(
        "rcommerce_webhook_hosts",
        "Hosts of webhooks by their breaker's state",
        ["state"],
        multiprocess_mode="livesum",
    )
    reported: dict[tuple[str, State], int] = {}
    known: set[str] = set()

    def update() -> None:
        found = {breaker.name: breaker for breaker in breakers()}
        for name in known - found.keys():  # no longer a server
            for state in State:
                states.labels(name, state).set(0)
                reported.pop((name, state), None)
        known.clear()
        known.update(found)
        for name, breaker in found.items():
            for state, count in breaker.transitions.items():
                states.labels(name, state).set(breaker.state is state)
                before = reported.get((name, state), 0)
                transitions.labels(name, state).inc(max(0, count - before))
                reported[name, state] = count
        tally = Tally(breaker.state for breaker in hosts())
        for state in State:
            of_hosts.labels(state).set(tally[state])

    return update
