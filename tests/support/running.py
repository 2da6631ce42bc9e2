"""Workers that run in this process, and waits with a limit."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

POLL_S = 0.02
LIMIT_S = 15.0
# What a worker may take to stop, as the design has it (s).
STOP_LIMIT_S = 20.0

Main = Callable[[Any, asyncio.Event], Awaitable[None]]


async def until(condition: Callable[[], Awaitable[bool]], what: str, timeout_s: float = LIMIT_S) -> None:
    """Wait until the condition holds; it failing to in time fails the test."""
    deadline = time.monotonic() + timeout_s
    while not await condition():
        assert time.monotonic() < deadline, f"no {what} within {timeout_s} s"
        await asyncio.sleep(POLL_S)


async def soon(event: asyncio.Event) -> None:
    """Wait for an event; it not coming in time fails the test."""
    async with asyncio.timeout(LIMIT_S):
        await event.wait()


@asynccontextmanager
async def running(main: Main, settings: object) -> AsyncIterator[asyncio.Event]:
    """Run a worker while the block runs. What it raises fails the test, and so does a stop that takes too long."""
    stop = asyncio.Event()
    task = asyncio.ensure_future(main(settings, stop))
    try:
        yield stop
    finally:
        stop.set()
        async with asyncio.timeout(STOP_LIMIT_S):
            await task


@asynccontextmanager
async def no_task_left() -> AsyncIterator[None]:
    """A task that outlives the block fails the test."""
    before = asyncio.all_tasks()
    yield

    async def none_left() -> bool:
        return asyncio.all_tasks() <= before | {asyncio.current_task()}

    await until(none_left, "end of all tasks", 5)
