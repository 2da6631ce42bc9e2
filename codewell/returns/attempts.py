"""Transactions in which codes leave their profiles, while requests may get the same codes again.

A request may have read an assignment, and not have stored yet that it gives the code again. So the assignments of codes
that leave are deleted first, and what is being decided by then is awaited: the next attempt sees all. One that is not
there may have been deleted a moment ago, for a copy of the receipt. So all programs that reuse codes are awaited.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias, TypeVar

import asyncpg

from codewell.codes.locks import lock_codes
from codewell.infra.postgres.columns import columns_of
from codewell.infra.postgres.connection import Connection
from codewell.profiles.deciding_lock import wait_for_deciding
from codewell.returns.queries import Raced

# Each attempt but the first follows a change of one of the codes by somebody else, so a third is rare.
_ATTEMPTS_MAX: Final = 20

_LET_GO: Final = """
    DELETE FROM holding h
    USING unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[]) AS w (program_id, profile_id, block_id, position)
    WHERE h.program_id = w.program_id AND h.profile_id = w.profile_id AND h.block_id = w.block_id
      AND h.position = w.position
    RETURNING h.*
    """
# Another worker may have settled the same receipt meanwhile, the profile may have been forgotten, the code changed.
_KEEP: Final = """
    INSERT INTO holding (program_id, profile_id, scope, block_id, position, code, expires_at, fields)
    SELECT w.program_id, w.profile_id, w.scope, w.block_id, w.position, a.code,
           CASE WHEN s.changed THEN s.expires_at ELSE a.expires_at END,
           CASE WHEN s.changed THEN s.fields ELSE a.fields END
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
        AS w (program_id, profile_id, scope, block_id, position)
    JOIN code_state s ON s.block_id = w.block_id AND s.position = w.position
    JOIN answer a ON a.block_id = w.block_id AND a.position = w.position AND a.block_id IS NOT NULL AND NOT a.again
        AND a.profile_id = w.profile_id
    WHERE s.returned_at IS NULL AND s.deleted_at IS NULL
    ORDER BY w.program_id, w.profile_id, w.scope ON CONFLICT (program_id, profile_id, scope) DO NOTHING
    """
# The places themselves, or those of the codes that replaced them, in the same order.
_NEWEST: Final = """
    WITH RECURSIVE chain (ordinal, block_id, position) AS (
        SELECT ordinal, block_id, position
        FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS w (block_id, position, ordinal)
        UNION ALL
        SELECT c.ordinal, r.new_block_id, r.new_position
        FROM chain c JOIN code_reissue r ON r.old_block_id = c.block_id AND r.old_position = c.position
    )
    SELECT block_id, position FROM chain c WHERE NOT EXISTS (
        SELECT FROM code_reissue r WHERE r.old_block_id = c.block_id AND r.old_position = c.position)
    ORDER BY ordinal
    """

_T = TypeVar("_T")
Place: TypeAlias = tuple[int, int]
"""Block and position."""
Given: TypeAlias = tuple[int, str, int, int]
"""Program, profile, block and position of a code."""


class MayBeGivenAgain(Exception):
    """A request that is being decided may give one of these codes again."""

    def __init__(self, codes: list[Given]) -> None:
        super().__init__()
        self.codes = codes


@dataclass(frozen=True)
class EarlierAttempts:
    """What the attempts before this one did."""

    let_go: list[asyncpg.Record] = field(default_factory=list)
    """The assignments that they deleted."""
    awaited: set[Place] = field(default_factory=set)
    """Codes whose assignment was gone when they began to wait for what was being decided."""


async def until_settled(connection: Connection, work: Callable[[EarlierAttempts], Awaitable[_T]]) -> _T:
    """Run `work` in a transaction until nothing has changed its codes meanwhile. Raises Raced after many attempts.

    Call it outside of a transaction. After a crash or an error between two attempts, a profile whose code stays gets
    another one for its next request.
    """
    attempt = EarlierAttempts()
    to_let_go: list[Given] = []
    for _ in range(_ATTEMPTS_MAX):
        try:
            if to_let_go:
                attempt.let_go.extend(await let_go(connection, to_let_go))
                await wait_for_deciding(connection)
                attempt.awaited.update(code[2:] for code in to_let_go)
                to_let_go = []
            async with connection.transaction():
                return await work(attempt)
        except MayBeGivenAgain as found:
            to_let_go = found.codes
        except (Raced, asyncpg.DeadlockDetectedError):
            continue
    raise Raced


async def let_go(connection: Connection, codes: Sequence[Given]) -> list[asyncpg.Record]:
    """Delete the assignments of these codes, and return them."""
    return list(await connection.fetch(_LET_GO, *columns_of(codes, 4)))


async def keep_others(
    connection: Connection, let_go: Iterable[asyncpg.Record], leaving: Iterable[asyncpg.Record]
) -> None:
    """Store again the assignments of codes that stay, as they were given again meanwhile.

    One whose code was reissued meanwhile found no assignment to move, so the new code gets it.
    """
    gone = {(row["block_id"], row["position"]) for row in leaving}
    kept = [row for row in let_go if (row["block_id"], row["position"]) not in gone]
    places = await _lock_newest(connection, [(row["block_id"], row["position"]) for row in kept])
    stored = [
        (row["program_id"], row["profile_id"], row["scope"], *place)
        for row, place in zip(kept, places, strict=True)
        if place not in gone
    ]
    if stored:
        await connection.execute(_KEEP, *columns_of(stored, 5))


async def _lock_newest(connection: Connection, places: list[Place]) -> list[Place]:
    """Lock these codes, or those that replaced them, and return the places of what was locked."""
    locked: list[Place] = []
    while places != locked:
        # Most were replaced before they are locked, so that all are locked in order.
        locked = await _newest(connection, places)
        await lock_codes(connection, set(locked))
        places = await _newest(connection, locked)
    return locked


async def _newest(connection: Connection, places: list[Place]) -> list[Place]:
    return [tuple(row) for row in await connection.fetch(_NEWEST, *columns_of(places, 2))]
