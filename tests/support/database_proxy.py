"""A proxy before Postgres that a test can shut: simulates an unavailable or silent database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

LOOPBACK = "127.0.0.1"


class Door:
    """Forwards connections to a database while it is open.

    When shut, it refuses new connections and has closed the others; when held, it accepts new ones and forwards
    nothing, as when the network between two machines is down.
    """

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._port = 0
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self._passes = asyncio.Event()
        self.knocked = asyncio.Event()
        """Set once bytes arrive while the proxy is held."""

    @property
    def url(self) -> str:
        """The database's URL through the proxy."""
        user = self._parts.netloc.rpartition("@")[0]
        return urlunsplit(self._parts._replace(netloc=f"{user}@{LOOPBACK}:{self._port}"))

    def hold(self) -> None:
        self._passes.clear()
        self.knocked.clear()

    async def open(self) -> None:
        self._passes.set()
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        writers, ways = [writer], list[asyncio.Task[None]]()
        try:
            inner_reader, inner_writer = await asyncio.open_connection(self._parts.hostname, self._parts.port)
            writers.append(inner_writer)
            ways.append(asyncio.create_task(self._pass(reader, inner_writer)))
            ways.append(asyncio.create_task(self._pass(inner_reader, writer)))
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            # The server waits for its connections to end and expects no exception from them.
            pass
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for each in writers:
                each.transport.abort()
            self._passing.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65_536):
            if not self._passes.is_set():
                self.knocked.set()
                await self._passes.wait()
            writer.write(chunk)
            await writer.drain()


@asynccontextmanager
async def door(url: str) -> AsyncIterator[Door]:
    opened = Door(url)
    await opened.open()
    try:
        yield opened
    finally:
        await opened.shut()
