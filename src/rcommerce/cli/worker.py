"""rcommerce worker: runs jobs."""

import asyncio
import os
import signal
from typing import Annotated

import structlog
import typer

from rcommerce import logs, tracing
from rcommerce.cli.session import ConfigFile, open_services, running_database
from rcommerce.cli.session import settings as read_settings
from rcommerce.errors import SettingsError
from rcommerce.services import listeners
from rcommerce.settings import Settings

IMPATIENT = 1  # the exit code of a worker that got the signal twice
log = structlog.get_logger()


def worker(
    config: ConfigFile = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Concurrent jobs per shard.")
    ] = None,
) -> None:
    """Run background jobs: image renditions, webhooks, sweeps.

    With the embedded database the server runs them itself. On SIGTERM, running jobs may finish for
    half of server.graceful_shutdown_timeout_secs; the others return to the queue. A second SIGTERM
    ends it at once, and other workers take its jobs over.

    Examples:

      rcommerce worker --config /etc/rcommerce.toml

      rcommerce worker --concurrency 8
    """
    if concurrency is not None:
        os.environ["RCOMMERCE_JOBS__CONCURRENCY"] = str(concurrency)
    settings = read_settings(config).settings
    logs.configure(settings.logging)
    served = listeners(settings)
    wanted = {"main", *(shard.name for shard in settings.database.shards)}
    if missing := sorted(wanted - set(served)):
        raise SettingsError(
            f"a worker needs to reach the primaries past their pooler: {', '.join(missing)} needs"
            " direct_hosts"
        )
    tracing.configure(settings.telemetry)
    with running_database(settings):
        asyncio.run(_run(settings, sorted(served)))
    tracing.close()


async def _run(settings: Settings, shards: list[str]) -> None:
    from rcommerce.telemetry.heartbeats import Heart, Meter
    from rcommerce.worker import run

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if stopping.is_set():
            os._exit(IMPATIENT)
        log.info("worker_stopping")
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    async with open_services(settings) as services:
        heart = Heart(services, "worker", Meter(services), stopping.is_set)
        beside = [asyncio.create_task(services.objects.run())]
        if settings.features.ops != "Off":
            beside.append(asyncio.create_task(heart.run()))
        log.info("worker_started", shards=shards, concurrency=settings.jobs.concurrency)
        await run(services, stopping)
        for each in beside:
            each.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await heart.stop()
    log.info("worker_stopped")
