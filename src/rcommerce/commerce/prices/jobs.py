"""The job that keeps automatic exchange rates up to date."""

from collections.abc import Mapping
from decimal import Decimal

from rcommerce.commerce import shops
from rcommerce.commerce.channels import service as channels
from rcommerce.commerce.prices import queries
from rcommerce.commerce.shop import Caller, Services, Shop

UPDATE = Caller(process="exchange-rates")


async def update_rates(services: Services) -> None:
    """Sets all automatic rates to what their source says, and computes listed prices anew where one
    has changed. A shop whose rates the source does not have keeps them. Raises RatesUnavailable."""
    known: dict[str, Mapping[str, Decimal]] = {}
    async for shop in shops.with_work(services, queries.with_automatic_rates, UPDATE):
        await _update(shop, known)


async def _update(shop: Shop, known: dict[str, Mapping[str, Decimal]]) -> None:
    async with shop.read() as conn:
        pairs = await queries.automatic_rates(conn, shop.tenant.id)
    for base in {source for source, _ in pairs} - known.keys():
        known[base] = await shop.services.exchange_rates.rates(base)
    rates = {
        (source, target): known[source][target]
        for source, target in pairs
        if target in known[source]
    }
    async with shop.write() as tx:
        if await queries.update_rates(tx, shop.tenant.id, rates):
            await channels.list_products(tx, shop, None)


# Each working day at 16:00 in Frankfurt there are new ones.
PERIODIC = {"prices.exchange_rates": ("37 * * * *", update_rates)}
