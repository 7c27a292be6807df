"""rcommerce cache: show and purge the caches."""

import json
import re
import urllib.request
from collections import Counter
from typing import Annotated, Any
from urllib.error import URLError

import typer
from rich.table import Table

from rcommerce import clock
from rcommerce.cache.positions import EVERYTHING
from rcommerce.cache.redis import Redis, RedisAway
from rcommerce.cache.shared import PAGES, Entry, Shared, unpacked
from rcommerce.cli.session import ConfigFile, Json, TenantName, out, with_shop
from rcommerce.cli.session import settings as read_settings
from rcommerce.commerce.shop import Shop
from rcommerce.database import invalidation
from rcommerce.errors import NotFound, RCommerceError, SettingsError

app = typer.Typer(help="Inspect and purge caches.", no_args_is_help=True)
_UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TAG = re.compile(
    rf"(product|collection|category|customer):{_UUID}"
    r"|products|price|stock|content|shown|collections|categories|\*"
)
TAGS = (
    "product:ID, collection:ID, category:ID, customer:ID, products, price, stock, content, shown,"
    " collections, categories, or everything"
)
_METRIC = re.compile(r"^rcommerce_(cache|redis|cdn|rate_limit)_(\w+?)(?:_total)?(\{.*\})? (\S+)$")


@app.command()
def stats(
    url: Annotated[
        str | None, typer.Option(help="URL of the instance. Default: from the settings.")
    ] = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Show hits, misses, size and evictions of each cache level.

    Those of memory are of the workers of one running instance, those of Redis of all instances.

    Examples:

      rcommerce cache stats

      rcommerce cache stats --url http://10.0.1.11:8080 --json
    """
    settings = read_settings(config).settings
    where = url or f"http://127.0.0.1:{settings.server.port}"
    found = {"instance": where, "memory": _metrics(where)}

    async def work(shop: Shop) -> dict[str, Any]:
        redis = shop.services.redis
        there = None if redis is None else await _of_redis(redis)
        if redis is not None:
            await redis.close()
        async with shop.read() as conn:
            state = await invalidation.state(conn)
        if settings.cdn.provider == "None":
            del state["tags_the_cdn_was_not_told"]
        return {"redis": there, "database": state}

    found |= with_shop(config, None, work)
    if as_json:
        print(json.dumps(found))
        return
    table = Table("Level", "What", "", header_style="bold", box=None)
    for level in ("memory", "redis", "database"):
        rows = found[level]
        if not isinstance(rows, dict):
            table.add_row(level, str(rows or "not configured: cache_type is Memory"), "")
            continue
        for name, value in rows.items():
            table.add_row(level, name.replace("_", " "), _shown(value))
            level = ""
    out.print(f"[dim]{where}[/dim]")
    out.print(table)


@app.command()
def inspect(
    key: Annotated[str, typer.Argument(help="A path with its query, or a Redis key.")],
    tenant: TenantName = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Show a Redis cache entry: its age, its tags, and whether it is valid.

    Examples:

      rcommerce cache inspect '/api/v1/products?per_page=20'

      rcommerce cache inspect /api/v1/products/classic-shirt --json
    """

    async def work(shop: Shop) -> dict[str, Any]:
        redis = _required(shop)
        try:
            return await _inspect(shop, redis, key)
        except RedisAway as away:
            raise RCommerceError(f"Redis does not answer: {away}") from away
        finally:
            await redis.close()

    found = with_shop(config, tenant, work)
    if as_json:
        print(json.dumps(found))
        return
    table = Table.grid(padding=(0, 2))
    for name, value in found.items():
        shown = " ".join(value) if isinstance(value, list) else str(value)
        table.add_row(f"[dim]{name.replace('_', ' ')}[/dim]", shown)
    out.print(table)


@app.command()
def purge(
    tags: Annotated[list[str], typer.Argument(help=f"{TAGS}.")],
    tenant: TenantName = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Invalidate everything with a tag: in every process, in Redis, and at the CDN.

    Needed only after a change outside of PostgreSQL; every write to it invalidates by itself.

    Examples:

      rcommerce cache purge product:01890a5d-ac96-774b-bcce-b302099a8057

      rcommerce cache purge everything --tenant acme
    """
    names = [EVERYTHING if tag == "everything" else tag.lower() for tag in tags]
    for tag in names:
        if not _TAG.fullmatch(tag):
            raise SettingsError(f"TAG: “{tag}” is not a tag; valid tags: {TAGS}")

    async def work(shop: Shop) -> None:
        async with shop.write() as tx:
            await invalidation.invalidate(tx, shop.tenant.id, names)
        await invalidation.publish(shop.services.cluster.shard(shop.assignment.shard))

    with_shop(config, tenant, work)
    if as_json:
        print(json.dumps({"purged": names}))
        return
    out.print(f"Purged {', '.join(tags)}: every process has heard within 250 ms.")


def _required(shop: Shop) -> Redis:
    if shop.services.redis is None:
        raise SettingsError(
            "cache.cache_type is Memory: each process has its own cache, which no other sees"
            " them; their figures are in “rcommerce cache stats”"
        )
    return shop.services.redis


async def _inspect(shop: Shop, redis: Redis, key: str) -> dict[str, Any]:
    if not key.startswith(redis.prefix):
        path, _, query = key.partition("?")
        sorted_query = "&".join(sorted(query.split("&"), key=lambda part: part.partition("=")[0]))
        name = f"{shop.tenant.id}.{shop.tenant.epoch}:{path}{'?' if query else ''}{sorted_query}"
        key = Shared(redis).key(PAGES, name)
    raw = await redis.call("get", key)
    if raw is None:
        raise NotFound(f"no entry for {key}")
    ttl_s = await redis.call("ttl", key)
    entry = unpacked(raw)
    if entry is None:
        return {"key": key, "bytes": len(raw), "ttl_s": ttl_s, "is_true": False,
                "why": "it is none of this release's"}  # fmt: skip
    return {"key": key, "bytes": len(entry.body), "ttl_s": ttl_s} | await _described(shop, entry)


async def _described(shop: Shop, entry: Entry) -> dict[str, Any]:
    async with shop.read() as conn:
        last = await invalidation.last(conn, shop.tenant.id, [*entry.tags, EVERYTHING])
    return {
        "age_s": round(clock.now() - entry.made_at, 1),
        "position": entry.position,
        "is_true": entry.position > last,
        "last_invalidated_at": last,
        "etag": entry.etag,
        "media_type": entry.media_type,
        "tags": entry.tags,
    }


async def _of_redis(redis: Redis) -> dict[str, Any] | str:
    try:
        keys = await redis.each(f"{redis.prefix}*")
        names = Counter(
            key.removeprefix(redis.prefix).partition(":{")[0].rpartition(":")[0]
            or key.removeprefix(redis.prefix).partition(":")[0]
            for key in keys
        )
    except RedisAway as away:
        return f"does not answer: {away}"
    return {"keys": len(keys), **{f"keys of {name}": names[name] for name in sorted(names)}}


def _metrics(url: str) -> dict[str, float] | str:
    """The cache metrics of a running instance."""
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:  # noqa: S310
            lines = answer.read().decode().splitlines()
    except (URLError, OSError, ValueError) as error:
        return f"{url} does not answer: {getattr(error, 'reason', error)}"
    found: dict[str, float] = {}
    for line in lines:
        match = _METRIC.match(line)
        if match is None or match[2].endswith("_created"):
            continue
        name = match[2] if match[1] == "cache" else f"{match[1]}_{match[2]}"
        found[name] = found.get(name, 0.0) + float(match[4])
    asked = found.get("hits", 0) + found.get("misses", 0)
    if asked:
        found["hit_ratio"] = round(found["hits"] / asked, 4)
    return found


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if value != int(value) else f"{int(value):,}"
    return f"{value:,}" if isinstance(value, int) else str(value)
