"""Streamed files, which are sent only while the reader may still read them.

The server breaks the connection of a client that takes nothing (`SEND_TIMEOUT_S` in codewell.infra.http.limits).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Final

import structlog
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from codewell.files.csv_writer import MEDIA_TYPE

log = structlog.get_logger()

# Bytes of one ASGI message; smaller ones cost more overhead.
_CHUNK_BYTES: Final = 64 * 1024
# Time limit of a whole file: a client that takes it in trickles keeps a slot.
TIMEOUT_S: Final = 3_600
# How long a stream goes on before its reader is checked again.
CHECK_INTERVAL_S: Final = 1.0

Write = Callable[[bytes], Awaitable[None]]


class StreamEnded(Exception):
    """The reader may not read the rest: the token was revoked or expired, the session ended, or access was lost."""


class Download(Response):
    """Streams a CSV file. An error before its first chunk becomes a problem response.

    `work` writes the file within `slot`; `is_allowed` says whether the reader may still read it.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        file_name: str,
        slot: AbstractContextManager[None],
        work: Callable[[Write], Awaitable[object]],
        is_allowed: Callable[[], Awaitable[bool]],
    ) -> None:
        super().__init__(headers={"Content-Disposition": f'attachment; filename="{file_name}"'})
        del self.headers["content-length"]
        self._slot = slot
        self._work = work
        self._is_allowed = is_allowed

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Stream the file. Raises its errors, so that the connection breaks before the end of the file."""
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(_wait_for_disconnect(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            sending.cancel()
            await asyncio.wait((sending, leaving))
        if sending.cancelled():
            log.info("download_left")
        else:
            sending.result()

    async def _send(self, send: Send) -> None:
        waiting = bytearray()
        began = False
        checked_at = time.monotonic()

        async def send_chunk(chunk: bytes, more: bool) -> None:
            nonlocal began, checked_at
            if time.monotonic() - checked_at >= CHECK_INTERVAL_S:
                if not await self._is_allowed():
                    log.info("download_ended", why="the token or session is no longer valid for it")
                    raise StreamEnded
                checked_at = time.monotonic()
            if not began:
                began = True
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": chunk, "more_body": more})

        async def write(some: bytes) -> None:
            waiting.extend(some)
            while len(waiting) >= _CHUNK_BYTES:
                chunk = bytes(waiting[:_CHUNK_BYTES])
                del waiting[:_CHUNK_BYTES]
                await send_chunk(chunk, more=True)

        with self._slot:
            async with asyncio.timeout(TIMEOUT_S):
                await self._work(write)
                await send_chunk(bytes(waiting), more=False)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
