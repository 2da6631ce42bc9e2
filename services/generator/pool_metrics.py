"""Gauges of pools. They are read once a sweep, so scrapes cost no database time."""

from typing import Final

from prometheus_client import Gauge

from codewell.infra.postgres.connection import Connection
from codewell.pool.levels import circuits_open, levels

# Limits the cardinality: each program is four series, and a platform has many thousand programs.
PROGRAMS_MAX: Final = 200

POOL: Final = Gauge("codewell_pool_codes", "Codes in the pool.", ["program"])
MARK: Final = Gauge("codewell_pool_mark_codes", "Size to which generators fill the pool, if they fill it.",
                    ["program"])  # fmt: skip
CODES: Final = Gauge("codewell_program_codes", "Codes that count against the maximum: created, imported and on order.",
                     ["program"])  # fmt: skip
CODES_MAX: Final = Gauge("codewell_program_maximum_codes", "Maximum codes the program may ever have.", ["program"])
CIRCUITS: Final = Gauge("codewell_remote_circuits_open", "Programs whose remote service has an open circuit breaker.")


async def update_pool_gauges(connection: Connection) -> None:
    """Set the gauges, and drop the series of programs that are gone. Raises what asyncpg raises."""
    now = await levels(connection, PROGRAMS_MAX)
    CIRCUITS.set(await circuits_open(connection))
    # No await from here on, so no scrape sees half-set gauges.
    for gauge in (POOL, MARK, CODES, CODES_MAX):
        gauge.clear()
    for level in now:
        POOL.labels(level.program).set(level.pooled)
        CODES.labels(level.program).set(level.codes)
        CODES_MAX.labels(level.program).set(level.codes_max)
        if level.mark is not None:
            MARK.labels(level.program).set(level.mark)
