"""What most commands begin with: the settings, a running and migrated database, a tenant."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from rcommerce.commerce.shop import SCOPES, Caller, Services, Shop
from rcommerce.commerce.tenants import service as tenants
from rcommerce.database import migrate, migrations
from rcommerce.database.cluster import direct
from rcommerce.database.server import Role, conninfo
from rcommerce.errors import StartError
from rcommerce.services import embedded, make_services
from rcommerce.settings import Loaded, Settings, load
from rcommerce.settings.load import MAIN

T = TypeVar("T")

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The settings file. Default: ./rcommerce.toml if there."),
]
TenantName = Annotated[
    str | None,
    typer.Option("--tenant", "-t", help="Slug or id of the tenant. Default: the default tenant."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
COMMAND_LINE = Caller(process="cli", is_staff=True, scopes=SCOPES)


def settings(config: Path | None) -> Loaded:
    """The effective settings; those that ask for a part not built yet are refused."""
    if config is not None:
        os.environ["RCOMMERCE_CONFIG"] = str(config.absolute())  # workers read the same file
    loaded = load(config)
    loaded.require_built()
    return loaded


def databases(settings: Settings) -> dict[str, str]:
    """Connection strings of each database by its shard's name, without a pooler. The embedded
    server has to run."""
    if settings.database.db_type == "Embedded":
        return {MAIN: embedded(settings).conninfo}
    return direct(settings.database)


@contextlib.contextmanager
def running_database(settings: Settings, *, migrated: bool = True) -> Iterator[None]:
    """Reachable databases: the embedded one is started or joined, and migrated.

    A shard that cannot be reached is only a warning: only its tenants are unavailable. Raises
    StartError.
    """
    if settings.database.db_type == "Embedded":
        with embedded(settings) as server:
            if migrated:
                migrate.upgrade(server.conninfo)
                asyncio.run(settle(settings))
            yield
        return
    if migrated:
        _require_migrated(settings)
    yield


def _require_migrated(settings: Settings) -> None:
    nodes = {MAIN: settings.database, **{each.name: each for each in settings.database.shards}}
    for name, node in nodes.items():
        # As the shop connects: through the pooler, if there is one.
        label = "the database" if name == MAIN else f"the shard {name}"
        try:
            found = migrate.revision(conninfo(node, node.addresses, Role.PRIMARY))
        except StartError as error:
            if name == MAIN:
                raise
            err.print(f"[yellow]{label}: {error}[/yellow]")
            continue
        if not migrate.is_served(found):
            raise StartError(
                f"{label} is at revision {found or 'none'}, this release needs"
                f" {migrations.head()}: run “rcommerce db upgrade”"
            )


async def settle(settings: Settings) -> int:
    """Assigns a shard to every tenant that has none; returns how many there were."""
    async with open_services(settings) as services:
        return await tenants.settle(services.cluster)


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """The services of a command."""
    services = make_services(settings, workers=1)
    await services.cluster.open()
    try:
        yield services
    finally:
        await services.cluster.close()
        await services.outgoing.close()


@asynccontextmanager
async def open_shop(settings: Settings, tenant: str | None) -> AsyncIterator[Shop]:
    """The shop of a tenant, with the command line as the caller."""
    async with open_services(settings) as services:
        async with services.cluster.control.read() as conn:
            found = await tenants.named(conn, tenant)
        yield Shop(services, found, COMMAND_LINE)


def with_shop(config: Path | None, tenant: str | None, work: Callable[[Shop], Awaitable[T]]) -> T:
    """Runs `work` in the shop of a tenant, with everything that it needs started."""
    loaded = settings(config)

    async def run() -> T:
        async with open_shop(loaded.settings, tenant) as shop:
            return await work(shop)

    with running_database(loaded.settings):
        return asyncio.run(run())


def with_services(config: Path | None, work: Callable[[Services], Awaitable[T]]) -> T:
    """Runs `work` on the whole installation, with everything that it needs started."""
    loaded = settings(config)

    async def run() -> T:
        async with open_services(loaded.settings) as services:
            return await work(services)

    with running_database(loaded.settings):
        return asyncio.run(run())
