"""Writes what a worker says of itself, and the usage it counted, every few seconds beside its work."""

import asyncio
import json
import os
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Final, Literal, TypeAlias
from uuid import UUID

import structlog

from codewell.infra.postgres import connection as postgres
from codewell.infra.postgres.connection import Connection, Pool, outage_reason
from codewell.infra.postgres.migration_files import load_migrations
from codewell.infra.telemetry.health import Health
from codewell.infra.uuid7 import uuid7
from codewell.usage.tally import UsageRow, UsageTally
from codewell.usage.usage_key import FALLBACK_OUTCOMES

log = structlog.get_logger()

INTERVAL_S: Final = 5.0
# Until refusals and fallbacks, which raise alerts, and what a process waits for are reported.
URGENT_INTERVAL_S: Final = 1.0
# Longer than any report takes on a database that is well, and shorter than the interval.
_REPORT_TIMEOUT_S: Final = 4.0
_LAST_REPORT_TIMEOUT_S: Final = 1.5

State: TypeAlias = Literal["running", "stopping", "stopped"]
Counters: TypeAlias = Mapping[str, object]
ReadCounters: TypeAlias = Callable[[float], Counters]
"""Reads a service's figures. Its argument is the time since it was last called (s)."""
OnWritten: TypeAlias = Callable[[Connection, Sequence[UsageRow]], Awaitable[None]]
"""Called once with the usage that was written."""

_WORKER: Final = """
    INSERT INTO worker AS w (id, service, host, pid, version, started_at, report, seen_at, state, waiting_for, counters,
                             schema_version)
    VALUES ($1, $2, $3, $4, $5, now() - make_interval(secs => $6), $7, now(), $8, $9, $10, $11)
    ON CONFLICT (id) DO UPDATE SET report = $7, seen_at = now(), state = $8, waiting_for = $9, counters = $10
    WHERE w.report < $7 RETURNING id
    """
# In the order of the key, so that two workers lock the rows that they share in one order.
_GIVEN: Final = """
    SELECT program_id, date_trunc('{unit}', now() - make_interval(secs => age_s)), source, outcome, sum(number)
    FROM unnest($1::float8[], $2::bigint[], $3::text[], $4::text[], $5::bigint[])
        AS given (age_s, program_id, source, outcome, number)
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    """
_MINUTES: Final = f"""
    INSERT INTO usage_minute AS u (program_id, minute, source, outcome, number) {_GIVEN.format(unit="minute")}
    ON CONFLICT (program_id, minute, source, outcome) DO UPDATE SET number = u.number + excluded.number
    """
_HOURS: Final = f"""
    INSERT INTO usage_hour AS u (program_id, hour, source, outcome, number) {_GIVEN.format(unit="hour")}
    ON CONFLICT (program_id, hour, source, outcome) DO UPDATE SET number = u.number + excluded.number
    """


class Reporter:
    """Reports on one process. Raises nothing: a worker does its work without its figures."""

    def __init__(
        self, service: str, pool: Pool, health: Health, tally: UsageTally, read_counters: ReadCounters,
        on_written: OnWritten | None = None,
    ) -> None:  # fmt: skip
        self.id: UUID = uuid7()
        self._service = service
        # All are read from files.
        self._host, self._version = socket.gethostname(), version("codewell")
        self._schema_version = load_migrations()[-1].number
        self._pool = pool
        self._health = health
        self._tally = tally
        self._read_counters = read_counters
        self._on_written = on_written
        self._began = self._read_at = time.monotonic()
        self._number = 0
        # The rows of a report whose outcome is unknown. They are sent again under its number, which counts once.
        self._unsent: list[UsageRow] = []
        self._counters: Counters = {}
        self._is_failing = False

    async def run(self, stop: asyncio.Event) -> None:
        """Report every INTERVAL_S (s), sooner if it is urgent, and at once when `stop` is set, until cancelled.

        Urgent are refusals and fallbacks, and a change of what the process waits for.
        """
        while True:
            await self.report("stopping" if stop.is_set() else "running")
            if stop.is_set():
                await asyncio.sleep(INTERVAL_S)
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), URGENT_INTERVAL_S)
                continue
            events = (stop, self._tally.is_urgent, self._health.has_changed)
            waits = [asyncio.ensure_future(event.wait()) for event in events]
            try:
                rest_s = INTERVAL_S - URGENT_INTERVAL_S
                await asyncio.wait(waits, timeout=rest_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    async def report(self, state: State, timeout_s: float = _REPORT_TIMEOUT_S) -> None:
        """Write one report within `timeout_s` (s). Counts that could not be written are kept for the next one."""
        self._health.has_changed.clear()
        try:
            async with asyncio.timeout(timeout_s), self._pool.acquire() as connection:
                if self._unsent:
                    # Written now, or before, where only the answer was lost.
                    await self._write(connection, state)
                    await self._pass_on(connection)
                self._begin_report()
                await self._write(connection, state)
                await self._pass_on(connection)
        except Exception as error:  # noqa: BLE001  no error of a report may end the reports, or the worker
            self._failed(error)
        else:
            if self._is_failing:
                log.info("usage_written_again")
            self._is_failing = False

    def _begin_report(self) -> None:
        now = time.monotonic()
        elapsed_s, self._read_at = max(now - self._read_at, 0.001), now
        counters = self._read_counters(elapsed_s)
        self._unsent = self._tally.take()
        self._number += 1
        self._counters = {**counters, **_rates(self._unsent, elapsed_s)}

    async def _write(self, connection: Connection, state: State) -> None:
        """Write the report, unless the database has it already."""
        async with connection.transaction():
            # Neither a standby that does not answer nor a slow disk may hide what the workers do.
            await connection.execute("SET LOCAL synchronous_commit = off")
            is_new = await connection.fetchval(
                _WORKER, self.id, self._service, self._host, os.getpid(), self._version,
                time.monotonic() - self._began, self._number, state, json.dumps(self._health.waiting_for),
                json.dumps(self._counters), self._schema_version,
            )  # fmt: skip
            if is_new is not None and self._unsent:
                await self._write_usage(connection)

    async def _pass_on(self, connection: Connection) -> None:
        """Tell of what was written. A fault of that is a fault of this report, whose usage is written."""
        written, self._unsent = self._unsent, []
        if self._on_written is not None:
            await self._on_written(connection, written)

    async def _write_usage(self, connection: Connection) -> None:
        now = self._tally.clock()
        at, *keys, numbers = zip(*self._unsent, strict=True)
        columns = [[max(now - one, 0.0) for one in at], *keys, numbers]
        await connection.execute(_MINUTES, *columns)
        await connection.execute(_HOURS, *columns)

    def _failed(self, error: BaseException) -> None:
        if not self._is_failing:
            log.warning("usage_not_written", why=outage_reason(error))
        self._is_failing = True


@asynccontextmanager
async def reporting(
    service: str,
    url: str,
    health: Health,
    tally: UsageTally,
    read_counters: ReadCounters,
    stop: asyncio.Event,
    on_written: OnWritten | None = None,
) -> AsyncIterator[None]:
    """Report on this process while the block runs, over a connection of its own, and a last time at its end.

    So a report never takes a connection that a claim waits for. Raises nothing.
    """
    async with postgres.pool(url, "codewell-reporter", 1) as pool:
        reporter = Reporter(service, pool, health, tally, read_counters, on_written)
        task = asyncio.create_task(reporter.run(stop))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,), timeout=_LAST_REPORT_TIMEOUT_S)
            await reporter.report("stopped", _LAST_REPORT_TIMEOUT_S)


def _rates(rows: list[UsageRow], elapsed_s: float) -> dict[str, dict[str, float]]:
    """Codes attached and programs refused a second, by source."""
    attached: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for _, _, source, outcome, number in rows:
        if outcome in {"attached", "reused"}:
            attached[source] += number
        elif outcome not in {"returned", "quarantined", "voided", "activated", *FALLBACK_OUTCOMES}:
            refused[source] += number
    rates = {"attached_per_s": attached, "refused_per_s": refused}
    return {name: {source: round(n / elapsed_s, 2) for source, n in by.items()} for name, by in rates.items()}
