"""Joins what is written within one turn of the event loop into one write."""

import asyncio
from typing import Any, Final

# More than this is written at once, so that the transport can pause its writer.
JOINED_BYTES_MAX: Final = 64 * 1024


class JoinedWrites:
    """A transport whose writes wait for `flush`, at most until the event loop's next turn.

    A response's head and body would otherwise be two system calls and two packets, and wake the client twice.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []
        self._bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, later."""
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append(data)
        self._bytes += len(data)
        if self._bytes > JOINED_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if not self._waiting:
            return
        data, self._bytes = b"".join(self._waiting), 0
        self._waiting.clear()
        if not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Write what waits, and close the transport."""
        self.flush()
        self._transport.close()
