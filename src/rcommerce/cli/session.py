"""What most commands begin with: the settings, a database that runs and is migrated, a tenant."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from rcommerce.app import database_dsn, embedded, make_services
from rcommerce.commerce.shop import SCOPES, Caller, Shop
from rcommerce.commerce.tenants import service as tenants
from rcommerce.database import migrate, migrations
from rcommerce.errors import StartError
from rcommerce.settings import Loaded, Settings, load

T = TypeVar("T")

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The settings file. Default: ./rcommerce.toml if there."),
]
TenantName = Annotated[
    str | None, typer.Option("--tenant", "-t", help="Slug or id of the shop. Default: the default.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")]

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


@contextlib.contextmanager
def running_database(settings: Settings, *, migrated: bool = True) -> Iterator[str]:
    """A database that answers: the embedded one is started or joined, and migrated by itself.

    Yields its connection string. Raises StartError.
    """
    if settings.database.db_type == "Embedded":
        with embedded(settings) as server:
            if migrated:
                migrate.upgrade(server.conninfo)
            yield server.conninfo
        return
    dsn = database_dsn(settings)
    if migrated and (found := migrate.revision(dsn)) != migrations.head():
        raise StartError(
            f"the database is at revision {found or 'none'}, this release needs"
            f" {migrations.head()}: run “rcommerce db upgrade”"
        )
    yield dsn


@asynccontextmanager
async def open_shop(settings: Settings, tenant: str | None) -> AsyncIterator[Shop]:
    """The shop of a tenant, as the command line's."""
    services = make_services(settings, workers=1)
    await services.database.open()
    try:
        async with services.database.read() as conn:
            found = await tenants.named(conn, tenant)
        yield Shop(services, found, COMMAND_LINE)
    finally:
        await services.database.close()


def with_shop(config: Path | None, tenant: str | None, work: Callable[[Shop], Awaitable[T]]) -> T:
    """Runs `work` in the shop of a tenant, with everything that it needs started."""
    loaded = settings(config)

    async def run() -> T:
        async with open_shop(loaded.settings, tenant) as shop:
            return await work(shop)

    with running_database(loaded.settings):
        return asyncio.run(run())
