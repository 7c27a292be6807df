"""rcommerce tenant: the shops of an installation."""

import json
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from rcommerce.cli.move import move
from rcommerce.cli.session import COMMAND_LINE, ConfigFile, Json, out, with_services
from rcommerce.commerce.channels import service as channels
from rcommerce.commerce.shop import Services, Shop, Tenant
from rcommerce.commerce.tenants import queries, service
from rcommerce.settings.load import MAIN

app = typer.Typer(help="Manage tenants.", no_args_is_help=True)


@app.command()
def create(
    slug: Annotated[str, typer.Argument(help="A short name, such as acme.")],
    name: Annotated[str | None, typer.Option(help="Display name. Default: the slug.")] = None,
    currency: Annotated[str, typer.Option(help="ISO 4217 code.")] = "USD",
    host: Annotated[list[str] | None, typer.Option(help="A host name; may be repeated.")] = None,
    time_zone: Annotated[
        str, typer.Option(help="Of its promotions, such as Europe/Berlin.")
    ] = "UTC",
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Create a tenant, on its shard.

    Example: rcommerce tenant create acme --currency EUR --host shop.acme.example
    """

    async def work(services: Services) -> Tenant:
        return await service.create(
            services.cluster,
            slug=slug,
            name=name or slug,
            currency=currency,
            hosts=[each.lower() for each in host or []],
            time_zone=time_zone,
        )

    made = with_services(config, work)
    if as_json:
        print(json.dumps(_row(made)))
    else:
        where = f" on {made.shard}" if made.shard != MAIN else ""
        out.print(f"Made [bold]{made.slug}[/bold]{where}: X-Tenant-ID {made.id}")


@app.command("list")
def list_tenants(config: ConfigFile = None, as_json: Json = False) -> None:
    """List the shops."""

    async def work(services: Services) -> list[Tenant]:
        async with services.cluster.control.read() as conn:
            return await queries.every(conn)

    found = with_services(config, work)
    if as_json:
        print(json.dumps({"tenants": [_row(tenant) for tenant in found]}))
        return
    table = Table("Name", header_style="bold", box=None, padding=(0, 2, 0, 0))
    for column in ("Slug", "Money", "Status", "Shard", "Id"):
        table.add_column(column, no_wrap=True)
    for each in found:
        shard = each.shard or "-"
        table.add_row(each.name, each.slug, each.currency, each.status, shard, str(each.id))
    out.print(table)


@app.command()
def show(
    tenant: Annotated[str, typer.Argument(help="Slug or id.")],
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Show a tenant, its shard, and its state there.

    Example: rcommerce tenant show acme --json
    """

    async def work(services: Services) -> dict[str, Any]:
        return await service.describe(services.cluster, tenant)

    found = with_services(config, work)
    if as_json:
        print(msgspec.json.encode(found).decode())
        return
    rows = Table.grid(padding=(0, 2))
    for key, value in found.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        rows.add_row(f"[dim]{key}[/dim]", "-" if shown in (None, "") else str(shown))
    out.print(rows)


@app.command("set")
def change(
    tenant: Annotated[str, typer.Argument(help="Slug or id.")],
    time_zone: Annotated[str | None, typer.Option(help="IANA name, such as Europe/Berlin.")] = None,
    channel: Annotated[
        str | None,
        typer.Option(help='Slug of the channel of requests that name none; "" for no channel.'),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Change a tenant's settings, within seconds on every instance.

    Example: rcommerce tenant set acme --time-zone Europe/Berlin --channel germany
    """
    values = {"time_zone": time_zone, "channel": channel}
    given = {name: value for name, value in values.items() if value is not None}
    if not given:
        raise typer.BadParameter("nothing to set: give --time-zone or --channel")

    async def work(services: Services) -> Tenant:
        async with services.cluster.control.read() as conn:
            found = await service.named(conn, tenant)
        if channel:
            await channels.require(Shop(services, found, COMMAND_LINE), channel)
        settings = {name: value or None for name, value in given.items()}
        await service.configure(services.cluster, found, settings)
        return found

    found = with_services(config, work)
    for name, value in given.items():
        out.print(f"[bold]{found.slug}[/bold]: {name} is {value or 'none'}")


@app.command()
def suspend(
    tenant: Annotated[str, typer.Argument(help="Slug or id.")], config: ConfigFile = None
) -> None:
    """Suspend a tenant: its requests get 403, within seconds on every instance.

    Example: rcommerce tenant suspend acme
    """
    _set_status(config, tenant, "suspended")


@app.command()
def resume(
    tenant: Annotated[str, typer.Argument(help="Slug or id.")], config: ConfigFile = None
) -> None:
    """Open a suspended shop again."""
    _set_status(config, tenant, "active")


app.command("move")(move)


def _set_status(config: ConfigFile, name: str, status: str) -> None:
    async def work(services: Services) -> Tenant:
        async with services.cluster.control.read() as conn:
            found = await service.named(conn, name)
        await service.set_status(services.cluster, found, status)
        return found

    found = with_services(config, work)
    out.print(f"[bold]{found.slug}[/bold] is {status}.")


def _row(tenant: Tenant) -> dict[str, Any]:
    return {
        "id": str(tenant.id),
        "slug": tenant.slug,
        "name": tenant.name,
        "currency": tenant.currency,
        "time_zone": tenant.time_zone,
        "channel": tenant.channel,
        "status": tenant.status,
        "shard": tenant.shard,
    }
