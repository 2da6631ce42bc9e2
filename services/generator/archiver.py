"""Lets old answers leave the database, in the background and with pauses, one generator at a time."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Final

import asyncpg
import structlog
from prometheus_client import Counter, Gauge

from codewell.archiving import filters, horizon, leaving
from codewell.archiving.archive_folder import ArchiveFolder, FolderUnavailable
from codewell.archiving.horizon import Limits
from codewell.archiving.leaving import LeavingBlock
from codewell.errors import CodewellError
from codewell.infra.postgres.advisory_lock import try_lock
from codewell.infra.postgres.connection import UNAVAILABLE_ERRORS, Connection, Pool
from codewell.infra.telemetry.health import Health
from services.generator.looks import looks
from services.generator.settings import GeneratorSettings

log = structlog.get_logger()

INTERVAL_S: Final = 600.0
# How long after a vacuum new answers may be slower, as they change the filters that it made.
_FILTERS_INTERVAL_S: Final = 5.0
# Unique among all advisory locks.
LOCK: Final = (0x636F6465, 49)
_FILTERS_LOCK: Final = (0x636F6465, 50)
_ARCHIVER: Final = "old answers"
_FILTERS: Final = "filters of freed pages"
# How long it rests after a batch, as a share of what the batch took.
_REST: Final = 1.0

LEFT: Final = Counter("codewell_archived_answers", "Answers that have left the database.", ["kind"])
for _kind in ("code", "refusal"):
    LEFT.labels(_kind)
WAITING: Final = Gauge(
    "codewell_archive_waiting",
    "Whether old answers stay although they may leave: 1 for the reason that is so.",
    ["why"],
)
_REASONS: Final = ("earlier_workers", "folder", "database")
for _reason in _REASONS:
    WAITING.labels(_reason)


class Archiver:
    """Runs in each generator; an advisory lock lets one of them work."""

    def __init__(self, pool: Pool, settings: GeneratorSettings, health: Health, stop: asyncio.Event) -> None:
        self._pool = pool
        self._retention_days = settings.retention_days
        self._replay_days = settings.replay_days
        self._folder = None if settings.archive_dir is None else ArchiveFolder(settings.archive_dir)
        self._health = health
        self._stop = stop

    async def run(self, interval_s: float = INTERVAL_S) -> None:
        """Work until the process stops, if there is a retention. Raises nothing: the next look does what failed."""
        if self._retention_days is None:
            return
        async for _ in looks(self._health, _ARCHIVER, self._stop, interval_s):
            try:
                await self.look(self._retention_days)
            except FolderUnavailable as error:
                self._wait("folder")
                log.warning("archive_not_written", why=str(error))
            except (*UNAVAILABLE_ERRORS, asyncpg.PostgresError, CodewellError) as error:
                self._wait("database")
                log.warning("answers_not_archived", why=type(error).__name__)
            except Exception:
                log.exception("archiver_broke")

    async def drop_filters(self) -> None:
        """Keep freed pages free of filters until the process stops, also once there is no retention. Raises nothing."""
        async for _ in looks(self._health, _FILTERS, self._stop, _FILTERS_INTERVAL_S):
            with contextlib.suppress(*UNAVAILABLE_ERRORS, asyncpg.PostgresError):
                async with self._pool.acquire() as connection:
                    if not await filters.any_freed(connection):
                        continue
                    async with try_lock(connection, _FILTERS_LOCK) as is_held:
                        if is_held:
                            await filters.drop(connection)

    async def look(self, retention_days: int) -> None:
        """Let all leave that may. Raises StackUnavailable, also of the folder, and what asyncpg raises."""
        async with self._pool.acquire() as connection, try_lock(connection, LOCK) as is_held:
            if not is_held:
                # Another one works, and says what it waits for.
                self._wait(None)
                return
            count = await horizon.earlier_workers(connection)
            self._wait("earlier_workers" if count else None)
            if count:
                log.warning("archive_waits_for_workers", earlier=count)
                return
            limits = await horizon.move(connection, retention_days, self._replay_days)
            async for block in self._blocks(connection, limits):
                await self._empty(connection, block, limits)
            await self._sweep(connection, limits)

    async def _blocks(self, connection: Connection, limits: Limits) -> AsyncIterator[LeavingBlock]:
        """The blocks whose answers may leave now."""
        after = 0
        while not self._stop.is_set() and (found := await leaving.blocks(connection, after, limits)):
            for block in found:
                after = block.id
                self._health.heartbeat(_ARCHIVER)
                with contextlib.suppress(asyncpg.LockNotAvailableError):
                    begun = await leaving.begin(connection, block, limits)
                    if begun is not None:
                        yield begun

    async def _empty(self, connection: Connection, block: LeavingBlock, limits: Limits) -> None:
        while not self._stop.is_set() and (block.archived_until or 0) < block.size:
            self._health.heartbeat(_ARCHIVER)
            began = time.monotonic()
            try:
                block, count = await leaving.remove(connection, block, limits, self._folder)
            except asyncpg.LockNotAvailableError:
                # A profile is being forgotten, or a code changed: the next look goes on.
                return
            LEFT.labels("code").inc(count)
            await self._rest(began)

    async def _sweep(self, connection: Connection, limits: Limits) -> None:
        while not self._stop.is_set() and limits.swept < limits.oldest:
            self._health.heartbeat(_ARCHIVER)
            began = time.monotonic()
            limits, count = await leaving.remove_refusals(connection, limits, self._folder)
            LEFT.labels("refusal").inc(count)
            await self._rest(began)

    async def _rest(self, began: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), _REST * (time.monotonic() - began))

    def _wait(self, why: str | None) -> None:
        for reason in _REASONS:
            WAITING.labels(reason).set(reason == why)
