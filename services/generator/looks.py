"""The rhythm of works that look for what is due."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from codewell.infra.telemetry.health import Health


async def looks(health: Health, work: str, stop: asyncio.Event, interval_s: float) -> AsyncIterator[None]:
    """Yield for each look of a work, at once and then `interval_s` (s) after the last one, until `stop` is set.

    The work has a heartbeat at the beginning of each look, and is idle between looks.
    """
    while not stop.is_set():
        health.heartbeat(work)
        yield
        health.set_idle(work)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), interval_s)
