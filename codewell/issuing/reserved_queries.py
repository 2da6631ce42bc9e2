"""SQL statements of a claim in programs with reservations: lock their blocks, take from them."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from codewell.infra.postgres.columns import columns_of
from codewell.infra.postgres.connection import Connection
from codewell.issuing.decision import Decision
from codewell.issuing.model import LockedBlock
from codewell.issuing.reserved_stock import ReservationOfStock, Scope
from codewell.pool.block_rules import LIVES_LONG_ENOUGH, POOLED

# Codes that a reservation may still give of a block.
_LEFT: Final = f"least({POOLED}, reserved_size - reserved_used)"
_GIVES: Final = f"(reserved_open AND {_LEFT} > 0 AND {LIVES_LONG_ENOUGH})"

# Blocks of the reservations that these campaigns and scenarios have. Nothing else takes from a reserved block.
_LOCK: Final = f"""
    SELECT w.program_id, w.source, w.source_id, r.id AS reservation_id, r.overflow = 'refuse' AS refuses,
           r.on_order, level.pooled, b.id AS block_id, b.kind, b.version AS block_version, b.first, b.next, b.size,
           b.left, b.holes, b.expires_at, b.fields
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::integer[]) AS w (program_id, source, source_id, blocks)
    JOIN program p ON p.id = w.program_id
    JOIN reservation r ON r.program_id = w.program_id AND r.source = w.source AND r.source_id = w.source_id
         AND r.ended_at IS NULL AND r.until > statement_timestamp()
    CROSS JOIN LATERAL (
        SELECT coalesce(sum({_LEFT}), 0)::bigint AS pooled FROM block
        WHERE program_id = p.id AND reservation_id = r.id AND {_GIVES}
    ) level
    LEFT JOIN LATERAL (
        SELECT *, {_LEFT} AS left FROM block
        WHERE program_id = p.id AND reservation_id = r.id AND {_GIVES}
        ORDER BY expires_at, id LIMIT w.blocks FOR NO KEY UPDATE SKIP LOCKED
    ) b ON true
    """  # noqa: S608  constants
_WAIT: Final = f"""
    SELECT block.id FROM block, program p
    WHERE block.reservation_id = $1 AND p.id = block.program_id AND {_GIVES}
    ORDER BY block.expires_at, block.id LIMIT 1 FOR NO KEY UPDATE OF block
    """  # noqa: S608  constants
_TAKE: Final = """
    UPDATE block SET next = t.next, attached = attached + t.given,
        holes = holes - (t.next - block.next - t.given), reserved_used = reserved_used + t.given,
        reserved_open = block.next + holes + t.given < size AND reserved_used + t.given < reserved_size,
        reserved_takers = CASE WHEN reserved_takers @> ARRAY[t.taker] THEN reserved_takers
                               ELSE reserved_takers || t.taker END
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]) AS t (id, next, given, taker)
    WHERE block.id = t.id
    """


class ReservedKey(NamedTuple):
    """A campaign or scenario that requests codes of a program."""

    program_id: int
    scope: Scope


class LockedReservation(NamedTuple):
    """An open reservation, how many codes it has left, and its locked blocks."""

    reservation: ReservationOfStock
    left: int
    blocks: list[LockedBlock]


_COLUMNS_BEFORE_BLOCK: Final = 7


async def lock(connection: Connection, blocks_max: Mapping[ReservedKey, int]) -> dict[ReservedKey, LockedReservation]:
    """Lock up to `blocks_max[key]` blocks of each campaign's reservation; keys without one are left out.

    Skips blocks that other transactions have locked. A second call in the same transaction with a higher limit returns
    the same blocks and more.
    """
    found: dict[ReservedKey, LockedReservation] = {}
    keys = [(key.program_id, *key.scope, limit) for key, limit in blocks_max.items()]
    rows = await connection.fetch(_LOCK, *columns_of(keys, 4))
    for row in rows:
        key = ReservedKey(row["program_id"], Scope(row["source"], row["source_id"]))
        reservation = ReservationOfStock(row["reservation_id"], row["refuses"], row["on_order"])
        of_key = found.setdefault(key, LockedReservation(reservation, row["pooled"], []))
        if row["block_id"] is not None:
            of_key.blocks.append(LockedBlock(*row[_COLUMNS_BEFORE_BLOCK:]))
    return found


async def wait_for_block(connection: Connection, reservation_id: int, timeout_ms: int) -> None:
    """As `claim_queries.wait_for_block`, for a block of a reservation."""
    await connection.execute("SELECT set_config('lock_timeout', $1, true)", str(timeout_ms))
    await connection.fetchval(_WAIT, reservation_id)


async def write(connection: Connection, decision: Decision) -> None:
    """Advance the counters of the reserved blocks that gave codes."""
    taken = [(block_id, *moved) for block_id, moved in decision.reserved.items()]
    if taken:
        await connection.execute(_TAKE, *columns_of(taken, 4))
