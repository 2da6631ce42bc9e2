"""The start and stop contract of a process: run until a stop signal; repeated signals have no further effect."""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from typing import Any, Final, TypeVar

import structlog

from codewell.errors import CodewellError

T = TypeVar("T")

log = structlog.get_logger()

_BACKOFF_FIRST_S: Final = 0.1
_BACKOFF_MAX_S: Final = 5.0
CANCEL_TIMEOUT_S: Final = 2.0


def run(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]], *, is_worker: bool = False) -> None:
    """Run `main` on an event loop until it returns. SIGINT and SIGTERM set the event that it receives.

    A worker logs that it stops, and that it has stopped.

    Raises the first CodewellError of an exception group by itself: users need one sentence.
    """
    import uvloop

    async def with_signals() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        began = time.monotonic()

        def stop_for(number: signal.Signals) -> None:
            if is_worker and not stop.is_set():
                log.info("stopping", signal=number.name)
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop_for, number)
        await main(stop)
        if is_worker:
            log.info("stopped", ran_s=round(time.monotonic() - began, 1))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(with_signals())
        except BaseExceptionGroup as group:
            refused: BaseException | None = group.subgroup(CodewellError)
            if refused is None:
                raise
            while isinstance(refused, BaseExceptionGroup):
                refused = refused.exceptions[0]
            raise refused from group


async def run_until_stopped(stop: asyncio.Event, work: Awaitable[None], grace_s: float = 0.0) -> None:
    """Wait for `work`. Once `stop` is set, it has `grace_s` (s) to end, then it is cancelled.

    Raises what `work` raises.
    """
    task = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((task,), timeout=grace_s)
    finally:
        stopped.cancel()
        task.cancel()
        # A call to a server that does not answer may ignore even its cancellation.
        await asyncio.wait((task, stopped), timeout=CANCEL_TIMEOUT_S)
    if task.done() and not task.cancelled():
        task.result()


async def unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`; None if `stop` is set before it ends, which cancels it and waits for its end.

    Raises what `work` raises.
    """
    task = asyncio.create_task(work)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
    finally:
        is_done = task.done()
        for one in (task, stopped):
            one.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)
    return task.result() if is_done else None


async def end_tasks(tasks: Collection[asyncio.Task[None]], grace_s: float) -> None:
    """Let these tasks end for `grace_s` (s), then cancel those that are left. Raises nothing of theirs."""
    if not tasks:
        return
    await asyncio.wait(tasks, timeout=grace_s)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=CANCEL_TIMEOUT_S)


async def backoff_delays(stop: asyncio.Event) -> AsyncIterator[float]:
    """Yield at once, then after growing delays with jitter (s), until `stop` is set."""
    pause_s = _BACKOFF_FIRST_S
    yield 0.0
    while not stop.is_set():
        jittered_s = pause_s * random.uniform(0.5, 1.5)  # noqa: S311  jitter, not security
        try:
            await asyncio.wait_for(stop.wait(), jittered_s)
        except TimeoutError:
            yield jittered_s
        pause_s = min(pause_s * 2, _BACKOFF_MAX_S)
