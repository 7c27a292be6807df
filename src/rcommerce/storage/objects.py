"""The object store, whichever it is: every call has a deadline, and one breaker guards them all."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

from rcommerce import tracing
from rcommerce.errors import NotFound, Unavailable
from rcommerce.resilience.breaker import Breaker

T = TypeVar("T")
Store = LocalStore | S3Store | GCSStore | AzureStore
CHUNK_BYTES = 1024 * 1024  # bytes of a download per request to the store
PART_BYTES = 8 * 1024 * 1024  # bytes of an upload per request; S3 accepts none below 5 MiB
PARTS_AT_ONCE = 3  # bytes of one upload in memory
PROBE_EVERY_S = 1.0
PROBE_KEY = "rcommerce-probe"  # need not exist: the store's answer is what counts
_REASON_LENGTH = 200


class Missing(NotFound):
    """The store has no such object."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object in a listing."""

    key: str
    size_bytes: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class Reading:
    """An object that is being read: its size, the range, and the bytes."""

    size_bytes: int
    span: range
    chunks: AsyncIterator[bytes]


class Objects:
    """A store of objects. Each method raises Unavailable if it does not answer in time."""

    def __init__(self, store: Store, name: str, timeout_s: float) -> None:
        self.name = name
        self.store = store
        self.breaker = Breaker("media")
        self._timeout_s = timeout_s

    async def put(self, key: str, file: Path | bytes, content_type: str, size_bytes: int) -> None:
        """Stores a file's bytes under a key: all of them, or nothing. Large ones are sent in
        parts."""
        is_local = isinstance(self.store, LocalStore)  # a store of bytes only
        attributes = {} if is_local else {"Content-Type": content_type}
        parts = size_bytes / PART_BYTES
        await self._ask(
            lambda: obstore.put_async(
                self.store,
                key,
                file,
                attributes=attributes,
                use_multipart=parts > 1 and not is_local,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            ),
            self._timeout_s * (1 + parts),
        )

    async def read(self, key: str, wanted: Callable[[int], range] | None = None) -> Reading:
        """Begins to read an object, with the range that `wanted` computes from its size; without
        it, all.

        The bytes are read in pieces, a request each: a slow client holds no connection to the
        store, and a lost one costs a piece. Raises Missing.
        """
        size = (await self.find(key)).size_bytes if wanted else None
        span = wanted(size) if wanted and size is not None else None
        start = span.start if span else 0
        end = min(span.stop, start + CHUNK_BYTES) if span else CHUNK_BYTES
        if span is not None and not span:
            return Reading(size or 0, span, _nothing())
        result = await self._ask(
            lambda: obstore.get_async(self.store, key, options={"range": (start, end)})
        )
        size = result.meta["size"]
        first = bytes(await self._ask(result.bytes_async))
        span = span or range(size)

        async def chunks() -> AsyncIterator[bytes]:
            yield first
            for at in range(span.start + len(first), span.stop, CHUNK_BYTES):
                yield await self._part(key, range(at, min(at + CHUNK_BYTES, span.stop)))

        return Reading(size, span, chunks())

    async def _part(self, key: str, part: range) -> bytes:
        return bytes(
            await self._ask(
                lambda: obstore.get_range_async(self.store, key, start=part.start, end=part.stop)
            )
        )

    async def find(self, key: str) -> Found:
        """An object's metadata. Raises Missing."""
        meta = await self._ask(lambda: obstore.head_async(self.store, key))
        return Found(meta["path"], meta["size"], meta["last_modified"])

    async def delete(self, key: str) -> None:
        """Deletes an object; a missing one is no error."""
        with contextlib.suppress(Missing):
            await self._ask(lambda: obstore.delete_async(self.store, key))

    async def list(self, prefix: str = "") -> AsyncIterator[list[Found]]:
        """All objects below a prefix, which ends with a slash, in pages of up to 1,000."""
        stream = obstore.list(self.store, prefix or None, chunk_size=1000)
        while True:
            try:
                page = await self._ask(lambda: anext(stream))
            except StopAsyncIteration:
                return
            yield [Found(each["path"], each["size"], each["last_modified"]) for each in page]

    @property
    def put_headers(self) -> dict[str, str]:
        """The headers that a PUT to such a URL must have."""
        return {"x-ms-blob-type": "BlockBlob"} if isinstance(self.store, AzureStore) else {}

    async def sign_put(self, key: str, expires_s: int) -> str | None:
        """A URL for a PUT of this object until it expires, with `put_headers`; None if the store
        has none."""
        store = self.store
        if isinstance(store, LocalStore):
            return None
        return await self._ask(
            lambda: obstore.sign_async(store, "PUT", key, timedelta(seconds=expires_s))
        )

    async def run(self) -> None:
        """Probes the store every second while it is in doubt, so that requests need not find
        out."""
        while True:
            await asyncio.sleep(PROBE_EVERY_S)
            if self.breaker.is_in_doubt:
                await self.probe()

    async def probe(self) -> None:
        """Probes the store with an object that need not exist."""
        self.breaker.try_again()
        try:
            await self._answer(lambda: obstore.head_async(self.store, PROBE_KEY), self._timeout_s)
        except (Missing, Unavailable):
            return

    async def _ask(self, call: Callable[[], Awaitable[T]], timeout_s: float | None = None) -> T:
        if self.breaker.is_open:
            raise self._unavailable()
        return await self._answer(call, timeout_s or self._timeout_s)

    async def _answer(self, call: Callable[[], Awaitable[T]], timeout_s: float) -> T:
        try:
            with tracing.span("object store", "CLIENT", {"rcommerce.store": self.name}):
                async with asyncio.timeout(timeout_s):
                    answer = await call()
        except (NotFoundError, FileNotFoundError) as error:
            self.breaker.succeeded()
            raise Missing("file not found") from error
        except TimeoutError as error:
            self.breaker.failed(f"no answer in {timeout_s:g} s")
            raise self._unavailable() from error
        except (BaseError, OSError) as error:
            self.breaker.failed(_reason(error))
            raise self._unavailable() from error
        self.breaker.succeeded()
        return answer

    def _unavailable(self) -> Unavailable:
        return Unavailable(
            "the store of media does not answer", code="media_unavailable", retry_after_s=5
        )


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _reason(error: Exception) -> str:
    """An error in one line: the library's are trees of several."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:_REASON_LENGTH]
