"""Copies objects from one store to another; after an interruption it continues."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from rcommerce.storage.objects import Found, Missing, Objects

AT_ONCE = 8


async def copied(
    source: Objects, target: Objects, content_type: Callable[[str], str | None]
) -> AsyncIterator[tuple[Found, bool]]:
    """Each object once it is in the target, and whether it had to be copied: one that is there in
    its full size need not be. Objects without a content type are left out. Raises Unavailable."""
    async for page in source.list():
        wanted = [(each, kind) for each in page if (kind := content_type(each.key)) is not None]
        for begin in range(0, len(wanted), AT_ONCE):
            batch = wanted[begin : begin + AT_ONCE]
            done = await asyncio.gather(
                *(_copy(source, target, each, kind) for each, kind in batch)
            )
            for (each, _), was_copied in zip(batch, done, strict=True):
                yield each, was_copied


async def _copy(source: Objects, target: Objects, each: Found, content_type: str) -> bool:
    try:
        if (await target.find(each.key)).size_bytes == each.size_bytes:
            return False
    except Missing:
        pass
    reading = await source.read(each.key)
    with tempfile.NamedTemporaryFile(prefix="rcommerce-copy-") as spool:
        async for chunk in reading.chunks:
            spool.write(chunk)
        spool.flush()
        await target.put(each.key, Path(spool.name), content_type, each.size_bytes)
    return True
