"""Runs workers in this process, and waits with a limit."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

POLL_S = 0.02
LIMIT_S = 15.0
# The time limit of a worker's stop, as in the design (s).
STOP_LIMIT_S = 20.0

Main = Callable[[Any, asyncio.Event], Awaitable[None]]


async def until(condition: Callable[[], Awaitable[bool]], what: str, timeout_s: float = 2 * LIMIT_S) -> None:
    """Wait until the condition holds; the timeout fails the test."""
    deadline = time.monotonic() + timeout_s
    while not await condition():
        assert time.monotonic() < deadline, f"no {what} within {timeout_s} s"
        await asyncio.sleep(POLL_S)


async def soon(event: asyncio.Event) -> None:
    """Wait for an event; the timeout fails the test."""
    async with asyncio.timeout(LIMIT_S):
        await event.wait()


@asynccontextmanager
async def running(main: Main, settings: object) -> AsyncIterator[asyncio.Event]:
    """Run a worker during the block. An error that it raises fails the test, and so does a slow stop."""
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
    """Run a task during the block. A task that outlives it fails the test."""
    before = asyncio.all_tasks()
    yield

    async def none_left() -> bool:
        return {task for task in asyncio.all_tasks() if not _is_left_by_faust(task)} <= before | {
            asyncio.current_task()
        }

    await until(none_left, "end of all tasks", 5)


def _is_left_by_faust(task: asyncio.Task[Any]) -> bool:
    """Whether it is a wait in mode, Faust's base, which an app that is stopped soon after its start leaves behind."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and code.co_filename.endswith("mode/utils/locks.py")
