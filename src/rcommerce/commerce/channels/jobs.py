"""The job that tidies up after prices that began or ended by time."""

from rcommerce.commerce import shops
from rcommerce.commerce.channels import queries
from rcommerce.commerce.shop import Caller, Services

RENEW = Caller(process="channel-listings")


async def renew_listings(services: Services) -> None:
    """Removes the listings whose time is over, and puts those that have begun among those that
    count. Lists show the same before it, only more slowly."""
    async for shop in shops.with_work(services, queries.with_old_listings, RENEW):
        async with shop.write() as tx:
            await queries.renew_listings(tx, shop.tenant.id)


PERIODIC = {"channels.listings": ("* * * * *", renew_listings)}
