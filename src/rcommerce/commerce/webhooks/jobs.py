"""Jobs that send messages, and that clean up."""

from uuid import UUID

from rcommerce.commerce.shop import Caller, Services, Shop
from rcommerce.commerce.webhooks import queries, service
from rcommerce.database import Freshness
from rcommerce.errors import Forbidden, NotFound
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
    for shard in services.cluster:
        async with shard.read(Freshness.FRESH) as conn:
            found = await queries.with_messages(conn)
        for tenant_id in found:
            try:
                shop = Shop(services, await services.tenants.by_id(tenant_id), SWEEP)
            except (NotFound, Forbidden):  # a suspended shop delays no other
                continue
            async with shop.write() as tx:
                await queries.requeue(tx, tenant_id)
                await queries.forget_old(tx, tenant_id, service.KEPT_DAYS)


TASKS = {"webhooks.deliver": deliver}
PERIODIC = {"webhooks.sweep": ("11 * * * *", sweep)}
