"""What a generator tells of pools: read once a sweep, so that it costs requests nothing however often it is asked."""

from typing import Final

from prometheus_client import Gauge

from codewell.infra.postgres.connection import Connection
from codewell.pool.levels import circuits_open, levels

# Each is four series, and a platform has many thousand programs.
NAMED_MAX: Final = 200

POOL: Final = Gauge("codewell_pool_codes", "Codes in the pool.", ["program"])
MARK: Final = Gauge("codewell_pool_mark_codes", "Size to which generators fill the pool, if they fill it.",
                    ["program"])  # fmt: skip
CODES: Final = Gauge("codewell_program_codes", "Codes that count against the maximum: created, imported and on order.",
                     ["program"])  # fmt: skip
CODES_MAX: Final = Gauge("codewell_program_maximum_codes", "Maximum codes the program may ever have.", ["program"])
CIRCUITS: Final = Gauge("codewell_remote_circuits_open", "Programs whose remote service has an open circuit breaker.")


async def note_levels(connection: Connection) -> None:
    """Tell how pools stand now, and nothing more of programs that are no longer there. Raises what asyncpg raises."""
    now = await levels(connection, NAMED_MAX)
    CIRCUITS.set(await circuits_open(connection))
    # Nobody is served between these lines, so no scrape sees the half of it.
    for gauge in (POOL, MARK, CODES, CODES_MAX):
        gauge.clear()
    for level in now:
        POOL.labels(level.program).set(level.pooled)
        CODES.labels(level.program).set(level.codes)
        CODES_MAX.labels(level.program).set(level.codes_max)
        if level.mark is not None:
            MARK.labels(level.program).set(level.mark)
