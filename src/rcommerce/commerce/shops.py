"""Many shops, one after the other: for jobs that look after all of them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from uuid import UUID

from rcommerce.commerce.shop import Caller, Services, Shop
from rcommerce.database import Connection, Freshness
from rcommerce.errors import Forbidden, NotFound


async def with_work(
    services: Services, find: Callable[[Connection], Awaitable[Iterable[UUID]]], caller: Caller
) -> AsyncIterator[Shop]:
    """The shops that `find` names on each shard, as `caller`. One that is suspended, or gone
    meanwhile, is left out: it delays no other."""
    for shard in services.cluster:
        async with shard.read(Freshness.FRESH) as conn:
            found = await find(conn)
        for tenant_id in found:
            try:
                tenant = await services.tenants.by_id(tenant_id)
            except (NotFound, Forbidden):
                continue
            yield Shop(services, tenant, caller)
