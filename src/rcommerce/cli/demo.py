"""rcommerce demo: generate demo products."""

import asyncio
import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rcommerce.cli.session import ConfigFile, Json, TenantName, err, open_shop, out, with_shop
from rcommerce.commerce.catalog import demo
from rcommerce.commerce.customers import passwords
from rcommerce.commerce.customers import queries as accounts
from rcommerce.commerce.customers import service as customers
from rcommerce.commerce.customers.schema import Registration
from rcommerce.commerce.promotions import service as promotions
from rcommerce.commerce.promotions.schema import NewCoupon
from rcommerce.commerce.shop import SCOPES, Shop
from rcommerce.commerce.tenants import service as tenants
from rcommerce.errors import Conflict, Unauthenticated
from rcommerce.settings import Settings

FIRST_LOOK = 500
STAFF = "staff@example.com"
WELCOME = NewCoupon(
    code="WELCOME10", type="percentage", value=Decimal(10), title="10% off your first look"
)
app = typer.Typer(help="Load demo data.", no_args_is_help=True)


@app.command("load")
def load(
    products: Annotated[
        int, typer.Option(min=1, max=10_000_000, help="Number of products.")
    ] = FIRST_LOOK,
    tenant: TenantName = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Generate demo products: the same ones for the same number, none twice.

    Example: rcommerce demo load --products 100000
    """
    begun = time.perf_counter()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        disable=as_json,
    )
    with bar:
        task = bar.add_task("Products", total=products)

        async def work(shop: Shop) -> int:
            return await _load(shop, products, lambda done: bar.update(task, completed=done))

        made = with_shop(config, tenant, work)
    took_s = time.perf_counter() - begun
    if as_json:
        print(json.dumps({"products": products, "made": made, "seconds": round(took_s, 2)}))
    else:
        there = products - made
        rest = f", {there:,} were there already" if there else ""
        out.print(f"Made {made:,} products in {took_s:.1f} s{rest}.")


async def _load(shop: Shop, products: int, progress: Callable[[int], None]) -> int:
    async with shop.write() as tx:
        made = await demo.load(tx.raw, shop.tenant.id, shop.tenant.currency, products, progress)
    with contextlib.suppress(Conflict):  # it is there already
        await promotions.create(shop, WELCOME)
    return made


class SignIn(msgspec.Struct):
    """Access to the demo shop: a staff account, and an API key with every scope."""

    email: str
    password: str
    api_key: str


class Demo(msgspec.Struct):
    """`products`: how many were created now."""

    products: int
    sign_in: SignIn | None = None


def ensure(settings: Settings) -> Demo:
    """The first products, if the default shop has none; on a laptop, also a login."""
    path = settings.data_dir / "demo.json"
    saved = _read(path)

    async def run() -> Demo:
        async with open_shop(settings, None) as shop:
            async with shop.read() as conn:
                has_products = await conn.value(
                    "select true from product where tenant_id = %(tenant)s limit 1",
                    {"tenant": shop.tenant.id},
                )
            made = Demo(0 if has_products else await _load(shop, FIRST_LOOK, lambda _: None))
            if settings.database.db_type == "Embedded":
                works = saved is not None and await _works(shop, saved)
                made.sign_in = saved if works else await _new_sign_in(shop)
            return made

    made = asyncio.run(run())
    if made.sign_in is not None and made.sign_in != saved:
        _write(path, made.sign_in)
    return made


def _read(path: Path) -> SignIn | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=SignIn)
    except (OSError, msgspec.DecodeError):
        return None


def _write(path: Path, sign_in: SignIn) -> None:
    """Only its owner can read it."""
    path.unlink(missing_ok=True)
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(msgspec.json.encode(sign_in))


async def _new_sign_in(shop: Shop) -> SignIn:
    """New secrets per installation; an existing demo account gets them."""
    made = SignIn(STAFF, secrets.token_urlsafe(12), await _new_key(shop))
    async with shop.write() as tx:
        existing = await accounts.credentials(tx, shop.tenant.id, STAFF)
        if existing is not None and existing.role == "staff":
            hashed = await passwords.hashed(made.password)
            await accounts.set_password(tx, shop.tenant.id, existing.id, hashed)
    if existing is None:
        new = Registration(
            email=STAFF, password=made.password, first_name="Demo", last_name="Staff"
        )
        await customers.create_staff(shop, new)
    return made


async def _works(shop: Shop, saved: SignIn) -> bool:
    async with shop.services.cluster.control.read() as conn:
        try:
            tenant, _ = await tenants.authenticate_key(conn, saved.api_key)
        except Unauthenticated:
            return False
        staff = await accounts.credentials(conn, shop.tenant.id, saved.email)
    return tenant == shop.tenant.id and staff is not None and staff.role == "staff"


async def _new_key(shop: Shop) -> str:
    async with shop.services.cluster.control.write() as tx:
        return await tenants.create_key(tx, shop.tenant, sorted(SCOPES), name="demo")
