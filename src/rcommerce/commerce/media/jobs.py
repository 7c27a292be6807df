"""Background jobs of media."""

import asyncio
from typing import Any
from uuid import UUID

import structlog

from rcommerce.commerce.media import paths, queries, renditions
from rcommerce.commerce.media.renditions import CONTENT_TYPES, Rendition
from rcommerce.commerce.media.service import RENDER, all_orphans, remove_files, remove_orphan
from rcommerce.commerce.media.uploads import received
from rcommerce.commerce.shop import Services, Shop
from rcommerce.errors import Unprocessable

log = structlog.get_logger()


async def render(shop: Shop, media_id: str) -> None:
    """Makes an image's renditions; repeating it is harmless. Raises Unavailable."""
    media, tenant, objects = UUID(media_id), shop.tenant.id, shop.services.objects
    async with shop.read() as conn:
        stored = await queries.stored(conn, tenant, media)
    if stored is None or not stored.is_image:
        return
    settings = shop.services.settings.media
    digest = stored.path.split("/")[1]
    made: list[dict[str, Any]] = []
    reading = await objects.read(stored.path)
    async with received(reading.chunks, "", settings.max_upload_mb) as file:
        work = renditions.render(file.path, settings.image_processing)
        try:
            # Each in a thread, one after another, so that the event loop is free.
            while (one := await asyncio.to_thread(next, work, None)) is not None:
                path = paths.rendition(tenant, digest, one.size, one.hash, one.format)
                await objects.put(path, one.content, CONTENT_TYPES[one.format], len(one.content))
                made.append(_noted(one, path))
        except Unprocessable as error:
            log.warning("image_broken", tenant=str(tenant), media=media_id, error=error.detail)
    async with shop.write() as tx:
        is_there = await queries.set_renditions(tx, tenant, media, made)
    if not is_there:  # deleted meanwhile
        await remove_files(shop, digest)


def _noted(one: Rendition, path: str) -> dict[str, Any]:
    return {
        "name": one.size,
        "format": one.format,
        "path": path,
        "width": one.width,
        "height": one.height,
        "size_bytes": len(one.content),
    }


async def sweep(services: Services) -> None:
    """Removes files that no shop knows. Raises Unavailable."""
    gone = size_bytes = 0
    async for shop, orphans in all_orphans(services):
        for each in orphans:
            await remove_orphan(shop, each)
            gone, size_bytes = gone + 1, size_bytes + each.size_bytes
    log.info("media_swept", files=gone, size_bytes=size_bytes)


TASKS = {RENDER: render}
PERIODIC = {"media.sweep": ("23 3 * * *", sweep)}
