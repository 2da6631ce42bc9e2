"""Lets one child process at a time read a workbook in a console."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from services.console.http.problems import try_later

_RETRY_AFTER_S: Final = 10

T = TypeVar("T")


class WorkbookSlot:
    """The right to run the one child process that may take half a gigabyte."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Wait until no other workbook is read, and hold the slot."""
        async with self._lock:
            yield

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread at once. Raises HTTPException (503) while another workbook is read."""
        if self._lock.locked():
            raise try_later(
                "workbooks_busy", "Another workbook is being read on this console: try again later.", _RETRY_AFTER_S
            )
        async with self._lock:
            running = asyncio.ensure_future(asyncio.to_thread(work))
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                # The client left; its child still runs, and keeps the slot.
                await asyncio.wait([running])
                raise
