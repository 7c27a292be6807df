"""rcommerce tenant: the shops of an installation."""

import json
from typing import Annotated

import typer
from rich.table import Table

from rcommerce.cli.session import ConfigFile, Json, out, with_shop
from rcommerce.commerce.shop import Shop, Tenant
from rcommerce.commerce.tenants import queries, service

app = typer.Typer(help="The shops of this installation.", no_args_is_help=True)


@app.command()
def create(
    slug: Annotated[str, typer.Argument(help="A short name, such as acme.")],
    name: Annotated[str | None, typer.Option(help="What people read. Default: the slug.")] = None,
    currency: Annotated[str, typer.Option(help="ISO 4217 code.")] = "USD",
    host: Annotated[list[str] | None, typer.Option(help="A host name; may be repeated.")] = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Make a shop.

    Example: rcommerce tenant create acme --currency EUR --host shop.acme.example
    """

    async def work(shop: Shop) -> Tenant:
        async with shop.write() as tx:
            return await service.create(
                tx,
                slug=slug,
                name=name or slug,
                currency=currency,
                hosts=[each.lower() for each in host or []],
            )

    made = with_shop(config, None, work)
    if as_json:
        print(json.dumps({"id": str(made.id), "slug": made.slug, "currency": made.currency}))
    else:
        out.print(f"Made [bold]{made.slug}[/bold]: X-Tenant-ID {made.id}")


@app.command("list")
def list_tenants(config: ConfigFile = None, as_json: Json = False) -> None:
    """List the shops."""

    async def work(shop: Shop) -> list[Tenant]:
        async with shop.read() as conn:
            return await queries.every(conn)

    found = with_shop(config, None, work)
    if as_json:
        rows = [
            {"id": str(t.id), "slug": t.slug, "name": t.name, "currency": t.currency,
             "status": t.status}
            for t in found
        ]  # fmt: skip
        print(json.dumps({"tenants": rows}))
        return
    table = Table("Slug", "Name", "Currency", "Status", "Id", header_style="bold")
    for each in found:
        table.add_row(each.slug, each.name, each.currency, each.status, str(each.id))
    out.print(table)
