"""Asks the database and Kafka once a second for all open pages together, and not at all while no page is open."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from codewell.access import sessions
from codewell.errors import StackUnavailable
from codewell.forecast.reading import levels_expected
from codewell.infra.postgres.connection import Connection, Pool, outage_reason
from codewell.pool import level_history
from codewell.programs import overview
from codewell.usage import figures
from codewell.usage.today import today
from schemas.overview import ExpectedLevel, ProgramOverview, ProgramStock, StockLevel
from schemas.usage import Lags, ProgramUsage, UsageSummary, Worker
from services.console.background.lag_reader import LagReader

log = structlog.get_logger()

INTERVAL_S: Final = 1.0
# How long a stream may go on after its session has ended.
SESSIONS_INTERVAL_S: Final = 5.0
# What is counted by minute is read less often.
PAST_INTERVAL: Final = timedelta(seconds=10)
# A page lists fifty programs.
PROGRAMS_MAX: Final = 100


@dataclass(frozen=True)
class Wanted:
    """What one page shows that changes by itself."""

    system: bool = False
    """Workers and lag."""
    programs: Sequence[str] = ()
    """Their short names."""
    stock: bool = False
    """The codes of the programs by state too."""


# Compared by identity: one reading is shown to many.
@dataclass(frozen=True, eq=False)
class Past:
    """A program's last hour by minute and the levels of its pool, as they were at `at`, with `pooled` codes in it.

    `expected`: the levels of the hours after it.
    """

    at: datetime
    usage: ProgramUsage
    levels: Sequence[StockLevel]
    expected: Sequence[ExpectedLevel]
    pooled: int


@dataclass(frozen=True)
class Sample:
    """The figures of one moment, for all open pages. Where a source fails, its last figures stay, with its error."""

    at: datetime
    """When the database answered last."""
    workers: Sequence[Worker] = ()
    lags: Lags | None = None
    kafka_error: str = ""
    postgres_error: str = ""
    programs: Mapping[str, ProgramOverview] = field(default_factory=dict)
    stocks: Mapping[int, ProgramStock] = field(default_factory=dict)
    usage: Mapping[str, UsageSummary] = field(default_factory=dict)
    past: Mapping[int, Past] = field(default_factory=dict)


class Watcher:
    """An open page."""

    def __init__(self, wanted: Wanted, session_id: int, sampler: "Sampler") -> None:
        self.wanted = wanted
        self.session_id = session_id
        self.is_signed_in = True
        """Becomes False when the session ends."""
        self._sampler = sampler

    async def next(self) -> Sample:
        """Wait for the next sample."""
        return await self._sampler.next()


class Sampler:
    """Reads for all watchers. Raises nothing to them."""

    def __init__(self, pool: Pool, lag: LagReader) -> None:
        self._pool = pool
        self._lag = lag
        self._watchers: set[Watcher] = set()
        self._sample = Sample(datetime.now(UTC))
        self._came = asyncio.Event()
        self._sampling: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[Lags] | None = None
        self._sessions_at = 0.0

    @property
    def watchers(self) -> int:
        """How many pages are open."""
        return len(self._watchers)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is asked."""
        return self._sampling is None or self._sampling.done()

    @contextmanager
    def watch(self, wanted: Wanted, session_id: int) -> Iterator[Watcher]:
        """Sample for a page while the block runs."""
        watcher = Watcher(wanted, session_id, self)
        self._watchers.add(watcher)
        if self.is_idle:
            self._sampling = asyncio.create_task(self._run())
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    async def next(self) -> Sample:
        """Wait for the next sample."""
        await self._came.wait()
        return self._sample

    async def _run(self) -> None:
        while self._watchers:
            began = time.monotonic()
            self._ask_kafka()
            await self._read()
            came, self._came = self._came, asyncio.Event()
            came.set()
            await asyncio.sleep(max(0.0, began + INTERVAL_S - time.monotonic()))
            if not self._watchers and self._asking is not None:
                self._asking.cancel()
                # Takes its time, as it closes connections to Kafka: a page may open meanwhile.
                await asyncio.gather(self._asking, return_exceptions=True)
                self._asking = None

    async def _read(self) -> None:
        try:
            async with self._pool.acquire() as connection:
                self._sample = await self._read_database(connection)
        except Exception as error:  # noqa: BLE001  pages keep their last figures, with their age
            if not self._sample.postgres_error:
                log.warning("live_figures_not_read", why=outage_reason(error))
            self._sample = replace(self._sample, postgres_error=type(error).__name__)

    async def _read_database(self, connection: Connection) -> Sample:
        if time.monotonic() - self._sessions_at >= SESSIONS_INTERVAL_S:
            self._sessions_at = time.monotonic()
            live = await sessions.in_force(connection, {one.session_id for one in self._watchers})
            for one in self._watchers:
                one.is_signed_in = one.session_id in live
        system = any(one.wanted.system for one in self._watchers)
        names = sorted({name for one in self._watchers for name in one.wanted.programs})
        shown = await overview.of_names(connection, names) if names else []
        ids = {one.program.name: one.program.id for one in shown}
        usage = await figures.summaries(connection, [(ids[name], name) for name in ids], today()) if ids else []
        stocks = {name for one in self._watchers if one.wanted.stock for name in one.wanted.programs} & ids.keys()
        found = {ids[name]: await overview.one(connection, ids[name]) for name in stocks}
        return replace(
            self._sample,
            at=datetime.now(UTC),
            postgres_error="",
            workers=await figures.workers(connection) if system else (),
            programs={one.program.name: one for one in shown},
            stocks=found,
            usage={one.program: one for one in usage},
            past={id_: await self._past(connection, id_, one) for id_, one in found.items()},
        )

    async def _past(self, connection: Connection, id_: int, stock: ProgramStock) -> Past:
        known, now = self._sample.past.get(id_), datetime.now(UTC)
        if known is not None and now - known.at < PAST_INTERVAL:
            return known
        # The minute that has begun is the last one.
        end = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
        name = stock.program.name
        usage = await figures.program_usage(connection, id_, name, "minute", end - timedelta(hours=1), end)
        levels = await level_history.read(connection, id_, now - timedelta(days=1))
        shown = [StockLevel(at=one.at, pooled=one.pooled) for one in levels]
        expected = await levels_expected(connection, id_)
        return Past(now, usage, shown, expected, stock.pooled - stock.reserved)

    def _ask_kafka(self) -> None:
        """Take Kafka's last answer and ask again; a Kafka that does not answer delays no figure of the database."""
        if not any(one.wanted.system for one in self._watchers):
            return
        if self._asking is not None and self._asking.done():
            try:
                self._sample = replace(self._sample, lags=self._asking.result(), kafka_error="")
            except StackUnavailable as error:
                self._sample = replace(self._sample, kafka_error=str(error))
            except Exception as error:
                log.exception("lag_not_read")
                self._sample = replace(self._sample, kafka_error=type(error).__name__)
            self._asking = None
        if self._asking is None:
            self._asking = asyncio.create_task(self._lag.read())
