"""Jobs that send messages, and that clean up."""

from uuid import UUID

from rcommerce.commerce import shops
from rcommerce.commerce.shop import Caller, Services, Shop
from rcommerce.commerce.webhooks import queries, service
from rcommerce.jobs.queue import Postponed
from rcommerce.resilience.outgoing import REST_S, HostRests

SWEEP = Caller(process="sweep")


async def deliver(shop: Shop, delivery_id: str) -> None:
    """Sends a message. Raises Undelivered, and Postponed while its host's breaker is open."""
    try:
        await service.deliver(shop, UUID(delivery_id))
    except HostRests as resting:
        raise Postponed(str(resting), after_s=REST_S) from resting


async def sweep(services: Services) -> None:
    """Enqueues messages whose job is lost, and deletes old ones."""
    async for shop in shops.with_work(services, queries.with_messages, SWEEP):
        async with shop.write() as tx:
            await queries.requeue(tx, shop.tenant.id)
            await queries.forget_old(tx, shop.tenant.id, service.KEPT_DAYS)


TASKS = {"webhooks.deliver": deliver}
PERIODIC = {"webhooks.sweep": ("11 * * * *", sweep)}
