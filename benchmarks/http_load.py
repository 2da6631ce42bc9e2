"""The client of the HTTP benchmark: a process of its own with little CPU use.

It reads a plan from standard input, sends prebuilt requests over persistent connections, and prints the latency of
each answer. Without a rate, each connection sends its next request after its answer (closed loop). With one, request n
is due at n / rate, even if earlier ones are late, and its latency counts from then (open loop): so an answer that
delays others is not hidden.
"""

import asyncio
import json
import time
from collections import Counter
from typing import Final, NamedTuple

from benchmarks import loader

CONNECT_TIMEOUT_S: Final = 10.0
# No answer may take longer: the rest would not be worth measuring.
ANSWER_TIMEOUT_S: Final = 30.0


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
    waiting = list(enumerate(request.encode() for request in plan.requests))
    waiting.reverse()
    statuses: Counter[int] = Counter()
    times: list[float] = []
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        opened = [await asyncio.open_connection(plan.host, plan.port) for _ in range(plan.connections)]
    began = time.perf_counter()

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while waiting:
            number, request = waiting.pop()
            due = time.perf_counter()
            if plan.rate is not None:
                early_s = began + number / plan.rate - due
                due += early_s
                if early_s > 0:
                    await asyncio.sleep(early_s)
            writer.write(request)
            statuses[await _status(reader)] += 1
            times.append(1_000 * (time.perf_counter() - due))

    async with asyncio.TaskGroup() as group:
        for reader, writer in opened:
            group.create_task(ask(reader, writer))
    seconds = time.perf_counter() - began
    for _, writer in opened:
        writer.close()
        await writer.wait_closed()
    return Seen(seconds, dict(statuses), times)


async def _status(reader: asyncio.StreamReader) -> int:
    """Read one answer to its end."""
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        head = await reader.readuntil(b"\r\n\r\n")
        _, _, behind = head.lower().partition(b"\r\ncontent-length:")
        await reader.readexactly(int(behind.partition(b"\r\n")[0] or 0))
    return int(head[9:12])


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
