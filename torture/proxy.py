"""A TCP proxy on loopback that simulates a bad network on demand."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

LOOPBACK: Final = "127.0.0.1"
_PIECE_BYTES: Final = 64 * 1024


@dataclass
class Weather:
    """The state of the network. Delayed bytes are forwarded when it ends, as TCP would retransmit them."""

    to_server: bool = True
    to_client: bool = True
    """Whether bytes pass in this direction."""
    delay_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float | None = None
    lose_answer_to: bytes | None = None
    """Once a client has sent this, the server's answer to it is dropped and the connection reset."""


class Proxy:
    """Proxies connections to one server, whose address may change during the run."""

    def __init__(self, target: tuple[str, int], chance: random.Random | None = None) -> None:
        self.target = target
        self.weather = Weather()
        self.answers_lost = 0
        self.port = 0
        self._chance = chance or random.Random()
        self._changed = asyncio.Event()
        self._connections: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self._forgotten: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._connected, LOOPBACK, self.port, limit=_PIECE_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Stop listening, and reset all connections."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.reset()

    async def close(self) -> None:
        """Refuse connections, and wait until none is left."""
        await self.refuse()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def reset(self) -> int:
        """Reset all connections on both sides, and return their number."""
        for task, writers in self._connections.items():
            for writer in writers:
                _reset(writer)
            task.cancel()
        return len(self._connections)

    def forget(self) -> None:
        """Restore the network for new connections; existing ones stay blocked."""
        self._forgotten |= self._connections.keys()
        self.becomes(Weather())

    def becomes(self, weather: Weather) -> None:
        """Change the state of the network, also for delayed bytes."""
        self.weather = weather
        self._changed.set()
        self._changed = asyncio.Event()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        writers = self._connections[task] = [writer]
        try:
            upstream, down = await asyncio.open_connection(*self.target, limit=_PIECE_BYTES)
            writers.append(down)
            link = _Link(self, self._chance, task)
            async with asyncio.TaskGroup() as group:
                group.create_task(link.carry(reader, down, to_server=True))
                group.create_task(link.carry(upstream, writer, to_server=False))
        except (OSError, asyncio.CancelledError, ExceptionGroup):
            # Either side was reset, or this proxy ends: no peer is left to report it to.
            for each in writers:
                _reset(each)
        finally:
            for each in writers:
                each.close()
            del self._connections[task]
            self._forgotten.discard(task)

    async def passes(self, connection: asyncio.Task[None], *, to_server: bool) -> None:
        """Wait until bytes of this connection pass in this direction."""
        while connection in self._forgotten or not (self.weather.to_server if to_server else self.weather.to_client):
            await self._changed.wait()


class _Link:
    """Both directions of one connection."""

    def __init__(self, proxy: Proxy, chance: random.Random, connection: asyncio.Task[None]) -> None:
        self._proxy = proxy
        self._chance = chance
        self._connection = connection
        self._loses_answer = False

    async def carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, to_server: bool) -> None:
        while piece := await source.read(_PIECE_BYTES):
            await self._travel(len(piece))
            await self._proxy.passes(self._connection, to_server=to_server)
            lost = self._proxy.weather.lose_answer_to
            if to_server and lost is not None and lost in piece:
                self._loses_answer = True
            elif not to_server and self._loses_answer:
                self._proxy.answers_lost += 1
                raise ConnectionResetError
            sink.write(piece)
            await sink.drain()
        with suppress(OSError, RuntimeError):
            sink.write_eof()

    async def _travel(self, count: int) -> None:
        weather = self._proxy.weather
        pause_s = weather.delay_s + self._chance.uniform(0, weather.jitter_s)
        if weather.bytes_per_s is not None:
            pause_s += count / weather.bytes_per_s
        if pause_s > 0:
            await asyncio.sleep(pause_s)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of an orderly end, and discard unsent bytes."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def proxied(host: str, port: int, chance: random.Random | None = None) -> AsyncIterator[Proxy]:
    """Run a proxy to this server during the block."""
    proxy = Proxy((host, port), chance)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.close()
