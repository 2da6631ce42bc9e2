"""What a program has and may get for a reservation, read from the database."""

from datetime import datetime
from typing import Final

from codewell.infra.postgres.connection import Connection
from codewell.pool import orders
from codewell.pool.block_rules import POOLED, TAKEN_BACK, UNEXPIRED
from codewell.pool.expiry import expiry_in_pool
from codewell.pool.program_rules import ProgramRules
from codewell.pool.range_allocation import end_of
from codewell.reservations.figures import Supply
from schemas.reservations import ReservationParts

NO_PARTS: Final = ReservationParts(pooled=0, minted=0, on_order=0, expiring_before_send=0)

_POOL: Final = f"""
    SELECT coalesce(sum({POOLED}) FILTER (WHERE expires_at IS NULL OR expires_at > $2), 0)::bigint AS pooled,
           coalesce(sum({POOLED}) FILTER (WHERE expires_at <= $2), 0)::bigint AS expiring
    FROM block WHERE program_id = $1 AND open AND {UNEXPIRED} AND NOT {TAKEN_BACK}
    """  # noqa: S608  constants
_TEMPLATE: Final = "SELECT next_number, template FROM template_version WHERE program_id = $1 AND version = $2"


async def read(connection: Connection, program: ProgramRules, now: datetime, lives_until: datetime) -> Supply:
    """What there is, in codes that live until then."""
    pool = await connection.fetchrow(_POOL, program.id, lives_until)
    expiry = expiry_in_pool(program, now)
    return Supply(
        program.codes_from, pool["pooled"], pool["expiring"], program.room, await _source_max(connection, program),
        new_live=expiry is None or expiry > lives_until,
    )  # fmt: skip


async def _source_max(connection: Connection, program: ProgramRules) -> int:
    match program.codes_from:
        case "template":
            row = await connection.fetchrow(_TEMPLATE, program.id, program.version)
            return max(0, end_of(row["template"]) - int(row["next_number"]))
        case "remote":
            return await orders.order_max(connection, program.id)
    return 0
