"""rcommerce apikey, rcommerce staff: who may run the shop."""

import json
import os
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from rcommerce.cli.session import ConfigFile, Json, TenantName, err, out, with_shop
from rcommerce.commerce.channels import service as channels
from rcommerce.commerce.customers import service as customers
from rcommerce.commerce.customers.schema import Registration
from rcommerce.commerce.shop import SCOPES, Shop
from rcommerce.commerce.tenants import queries, service
from rcommerce.errors import NotFound, SettingsError

keys = typer.Typer(help="Manage API keys.", no_args_is_help=True)
staff = typer.Typer(help="Manage staff accounts.", no_args_is_help=True)
PASSWORD = "RCOMMERCE_STAFF_PASSWORD"  # noqa: S105 - a variable's name


@keys.command()
def create(
    scope: Annotated[
        list[str] | None, typer.Option(help="Such as products:write; may be repeated.")
    ] = None,
    all_scopes: Annotated[bool, typer.Option("--all", help="Every scope.")] = False,
    name: Annotated[str, typer.Option(help="Description of the key.")] = "",
    channel: Annotated[
        str | None, typer.Option(help="Slug of the channel of its requests that name none.")
    ] = None,
    tenant: TenantName = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Create an API key. It is shown only once; the database stores its hash.

    Example: rcommerce apikey create --scope products:read --scope products:write
    """

    async def work(shop: Shop) -> str:
        if channel is not None:
            await channels.require(shop, channel)
        security = shop.services.settings.security
        async with shop.services.cluster.control.write() as tx:
            return await service.create_key(
                tx,
                shop.tenant,
                sorted(SCOPES) if all_scopes else scope or [],
                name=name,
                channel=channel,
                prefix_length=security.api_key_prefix_length,
                secret_length=security.api_key_secret_length,
            )

    key = with_shop(config, tenant, work)
    if as_json:
        print(json.dumps({"key": key}))
        return
    err.print("[dim]This is shown once; send it as “Authorization: Bearer …”:[/dim]")
    print(key)


@keys.command("list")
def list_keys(tenant: TenantName = None, config: ConfigFile = None, as_json: Json = False) -> None:
    """List the API keys of a shop."""

    async def work(shop: Shop) -> list[dict[str, Any]]:
        async with shop.services.cluster.control.read() as conn:
            return await queries.keys(conn, shop.tenant.id)

    found = with_shop(config, tenant, work)
    if as_json:
        print(msgspec.json.encode({"keys": found}).decode())
        return
    table = Table("Prefix", "Name", "Channel", "Scopes", "Made", "Revoked", header_style="bold")
    for row in found:
        table.add_row(
            row["prefix"],
            row["name"],
            row["channel"] or "",
            "all" if len(row["scopes"]) == len(SCOPES) else " ".join(row["scopes"]),
            f"{row['created_at']:%Y-%m-%d}",
            f"{row['revoked_at']:%Y-%m-%d}" if row["revoked_at"] else "",
        )
    out.print(table)


@keys.command()
def revoke(
    prefix: Annotated[str, typer.Argument(help="The part of the key between ak_ and the dot.")],
    tenant: TenantName = None,
    config: ConfigFile = None,
) -> None:
    """End an API key at once."""

    async def work(shop: Shop) -> None:
        async with shop.services.cluster.control.write() as tx:
            if not await queries.revoke_key(tx, shop.tenant.id, prefix):
                raise NotFound(f"no active API key {prefix}")

    with_shop(config, tenant, work)
    out.print(f"Revoked {prefix}.")


@staff.command("create")
def create_staff(
    email: Annotated[str, typer.Argument(help="E-mail address for the login.")],
    first_name: Annotated[str, typer.Option()] = "Staff",
    last_name: Annotated[str, typer.Option()] = "Member",
    tenant: TenantName = None,
    config: ConfigFile = None,
) -> None:
    """Create a staff account. The password is prompted for, or read from RCOMMERCE_STAFF_PASSWORD.

    Example: rcommerce staff create ada@example.com
    """
    password = os.environ.pop(PASSWORD, None)
    if password is None:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    values = {
        "email": email,
        "password": password,
        "first_name": first_name,
        "last_name": last_name,
    }
    try:
        new = msgspec.convert(values, Registration)
    except msgspec.ValidationError as error:
        raise SettingsError(str(error).replace("`", "")) from error

    async def work(shop: Shop) -> None:
        await customers.create_staff(shop, new)

    with_shop(config, tenant, work)
    out.print(f"Made [bold]{email}[/bold]: log in at POST /api/v1/auth/login.")
