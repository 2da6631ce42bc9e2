"""The pooled codes of a chunk of a change of many codes: those of a block share one expiry, so they are one row."""

from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

import asyncpg

from codewell.codes.lookup import START, CodePlace
from codewell.infra.postgres.connection import Connection
from codewell.pool.block_rules import POOLED, UNEXPIRED

# Blocks of a change with codes to look at, after a place; those that were made later than the change began are none.
_OF_CHANGE: Final = f"""
    b.id, b.kind, b.version, b.first, b.size, next + holes AS taken FROM block b
    WHERE program_id = $1 AND (b.attached > 0 OR {POOLED} > 0) AND created_at <= $4
      AND ($5::uuid IS NULL OR import_id = $5)
    """.strip()
_RANGES: Final = f"""
    SELECT {_OF_CHANGE} AND kind = 'range' AND (version > $2 OR version = $2 AND first + size > $3::bigint + 1)
    ORDER BY version, first LIMIT $6
    """
_LISTS: Final = f"""
    SELECT {_OF_CHANGE} AND kind = 'list' AND (id > $2 OR id = $2 AND size > $3::bigint + 1) ORDER BY id LIMIT $6
    """

# Nothing changes any more in a block whose answers have left.
_LOCK: Final = f"""
    SELECT id, size, CASE WHEN archived_until IS NULL THEN {POOLED} ELSE 0 END AS pooled, expires_at,
           NOT {UNEXPIRED} AS over, reservation_id IS NOT NULL AS reserved, next + holes AS taken
    FROM block WHERE id = ANY($1::bigint[]) ORDER BY id FOR NO KEY UPDATE
    """  # noqa: S608  constants
# A block whose codes had expired may have been closed for that.
_EXTEND: Final = f"""
    UPDATE block SET expires_at = $2, open = {POOLED} > 0 WHERE id = ANY($1::bigint[])
    """  # noqa: S608  a constant
_VOID: Final = f"""
    UPDATE block SET voided_at = statement_timestamp(), voided_from = next, voided = {POOLED},
        deleted = deleted + {POOLED}, next = size, holes = 0, open = false
    WHERE id = ANY($1::bigint[])
    """  # noqa: S608  a constant
_LIST: Final = """
    INSERT INTO bulk_change_item (change_id, number, block_id, outcome, codes, size, old_expires_at)
    SELECT $1, $2 + n - 1, id, outcome, codes, size, expires_at
    FROM unnest($3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::timestamptz[])
         WITH ORDINALITY AS w (id, outcome, codes, size, expires_at, n)
    """


# Claims may go on with these blocks, and old answers of them stay meanwhile.
_KEEP: Final = "SELECT FROM block WHERE id = ANY($1::bigint[]) ORDER BY id FOR KEY SHARE"


class PooledChanged(NamedTuple):
    """What a chunk did with pooled codes: how many it looked at, changed and left because they are reserved; rows."""

    looked_at: int
    codes: int
    reserved: int
    items: int


async def following(
    connection: Connection, change: asyncpg.Record, after: CodePlace, limit: int
) -> list[asyncpg.Record]:
    """Up to `limit` blocks with codes after `after`, in the order of places."""
    given = change["started_at"], change["import_id"]
    found: list[asyncpg.Record] = []
    if after.listed == 0:
        found = await connection.fetch(_RANGES, change["program_id"], after.major, after.minor, *given, limit)
    if not found:
        major, minor = (after.major, after.minor) if after.listed else (START.major, START.minor)
        found = await connection.fetch(_LISTS, change["program_id"], major, minor, *given, limit)
    return found


async def lock_blocks(connection: Connection, ids: Iterable[int]) -> list[asyncpg.Record]:
    """Lock blocks in the order of their ids, and return what they hold now."""
    found = sorted(set(ids))
    return await connection.fetch(_LOCK, found) if found else []


async def keep_blocks(connection: Connection, ids: Iterable[int]) -> None:
    """See that no answer leaves these blocks until the transaction ends."""
    await connection.execute(_KEEP, sorted(set(ids)))


async def change_pooled(
    connection: Connection, change: asyncpg.Record, locked: Sequence[asyncpg.Record], number: int
) -> PooledChanged:
    """Change the pooled codes of the locked blocks that the filter finds, and list the blocks."""
    wanted = [block for block in locked if block["pooled"] > 0 and _passes(change, block)]
    # A reservation has promised them until a time.
    kept = [block for block in wanted if block["reserved"]]
    done = [block for block in wanted if is_for(change, block)]
    ids = [block["id"] for block in done]
    if ids and change["void"]:
        await connection.execute(_VOID, ids)
    elif ids:
        await connection.execute(_EXTEND, ids, change["expires_at"])
    outcomes = ["changed"] * len(done) + ["reserved"] * len(kept)
    await _list(connection, change, [*done, *kept], outcomes, number)
    return PooledChanged(_codes(wanted), _codes(done), _codes(kept), len(outcomes))


def is_for(change: asyncpg.Record, block: asyncpg.Record) -> bool:
    """Whether the change is for the pooled codes of this locked block, if it has any."""
    return not block["reserved"] and _passes(change, block) and (change["void"] or _differs(change, block))


async def _list(
    connection: Connection, change: asyncpg.Record, blocks: Sequence[asyncpg.Record], outcomes: Sequence[str],
    number: int,
) -> None:  # fmt: skip
    if blocks:
        columns = [[block[name] for block in blocks] for name in ("pooled", "size", "expires_at")]
        ids = [block["id"] for block in blocks]
        await connection.execute(_LIST, change["id"], number, ids, outcomes, *columns)


def _passes(change: asyncpg.Record, block: asyncpg.Record) -> bool:
    state = "expired" if block["over"] else "pooled"
    if change["code_state"] not in {None, state}:
        return False
    since, until, at = change["expires_from"], change["expires_until"], block["expires_at"]
    if since is None and until is None:
        return True
    return at is not None and (since is None or at >= since) and (until is None or at < until)


def _differs(change: asyncpg.Record, block: asyncpg.Record) -> bool:
    return bool(block["expires_at"] != change["expires_at"])


def _codes(blocks: Collection[asyncpg.Record]) -> int:
    return sum(block["pooled"] for block in blocks)
