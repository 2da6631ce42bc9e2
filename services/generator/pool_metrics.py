"""Gauges of pools and alerts. They are read once a sweep, so scrapes cost no database time."""

from typing import Final, get_args

from prometheus_client import Gauge

from codewell.alerts.alerts import open_by_kind
from codewell.infra.postgres.connection import Connection
from codewell.lifecycle import progress, slot
from codewell.pool.levels import circuits_open, levels
from schemas.alerts import AlertKind

# Limits the cardinality: each program is four series, and a platform has many thousand programs.
PROGRAMS_MAX: Final = 200

POOL: Final = Gauge("codewell_pool_codes", "Codes in the pool.", ["program"])
MARK: Final = Gauge("codewell_pool_mark_codes", "Size to which generators fill the pool, if they fill it.",
                    ["program"])  # fmt: skip
CODES: Final = Gauge("codewell_program_codes", "Codes that count against the maximum: created, imported and on order.",
                     ["program"])  # fmt: skip
CODES_MAX: Final = Gauge("codewell_program_maximum_codes", "Maximum codes the program may ever have.", ["program"])
CIRCUITS: Final = Gauge("codewell_remote_circuits_open", "Programs whose remote service has an open circuit breaker.")
ALERTS: Final = Gauge("codewell_alerts", "Open alerts about programs, by kind.", ["kind"])
SLOT_KEPT: Final = Gauge("codewell_lifecycle_slot_bytes", "Log that Postgres keeps for the stream of codes.")
SLOT_SAFE: Final = Gauge(
    "codewell_lifecycle_slot_safe_bytes",
    "Log that may still be written before the slot of the stream is lost; 0: it is lost; -1: no limit, or no slot.",
)
SLOT_SAFE.set(-1)
for _kind in get_args(AlertKind):
    ALERTS.labels(_kind)


async def update_pool_gauges(connection: Connection) -> None:
    """Set the gauges, and drop the series of programs that are gone. Raises what asyncpg raises."""
    now = await levels(connection, PROGRAMS_MAX)
    CIRCUITS.set(await circuits_open(connection))
    alerts = await open_by_kind(connection)
    for kind in get_args(AlertKind):
        ALERTS.labels(kind).set(alerts.get(kind, 0))
    await _update_slot_gauges(connection)
    # No await from here on, so no scrape sees half-set gauges.
    for gauge in (POOL, MARK, CODES, CODES_MAX):
        gauge.clear()
    for level in now:
        POOL.labels(level.program).set(level.pooled)
        CODES.labels(level.program).set(level.codes)
        CODES_MAX.labels(level.program).set(level.codes_max)
        if level.mark is not None:
            MARK.labels(level.program).set(level.mark)


async def _update_slot_gauges(connection: Connection) -> None:
    """The stream's slot, which grows while no worker of the stream runs: so they cannot tell of it."""
    if await progress.read(connection) is None:
        SLOT_KEPT.set(0)
        SLOT_SAFE.set(-1)
        return
    found = await slot.status(connection, await slot.slot_name(connection))
    SLOT_KEPT.set(0 if found is None else max(0, found.kept_bytes))
    is_lost = found is None or found.is_lost
    SLOT_SAFE.set(0 if is_lost else -1 if found is None or found.safe_bytes is None else max(0, found.safe_bytes))
