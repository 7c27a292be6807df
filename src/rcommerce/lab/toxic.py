"""A TCP proxy that can be made to fail: slow, silent, closed, or broken (after Shopify's
Toxiproxy)."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Self

from rcommerce.ports import free_port

PIECE_BYTES = 64 * 1024


class Toxic:
    """A proxy for a server on a port of the loopback address. `delay_s` delays each piece of a
    response; `hush` drops responses; `cut` and `refuse` end connections."""

    def __init__(self, upstream: int) -> None:
        self.port = free_port()
        self.delay_s = 0.0
        self.connections = 0  # made through it in all
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._speaking = asyncio.Event()
        self._speaking.set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """Where it listens: host:port."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def accept(self) -> None:
        """Accepts connections again."""
        self._do(self._listen())

    def refuse(self) -> None:
        """Refuses connections, and cuts existing ones."""
        self._do(self._close())
        self.cut()

    def cut(self) -> None:
        """Cuts every connection."""
        self._do(self._cut())

    def heal(self) -> None:
        """Passes everything on."""
        self.delay_s = 0.0
        self._loop.call_soon_threadsafe(self._speaking.set)

    def hush(self) -> None:
        """Drops responses, and keeps connections open."""
        self._loop.call_soon_threadsafe(self._speaking.clear)

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _cut(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            writer.close()
            return
        pumps = [
            self._loop.create_task(self._pump(reader, forth, is_answer=False)),
            self._loop.create_task(self._pump(back, writer, is_answer=True)),
        ]
        self._tasks.update(pumps)
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for each in pumps:
            each.cancel()
            self._tasks.discard(each)
        for end in (writer, forth):
            end.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        try:
            while piece := await reader.read(PIECE_BYTES):
                if is_answer and self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if is_answer:
                    await self._speaking.wait()
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            return
