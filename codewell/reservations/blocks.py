"""Moves blocks between a program's pool and a reservation: whole ones, and parts of one that is split.

The caller has locked the program's row and then the reservation's. Both wait for claims, which hold blocks and wait for
neither.
"""

from datetime import datetime
from typing import Any, Final

from codewell.infra.postgres.connection import Connection
from codewell.pool.block_rules import POOLED, TAKEN_BACK, UNEXPIRED

# Each round waits for the blocks that claims have locked, and finds what they left.
_ROUNDS_MAX: Final = 5

# Blocks of the pool with at least $2 codes together that live until $3, the first to expire first. They are locked by
# id, as `codewell.codes.locks` does, so that nothing deadlocks. Their expiry may have changed until then.
_PICK: Final = f"""
    WITH picked AS MATERIALIZED (
        SELECT id, kind, size, next, {POOLED} AS pooled, expires_at FROM block
        WHERE open AND (expires_at IS NULL OR expires_at > $3) AND id IN (
            SELECT id FROM (
                SELECT id, sum({POOLED}) OVER (ORDER BY expires_at, id) - {POOLED} AS before FROM block
                WHERE program_id = $1 AND open AND (expires_at IS NULL OR expires_at > $3) AND NOT {TAKEN_BACK}
            ) b WHERE before < $2)
        ORDER BY id FOR NO KEY UPDATE
    ) SELECT id, kind, size, next, pooled FROM picked ORDER BY expires_at, id
    """  # noqa: S608  constants
_RESERVE: Final = f"""
    UPDATE block SET open = false, reservation_id = $1, reserved_at = clock_timestamp(), reserved_first = next,
        reserved_used = 0,
        reserved_size = least({POOLED}, $3::bigint), reserved_takers = '{{}}', reserved_open = true
    WHERE id = ANY($2::bigint[])
    """  # noqa: S608  constants
# Codes after the last one that was taken out of turn: they can move to a block of their own.
_TAIL: Final = """
    SELECT $3 - greatest($2, coalesce(max(position) + 1, 0)) FROM code_state
    WHERE block_id = $1 AND position >= $2
    """
_SHORTEN: Final = "UPDATE block SET size = size - $2 WHERE id = $1"
_SPLIT_OFF: Final = """
    INSERT INTO block (program_id, kind, version, first, size, expires_at, fields, origin, source, created_at,
                       import_id, remote_request_id, split_from, split_first)
    SELECT program_id, kind, version, first + size, $2, expires_at, fields, origin, source, created_at, import_id,
           remote_request_id, CASE kind WHEN 'list' THEN coalesce(split_from, id) END,
           CASE kind WHEN 'list' THEN coalesce(split_first, 0) + size END
    FROM block WHERE id = $1 RETURNING id
    """
_MOVE_TEXTS: Final = """
    UPDATE code SET block_id = $2, position = position - b.size FROM block b
    WHERE b.id = $1 AND code.block_id = $1 AND code.position >= b.size
    """
# Where codes that had come back to the block were before, and where they are now.
_MOVE_LINKS: Final = """
    UPDATE code_state s SET moved_to = $2, moved_position = moved_position - b.size FROM block b
    WHERE b.id = $1 AND s.moved_to = $1 AND s.moved_position >= b.size
    """

# Locked by id too; the last to expire comes first.
_OWN: Final = f"""
    WITH own AS MATERIALIZED (
        SELECT id, kind, size, next, reserved_size, reserved_used, reserved_takers,
               least({POOLED}, reserved_size - reserved_used) AS left, expires_at
        FROM block WHERE reservation_id = $1 AND (reserved_open OR {POOLED} > 0)
        ORDER BY id FOR NO KEY UPDATE
    ) SELECT * FROM own ORDER BY expires_at DESC, id DESC
    """  # noqa: S608  constants
_GIVE_BACK: Final = f"""
    UPDATE block SET open = {POOLED} > 0 AND {UNEXPIRED}, reservation_id = NULL, reserved_at = NULL,
        reserved_first = NULL, reserved_size = NULL, reserved_used = 0, reserved_takers = NULL, reserved_open = false
    WHERE id = ANY($1::bigint[])
    """  # noqa: S608  constants
_LESS: Final = """
    UPDATE block SET reserved_size = reserved_size - $2, reserved_open = reserved_used < reserved_size - $2
    WHERE id = $1
    """
_FOLD: Final = """
    UPDATE reservation SET used_before = used_before + $2,
        takers = ARRAY(SELECT DISTINCT unnest(takers || $3::text[]) ORDER BY 1)
    WHERE id = $1
    """


async def take(connection: Connection, program_id: int, reservation_id: int, count: int, lives_until: datetime) -> int:
    """Move `count` pooled codes that live until then to the reservation, and return how many there were."""
    if count == 0:
        return 0
    picked = await _pick(connection, program_id, count, lives_until)
    whole: list[int] = []
    left = count
    for block in picked:
        if block["pooled"] > left:
            break
        whole.append(block["id"])
        left -= block["pooled"]
    await connection.execute(_RESERVE, reservation_id, whole, count)
    if left and len(whole) < len(picked):
        await _take_part(connection, reservation_id, picked[len(whole)], left)
        return count
    return count - left


async def give_back(connection: Connection, reservation_id: int) -> None:
    """Move all codes that are left back to the pool. Used-up blocks stay the reservation's, for the audit."""
    await _give_back(connection, reservation_id, await connection.fetch(_OWN, reservation_id))


async def give_back_some(connection: Connection, reservation_id: int, count: int) -> int:
    """Move up to `count` codes back to the pool, the last to expire first, and return how many."""
    left = count
    whole: list[Any] = []
    for block in await connection.fetch(_OWN, reservation_id):
        here = min(left, block["left"])
        if here == block["reserved_size"]:
            whole.append(block)
        elif here:
            tail = await _tail(connection, block)
            await connection.execute(_LESS, block["id"], here)
            if tail:
                await _split_off(connection, block, min(here, tail))
        left -= here
        if not left:
            break
    await _give_back(connection, reservation_id, whole)
    return count - left


async def _pick(connection: Connection, program_id: int, count: int, lives_until: datetime) -> list[Any]:
    picked: list[Any] = []
    for _ in range(_ROUNDS_MAX):
        known = len(picked)
        picked = await connection.fetch(_PICK, program_id, count, lives_until)
        if len(picked) == known or sum(block["pooled"] for block in picked) >= count:
            break
    return picked


async def _take_part(connection: Connection, reservation_id: int, block: Any, count: int) -> None:
    """Reserve `count` codes of a block that has more.

    Codes before one that was taken out of turn cannot leave their block. Then the block is reserved, as much of the
    rest goes to the pool as can, and what cannot waits until the reservation ends.
    """
    tail = await _tail(connection, block)
    if count <= tail:
        own = await _split_off(connection, block, count)
        await connection.execute(_RESERVE, reservation_id, [own], count)
        return
    rest = min(tail, block["pooled"] - count)
    if rest:
        await _split_off(connection, block, rest)
    await connection.execute(_RESERVE, reservation_id, [block["id"]], count)


async def _tail(connection: Connection, block: Any) -> int:
    tail: int = await connection.fetchval(_TAIL, block["id"], block["next"], block["size"])
    return tail


async def _split_off(connection: Connection, block: Any, count: int) -> int:
    """Move the last `count` codes of a block to a new block of the pool, and return its id."""
    await connection.execute(_SHORTEN, block["id"], count)
    new: int = await connection.fetchval(_SPLIT_OFF, block["id"], count)
    if block["kind"] == "list":
        await connection.execute(_MOVE_TEXTS, block["id"], new)
        await connection.execute(_MOVE_LINKS, block["id"], new)
    return new


async def _give_back(connection: Connection, reservation_id: int, blocks: list[Any]) -> None:
    takers = {taker for block in blocks for taker in block["reserved_takers"]}
    await connection.execute(_FOLD, reservation_id, sum(block["reserved_used"] for block in blocks), sorted(takers))
    await connection.execute(_GIVE_BACK, [block["id"] for block in blocks])
