"""Verifies the audit log's hash chain for requests: step by step, once for all of them, at most once a minute."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Final, NamedTuple

import structlog

from codewell.audit import audit_log
from codewell.audit.audit_log import ChainHead, ChainVerdict
from codewell.infra.postgres.connection import Pool

log = structlog.get_logger()

INTERVAL_S: Final = 60.0
# How long a request waits for the verification that it started or found running.
WAIT_S: Final = 2.0


class Verification(NamedTuple):
    """How far the chain is verified; `ended_at` is None while that is not all of it yet."""

    verdict: ChainVerdict
    ended_at: datetime | None


class ChainVerifier:
    """The verification of one console. Between two entries of the log it lets other work go on."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._state = Verification(ChainVerdict(0, ChainHead(0, ""), None), None)
        self._anchor: ChainHead | None = None
        """The head that this console has verified before, which the log must still contain."""
        self._task: asyncio.Task[None] | None = None
        self._began_s = 0.0

    async def state(self) -> Verification:
        """How far the log is verified. Starts a verification if none was in the last minute, and waits for it briefly.

        Raises what asyncpg raises.
        """
        now_s = time.monotonic()
        task = self._task
        if task is None or (task.done() and (task.exception() or now_s - self._began_s >= INTERVAL_S)):
            self._began_s = now_s
            task = self._task = asyncio.create_task(self._verify())
        # Others wait for the same task, and may start the next one meanwhile.
        await asyncio.wait((task,), timeout=WAIT_S)
        if task.done():
            task.result()
        return self._state

    async def _verify(self) -> None:
        verdict = ChainVerdict(0, ChainHead(0, ""), None)
        while verdict.wrong is None:
            # A connection for each step: a long log keeps none from other requests.
            async with self._pool.acquire() as connection:
                step = await audit_log.verify_step(connection, verdict.head, self._anchor)
                if step is None:
                    verdict = await audit_log.verify_end(connection, verdict, self._anchor)
                    break
            verdict = step
            if self._state.ended_at is None:
                self._state = Verification(verdict, None)
        self._state = Verification(verdict, datetime.now(UTC))
        if verdict.wrong is None:
            self._anchor = verdict.head
        else:
            log.error("audit_log_broken", place=verdict.head.place)
