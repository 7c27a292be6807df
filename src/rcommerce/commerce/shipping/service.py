"""Shipping rates."""

from collections.abc import Sequence
from dataclasses import dataclass

from rcommerce import money
from rcommerce.commerce.strategies import Rate
from rcommerce.errors import Unprocessable
from rcommerce.settings import FlatRate


@dataclass(frozen=True, slots=True)
class FlatRates:
    """The provider `manual`: the services of the settings, each at a flat rate."""

    services: Sequence[FlatRate]

    def rates(self, *, currency: str, country: str) -> list[Rate]:
        """The services that reach `country`, cheapest first."""
        found = [
            Rate(
                provider_id="manual",
                carrier="manual",
                service_code=service.service_code,
                service_name=service.service_name,
                rate=money.rounded(service.rate, currency),
                currency=currency,
                delivery_days=service.delivery_days,
                total_cost=money.rounded(service.rate, currency),
            )
            for service in self.services
            if not service.countries or country in service.countries
        ]
        return sorted(found, key=lambda rate: rate.total_cost)


def choose(rates: Sequence[Rate], wanted: str | None, remembered: str | None) -> Rate:
    """The requested service, otherwise the one chosen before, otherwise the cheapest.

    Raises Unprocessable if none reaches the address, or not the requested one.
    """
    if not rates:
        raise Unprocessable("no shipping service to this country", code="no_shipping")
    by_code = {rate.service_code: rate for rate in rates}
    if wanted is not None:
        if wanted not in by_code:
            raise Unprocessable(
                f"there is no shipping service “{wanted}” to this address;"
                f" there are {', '.join(by_code)}",
                code="unknown_shipping_rate",
            )
        return by_code[wanted]
    return by_code.get(remembered or "", rates[0])
