"""A code that a person takes from its profile, while requests may give the profile the same code again.

As with receipts (`attempts`): a request may have read the assignment, and not have stored yet that it gives the code
again. So the assignment goes first, and what is being decided by then is awaited; then the code goes back to the pool,
unless it has got an assignment meanwhile.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import asyncpg

from codewell.codes import lifecycle
from codewell.codes.lookup import CodeFacts
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import ProgramRefused
from codewell.infra.postgres.connection import Connection
from codewell.pool.minter_cache import Minters
from codewell.profiles.deciding_lock import hold_deciding_lock, wait_for_deciding
from codewell.returns.attempts import keep_others, let_go

# Assignments stay where the program reuses codes no longer. A request may have read one before, or reuse codes later.
_REUSES: Final = """
    SELECT NOT shared AND (reuse <> 'request' OR EXISTS (
        SELECT FROM holding h WHERE h.program_id = program.id AND h.profile_id <> ''))
    FROM program WHERE id = $1
    """


@asynccontextmanager
async def letting_go(
    connections: Callable[[], AbstractAsyncContextManager[Connection]], minters: Minters, program_id: int, code: str
) -> AsyncIterator[None]:
    """Run the with-block, which calls `detach`, once no request that is being decided gives the profile the code again.

    `connections` opens one, outside of a transaction. A code that stays, as it may not be detached, keeps its
    assignment. Raises nothing against the code: what detaches it does.
    """
    async with connections() as connection:
        gone = await _let_go(ProgramCodes(connection, minters, program_id), code)
    try:
        yield
    finally:
        if gone:
            async with connections() as connection, connection.transaction():
                # It copies ids of profiles.
                await hold_deciding_lock(connection)
                await keep_others(connection, gone, ())


async def detach(codes: ProgramCodes, code: str) -> CodeFacts:
    """As `lifecycle.detach`, within `letting_go`."""
    return await lifecycle.detach(codes, code, let_go=True)


async def _let_go(codes: ProgramCodes, code: str) -> list[asyncpg.Record]:
    """Delete the code's assignments, and wait for what is being decided. Returns those that were there."""
    if not await codes.connection.fetchval(_REUSES, codes.program_id):
        return []
    gone: list[asyncpg.Record] = []
    try:
        async with lifecycle.locked_code(codes, code) as locked:
            if locked.facts.state != "attached" or locked.facts.uses or locked.facts.profile_id is None:
                return []
            place = locked.at.block["id"], locked.at.position
            gone = await let_go(codes.connection, [(codes.program_id, locked.facts.profile_id, *place)])
    except ProgramRefused:
        return []
    # Also without one: another caller may have deleted it a moment ago.
    await wait_for_deciding(codes.connection)
    return gone
