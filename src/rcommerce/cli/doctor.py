"""rcommerce doctor: is everything that the settings name there, and does it fit together."""

import asyncio
import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from rcommerce.cache.redis import Redis, RedisAway
from rcommerce.cli.safety import risks
from rcommerce.cli.session import ConfigFile, Json, out
from rcommerce.cli.session import settings as read_settings
from rcommerce.database.doctor import Finding, examine
from rcommerce.services import worker_count
from rcommerce.settings import Settings
from rcommerce.settings.schema import Cache
from rcommerce.storage.opening import open_objects

OLDEST_REDIS = (6, 2)  # GETEX; Valkey says that it is Redis 7.2
SIGNS = {"ok": "[green]✓[/green]", "warning": "[yellow]![/yellow]", "fault": "[red]✗[/red]"}


def doctor(
    instances: Annotated[
        int, typer.Option(min=1, help="How many instances are, or will be, running.")
    ] = 1,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Look at every server that the settings name, and say what is wrong, or will be.

    It compares what so many instances may hold with what PostgreSQL and PgBouncer have, says with
    how many instances that ends, and warns of settings that are unsafe where strangers can reach
    the server. Exit code 1 where something is wrong.

    Examples:

      rcommerce doctor

      rcommerce doctor --instances 12 --json
    """
    settings = read_settings(config).settings
    if settings.database.db_type == "Embedded":
        found = [Finding("ok", "the database", "is embedded: this process starts and sizes it")]
    else:
        found = list(examine(settings.database, worker_count(settings), instances))
    if settings.cache.cache_type == "Redis":
        found += asyncio.run(_redis(settings.cache))
    found += asyncio.run(_media(settings, instances))
    found += _safety(settings)
    if as_json:
        print(json.dumps({"findings": [asdict(each) for each in found]}))
    else:
        table = Table.grid(padding=(0, 1))
        for each in found:
            advice = f"\n[dim]→ {each.advice}[/dim]" if each.advice else ""
            table.add_row(SIGNS[each.state], f"[bold]{each.about}[/bold]", each.message + advice)
        out.print(table)
    if any(each.state == "fault" for each in found):
        raise typer.Exit(1)


def _safety(settings: Settings) -> list[Finding]:
    """What strangers must not find. An embedded database is a laptop's: nobody is a stranger."""
    if settings.database.db_type == "Embedded":
        return [Finding("ok", "safety", "is not looked at with an embedded database")]
    found = [
        Finding("warning", each.setting, each.message, each.advice) for each in risks(settings)
    ]
    return found or [Finding("ok", "safety", "no setting is unsafe")]


async def _media(settings: Settings, instances: int) -> list[Finding]:
    """Whether the store of uploads answers, and is the same for all instances."""
    media = settings.media
    objects = open_objects(media)
    await objects.probe()
    if objects.breaker.is_in_doubt:
        advice = "the shop works without: uploads are refused, and images are not shown"
        what = f"does not answer: {objects.breaker.cause}"
        return [Finding("fault", f"media {objects.name}", what, advice)]
    if media.storage_type == "Local" and (instances > 1 or settings.database.db_type != "Embedded"):
        return [
            Finding(
                "warning",
                f"media {objects.name}",
                "is a folder of this machine: no other instance sees what is uploaded here",
                'set media.storage_type = "S3", and run: rcommerce media sync --to s3',
            )
        ]
    return [Finding("ok", f"media {objects.name}", "answers")]


async def _redis(settings: Cache) -> list[Finding]:
    """Whether Redis answers, is new enough, and will not throw sessions away."""
    redis, about = Redis(settings), "Redis"
    try:
        nodes = await redis.about()
    except RedisAway as away:
        advice = "the shop works without; logins by cookie ask to try again"
        return [Finding("fault", about, f"does not answer: {away}", advice)]
    finally:
        await redis.close()
    found = []
    for name, facts in nodes.items():
        version, policy = facts["version"], facts["policy"]
        what = f"{about} {name}"
        if version < OLDEST_REDIS:
            needed = "6.2 or newer is needed"
            found.append(Finding("fault", what, f"is {facts['shown']}: {needed}"))
        elif policy.startswith("allkeys"):
            found.append(
                Finding(
                    "warning",
                    what,
                    f"drops sessions, too, when it is full (maxmemory-policy {policy})",
                    "set maxmemory-policy to volatile-lfu, and maxmemory so that it is not reached",
                )
            )
        else:
            memory = f"{facts['used_mb']:.0f} MB in use"
            found.append(Finding("ok", what, f"answers: {facts['shown']}, {memory}, {policy}"))
    return found
