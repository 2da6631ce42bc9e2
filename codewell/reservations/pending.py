"""Reservations that wait for codes of a remote service: filled as orders arrive, ordered anew where they bring less."""

from datetime import datetime
from typing import Final

from codewell.infra.postgres.connection import Connection
from codewell.pool import fill, orders
from codewell.pool.program_rules import ProgramRules, closed_reason
from codewell.reservations import blocks

_PENDING: Final = """
    SELECT id, on_order, greatest(send_at, $2) + coalesce($3::interval, interval '0') AS lives_until
    FROM reservation WHERE program_id = $1 AND ended_at IS NULL AND on_order > 0 ORDER BY id FOR NO KEY UPDATE
    """
_ARRIVED: Final = "UPDATE reservation SET on_order = on_order - $2 WHERE id = $1"
_LOST: Final = "UPDATE reservation SET on_order = on_order - $2, granted = granted - $2 WHERE id = $1"
_PROGRAMS: Final = "SELECT DISTINCT program_id FROM reservation WHERE ended_at IS NULL AND on_order > 0 ORDER BY 1"
_LACKS: Final = """
    SELECT coalesce(sum(r.on_order), 0)::bigint - (SELECT on_order FROM program WHERE id = $1)
    FROM reservation r WHERE program_id = $1 AND ended_at IS NULL
    """


async def fill_pending(connection: Connection, program: ProgramRules, now: datetime, delivered: int = 0) -> None:
    """Give pooled codes to the program's reservations that wait for some, the oldest first.

    `delivered` is how many codes have come now. Those that no reservation can take, and no order will replace, expire
    too soon: they become shortfall, that of the newest reservations first, as another order would bring the same. The
    caller has locked the program's row. In the transaction that stores a delivery, so that nothing else takes it.
    """
    untaken = delivered
    for row in await connection.fetch(_PENDING, program.id, now, program.min_life_at_attach):
        taken = await blocks.take(connection, program.id, row["id"], row["on_order"], row["lives_until"])
        await connection.execute(_ARRIVED, row["id"], taken)
        untaken -= taken
    if untaken <= 0:
        return
    lost_max = min(untaken, await connection.fetchval(_LACKS, program.id))
    for row in reversed(await connection.fetch(_PENDING, program.id, now, program.min_life_at_attach)):
        lost = max(0, min(lost_max, row["on_order"]))
        await connection.execute(_LOST, row["id"], lost)
        lost_max -= lost


async def pending_programs(connection: Connection) -> list[int]:
    """Ids of the programs with reservations that wait for codes."""
    return [row["program_id"] for row in await connection.fetch(_PROGRAMS)]


async def order_missing(connection: Connection, program_id: int) -> int:
    """Fill a program's pending reservations, order what no order brings any more, and return how many codes that is.

    A delivery may have fewer codes than were ordered, and another version of the generator may have stored it in the
    pool.
    """
    async with connection.transaction():
        program = await fill.locked(connection, program_id)
        if program is None:
            return 0
        now, _, _ = await fill.level(connection, program_id)
        if closed_reason(program, now) is not None:
            return 0
        await fill_pending(connection, program, now)
        lacks: int = await connection.fetchval(_LACKS, program_id)
        count = min(lacks, program.room, await orders.order_max(connection, program_id))
        if count > 0:
            await orders.order_for_person(connection, program, count, "{}")
        return max(0, count)
