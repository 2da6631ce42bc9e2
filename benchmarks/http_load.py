"""The client of the HTTP benchmark: a process of its own with little CPU use.

It reads a plan from standard input, sends prebuilt requests over persistent connections, and prints the latency of
each answer. Without a rate, each connection sends its next request after its answer (closed loop). With one, request n
is due at n / rate, even if earlier ones are late, and its latency counts from then (open loop): so an answer that
delays others is not hidden.
"""

import asyncio
import json
import time
from collections import Counter, deque
from typing import Final, NamedTuple, cast

from benchmarks import loader

CONNECT_TIMEOUT_S: Final = 10.0
# No answer may take longer: the rest would not be worth measuring.
ANSWER_TIMEOUT_S: Final = 30.0
_WATCH_S: Final = 1.0
_HEAD_END: Final = b"\r\n\r\n"


class Plan(NamedTuple):
    """The load: complete requests as bytes for the wire, in this order."""

    host: str
    port: int
    connections: int
    requests: list[str]
    rate: float | None
    """Requests a second; None sends as fast as answers arrive."""


class Seen(NamedTuple):
    """The observed answers."""

    seconds: float
    statuses: dict[int, int]
    """Number of answers by status."""
    times_ms: list[float]
    """Latencies in no order (ms)."""


async def load(plan: Plan) -> Seen:
    """Send all requests. Raises OSError when a connection can't be made or breaks, and TimeoutError."""
    loop = asyncio.get_running_loop()
    run = _Run(plan, loop)
    opened: list[_Connection] = []
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            while len(opened) < plan.connections:
                _, connection = await loop.create_connection(lambda: _Connection(run), plan.host, plan.port)
                opened.append(connection)
        seconds = await run.send_all(opened)
    finally:
        for connection in opened:
            await connection.close()
    return Seen(seconds, dict(run.statuses), run.times_ms)


class _Run:
    """Gives the requests to idle connections when they are due, and keeps what comes back."""

    def __init__(self, plan: Plan, loop: asyncio.AbstractEventLoop) -> None:
        self.statuses: Counter[int] = Counter()
        self.times_ms: list[float] = []
        self._requests = [request.encode() for request in plan.requests]
        self._rate = plan.rate
        self._sent = 0
        self._began = 0.0
        self._idle: deque[_Connection] = deque()
        self._is_scheduled = False
        self._loop = loop
        self._end: asyncio.Future[None] = loop.create_future()

    async def send_all(self, connections: "list[_Connection]") -> float:
        """Send all requests over these connections, wait for the answers, and return how long it took (s)."""
        self._idle.extend(connections)
        self._began = time.perf_counter()
        if self._requests:
            self._send_due()
            while not self._end.done():
                await asyncio.wait((self._end,), timeout=_WATCH_S)
                if any(one.has_waited(ANSWER_TIMEOUT_S) for one in connections):
                    raise TimeoutError
        else:
            self._end.set_result(None)
        self._end.result()
        return time.perf_counter() - self._began

    def take(self, connection: "_Connection", status: int, ms: float) -> None:
        """Count an answer, and use its connection for the next request."""
        self.statuses[status] += 1
        self.times_ms.append(ms)
        self._idle.append(connection)
        if len(self.times_ms) < len(self._requests):
            self._send_due()
        elif not self._end.done():
            self._end.set_result(None)

    def break_off(self, error: Exception) -> None:
        """End the run with an error, unless it has ended."""
        if not self._end.done():
            self._end.set_exception(error)

    def _send_due(self) -> None:
        while self._idle and self._sent < len(self._requests):
            now = time.perf_counter()
            due = now if self._rate is None else self._began + self._sent / self._rate
            if due > now:
                if not self._is_scheduled:
                    self._is_scheduled = True
                    self._loop.call_later(due - now, self._on_due)
                return
            self._idle.popleft().send(self._requests[self._sent], due)
            self._sent += 1

    def _on_due(self) -> None:
        self._is_scheduled = False
        self._send_due()


class _Connection(asyncio.Protocol):
    """One request at a time. Cheaper than asyncio's streams: the client shares its processors with the server."""

    def __init__(self, run: _Run) -> None:
        self.transport: asyncio.Transport
        self._run = run
        self._is_closing = False
        self._closed: Final = asyncio.Event()
        self._received = b""
        self._due: float | None = None
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()
        if not self._is_closing:
            self._run.break_off(ConnectionResetError(f"The server closed a connection: {exc or 'no error'}."))

    async def close(self) -> None:
        """Close the connection, and wait until it is closed."""
        self._is_closing = True
        self.transport.close()
        await self._closed.wait()

    def send(self, request: bytes, due: float) -> None:
        """Send a request whose latency counts from `due`."""
        self._due = due
        self._sent_at = time.perf_counter()
        self.transport.write(request)

    def has_waited(self, seconds: float) -> bool:
        """Whether an answer has not come for so long."""
        return self._due is not None and time.perf_counter() - self._sent_at > seconds

    def data_received(self, data: bytes) -> None:
        """Give the run the answer that ends with these bytes, if one does."""
        self._received = received = self._received + data if self._received else data
        head_end = received.find(_HEAD_END)
        if head_end < 0:
            return
        _, _, behind = received[:head_end].lower().partition(b"\r\ncontent-length:")
        body_bytes = int(behind.partition(b"\r\n")[0] or 0)
        if len(received) < head_end + len(_HEAD_END) + body_bytes:
            return
        if self._due is None or len(received) > head_end + len(_HEAD_END) + body_bytes:
            self._run.break_off(ConnectionError("The server sent more than it was asked for."))
            return
        ms = 1_000 * (time.perf_counter() - self._due)
        self._received, self._due = b"", None
        self._run.take(self, int(received[9:12]), ms)


def request(method: str, path: str, token: str, body: object = None, key: str | None = None) -> str:
    """One request as bytes for the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: console", f"Authorization: Bearer {token}"]
    data = "" if body is None else json.dumps(body)
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(data.encode())}"]
    if key is not None:
        lines.append(f"Idempotency-Key: {key}")
    return "\r\n".join([*lines, "", data])


if __name__ == "__main__":
    loader.run(lambda given: load(Plan(*given)))
