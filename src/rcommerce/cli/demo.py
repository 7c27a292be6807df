"""rcommerce demo: a catalogue to look at."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rcommerce.cli.session import ConfigFile, Json, TenantName, err, open_shop, out, with_shop
from rcommerce.commerce.catalog import demo
from rcommerce.commerce.shop import Shop
from rcommerce.settings import Settings

FIRST_LOOK = 500
app = typer.Typer(help="Demo data.", no_args_is_help=True)


@app.command("load")
def load(
    products: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many.")] = FIRST_LOOK,
    tenant: TenantName = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Make plausible products: the same ones for the same number, and none twice.

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
        return await demo.load(tx.raw, shop.tenant.id, shop.tenant.currency, products, progress)


def ensure(settings: Settings) -> int:
    """The first look's products where the default shop has none at all; returns how many."""

    async def run() -> int:
        async with open_shop(settings, None) as shop:
            async with shop.read() as conn:
                if await conn.value(
                    "select true from product where tenant_id = %(tenant)s limit 1",
                    {"tenant": shop.tenant.id},
                ):
                    return 0
            return await _load(shop, FIRST_LOOK, lambda _: None)

    return asyncio.run(run())
