"""Transactions in which codes leave their profiles, while requests may get the same codes again.

A request may have read an assignment, and not have stored yet that it gives the code again. So the assignments of codes
that leave are deleted first, and what is being decided by then is awaited: the next attempt sees all.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeAlias, TypeVar

import asyncpg

from codewell.infra.postgres.connection import Connection
from codewell.profiles.deciding_lock import wait_for_deciding
from codewell.returns.queries import Raced, columns

# Each attempt but the first follows a change of one of the codes by somebody else, so a third is rare.
_ATTEMPTS_MAX: Final = 20

_LET_GO: Final = """
    DELETE FROM holding h
    USING unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[]) AS w (program_id, profile_id, block_id, position)
    WHERE h.program_id = w.program_id AND h.profile_id = w.profile_id AND h.block_id = w.block_id
      AND h.position = w.position
    RETURNING h.*
    """
# But none of a profile that was forgotten meanwhile.
_KEEP: Final = """
    INSERT INTO holding (program_id, profile_id, scope, block_id, position, code, expires_at, fields)
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[],
                         $7::timestamptz[], $8::jsonb[]) AS w (program_id, profile_id, scope, block_id, position)
    WHERE EXISTS (
        SELECT FROM answer a WHERE a.block_id = w.block_id AND a.position = w.position AND a.block_id IS NOT NULL
        AND NOT a.again AND a.profile_id = w.profile_id)
    ORDER BY w.program_id, w.profile_id, w.scope ON CONFLICT (program_id, profile_id, scope) DO NOTHING
    """

_T = TypeVar("_T")
Freed: TypeAlias = list[asyncpg.Record]
"""Assignments that were deleted so that no request gives their codes again."""


class _Reusable(Exception):
    """Codes that would leave their profiles, though a request that is being decided may give them again.

    Each is (program, profile, block, position).
    """

    def __init__(self, codes: list[tuple[int, str, int, int]]) -> None:
        super().__init__()
        self.codes = codes


async def attempt(connection: Connection, work: Callable[[Freed], Awaitable[_T]]) -> _T:
    """Run `work` in a transaction until nothing has changed its codes meanwhile. Raises Raced after many attempts.

    Call it outside of a transaction. After a crash between two attempts, a profile whose code stays gets another one
    for its next request.
    """
    freed: Freed = []
    for _ in range(_ATTEMPTS_MAX):
        try:
            async with connection.transaction():
                return await work(freed)
        except _Reusable as found:
            freed += await connection.fetch(_LET_GO, *columns(found.codes, 4))
            await wait_for_deciding(connection)
        except (Raced, asyncpg.DeadlockDetectedError):
            continue
    raise Raced


def let_go_first(codes: list[tuple[int, str, int, int]]) -> None:
    """End this attempt if the profiles of codes that leave, as (program, profile, block, position), may get them again.

    The next one begins when they no longer can.
    """
    if codes:
        raise _Reusable(codes)


async def keep_others(connection: Connection, freed: Freed, leaving: Iterable[asyncpg.Record]) -> None:
    """Store again the assignments of codes that stay, as they were given again meanwhile."""
    gone = {(row["block_id"], row["position"]) for row in leaving}
    if kept := [row for row in freed if (row["block_id"], row["position"]) not in gone]:
        await connection.execute(_KEEP, *columns((tuple(row.values()) for row in kept), 8))
