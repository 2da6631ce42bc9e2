"""A remote service on this machine with the behaviour that a test sets."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

LOOPBACK = "127.0.0.1"


class Asked(NamedTuple):
    """One received request."""

    headers: dict[str, str]
    body: bytes

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def key(self) -> str:
        return self.headers["idempotency-key"]


class Reply(NamedTuple):
    """The response: its parts, with a pause between two (s)."""

    pieces: tuple[bytes, ...]
    pause_s: float = 0.0


Answering = Callable[[Asked, "RemoteServer"], Awaitable[Reply]]


def reply(data: object, status: int = 200, **headers: str) -> Reply:
    """A complete response; `data` that is bytes already is sent unchanged."""
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    lines = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return Reply((f"HTTP/1.1 {status} Because\r\n{head}\r\n".encode() + body,))


def dripping(data: object, pause_s: float) -> Reply:
    """The same response, byte by byte."""
    [whole] = reply(data).pieces
    return Reply(tuple(bytes([one]) for one in whole), pause_s)


def answer(asked: Asked, codes: list[Any], **changed: Any) -> dict[str, Any]:
    """A valid answer with the given changes; codes are texts or whole objects."""
    return {
        "version": 1,
        "request_id": asked.data["request_id"],
        "codes": [{"code": one} if isinstance(one, str) else one for one in codes],
        **changed,
    }


class RemoteServer:
    """Listens, records its requests, and responds as `answering` decides."""

    def __init__(self, answering: Answering) -> None:
        self.answering = answering
        self.asked: list[Asked] = []
        self.connections = 0
        self.out = 0
        """The number of received requests that are unanswered."""
        self.out_max = 0
        self.url = ""
        self._given: dict[str, list[str]] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until a response closes it."""
        self.connections += 1
        try:
            while await self._serve_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; returns whether another may follow."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        pairs = (line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        headers = {name.lower(): value for name, value in pairs}
        asked = Asked(headers, await reader.readexactly(int(headers["content-length"])))
        self.asked.append(asked)
        self.out += 1
        self.out_max = max(self.out, self.out_max)
        try:
            said = await self.answering(asked, self)
        finally:
            self.out -= 1
        for piece in said.pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(said.pause_s)
        return b"connection: keep-alive" in said.pieces[0]

    @property
    def given(self) -> list[str]:
        """All codes that it created, each once."""
        return [code for codes in self._given.values() for code in codes]

    def given_for(self, key: str) -> list[str]:
        """The codes that answer this key."""
        return self._given[key]

    def new_codes(self, asked: Asked, count: int | None = None) -> list[str]:
        """New codes for a new key, and the same codes for the same key."""
        count = asked.data["count"] if count is None else count
        key = asked.key
        return self._given.setdefault(key, [f"{asked.data['program']}-{key}-{number}" for number in range(count)])


@asynccontextmanager
async def remote_server(answering: Answering, tls: ssl.SSLContext | None = None) -> AsyncIterator[RemoteServer]:
    """A server that listens during the block, and waits for no connection at its end."""
    remote = RemoteServer(answering)
    serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(remote.serve(reader, writer))
        serving[task] = writer
        task.add_done_callback(serving.pop)

    server = await asyncio.start_server(accept, LOOPBACK, 0, ssl=tls)
    remote.url = f"{'http' if tls is None else 'https'}://{LOOPBACK}:{server.sockets[0].getsockname()[1]}/codes"
    try:
        yield remote
    finally:
        server.close()
        left = dict(serving)
        for task, writer in left.items():
            # A task that has not started closes nothing when it is cancelled.
            task.cancel()
            writer.close()
        await asyncio.gather(*left, return_exceptions=True)
