"""Runs the jobs of all shards, in a process of its own or inside a server on a laptop."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from rcommerce.commerce.channels.jobs import PERIODIC as CHANNELS_PERIODIC
from rcommerce.commerce.media.jobs import PERIODIC as MEDIA_PERIODIC
from rcommerce.commerce.media.jobs import TASKS as MEDIA
from rcommerce.commerce.prices.jobs import PERIODIC as PRICES_PERIODIC
from rcommerce.commerce.shop import SCOPES, Caller, Services, Shop
from rcommerce.commerce.webhooks.jobs import PERIODIC as WEBHOOKS_PERIODIC
from rcommerce.commerce.webhooks.jobs import TASKS as WEBHOOKS
from rcommerce.errors import Forbidden
from rcommerce.jobs import worker
from rcommerce.jobs.queue import Postponed
from rcommerce.jobs.worker import Task, Work
from rcommerce.services import listeners
from rcommerce.settings.load import MAIN

SUSPENDED_S = 300.0  # seconds between two looks whether a shop is active again
Job = Callable[..., Awaitable[None]]
JOBS: Mapping[str, Job] = {**MEDIA, **WEBHOOKS}
# Periodic jobs, on the control database's queue only.
PERIODIC: Mapping[str, tuple[str, Callable[[Services], Awaitable[None]]]] = {
    **MEDIA_PERIODIC,
    **WEBHOOKS_PERIODIC,
    **PRICES_PERIODIC,
    **CHANNELS_PERIODIC,
}


async def run(services: Services, stopping: asyncio.Event) -> None:
    """Works on every shard until `stopping` is set and running jobs have ended, which may take half
    of the shutdown time."""
    settings = services.settings
    tasks = {name: _bound(services, name, job) for name, job in JOBS.items()}
    work = Work(
        tasks,
        concurrency=settings.jobs.concurrency,
        poll_s=settings.jobs.poll_interval_ms / 1000,
        drain_s=settings.server.graceful_shutdown_timeout_secs / 2,
    )
    crontab = {name: when for name, (when, _) in PERIODIC.items()}
    periodic = {name: _at_times(services, job) for name, (_, job) in PERIODIC.items()}
    main = replace(work, tasks={**tasks, **periodic}, periodic=crontab)
    await asyncio.gather(
        *(
            worker.run(services.cluster.shard(name), dsn, main if name == MAIN else work, stopping)
            for name, dsn in listeners(settings).items()
        )
    )


def _bound(services: Services, name: str, job: Job) -> Task:
    """Runs the job in its tenant's shop. If the tenant has moved, its writes follow; while its shop
    is suspended, it waits."""

    async def task(tenant_id: str, **args: Any) -> None:
        try:
            tenant = await services.tenants.by_id(UUID(tenant_id))
        except Forbidden as error:
            raise Postponed(str(error), after_s=SUSPENDED_S) from error
        await job(Shop(services, tenant, Caller(process=f"job:{name}", scopes=SCOPES)), **args)

    return task


def _at_times(services: Services, job: Callable[[Services], Awaitable[None]]) -> Task:
    async def task(timestamp: int) -> None:
        await job(services)

    return task
