"""Judges the rules of alerts on a timer, so that an alert is raised and cleared some seconds after its cause."""

import asyncio
import contextlib
import time
from typing import Final

import asyncpg
import structlog
from prometheus_client import Counter, Histogram

from codewell.alert_rules.sweep import Sweep
from codewell.errors import CodewellError
from codewell.infra.postgres.advisory_lock import try_lock
from codewell.infra.postgres.connection import UNAVAILABLE_ERRORS, Pool
from codewell.infra.telemetry.health import Health

log = structlog.get_logger()

INTERVAL_S: Final = 1.0
# With many programs a look takes some tenths of a second: it is to take a tenth of the time at most.
_PAUSE_PER_LOOK: Final = 9
_INTERVAL_MAX_S: Final = 3.0
# One generator judges at a time. Unique among all advisory locks.
_LOCK: Final = (0x636F6465, 43)
_SWEEPER: Final = "alert rules"

SECONDS: Final = Histogram("codewell_alert_sweep_seconds", "Duration of one look at the alert rules of all programs.")
RULED: Final = Counter("codewell_alert_rule_changes", "Alerts that rules raised or cleared.", ["change"])
for _change in ("raised", "cleared"):
    RULED.labels(_change)


class AlertSweeper:
    """Runs in each generator; an advisory lock lets one of them judge."""

    def __init__(self, pool: Pool, health: Health) -> None:
        self._pool = pool
        self._health = health
        self._sweep = Sweep()

    async def run(self, stop: asyncio.Event) -> None:
        """Look until `stop` is set. Raises nothing: what fails is done by the next look."""
        while not stop.is_set():
            self._health.heartbeat(_SWEEPER)
            began = time.monotonic()
            try:
                await self.look()
            except (*UNAVAILABLE_ERRORS, asyncpg.PostgresError, CodewellError) as error:
                log.warning("alert_rules_not_judged", why=type(error).__name__)
            except Exception:
                log.exception("alert_rules_broke")
            self._health.set_idle(_SWEEPER)
            pause_s = min(_INTERVAL_MAX_S, max(INTERVAL_S, _PAUSE_PER_LOOK * (time.monotonic() - began)))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_s)

    async def look(self) -> None:
        """One look, unless another generator is at it. Raises what asyncpg raises."""
        async with self._pool.acquire() as connection, try_lock(connection, _LOCK) as is_held:
            if not is_held:
                return
            with SECONDS.time():
                swept = await self._sweep.look(connection)
        RULED.labels("raised").inc(swept.raised)
        RULED.labels("cleared").inc(swept.cleared)
        if swept.raised or swept.cleared:
            log.info("alerts_changed", raised=swept.raised, cleared=swept.cleared)
